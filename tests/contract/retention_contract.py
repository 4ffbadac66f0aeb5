"""What every store promises about the end of its data, as tests over a factory, as `store_contract` does.

Time is given. An event is needed at its receipt and until its last delivery has ended.
"""

import asyncio
from collections import Counter
from dataclasses import replace

import pytest
from store_contract import (
    CORE,
    HEADERS,
    KEYRING,
    NOW,
    Stores,
    accept,
    claim,
    dedupe_key,
    new_delivery,
    new_event,
    new_refusal,
    planned,
    result,
    state_of,
)

from hookseal.clock import Instant, plus
from hookseal.errors import Invalid, NotFound
from hookseal.model import DeliveryState
from hookseal.store.port import (
    BODY_EXPIRED,
    Cursor,
    Cutoffs,
    DeliveryFilter,
    EventFilter,
    Expired,
    NewEvent,
    Replay,
    Store,
)

DAY_S = 86_400.0
NEVER = Instant(0)
NOTHING = Cutoffs(bodies=NEVER, metadata=NEVER, dedupe=NEVER, refusals=NEVER)


async def sweep(store: Store, before: Cutoffs, limit: int = 7) -> Counter[str]:
    """Everything that may go, slice by slice."""
    gone: Counter[str] = Counter()
    cursor: Cursor | None = None
    while True:
        one = await store.expire(before, limit, cursor)
        for what in ("bodies", "events", "dedupe_keys", "refusals"):
            gone[what] += getattr(one, what)
        cursor = one.next
        if cursor is None:
            return +gone


async def deliver(store: Store, now: Instant = NOW, state: DeliveryState = DeliveryState.DELIVERED) -> None:
    """End everything that is due; a try takes no time."""
    for one in await claim(store, now, free=1000):
        assert await store.record(result(one, state, started_at=now, duration_ms=0))


def bodies_before(instant: Instant) -> Cutoffs:
    return replace(NOTHING, bodies=instant)


def all_before(instant: Instant) -> Cutoffs:
    return Cutoffs(bodies=instant, metadata=instant, dedupe=NEVER, refusals=NEVER)


class RetentionContract:
    @pytest.fixture
    async def store(self, stores: Stores) -> Store:
        return await stores.open()

    async def test_bytes_go_when_they_are_old_and_the_event_stays(self, store: Store) -> None:
        old, young = new_event(1, subject="a subject"), new_event(2)
        await accept(store, old, received_at=NOW)
        await accept(store, young, received_at=plus(NOW, 10))
        assert await sweep(store, bodies_before(plus(NOW, 10))) == {"bodies": 1}
        found = await store.event(old.id)
        assert (found.headers, found.body, found.row.subject) == ((), b"", "a subject")
        assert found.row.flags == (BODY_EXPIRED,)
        assert (await store.event(young.id)).headers == HEADERS
        rows = (await store.events(EventFilter(), 10, None)).rows
        assert [BODY_EXPIRED in one.row.flags for one in rows] == [False, True]

    async def test_bytes_stay_until_the_last_delivery_has_ended_long_enough_ago(self, store: Store) -> None:
        delivery = await planned(store, 1)
        assert await sweep(store, bodies_before(plus(NOW, 30 * DAY_S))) == {}
        await deliver(store, plus(NOW, 20 * DAY_S))
        assert await sweep(store, bodies_before(plus(NOW, 20 * DAY_S))) == {}
        assert await sweep(store, bodies_before(plus(NOW, 20 * DAY_S + 1))) == {"bodies": 1}
        assert await state_of(store, delivery) is DeliveryState.DELIVERED

    @pytest.mark.parametrize("state", [DeliveryState.DEAD, DeliveryState.CANCELLED, DeliveryState.DELIVERED])
    async def test_every_final_state_lets_bytes_go(self, store: Store, state: DeliveryState) -> None:
        delivery = await planned(store, 1)
        if state is DeliveryState.CANCELLED:
            await store.cancel(delivery, NOW)
        else:
            await deliver(store, state=state)
        assert await sweep(store, bodies_before(plus(NOW, 1))) == {"bodies": 1}

    async def test_nothing_of_a_request_goes_while_one_of_its_events_is_pending(self, store: Store) -> None:
        pending = new_delivery()
        events = [new_event(1, deliveries=(new_delivery(),)), new_event(2, item=1, deliveries=(pending,)), new_event(3)]
        await accept(store, *events, body=b"shared")
        for one in await claim(store):
            if one.id != pending.id:
                assert await store.record(result(one))
        await store.release({one.id: one.lease for one in await claim(store, plus(NOW, 60))}, NOW)
        assert await sweep(store, all_before(plus(NOW, 900 * DAY_S))) == {}
        [claimed] = await claim(store, plus(NOW, 900 * DAY_S))
        assert (claimed.id, claimed.event.body, claimed.event.siblings) == (pending.id, b"shared", 3)

    async def test_a_duplicate_first_item_does_not_hide_its_siblings(self, store: Store) -> None:
        """Then the request has no event with its own id."""
        await accept(store, new_event(1))
        later = new_event(2, item=1, deliveries=(new_delivery(),))
        await accept(store, new_event(1, id=new_event(50).id), later, body=b"second")
        assert await sweep(store, all_before(plus(NOW, DAY_S))) == {"bodies": 1, "events": 1}
        assert (await store.event(later.id)).body == b"second"
        await deliver(store)
        assert await sweep(store, all_before(plus(NOW, DAY_S))) == {"bodies": 1, "events": 1}

    async def test_an_old_event_goes_with_its_deliveries_and_attempts(self, store: Store, stores: Stores) -> None:
        event = new_event(1, provider_id="a provider's own reference", subject="gone", deliveries=(new_delivery(),))
        kept = new_event(2, deliveries=(new_delivery(),))
        await accept(store, event)
        await accept(store, kept, received_at=plus(NOW, DAY_S))
        await deliver(store)
        [row] = (await store.deliveries(DeliveryFilter(event=event.id), 10, None)).rows
        # The other one was delivered at NOW, but received later.
        assert await sweep(store, all_before(plus(NOW, DAY_S))) == {"bodies": 1, "events": 1}
        with pytest.raises(NotFound):
            await store.event(event.id)
        with pytest.raises(NotFound):
            await store.delivery(row.id)
        assert (await store.events(EventFilter(subject="gone"), 10, None)).rows == []
        assert [one.row.id for one in (await store.events(EventFilter(), 10, None)).rows] == [kept.id]
        assert len((await store.deliveries(DeliveryFilter(), 10, None)).rows) == 1
        await stores.close(store)
        assert b"a provider's own reference" not in await stores.bytes_on_disk()

    async def test_an_event_is_kept_while_its_bytes_are(self, store: Store) -> None:
        await accept(store, new_event(1))
        assert await sweep(store, replace(NOTHING, metadata=plus(NOW, DAY_S))) == {}

    async def test_a_duplicate_of_what_retention_let_go_is_recognised(self, store: Store, stores: Stores) -> None:
        events = [new_event(number) for number in range(20)]
        for event in events:
            await accept(store, event)
        assert await sweep(store, all_before(plus(NOW, 1))) == {"bodies": 20, "events": 20}
        for _ in range(2):
            for number, event in enumerate(events):
                [stored] = await accept(store, new_event(100 + number, dedupe_key=event.dedupe_key))
                assert (stored.event, stored.duplicate, stored.conflict) == (event.id, True, False)
            store = await reopened(stores, store)

    async def test_a_duplicate_of_an_event_without_bytes_is_compared_still(self, store: Store) -> None:
        event = new_event(1)
        await accept(store, event)
        await sweep(store, bodies_before(plus(NOW, 1)))
        [stored] = await accept(store, new_event(1, content=bytes(32)))
        assert (stored.event, stored.duplicate, stored.conflict) == (event.id, True, True)

    async def test_sequences_and_keys_go_on_after_everything_is_gone(self, store: Store, stores: Stores) -> None:
        for number in range(3):
            await planned(store, number)
        await deliver(store)
        await sweep(store, all_before(plus(NOW, 1)))
        store = await reopened(stores, store)
        [stored] = await accept(store, new_event(9, deliveries=(new_delivery(),)))
        assert stored.sequence == 4
        assert len(await claim(store)) == 1

    async def test_a_replay_leaves_out_what_has_no_bytes(self, store: Store) -> None:
        old, young = new_event(1), new_event(2)
        await accept(store, old)
        await accept(store, young, received_at=plus(NOW, 10))
        await sweep(store, bodies_before(plus(NOW, 10)))
        assert await store.replay(Replay(endpoint=CORE), NOW) == 1
        assert await store.replay(Replay(endpoint=CORE, events=(old.id,)), NOW) == 0
        assert [one.event.row.id for one in await claim(store)] == [young.id]

    async def test_a_replayed_event_keeps_its_bytes_until_it_is_delivered_again(self, store: Store) -> None:
        await accept(store, new_event(1))
        late = plus(NOW, 400 * DAY_S)
        assert await store.replay(Replay(endpoint=CORE), late) == 1
        assert await sweep(store, all_before(plus(late, DAY_S))) == {}
        [claimed] = await claim(store, late)
        assert claimed.event.body

    async def test_refused_requests_go_by_their_own_age(self, store: Store) -> None:
        old = [new_refusal(received_at=plus(NOW, number)) for number in range(20)]
        young = new_refusal(received_at=plus(NOW, 100))
        for one in (*old, young):
            await store.quarantine(one)
        assert await sweep(store, replace(NOTHING, refusals=plus(NOW, 100))) == {"refusals": 20}
        assert [one.id for one in (await store.refusals(None, 10, None)).rows] == [young.id]
        assert (await store.counts()).quarantined == 1

    async def test_room_that_refusals_left_is_room_again(self, stores: Stores) -> None:
        store = await stores.open(quarantine_rows=4)
        for number in range(4):
            await store.quarantine(new_refusal(received_at=plus(NOW, number)))
        assert await sweep(store, replace(NOTHING, refusals=plus(NOW, 4))) == {"refusals": 4}
        kept = [new_refusal(received_at=plus(NOW, 10 + number)) for number in range(4)]
        for one in kept:
            await store.quarantine(one)
        assert {one.id for one in (await store.refusals(None, 10, None)).rows} == {one.id for one in kept}

    async def test_young_dedupe_keys_are_remembered(self, store: Store, stores: Stores) -> None:
        events = [new_event(number) for number in range(20)]
        for event in events:
            await accept(store, event)
        await sweep(store, Cutoffs(bodies=plus(NOW, 1), metadata=plus(NOW, 1), dedupe=NOW, refusals=NEVER))
        store = await reopened(stores, store)
        for number, event in enumerate(events):
            [stored] = await accept(store, new_event(100 + number, dedupe_key=event.dedupe_key))
            assert stored.event == event.id

    async def test_old_dedupe_keys_are_forgotten_in_slices(self, store: Store) -> None:
        """New ones follow, because a store may keep its newest keys together."""
        await accept(store, *[new_event(number, item=number) for number in range(40)], received_at=NOW)
        late = plus(NOW, 500 * DAY_S)
        for start in range(1000, 1060, 20):
            events = [new_event(start + number, item=number) for number in range(20)]
            await accept(store, *events, received_at=late)
        before = Cutoffs(bodies=plus(late, 1), metadata=plus(late, -DAY_S), dedupe=plus(late, -DAY_S), refusals=NEVER)
        gone = await sweep(store, before, limit=3)
        assert gone["events"] == 40
        assert gone["dedupe_keys"] == await self.forgettable(store)
        for number in range(1000, 1060):
            [stored] = await accept(store, new_event(number, id=new_event(0).id), received_at=late)
            assert stored.duplicate

    async def forgettable(self, store: Store) -> int:
        """How many of 40 old keys with 60 young ones behind them this store forgets."""
        return 40

    async def test_a_slice_is_as_short_as_asked(self, store: Store) -> None:
        for number in range(10):
            await accept(store, new_event(number))
        first = await store.expire(bodies_before(plus(NOW, 1)), 4)
        assert first.bodies == 4
        assert first.next is not None
        second = await store.expire(bodies_before(plus(NOW, 1)), 4, first.next)
        assert second.bodies == 4

    async def test_a_walk_passes_what_must_stay(self, store: Store) -> None:
        """Stuck deliveries at the old end do not keep what is behind them."""
        for number in range(30):
            await accept(store, new_event(number, deliveries=(new_delivery(),) if number < 20 else ()))
        assert await sweep(store, all_before(plus(NOW, DAY_S)), limit=4) == {"bodies": 10, "events": 10}
        assert len(await claim(store, free=100)) == 20

    async def test_events_of_a_clock_that_was_ahead_do_not_keep_those_behind_them(self, store: Store) -> None:
        """A clock was ahead by 500 days for a while. The events of that time stay, and later ones go at their age."""
        for number in range(10):
            await accept(store, new_event(number), received_at=plus(NOW, 500 * DAY_S))
        for number in range(10, 20):
            await accept(store, new_event(number), received_at=NOW)
        assert await sweep(store, all_before(plus(NOW, DAY_S)), limit=4) == {"bodies": 10, "events": 10}
        assert {row.row.received_at for row in (await store.events(EventFilter(), 99, None)).rows} == {
            plus(NOW, 500 * DAY_S)
        }

    async def test_the_newest_receipt_is_the_greatest_and_not_the_last(self, store: Store) -> None:
        assert await store.newest_receipt() is None
        await accept(store, new_event(1), received_at=plus(NOW, DAY_S))
        await accept(store, new_event(2), received_at=NOW)
        assert await store.newest_receipt() == plus(NOW, DAY_S)

    async def test_a_walk_that_is_not_finished_begins_anew_after_a_crash(self, store: Store, stores: Stores) -> None:
        for number in range(10):
            await accept(store, new_event(number))
        await store.expire(bodies_before(plus(NOW, 1)), 4)
        after = await stores.after_a_crash(store)
        assert await sweep(after, bodies_before(plus(NOW, 1))) == {"bodies": 6}

    async def test_a_cursor_of_another_list_is_refused(self, store: Store) -> None:
        for number in range(3):
            await accept(store, new_event(number))
        page = await store.events(EventFilter(), 1, None)
        with pytest.raises(Invalid):
            await store.expire(NOTHING, 10, page.next)

    async def test_receiving_and_retention_go_on_side_by_side(self, store: Store) -> None:
        old = [new_event(number, deliveries=(new_delivery(),)) for number in range(200)]
        await asyncio.gather(*(accept(store, event) for event in old))
        await deliver(store)
        young = [new_event(1000 + number, deliveries=(new_delivery(),)) for number in range(200)]

        async def receive(event: NewEvent) -> None:
            await accept(store, event, received_at=plus(NOW, DAY_S))

        gone, *_ = await asyncio.gather(sweep(store, all_before(plus(NOW, DAY_S))), *map(receive, young))
        assert gone == {"bodies": 200, "events": 200}
        assert len(await claim(store, free=1000)) == 200

    async def test_nothing_goes_from_an_empty_store(self, store: Store) -> None:
        cursor: Cursor | None = None
        for _ in range(4):
            one = await store.expire(all_before(plus(NOW, DAY_S)), 10, cursor)
            cursor = one.next
            assert replace(one, next=None) == Expired()
        assert cursor is None


async def reopened(stores: Stores, store: Store) -> Store:
    await stores.close(store)
    return await stores.open(KEYRING)


__all__ = ["RetentionContract", "dedupe_key", "sweep"]
