"""What every store promises, as tests over a factory. `test_store_<dialect>.py` hands one in as the fixture `stores`.

Nothing here knows a dialect. Time is given; nothing sleeps. Where a test needs the store's writer to stand still it
holds it at a step of `hookseal.probe`.
"""

import asyncio
import contextlib
import hashlib
import itertools
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import pytest

from hookseal import probe
from hookseal.clock import Instant, plus
from hookseal.errors import Invalid, NotFound, SealBroken, StoreBusy, StoreError, StoreMismatch, StoreUnavailable
from hookseal.ids import new_delivery_id, new_event_id, new_refusal_id
from hookseal.model import (
    DeliveryId,
    DeliveryState,
    EndpointId,
    EventId,
    MappingRevision,
    Outcome,
    ProviderId,
    RefusalId,
    SourceId,
)
from hookseal.probe import Step
from hookseal.sealing import Keyring
from hookseal.store.port import (
    UNREADABLE,
    AttemptRow,
    Claimed,
    Cursor,
    DeliveryFilter,
    EventFilter,
    IdKind,
    Lease,
    NewDelivery,
    NewEvent,
    NewRequest,
    Refusal,
    Replay,
    Result,
    Store,
    Stored,
    Suspect,
)

NOW = Instant(1_763_700_000_000_000)
SOURCE, OTHER_SOURCE = SourceId("idenfy-prod"), SourceId("zignsec")
CORE, AUDIT = EndpointId("core"), EndpointId("audit")
HEADERS = ((b"content-type", b"application/json"), (b"x-odd", b"\xff\x00"), (b"x-odd", b"twice"))
KEYRING = Keyring((("k1", bytes(range(32))),))


class Stores(Protocol):
    """One place to store in, and ways to treat it badly. Every store that it opens, it closes after the test."""

    async def open(self, keyring: Keyring = KEYRING, **bounds: Any) -> Store:
        """bounds: max_waiting, quarantine_rows, quarantine_bytes. The same place each time."""
        ...

    async def after_a_crash(self, store: Store) -> Store:
        """A store on what a killed process would have left behind at this moment."""
        ...

    async def close(self, store: Store) -> None: ...

    async def bytes_on_disk(self) -> bytes: ...

    async def fill(self, store: Store) -> None:
        """From now on the store has no room to grow."""
        ...

    async def make_room(self, store: Store) -> None: ...

    async def damage(self, store: Store, event: EventId) -> None:
        """Break the seal of this event's request."""
        ...

    async def damage_kept(self, store: Store, shelf: str, name: str) -> None:
        """Break the seal of this value."""
        ...


# --- what is stored in these tests ----------------------------------------------------------------------------------


def dedupe_key(number: int) -> bytes:
    return hashlib.sha256(f"key {number}".encode()).digest()


def new_event(number: int, **given: Any) -> NewEvent:
    fields: dict[str, Any] = {
        "id": new_event_id(plus(NOW, number)),
        "item": 0,
        "type": "identity.verification.completed",
        "dedupe_key": dedupe_key(number),
        "content": hashlib.sha256(f"content {number}".encode()).digest(),
    }
    return NewEvent(**{**fields, **given})


_moments = itertools.count(-86_400_000)


def moment() -> Instant:
    """Each one a millisecond later, all of them before NOW: lists go by ids, and ids by when they were made."""
    return Instant(NOW + next(_moments) * 1000)


def new_delivery(endpoint: EndpointId = CORE, due_at: Instant = NOW, **given: Any) -> NewDelivery:
    return NewDelivery(**{"id": new_delivery_id(moment()), "endpoint": endpoint, "due_at": due_at, **given})


async def suspect(store: Store) -> tuple[DeliveryId, Instant]:
    """A delivery with two losses, and the instant at which it is due."""
    delivery, now = await planned(store, 1), NOW
    for _ in range(2):
        assert len(await claim(store, now, lease_s=60)) == 1
        now = plus(now, 60)
    # The second loss is counted by a claim, which gives the lease back as the engine does.
    [again] = await claim(store, now)
    assert again.unexplained_losses == 2
    await store.release({delivery: again.lease}, now)
    return delivery, now


def new_request(*events: NewEvent, **given: Any) -> NewRequest:
    fields = {"source": SOURCE, "received_at": NOW, "headers": HEADERS, "body": b'{"a": 1}', "events": events}
    return NewRequest(**{**fields, **given})


def new_refusal(**given: Any) -> Refusal:
    fields: dict[str, Any] = {
        "id": new_refusal_id(moment()),
        "source": SOURCE,
        "received_at": NOW,
        "reason": "signature_mismatch",
        "method": "POST",
        "url": "https://hooks.example.com/in/x",
        "remote": "192.0.2.7",
        "headers": HEADERS,
        "body": b"not proven",
    }
    return Refusal(**{**fields, **given})


async def accept(store: Store, *events: NewEvent, **given: Any) -> Sequence[Stored]:
    return await store.accept(new_request(*events, **given))


async def planned(
    store: Store, number: int, endpoint: EndpointId = CORE, due_at: Instant = NOW, **given: Any
) -> DeliveryId:
    """Store one event with one delivery. given: of its request."""
    delivery = new_delivery(endpoint, due_at)
    await accept(store, new_event(number, deliveries=(delivery,)), **given)
    return delivery.id


async def claim(store: Store, now: Instant = NOW, free: int = 10, lease_s: float = 60) -> Sequence[Claimed]:
    return await store.claim_due({CORE: free, AUDIT: free}, now, plus(now, lease_s))


def result(claimed: Claimed, state: DeliveryState = DeliveryState.DELIVERED, **given: Any) -> Result:
    ok = state is DeliveryState.DELIVERED
    fields: dict[str, Any] = {
        "number": claimed.attempts + 1,
        "started_at": NOW,
        "duration_ms": 12,
        "status": 200 if ok else 503,
        "reason": None if ok else "http_503",
    }
    attempt = AttemptRow(**{**fields, **given})
    due_at = plus(NOW, 5) if state is DeliveryState.PENDING else None
    return Result(delivery=claimed.id, lease=claimed.lease, attempt=attempt, state=state, due_at=due_at)


@contextlib.contextmanager
def counted(step: Step) -> Iterator[list[Step]]:
    """Yield a list that gets the step each time that it is reached."""
    reached: list[Step] = []
    leave = probe.listen(lambda one: reached.append(one) if one is step else None)
    try:
        yield reached
    finally:
        leave()


def ids(claimed: Sequence[Claimed]) -> list[DeliveryId]:
    return [one.id for one in claimed]


async def state_of(store: Store, delivery: DeliveryId) -> DeliveryState:
    return (await store.delivery(delivery))[0].state


@contextlib.contextmanager
def held_at(step: Step) -> Iterator[threading.Event]:
    """Hold whoever reaches the step until the block ends. Yields an event that tells that one stands there.

    A writer in a thread of its own is stopped with its thread; one on the event loop waits at `probe.pause`.
    """
    there, go = threading.Event(), threading.Event()

    def hold(reached: Step) -> object:
        if reached is not step:
            return None
        there.set()
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return go.wait(30)
        return asyncio.to_thread(go.wait, 30)

    leave = probe.listen(hold)
    try:
        yield there
    finally:
        leave()
        go.set()


async def pages_of(fetch: Any, limit: int) -> list[list[Any]]:
    pages, cursor = [], None
    while True:
        page = await fetch(limit, cursor)
        pages.append(list(page.rows))
        cursor = page.next
        if cursor is None:
            return pages


class StoreContract:
    @pytest.fixture
    async def store(self, stores: Stores) -> Store:
        return await stores.open()

    # --- receiving ---

    async def test_an_accepted_event_is_read_back_as_it_came(self, store: Store) -> None:
        event = new_event(
            1, item=0, provider_type="DONE", provider_id="p-1", subject="søren ☂", time=plus(NOW, -5), flags=("stale",)
        )
        [stored] = await accept(store, event, body=b"\x00\xff raw")
        assert stored == Stored(event.id, 1, duplicate=False)
        found = await store.event(event.id)
        assert (found.headers, found.body, found.siblings) == (HEADERS, b"\x00\xff raw", 1)
        row = found.row
        assert (row.id, row.source, row.sequence, row.item, row.type) == (event.id, SOURCE, 1, 0, event.type)
        assert (row.received_at, row.provider_type, row.provider_id) == (NOW, "DONE", "p-1")
        assert (row.subject, row.time, row.flags, row.conflicts) == ("søren ☂", plus(NOW, -5), ("stale",), 0)

    async def test_an_event_keeps_the_rules_that_made_it(self, store: Store, stores: Stores) -> None:
        older, newer = (MappingRevision.of(ProviderId("idenfy"), rules) for rules in (b"{}", b'{"event": {}}'))
        for number, mapping in enumerate((older, newer, older)):
            event = new_event(number, outcome=Outcome.DECLINED, final=True, subject="s")
            await accept(store, event, mapping=mapping)
        store = await stores.after_a_crash(store)
        rows = [one.row for one in (await store.events(EventFilter(), 10, None)).rows]
        assert [row.mapping for row in reversed(rows)] == [older, newer, older]
        assert [row.mapping.rules for row in rows if row.mapping] == [b"{}", b'{"event": {}}', b"{}"]
        assert {(row.outcome, row.final) for row in rows} == {(Outcome.DECLINED, True)}
        assert (await store.in_force(SOURCE, "s")).event.row.mapping == older
        last = new_event(9)
        await accept(store, last, mapping=newer)
        assert (await store.event(last.id)).row.mapping == newer

    async def test_rules_are_assigned_to_events_without_and_only_to_them(self, store: Store) -> None:
        own, assigned = (MappingRevision.of(ProviderId(id), b"{}") for id in ("idenfy", "zignsec"))
        events = [new_event(number) for number in range(7)]
        for event in events[:5]:
            await accept(store, event)
        await accept(store, events[5], mapping=own)
        await accept(store, events[6], source=SourceId("other"))
        assert [await store.assign_mapping(SOURCE, assigned, 2) for _ in range(4)] == [2, 2, 1, 0]
        mappings = {one.row.id: one.row.mapping for one in (await store.events(EventFilter(), 10, None)).rows}
        assert [mappings[event.id] for event in events] == [assigned] * 5 + [own, None]

    async def test_what_is_absent_stays_absent(self, store: Store) -> None:
        event = new_event(1)
        await accept(store, event, body=b"", headers=())
        found = await store.event(event.id)
        assert (found.headers, found.body) == ((), b"")
        row = found.row
        assert (row.provider_type, row.provider_id, row.subject, row.time, row.flags) == (None, None, None, None, ())

    async def test_text_that_is_no_unicode_is_stored_all_the_same(self, store: Store) -> None:
        event = new_event(1, subject="half a pair \ud800", provider_id="nul \0 inside")
        await accept(store, event)
        row = (await store.event(event.id)).row
        assert (row.subject, row.provider_id) == ("half a pair \ufffd", "nul \0 inside")

    async def test_a_large_body_is_kept_whole(self, store: Store) -> None:
        event, body = new_event(1), hashlib.sha256(b"seed").digest() * 100_000
        await accept(store, event, body=body)
        assert (await store.event(event.id)).body == body

    async def test_all_events_of_a_request_share_its_bytes(self, store: Store) -> None:
        events = [new_event(number, item=number) for number in range(3)]
        stored = await accept(store, *events, body=b"three")
        assert [one.sequence for one in stored] == [1, 2, 3]
        for number, event in enumerate(events):
            found = await store.event(event.id)
            assert (found.row.item, found.body, found.siblings) == (number, b"three", 3)

    async def test_all_events_of_a_request_are_stored_or_none(self, store: Store) -> None:
        first = new_event(1)
        await accept(store, first)
        good, bad = new_event(2), new_event(3, id=first.id)
        with pytest.raises(StoreError):
            await accept(store, good, bad)
        with pytest.raises(NotFound):
            await store.event(good.id)
        [again] = await accept(store, good)
        assert not again.duplicate

    async def test_one_faulty_request_does_not_harm_those_beside_it(self, store: Store) -> None:
        first = new_event(0)
        await accept(store, first)
        events = [new_event(number, **({"id": first.id} if number == 17 else {})) for number in range(1, 41)]
        outcomes = await asyncio.gather(*(accept(store, event) for event in events), return_exceptions=True)
        assert [number for number, one in enumerate(outcomes, 1) if isinstance(one, BaseException)] == [17]
        assert isinstance(outcomes[16], StoreError)
        for number, event in enumerate(events, 1):
            if number != 17:
                assert (await store.event(event.id)).row.id == event.id

    @pytest.mark.parametrize(
        "fault",
        [
            {"dedupe_key": b"short"},
            {"id": EventId("not an id")},
            {"content": b"short"},
            {"time": Instant(2**70)},
            {"deliveries": (NewDelivery(id=DeliveryId("msg_x"), endpoint=CORE, due_at=NOW),)},
        ],
        ids=lambda fault: next(iter(fault)),
    )
    async def test_a_value_that_cannot_be_kept_is_refused_with_our_own_error(
        self, store: Store, fault: dict[str, Any]
    ) -> None:
        with pytest.raises(StoreError):
            await accept(store, new_event(1, **fault))
        await accept(store, new_event(2))

    async def test_a_request_without_events_is_refused(self, store: Store) -> None:
        with pytest.raises(StoreError):
            await accept(store)

    async def test_sequence_rises_per_source(self, store: Store, stores: Stores) -> None:
        mine = [(await accept(store, new_event(number)))[0].sequence for number in range(3)]
        theirs = (await accept(store, new_event(9), source=OTHER_SOURCE))[0].sequence
        assert (mine, theirs) == ([1, 2, 3], 1)
        await stores.close(store)
        store = await stores.open()
        assert (await accept(store, new_event(4)))[0].sequence == 4

    # --- duplicates ---

    async def test_a_duplicate_makes_no_event_and_no_delivery(self, store: Store) -> None:
        first = new_event(1, deliveries=(new_delivery(),))
        second = new_event(1, deliveries=(new_delivery(),))
        [original] = await accept(store, first)
        [stored] = await accept(store, second)
        assert stored == Stored(first.id, original.sequence, duplicate=True)
        with pytest.raises(NotFound):
            await store.event(second.id)
        assert len(await claim(store)) == 1

    async def test_the_same_key_many_times_at_once_is_stored_once(self, store: Store) -> None:
        events = [new_event(1, deliveries=(new_delivery(),)) for _ in range(64)]
        outcomes = [one for [one] in await asyncio.gather(*(accept(store, event) for event in events))]
        assert sum(not one.duplicate for one in outcomes) == 1
        assert len({one.event for one in outcomes}) == 1
        assert len({one.sequence for one in outcomes}) == 1
        assert len((await store.events(EventFilter(), 100, None)).rows) == 1
        assert len(await claim(store, free=100)) == 1

    async def test_two_items_of_one_request_with_one_key_are_one_event(self, store: Store) -> None:
        one, two = new_event(1, item=0), new_event(1, item=1)
        stored = await accept(store, one, two)
        assert [found.duplicate for found in stored] == [False, True]
        assert {found.event for found in stored} == {one.id}
        assert (await store.event(one.id)).siblings == 1

    async def test_a_new_item_beside_a_duplicate_is_stored(self, store: Store) -> None:
        await accept(store, new_event(1), body=b"first")
        fresh = new_event(2, item=1)
        stored = await accept(store, new_event(1), fresh, body=b"second")
        assert [found.duplicate for found in stored] == [True, False]
        assert (await store.event(fresh.id)).body == b"second"

    async def test_a_delivery_named_by_several_events_belongs_to_the_first_new_one(self, store: Store) -> None:
        await accept(store, new_event(1), body=b"first")
        shared = new_delivery()
        events = [new_event(number, item=number, deliveries=(shared,)) for number in (1, 2, 3)]
        await accept(store, *events, body=b"second")
        [claimed] = await claim(store)
        assert (claimed.id, claimed.event.row.id, claimed.event.body) == (shared.id, events[1].id, b"second")

    async def test_a_shared_delivery_of_duplicates_alone_is_not_stored(self, store: Store) -> None:
        await accept(store, new_event(1), new_event(2))
        shared = new_delivery()
        await accept(store, new_event(1, deliveries=(shared,)), new_event(2, deliveries=(shared,)))
        assert await claim(store) == []

    async def test_shared_deliveries_of_requests_in_one_transaction_follow_what_is_new(self, store: Store) -> None:
        """Requests that name the same events in another order are written together, and each event is new once."""
        requests = []
        for order in ((1, 2), (2, 1, 3), (3, 2, 1), (1, 3, 4)):
            shared, own = new_delivery(), new_delivery(AUDIT)
            listed = [new_event(number, deliveries=(shared,)) for number in order]
            requests.append([*listed[:-1], new_event(order[-1], deliveries=(own, shared))])
        with held_at(Step.WRITE_BEGUN) as there:
            first = asyncio.ensure_future(accept(store, new_event(100)))
            await asyncio.to_thread(there.wait, 30)
            waiting = [asyncio.ensure_future(accept(store, *events)) for events in requests]
            await asyncio.sleep(0)
        await first
        outcomes = await asyncio.gather(*waiting)
        expected = set()
        for events, stored in zip(requests, outcomes, strict=True):
            new = [event for event, one in zip(events, stored, strict=True) if not one.duplicate]
            placed = {delivery.id: event.id for event in reversed(new) for delivery in event.deliveries}
            expected |= set(placed.items())
        claimed = await claim(store, free=100)
        assert {(one.id, one.event.row.id) for one in claimed} == expected
        assert len(claimed) == len(expected)

    async def test_a_duplicate_is_recognised_after_a_restart(self, store: Store, stores: Stores) -> None:
        first = new_event(1)
        await accept(store, first)
        await stores.close(store)
        store = await stores.open()
        [stored] = await accept(store, new_event(1))
        assert (stored.event, stored.duplicate) == (first.id, True)

    async def test_a_duplicate_with_other_content_marks_the_first_event(self, store: Store) -> None:
        first = new_event(1)
        await accept(store, first, body=b"first")
        for _ in range(2):
            [stored] = await accept(store, new_event(1, content=bytes(32)), body=b"other")
            assert (stored.event, stored.duplicate, stored.conflict) == (first.id, True, True)
        found = await store.event(first.id)
        assert (found.row.flags, found.row.conflicts, found.body) == (("conflict",), 2, b"first")

    async def test_a_conflict_in_the_same_moment_is_seen_too(self, store: Store) -> None:
        events = [new_event(1, content=bytes([number]) * 32) for number in range(8)]
        outcomes = [one for [one] in await asyncio.gather(*(accept(store, event) for event in events))]
        assert sum(one.conflict for one in outcomes) == 7
        assert (await store.event(outcomes[0].event)).row.conflicts == 7

    async def test_keys_that_share_their_beginning_are_told_apart(self, store: Store, stores: Stores) -> None:
        keys = [number.to_bytes(32) for number in range(40)] + [
            bytes(31 - at) + b"\x01" + bytes(at) for at in range(32)
        ]
        keys = list(dict.fromkeys(keys))
        half = len(keys) // 2
        events = [new_event(number, dedupe_key=key) for number, key in enumerate(keys)]
        for event in events[:half]:
            [stored] = await accept(store, event)
            assert not stored.duplicate
        outcomes = await asyncio.gather(*(accept(store, event) for event in events[half:]))
        assert not any(stored.duplicate for [stored] in outcomes)
        await stores.close(store)
        store = await stores.open()
        for number, event in enumerate(events):
            [stored] = await accept(store, new_event(1000 + number, dedupe_key=event.dedupe_key))
            assert (stored.event, stored.duplicate) == (event.id, True)

    # --- durability ---

    async def test_what_was_acknowledged_survives_a_crash(self, store: Store, stores: Stores) -> None:
        events = [new_event(number, deliveries=(new_delivery(),)) for number in range(50)]
        await asyncio.gather(*(accept(store, event, body=b"kept") for event in events))
        [claimed, *_] = await claim(store, free=1)
        await store.record(result(claimed))
        after = await stores.after_a_crash(store)
        for event in events:
            assert (await after.event(event.id)).body == b"kept"
            [stored] = await accept(after, new_event(0, dedupe_key=event.dedupe_key))
            assert stored.event == event.id
        assert await state_of(after, claimed.id) is DeliveryState.DELIVERED
        assert len(await claim(after, free=100)) == 49
        assert (await accept(after, new_event(99)))[0].sequence == 51

    async def test_a_write_that_was_cut_short_left_nothing(self, store: Store, stores: Stores) -> None:
        event = new_event(1, deliveries=(new_delivery(),))
        with held_at(Step.COMMITTING) as there:
            waiting = asyncio.ensure_future(accept(store, event))
            await asyncio.to_thread(there.wait, 30)
            after = await stores.after_a_crash(store)
        assert (await after.events(EventFilter(), 10, None)).rows == []
        assert await claim(after) == []
        await waiting
        assert (await store.event(event.id)).row.sequence == 1

    async def test_nothing_is_acknowledged_before_it_is_committed(self, store: Store) -> None:
        with held_at(Step.COMMITTING) as there:
            waiting = asyncio.ensure_future(accept(store, new_event(1)))
            await asyncio.to_thread(there.wait, 30)
            assert not waiting.done()
        [stored] = await waiting
        assert not stored.duplicate

    async def test_closing_finishes_what_is_queued(self, store: Store, stores: Stores) -> None:
        events = [new_event(number) for number in range(30)]
        waiting = [asyncio.ensure_future(accept(store, event)) for event in events]
        await asyncio.sleep(0)
        await stores.close(store)
        await asyncio.gather(*waiting)
        store = await stores.open()
        assert len((await store.events(EventFilter(), 100, None)).rows) == 30

    async def test_a_caller_that_gives_up_harms_nobody(self, store: Store) -> None:
        with held_at(Step.WRITE_BEGUN) as there:
            first = asyncio.ensure_future(accept(store, new_event(1)))
            await asyncio.to_thread(there.wait, 30)
            first.cancel()
            second = asyncio.ensure_future(accept(store, new_event(2)))
            await asyncio.gather(first, return_exceptions=True)
        await second
        assert (await accept(store, new_event(1)))[0].duplicate

    # --- when it cannot ---

    async def test_a_full_queue_says_busy_and_loses_nothing(self, stores: Stores) -> None:
        store = await stores.open(max_waiting=8)
        with held_at(Step.WRITE_BEGUN) as there:
            first = asyncio.ensure_future(accept(store, new_event(0)))
            await asyncio.to_thread(there.wait, 30)
            waiting = [asyncio.ensure_future(accept(store, new_event(number))) for number in range(1, 9)]
            await asyncio.sleep(0)
            with pytest.raises(StoreBusy):
                await accept(store, new_event(99))
        assert len(await asyncio.gather(first, *waiting)) == 9
        await accept(store, new_event(99))

    async def test_a_full_disk_is_unavailable_and_passes(self, store: Store, stores: Stores) -> None:
        before = new_event(1)
        await accept(store, before)
        await stores.fill(store)
        noise = hashlib.shake_256(b"x").digest(200_000)
        outcomes = await asyncio.gather(
            *(accept(store, new_event(number), body=noise) for number in range(2, 12)), return_exceptions=True
        )
        assert {type(one) for one in outcomes} == {StoreUnavailable}
        assert (await store.event(before.id)).row.id == before.id
        await stores.make_room(store)
        for number in range(2, 12):
            [stored] = await accept(store, new_event(number), body=noise)
            assert (stored.duplicate, stored.sequence > 1) == (False, True)

    async def test_a_writer_that_dies_tells_everyone(self, store: Store, stores: Stores) -> None:
        class Dead(BaseException):
            pass

        def die(step: Step) -> None:
            if step is Step.WRITE_BEGUN:
                raise Dead

        leave = probe.listen(die)
        try:
            outcomes = await asyncio.gather(
                *(accept(store, new_event(number)) for number in range(5)), return_exceptions=True
            )
        finally:
            leave()
        assert {type(one) for one in outcomes} == {StoreUnavailable}
        with pytest.raises(StoreUnavailable):
            await accept(store, new_event(9))
        await stores.close(store)
        store = await stores.open()
        assert (await store.events(EventFilter(), 10, None)).rows == []

    async def test_a_closed_store_is_unavailable(self, store: Store, stores: Stores) -> None:
        await stores.close(store)
        with pytest.raises(StoreUnavailable):
            await accept(store, new_event(1))
        with pytest.raises(StoreUnavailable):
            await store.counts()

    # --- keys ---

    async def test_another_keyring_is_refused_and_nothing_changes(self, store: Store, stores: Stores) -> None:
        event = new_event(1)
        await accept(store, event)
        await stores.close(store)
        before = await stores.bytes_on_disk()
        for other in (Keyring((("k1", bytes(32)),)), Keyring((("k2", bytes(range(32))),))):
            with pytest.raises(StoreMismatch, match="keyring"):
                await stores.open(other)
        assert await stores.bytes_on_disk() == before
        store = await stores.open()
        assert (await store.event(event.id)).row.id == event.id

    async def test_a_rotated_keyring_opens_what_the_old_one_sealed(self, store: Store, stores: Stores) -> None:
        event = new_event(1)
        await accept(store, event, body=b"old")
        await stores.close(store)
        rotated = Keyring((("k2", bytes(32)), *KEYRING.keys))
        store = await stores.open(rotated)
        assert (await store.event(event.id)).body == b"old"
        await accept(store, new_event(2))
        await stores.close(store)
        with pytest.raises(StoreMismatch):
            await stores.open(KEYRING)

    async def test_no_byte_of_a_body_or_header_lies_open(self, store: Store, stores: Stores) -> None:
        marker = b"CANARY-4711"
        headers = ((b"x-marker", marker),)
        await accept(store, new_event(1, deliveries=(new_delivery(),)), headers=headers, body=marker * 3)
        url = "https://example.com/" + marker.decode()
        refusal = new_refusal(headers=headers, body=marker, url=url, remote=marker.decode())
        await store.quarantine(refusal)
        assert marker in (await claim(store))[0].event.body
        assert marker not in await stores.bytes_on_disk()
        await stores.close(store)
        assert marker not in await stores.bytes_on_disk()

    async def test_a_broken_seal_is_told_and_does_not_break_the_list(self, store: Store, stores: Stores) -> None:
        events = [new_event(number) for number in range(3)]
        for event in events:
            await accept(store, event)
        await stores.damage(store, events[1].id)
        with pytest.raises(SealBroken):
            await store.event(events[1].id)
        rows = (await store.events(EventFilter(), 10, None)).rows
        assert [UNREADABLE in one.row.flags for one in rows] == [False, True, False]
        assert [one.body for one in rows] == [b'{"a": 1}', b"", b'{"a": 1}']

    async def test_a_broken_seal_does_not_hold_up_other_deliveries(self, store: Store, stores: Stores) -> None:
        broken, whole = new_delivery(), new_delivery(due_at=plus(NOW, 1))
        event = new_event(1, deliveries=(broken,))
        await accept(store, event)
        await accept(store, new_event(2, deliveries=(whole,)))
        await stores.damage(store, event.id)
        assert [one.id for one in await claim(store, plus(NOW, 2))] == [whole.id]
        row, attempts = await store.delivery(broken.id)
        assert (row.state, row.last_reason, attempts) == (DeliveryState.DEAD, "seal_broken", [])

    # --- claiming ---

    async def test_a_claim_gives_what_is_due_the_longest_due_first(self, store: Store) -> None:
        late, early = await planned(store, 1, due_at=plus(NOW, -5)), await planned(store, 2, due_at=plus(NOW, -9))
        future = await planned(store, 3, due_at=plus(NOW, 1))
        claimed = await claim(store)
        assert [one.id for one in claimed] == [early, late]
        assert await state_of(store, future) is DeliveryState.PENDING
        first = claimed[0]
        assert (first.attempts, first.losses, first.first_attempt_at, first.endpoint) == (0, 0, None, CORE)
        assert (first.event.body, first.event.headers, first.event.row.source) == (b'{"a": 1}', HEADERS, SOURCE)

    async def test_a_delivery_is_due_at_its_very_instant(self, store: Store) -> None:
        await planned(store, 1, due_at=NOW)
        assert await claim(store, Instant(NOW - 1)) == []
        assert len(await claim(store, NOW)) == 1

    async def test_a_claim_takes_no_more_than_is_free(self, store: Store) -> None:
        for number in range(5):
            await planned(store, number)
            await planned(store, 10 + number, AUDIT)
        claimed = await store.claim_due({CORE: 2, AUDIT: 0}, NOW, plus(NOW, 60))
        assert [one.endpoint for one in claimed] == [CORE, CORE]
        assert await store.claim_due({}, NOW, plus(NOW, 60)) == []
        assert len(await store.claim_due({EndpointId("unknown"): 5}, NOW, plus(NOW, 60))) == 0

    async def test_no_two_claims_get_the_same_delivery(self, store: Store) -> None:
        for number in range(60):
            await planned(store, number)
        claims = await asyncio.gather(*(claim(store, free=7) for _ in range(12)))
        ids = [one.id for some in claims for one in some]
        assert len(ids) == len(set(ids)) == 60
        leases = [one.lease for some in claims for one in some]
        assert len(set(leases)) == 60
        assert all(0 < lease < 2**63 for lease in leases)

    async def test_many_can_be_claimed_at_once(self, store: Store) -> None:
        await asyncio.gather(*(planned(store, number) for number in range(300)))
        assert len(await claim(store, free=500)) == 300

    async def test_a_leased_delivery_is_not_due_before_the_leases_end(self, store: Store) -> None:
        await planned(store, 1)
        [first] = await claim(store, lease_s=60)
        assert await claim(store, plus(NOW, 59.999999)) == []
        [second] = await claim(store, plus(NOW, 60))
        assert (second.id, second.losses) == (first.id, 1)
        assert second.lease != first.lease

    async def test_a_delivery_can_be_born_leased(self, store: Store) -> None:
        lease = Lease(77)
        delivery = new_delivery(lease=lease, lease_until=plus(NOW, 60))
        await accept(store, new_event(1, deliveries=(delivery,)))
        assert await claim(store) == []
        assert await store.next_due_at([CORE]) == plus(NOW, 60)
        attempt = AttemptRow(number=1, started_at=NOW, duration_ms=3, status=200, reason=None)
        held = Result(delivery=delivery.id, lease=lease, attempt=attempt, state=DeliveryState.DELIVERED, due_at=None)
        assert await store.record(held)
        assert await state_of(store, delivery.id) is DeliveryState.DELIVERED

    async def test_next_due_is_the_earliest_of_the_endpoints_asked_for(self, store: Store) -> None:
        assert await store.next_due_at([CORE, AUDIT]) is None
        await planned(store, 1, CORE, plus(NOW, 9))
        await planned(store, 2, AUDIT, plus(NOW, 4))
        assert await store.next_due_at([CORE]) == plus(NOW, 9)
        assert await store.next_due_at([CORE, AUDIT]) == plus(NOW, 4)
        assert await store.next_due_at([]) is None
        await claim(store, plus(NOW, 10), lease_s=60)
        assert await store.next_due_at([CORE, AUDIT]) == plus(NOW, 70)

    # --- recording ---

    async def test_a_delivered_result_ends_the_delivery(self, store: Store) -> None:
        delivery = await planned(store, 1)
        [claimed] = await claim(store)
        assert await store.record(result(claimed)) is True
        row, attempts = await store.delivery(delivery)
        assert (row.state, row.attempts, row.due_at, row.last_status) == (DeliveryState.DELIVERED, 1, None, 200)
        assert (row.ended_at, row.last_reason) == (plus(NOW, 0.012), None)
        assert attempts == [AttemptRow(number=1, started_at=NOW, duration_ms=12, status=200, reason=None)]
        assert await claim(store, plus(NOW, 1000)) == []

    async def test_a_failed_try_is_due_again(self, store: Store) -> None:
        delivery = await planned(store, 1)
        [first] = await claim(store)
        assert await store.record(result(first, DeliveryState.PENDING))
        row, _ = await store.delivery(delivery)
        assert (row.state, row.due_at, row.ended_at) == (DeliveryState.PENDING, plus(NOW, 5), None)
        assert (row.last_status, row.last_reason) == (503, "http_503")
        assert await claim(store, plus(NOW, 4)) == []
        [second] = await claim(store, plus(NOW, 5))
        assert (second.attempts, second.first_attempt_at, second.losses) == (1, NOW, 0)
        later = plus(NOW, 6)
        assert await store.record(result(second, DeliveryState.DEAD, started_at=later, status=None, reason="dns_error"))
        row, attempts = await store.delivery(delivery)
        assert (row.state, row.attempts, row.last_status, row.last_reason) == (DeliveryState.DEAD, 2, None, "dns_error")
        assert [one.number for one in attempts] == [1, 2]

    async def test_a_stale_lease_records_nothing(self, store: Store) -> None:
        delivery = await planned(store, 1)
        [stale] = await claim(store, lease_s=60)
        [fresh] = await claim(store, plus(NOW, 61))
        assert await store.record(result(stale)) is False
        row, attempts = await store.delivery(delivery)
        assert (row.state, row.attempts, attempts) == (DeliveryState.PENDING, 0, [])
        assert await store.record(result(fresh)) is True
        assert await store.record(result(fresh)) is False
        assert len((await store.delivery(delivery))[1]) == 1

    async def test_of_two_results_under_one_lease_the_first_counts(self, store: Store) -> None:
        delivery = await planned(store, 1)
        [claimed] = await claim(store)
        outcomes = await asyncio.gather(
            store.record(result(claimed)), store.record(result(claimed, DeliveryState.DEAD))
        )
        assert outcomes == [True, False]
        assert await state_of(store, delivery) is DeliveryState.DELIVERED

    async def test_results_for_what_does_not_exist_are_refused(self, store: Store) -> None:
        await planned(store, 1)
        [claimed] = await claim(store)
        for other in (new_delivery_id(NOW), DeliveryId("msg_nonsense"), DeliveryId("")):
            unknown = Result(
                delivery=other,
                lease=claimed.lease,
                attempt=result(claimed).attempt,
                state=DeliveryState.DEAD,
                due_at=None,
            )
            assert await store.record(unknown) is False

    async def test_many_results_at_once_are_each_judged_alone(self, store: Store) -> None:
        await asyncio.gather(*(planned(store, number) for number in range(100)))
        claimed = await claim(store, free=100)
        stale = {number for number in range(100) if number % 7 == 0}
        results = [
            Result(
                delivery=one.id,
                lease=Lease(one.lease ^ 1) if number in stale else one.lease,
                attempt=result(one).attempt,
                state=DeliveryState.DELIVERED,
                due_at=None,
            )
            for number, one in enumerate(claimed)
        ]
        outcomes = await asyncio.gather(*map(store.record, results))
        assert [number for number, done in enumerate(outcomes) if not done] == sorted(stale)
        delivered = DeliveryFilter(state=DeliveryState.DELIVERED)
        assert len((await store.deliveries(delivered, 200, None)).rows) == 100 - len(stale)

    # --- leases ---

    async def test_renewing_extends_held_leases_only(self, store: Store) -> None:
        for number in range(3):
            await planned(store, number)
        one, two, three = await claim(store, lease_s=60)
        await store.record(result(three))
        leases = {one.id: one.lease, two.id: Lease(two.lease ^ 1), three.id: three.lease, DeliveryId("x"): Lease(1)}
        assert await store.renew(leases, plus(NOW, 120)) == [one.id]
        assert [found.id for found in await claim(store, plus(NOW, 60))] == [two.id]
        assert await store.renew({}, NOW) == []

    async def test_a_released_lease_counts_nothing(self, store: Store) -> None:
        delivery = await planned(store, 1)
        [claimed] = await claim(store)
        await store.release({claimed.id: Lease(claimed.lease ^ 1)}, NOW)
        assert await claim(store) == []
        await store.release({claimed.id: claimed.lease}, plus(NOW, 3))
        row, attempts = await store.delivery(delivery)
        assert (row.attempts, row.losses, row.due_at, attempts) == (0, 0, plus(NOW, 3), [])
        [again] = await claim(store, plus(NOW, 3))
        assert again.losses == 0
        assert await store.record(result(claimed)) is False

    async def test_voided_leases_are_due_at_once_and_counted_as_losses(self, store: Store, stores: Stores) -> None:
        for number in range(3):
            await planned(store, number, due_at=plus(NOW, -1))
        waiting = await planned(store, 9, due_at=plus(NOW, 50))
        leased = await claim(store, lease_s=3600)
        after = await stores.after_a_crash(store)
        assert await after.void_leases(plus(NOW, 2)) == 3
        assert await after.void_leases(plus(NOW, 2)) == 0
        for one in leased:
            assert await after.record(result(one)) is False
        again = await claim(after, plus(NOW, 2))
        assert {one.id for one in again} == {one.id for one in leased}
        assert {one.losses for one in again} == {1}
        assert (await after.delivery(waiting))[0].losses == 0

    # --- crash suspects ---

    async def test_two_losses_without_an_attempt_make_a_crash_suspect(self, store: Store) -> None:
        delivery, now = await suspect(store)
        assert await claim(store, now) == []
        assert await store.next_due_at([CORE]) is None
        assert await store.next_suspect_at([CORE]) == now
        assert await store.next_suspect_at([AUDIT]) is None
        assert await store.due_suspects([AUDIT], now, 10) == []
        assert await store.due_suspects([CORE], Instant(now - 1), 10) == []
        assert await store.due_suspects([CORE], now, 10) == [Suspect(delivery, CORE, 0)]
        assert (await store.delivery(delivery))[0].losses == 2

    async def test_a_recorded_attempt_explains_earlier_losses(self, store: Store) -> None:
        await planned(store, 1)
        now = NOW
        for _ in range(4):
            [lost] = await claim(store, now, lease_s=60)
            now = plus(now, 60)
            [again] = await claim(store, now, lease_s=60)
            assert (again.unexplained_losses, again.id) == (1, lost.id)
            assert await store.record(result(again, DeliveryState.PENDING, started_at=now))
            now = plus(now, 60)
        assert await store.next_suspect_at([CORE]) is None

    async def test_only_a_loss_during_an_isolated_attempt_counts_as_isolated(self, store: Store) -> None:
        delivery, now = await suspect(store)
        for number in range(3):
            claimed = await store.claim_suspect(delivery, now, plus(now, 60), plus(now, 300))
            assert claimed is not None
            assert (claimed.id, claimed.unexplained_losses, claimed.event.body) == (delivery, 2 + number, b'{"a": 1}')
            assert await store.claim_suspect(delivery, now, plus(now, 60), plus(now, 300)) is None
            assert await store.due_suspects([CORE], plus(now, 59), 10) == []
            # The lease has ended, the wait has not.
            assert await store.due_suspects([CORE], plus(now, 60), 10) == []
            assert await store.next_suspect_at([CORE]) == plus(now, 300)
            now = plus(now, 300)
            assert await store.due_suspects([CORE], now, 10) == [Suspect(delivery, CORE, number + 1)]
        claimed = await store.claim_suspect(delivery, now, plus(now, 60), plus(now, 300))
        assert claimed is not None
        await store.release({delivery: claimed.lease}, now)
        assert await store.due_suspects([CORE], now, 10) == [Suspect(delivery, CORE, 3)]
        claimed = await store.claim_suspect(delivery, now, plus(now, 60), plus(now, 300))
        assert claimed is not None
        assert await store.record(result(claimed, DeliveryState.PENDING, started_at=now))
        now = plus(now, 60)
        [normal] = await claim(store, now)
        assert (normal.id, normal.attempts, normal.unexplained_losses) == (delivery, 1, 0)

    async def test_an_isolated_attempt_can_be_renewed_and_cancelled(self, store: Store) -> None:
        delivery, now = await suspect(store)
        claimed = await store.claim_suspect(delivery, now, plus(now, 60), plus(now, 300))
        assert claimed is not None
        assert await store.renew({delivery: claimed.lease}, plus(now, 90)) == [delivery]
        assert await store.due_suspects([CORE], plus(now, 80), 10) == []
        assert await store.cancel(delivery, now) is True
        assert await store.record(result(claimed)) is False
        assert await store.next_suspect_at([CORE]) is None

    async def test_a_suspect_ends_dead_without_an_attempt(self, store: Store) -> None:
        delivery, now = await suspect(store)
        other = await planned(store, 2, due_at=now)
        assert await store.end_suspect(other, now) is False
        claimed = await store.claim_suspect(delivery, now, plus(now, 60), plus(now, 60))
        assert await store.end_suspect(delivery, now) is False
        assert claimed is not None
        await store.release({delivery: claimed.lease}, now)
        assert await store.end_suspect(delivery, plus(now, 5)) is True
        row, attempts = await store.delivery(delivery)
        assert (row.state, row.last_reason, row.attempts, attempts) == (DeliveryState.DEAD, "worker_lost", 0, [])
        assert (row.ended_at, row.due_at, row.losses) == (plus(now, 5), None, 2)
        assert await store.end_suspect(DeliveryId("msg_nonsense"), now) is False
        assert await store.claim_suspect(DeliveryId("msg_nonsense"), now, plus(now, 60), now) is None

    async def test_two_claims_of_one_suspect_give_one_lease(self, store: Store) -> None:
        delivery, now = await suspect(store)
        claims = await asyncio.gather(
            *(store.claim_suspect(delivery, now, plus(now, 60), plus(now, 60)) for _ in range(8))
        )
        assert len([one for one in claims if one is not None]) == 1

    async def test_a_suspect_that_cannot_be_read_is_dead_at_once(self, store: Store, stores: Stores) -> None:
        delivery, now = await suspect(store)
        await stores.damage(store, (await store.delivery(delivery))[0].event)
        assert await store.claim_suspect(delivery, now, plus(now, 60), plus(now, 60)) is None
        assert (await store.delivery(delivery))[0].last_reason == "seal_broken"

    async def test_voided_leases_of_isolated_attempts_keep_their_wait(self, store: Store, stores: Stores) -> None:
        delivery, now = await suspect(store)
        assert await store.claim_suspect(delivery, now, plus(now, 60), plus(now, 300)) is not None
        after = await stores.after_a_crash(store)
        await after.void_leases(plus(now, 2))
        await after.due_suspects([CORE], plus(now, 60), 10)
        assert await after.next_suspect_at([CORE]) == plus(now, 300)
        assert await after.due_suspects([CORE], plus(now, 300), 10) == [Suspect(delivery, CORE, 1)]

    # --- requests with several events ---

    async def test_the_events_of_a_request_are_decrypted_once_while_one_is_in_memory(self, store: Store) -> None:
        events = [new_event(number, item=number, deliveries=(new_delivery(),)) for number in range(200)]
        await accept(store, *events, body=b"shared")
        with counted(Step.UNSEALED) as opened:
            first = await claim(store, free=120)
            second = await claim(store, free=120)
        assert (len(first), len(second), len(opened)) == (120, 80, 1)
        assert {one.event.body for one in (*first, *second)} == {b"shared"}
        assert len({id(one.event.raw) for one in (*first, *second)}) == 1
        with counted(Step.UNSEALED) as opened:
            page = await store.events(EventFilter(), 200, None)
        assert (len(page.rows), len(opened)) == (200, 0)

    async def test_a_large_request_is_stored_whole_with_its_sequences_and_order(self, store: Store) -> None:
        """More events than one statement takes: numbers, deliveries and superseded states are those of one request."""
        many = 1300
        await accept(store, new_event(5000, subject="late", order=10**6))
        planned = [new_delivery() for _ in range(many)]
        events = [
            new_event(
                number, item=number, deliveries=(delivery,), subject="late" if number % 650 == 0 else "own", order=n
            )
            for number, (delivery, n) in enumerate(zip(planned, [*range(many // 2), *range(many // 2)], strict=True))
        ]
        stored = await accept(store, *events, body=b"many")
        assert [one.sequence for one in stored] == list(range(2, many + 2))
        # Those of the subject with a later state, and of the second half those that the first half is beyond.
        superseded = [number for number, one in enumerate(stored) if one.superseded]
        assert superseded == [0, *range(650, many - 1)]
        for number in (0, 511, 512, many - 1):
            found = await store.event(events[number].id)
            assert (found.row.item, found.siblings, found.body) == (number, many, b"many")
        assert sorted(ids(await claim(store, free=5000))) == sorted(delivery.id for delivery in planned)
        again = await accept(store, *(new_event(number) for number in range(many)))
        assert all(one.duplicate for one in again)
        assert [one.sequence for one in again] == [one.sequence for one in stored]

    async def test_a_large_request_that_fails_leaves_nothing(self, store: Store) -> None:
        first = new_event(5000)
        await accept(store, first)
        with pytest.raises(StoreError):
            await accept(store, *(new_event(number) for number in range(900)), new_event(901, id=first.id))
        assert len((await store.events(EventFilter(), 10, None)).rows) == 1
        assert not any(one.duplicate for one in await accept(store, *(new_event(number) for number in range(900))))

    async def test_a_page_decrypts_each_request_once(self, store: Store) -> None:
        for request in range(3):
            numbers = range(20 * request, 20 * request + 20)
            await accept(store, *(new_event(number) for number in numbers), body=b"%d" % request)
        with counted(Step.UNSEALED) as opened:
            page = await store.events(EventFilter(), 50, None)
        assert (len(page.rows), len(opened)) == (50, 3)

    async def test_a_claim_decrypts_no_more_than_its_bound_and_leaves_the_rest_due(self, store: Store) -> None:
        body = bytes(5 * 1024 * 1024)  # compresses to nothing: the bound is on what is decrypted
        planned = [new_delivery() for _ in range(9)]
        for number, delivery in enumerate(planned):
            await accept(store, new_event(number, deliveries=(delivery,)), body=body)
        small = new_delivery(AUDIT)
        await accept(store, new_event(100, deliveries=(small,)), body=b"small")
        claimed: list[Claimed] = []
        for _ in range(3):
            with counted(Step.UNSEALED) as opened:
                some = await claim(store, free=100)
            assert 1 <= len([one for one in some if one.endpoint == CORE]) == len(opened) - (small.id in ids(some)) <= 4
            claimed += some
        assert small.id in ids(claimed[:5]), "the large bodies of one endpoint left no room for another"
        assert sorted(ids(claimed)) == sorted([*(delivery.id for delivery in planned), small.id])
        assert {one.losses for one in claimed} == {0}
        assert await claim(store, free=100) == []

    # --- pending for too long ---

    async def test_pending_deliveries_are_found_by_endpoint(self, store: Store) -> None:
        assert await store.pending_since() == {}
        await planned(store, 1, CORE, plus(NOW, 9))
        await planned(store, 2, CORE, plus(NOW, 4))
        await planned(store, 3, AUDIT, plus(NOW, -7))
        ended = await planned(store, 4, EndpointId("ended"))
        await store.cancel(ended, NOW)
        assert await store.pending_since() == {CORE: plus(NOW, 4), AUDIT: plus(NOW, -7)}

    async def test_deliveries_that_wait_for_too_long_end_without_an_attempt(self, store: Store) -> None:
        old = [await planned(store, number, CORE, plus(NOW, number)) for number in range(5)]
        young, other = await planned(store, 10, CORE, plus(NOW, 50)), await planned(store, 11, AUDIT)
        [lost, *_] = await claim(store, plus(NOW, 4), free=1, lease_s=1)
        first = await store.expire_pending(CORE, plus(NOW, 50), plus(NOW, 60), 3)
        second = await store.expire_pending(CORE, plus(NOW, 50), plus(NOW, 61), 3)
        assert (len(first), len(second)) == (3, 2)
        assert {*first, *second} == set(old)
        assert await store.expire_pending(CORE, plus(NOW, 50), plus(NOW, 62), 3) == []
        assert await store.record(result(lost)) is False
        row, attempts = await store.delivery(first[0])
        assert (row.state, row.last_reason, row.attempts, attempts) == (DeliveryState.DEAD, "pending_expired", 0, [])
        assert (row.ended_at, row.due_at) == (plus(NOW, 60), None)
        assert {await state_of(store, one) for one in (young, other)} == {DeliveryState.PENDING}

    # --- cancelling and replaying ---

    async def test_a_cancelled_delivery_is_not_tried_again(self, store: Store) -> None:
        waiting, leased = await planned(store, 1, due_at=plus(NOW, 9)), await planned(store, 2)
        [claimed] = await claim(store)
        assert await store.cancel(waiting, plus(NOW, 1)) is True
        assert await store.cancel(leased, plus(NOW, 1)) is True
        assert await store.cancel(leased, plus(NOW, 2)) is False
        assert await store.record(result(claimed)) is False
        assert await claim(store, plus(NOW, 1000)) == []
        row, _ = await store.delivery(waiting)
        assert (row.state, row.ended_at, row.due_at) == (DeliveryState.CANCELLED, plus(NOW, 1), None)

    async def test_cancelling_what_does_not_exist_is_not_found(self, store: Store) -> None:
        for unknown in (new_delivery_id(NOW), DeliveryId("x")):
            with pytest.raises(NotFound):
                await store.cancel(unknown, NOW)

    async def test_a_replay_makes_new_deliveries_due_now(self, store: Store) -> None:
        delivery = await planned(store, 1)
        [claimed] = await claim(store)
        await store.record(result(claimed))
        assert await store.replay(Replay(endpoint=CORE, events=(claimed.event.row.id,)), plus(NOW, 7)) == 1
        [again] = await claim(store, plus(NOW, 7))
        assert again.id != delivery
        assert (again.event.row.id, again.attempts) == (claimed.event.row.id, 0)
        assert await state_of(store, delivery) is DeliveryState.DELIVERED
        assert (await store.delivery(again.id))[0].created_at == plus(NOW, 7)

    async def test_a_replay_makes_none_where_one_is_pending(self, store: Store) -> None:
        await planned(store, 1)
        assert await store.replay(Replay(endpoint=CORE), NOW) == 0
        assert await store.replay(Replay(endpoint=AUDIT), NOW) == 1
        assert await store.replay(Replay(endpoint=AUDIT), NOW) == 0

    async def test_a_replay_takes_the_events_that_its_filters_leave(self, store: Store) -> None:
        events = [new_event(number) for number in range(10)]
        for number, event in enumerate(events):
            await accept(store, event, received_at=plus(NOW, number))
        named = (events[2].id, events[5].id, new_event_id(NOW), EventId("nonsense"), events[5].id)
        assert await store.replay(Replay(endpoint=CORE, events=named), plus(NOW, 99)) == 2
        assert await store.replay(Replay(endpoint=AUDIT, since=plus(NOW, 3), until=plus(NOW, 6)), plus(NOW, 99)) == 3
        audit = await store.claim_due({AUDIT: 99}, plus(NOW, 99), plus(NOW, 200))
        assert {one.event.row.id for one in audit} == {event.id for event in events[3:6]}
        both = Replay(endpoint=CORE, events=named, since=plus(NOW, 6))
        assert await store.replay(both, plus(NOW, 99)) == 0
        assert await store.replay(Replay(endpoint=CORE, since=plus(NOW, 100)), plus(NOW, 99)) == 0

    async def test_a_replay_by_state_looks_at_the_latest_delivery(self, store: Store) -> None:
        await planned(store, 1)
        await planned(store, 2)
        await accept(store, new_event(3))
        dead, delivered = await claim(store)
        await store.record(result(dead, DeliveryState.DEAD))
        await store.record(result(delivered))
        again = Replay(endpoint=CORE, state=DeliveryState.DEAD)
        assert await store.replay(again, NOW) == 1
        [second] = await claim(store)
        assert second.event.row.id == dead.event.row.id
        await store.record(result(second))
        assert await store.replay(again, NOW) == 0
        assert await store.replay(Replay(endpoint=CORE, state=DeliveryState.DELIVERED), NOW) == 2
        assert await store.replay(Replay(endpoint=CORE), NOW) == 1

    async def test_a_replay_of_requests_makes_one_delivery_for_each(self, store: Store) -> None:
        for request in range(3):
            events = [new_event(10 * request + item, item=item) for item in range(3)]
            await accept(store, new_event(0, id=new_event(500 + request).id), *events[1:])
        once = Replay(endpoint=CORE, once_per_request=True)
        assert await store.replay(once, NOW) == 3
        named = tuple(row.row.id for row in (await store.events(EventFilter(), 100, None)).rows)
        assert len(named) == 7
        assert await store.replay(Replay(endpoint=CORE, events=named, once_per_request=True), NOW) == 0
        for claimed in await claim(store, plus(NOW, 1)):
            assert await store.record(result(claimed))
        assert await store.replay(Replay(endpoint=CORE, events=named, once_per_request=True), NOW) == 3

    async def test_a_dead_delivery_that_was_replayed_is_dead_no_more(self, store: Store) -> None:
        """Before, it counted as dead until retention removed it."""
        replayed, dead = await planned(store, 1), await planned(store, 2)
        claimed = await claim(store)
        for one in claimed:
            await store.record(result(one, DeliveryState.DEAD, status=410, reason="http_410"))
        event = (await store.delivery(replayed))[0].event
        assert await store.replay(Replay(endpoint=AUDIT, events=(event,)), NOW) == 1
        assert (await store.counts()).dead == {CORE: 2}
        assert await store.replay(Replay(endpoint=CORE, events=(event,)), NOW) == 1
        assert (await store.counts()).dead == {CORE: 1}
        row, attempts = await store.delivery(replayed)
        assert (str(row.state), row.last_reason, len(attempts)) == ("replayed", "http_410", 1)
        [again] = [one for one in await claim(store) if one.endpoint == CORE]
        assert row.replayed_as == again.id
        for where, expected in (
            (DeliveryFilter(state=DeliveryState.DEAD), {dead}),
            (DeliveryFilter(state=DeliveryState.DEAD, event=event), set()),
            (DeliveryFilter(state=DeliveryState("replayed")), {replayed}),
            (DeliveryFilter(state=DeliveryState("replayed"), event=event, endpoint=CORE), {replayed}),
            (DeliveryFilter(state=DeliveryState("replayed"), endpoint=AUDIT), set()),
        ):
            assert {one.id for one in (await store.deliveries(where, 10, None)).rows} == expected, where
        # The one in its place may be dead in turn. The first names it still.
        await store.record(result(again, DeliveryState.DEAD))
        assert (await store.counts()).dead == {CORE: 2}
        assert await store.replay(Replay(endpoint=CORE, state=DeliveryState.DEAD), NOW) == 2
        assert (await store.counts()).dead == {}
        assert (await store.delivery(replayed))[0].replayed_as == again.id
        assert await store.replay(Replay(endpoint=CORE, state=DeliveryState("replayed")), NOW) == 0

    async def test_a_replay_of_a_request_replaces_the_dead_deliveries_of_all_its_events(self, store: Store) -> None:
        events = [new_event(number, item=number, deliveries=(new_delivery(),)) for number in range(3)]
        await accept(store, *events)
        for one in await claim(store):
            await store.record(result(one, DeliveryState.DEAD))
        named = tuple(event.id for event in events)
        first = Replay(endpoint=CORE, events=named[:1], once_per_request=True)
        assert await store.replay(first, NOW) == 1
        assert (await store.counts()).dead == {CORE: 2}
        assert await store.replay(Replay(endpoint=CORE, events=named, once_per_request=True), NOW) == 0
        assert (await store.counts()).dead == {}
        [again] = await claim(store)
        rows = [(await store.delivery(event.deliveries[0].id))[0] for event in events]
        assert {row.replayed_as for row in rows} == {again.id}

    async def test_a_large_replay_reaches_every_event_once(self, store: Store) -> None:
        requests = [
            new_request(*(new_event(start * 25 + number, item=number) for number in range(25))) for start in range(100)
        ]
        await asyncio.gather(*map(store.accept, requests))
        assert await store.replay(Replay(endpoint=CORE), NOW) == 2500
        assert (await store.counts()).pending == {CORE: 2500}

    # --- reading ---

    async def test_what_does_not_exist_is_not_found(self, store: Store) -> None:
        for event in (new_event_id(NOW), EventId("x"), EventId("")):
            with pytest.raises(NotFound):
                await store.event(event)
        for delivery in (new_delivery_id(NOW), DeliveryId("x")):
            with pytest.raises(NotFound):
                await store.delivery(delivery)
        for refusal in (new_refusal_id(NOW), RefusalId("x")):
            with pytest.raises(NotFound):
                await store.refusal(refusal)
            with pytest.raises(NotFound):
                await store.mark_released(refusal, NOW)

    async def test_ids_are_found_by_a_prefix_in_order(self, store: Store) -> None:
        """Expected ids come from comparing the texts of all stored ids."""
        events = [new_event(number, deliveries=(new_delivery(),)) for number in range(5)]
        for event in events:
            await accept(store, event)
        refusals = [new_refusal() for _ in range(3)]
        for refusal in refusals:
            await store.quarantine(refusal)
        stored: dict[IdKind, list[str]] = {
            IdKind.EVENT: sorted(one.id for one in events),
            IdKind.DELIVERY: sorted(one.deliveries[0].id for one in events),
            IdKind.REFUSAL: sorted(one.id for one in refusals),
        }
        for kind, all_ids in stored.items():
            for id in all_ids:
                for chars in range(12, 37):
                    prefix = id[:chars]
                    expected = [one for one in all_ids if one.startswith(prefix)]
                    assert list(await store.find_ids(kind, prefix, 100)) == expected
                    assert list(await store.find_ids(kind, prefix, 1)) == expected[:1]
        assert len(await store.find_ids(IdKind.EVENT, events[0].id[:8], 100)) > 1
        for nothing in ("", "x", "%", "ffffffff", "00000000-0000", events[0].id + "0", "0199-", "ABCDEFAB"):
            assert list(await store.find_ids(IdKind.EVENT, nothing, 100)) == []
        assert list(await store.find_ids(IdKind.DELIVERY, events[0].id[:13], 100)) == []

    async def test_events_are_listed_newest_first_page_by_page(self, store: Store) -> None:
        events = [new_event(number) for number in range(7)]
        for number, event in enumerate(events):
            await accept(store, event, received_at=plus(NOW, number // 2))
        pages = await pages_of(lambda limit, cursor: store.events(EventFilter(), limit, cursor), 3)
        assert [len(page) for page in pages] == [3, 3, 1]
        assert [one.row.id for page in pages for one in page] == [event.id for event in reversed(events)]

    async def test_a_page_that_ends_exactly_has_no_next(self, store: Store) -> None:
        for number in range(4):
            await planned(store, number)
            await store.quarantine(new_refusal())
        assert (await store.events(EventFilter(), 4, None)).next is None
        assert (await store.deliveries(DeliveryFilter(), 4, None)).next is None
        assert (await store.refusals(None, 4, None)).next is None
        assert (await store.events(EventFilter(), 3, None)).next is not None

    async def test_events_that_come_while_paging_do_not_shift_the_pages(self, store: Store) -> None:
        for number in range(4):
            await accept(store, new_event(number), received_at=plus(NOW, number))
        first = await store.events(EventFilter(), 2, None)
        await accept(store, new_event(9), received_at=plus(NOW, 9))
        second = await store.events(EventFilter(), 2, first.next)
        assert [one.row.received_at for one in second.rows] == [plus(NOW, 1), NOW]

    async def test_events_are_filtered(self, store: Store) -> None:
        given = [
            (SOURCE, "other", "s1"),
            (SOURCE, "risk.alarm.raised", "s2"),
            (OTHER_SOURCE, "other", "s1"),
            (OTHER_SOURCE, "other", None),
        ]
        for number, (source, kind, subject) in enumerate(given):
            await accept(
                store, new_event(number, type=kind, subject=subject), source=source, received_at=plus(NOW, number)
            )

        async def sequence(**where: Any) -> list[int]:
            rows = (await store.events(EventFilter(**where), 10, None)).rows
            return [(one.row.received_at - NOW) // 1_000_000 for one in rows]

        assert await sequence() == [3, 2, 1, 0]
        assert await sequence(source=SOURCE) == [1, 0]
        assert await sequence(type="other") == [3, 2, 0]
        assert await sequence(subject="s1") == [2, 0]
        assert await sequence(subject="s1", source=SOURCE) == [0]
        assert await sequence(subject="s1", source=SOURCE, type="risk.alarm.raised") == []
        assert await sequence(since=plus(NOW, 1), until=plus(NOW, 3)) == [2, 1]
        assert await sequence(source=OTHER_SOURCE, since=plus(NOW, 3)) == [3]
        assert await sequence(subject="s1", until=plus(NOW, 2)) == [0]
        assert await sequence(source="nobody") == []
        assert await sequence(subject="s") == []

    async def test_deliveries_are_listed_newest_first_and_filtered(self, store: Store) -> None:
        ids = [await planned(store, number, CORE if number % 2 else AUDIT) for number in range(6)]
        claimed = {one.id: one for one in await claim(store)}
        await store.record(result(claimed[ids[0]]))
        await store.record(result(claimed[ids[1]], DeliveryState.DEAD))
        await store.cancel(ids[2], NOW)
        old = new_delivery()
        event = new_event(50, deliveries=(old, new_delivery(AUDIT)))
        await accept(store, event, received_at=plus(NOW, -100))

        async def listed(**where: Any) -> list[DeliveryId]:
            pages = await pages_of(lambda limit, cursor: store.deliveries(DeliveryFilter(**where), limit, cursor), 2)
            return [row.id for page in pages for row in page]

        assert (await listed())[2:] == ids[::-1]
        assert await listed(endpoint=CORE) == [old.id, ids[5], ids[3], ids[1]]
        assert await listed(state=DeliveryState.DELIVERED) == [ids[0]]
        assert await listed(state=DeliveryState.DEAD) == [ids[1]]
        assert await listed(state=DeliveryState.DEAD, endpoint=AUDIT) == []
        assert await listed(state=DeliveryState.CANCELLED) == [ids[2]]
        assert await listed(state=DeliveryState.PENDING, endpoint=CORE) == [old.id, ids[5], ids[3]]
        assert await listed(event=event.id, endpoint=CORE) == [old.id]
        assert len(await listed(event=event.id)) == 2
        assert await listed(event=EventId("x")) == []
        assert await listed(until=NOW, endpoint=CORE) == [old.id]
        assert old.id not in await listed(since=NOW)
        row = (await store.deliveries(DeliveryFilter(event=event.id, endpoint=CORE), 1, None)).rows[0]
        assert (row.event, row.source, row.type, row.endpoint) == (event.id, SOURCE, event.type, CORE)

    async def test_a_cursor_that_no_list_gave_is_invalid(self, store: Store) -> None:
        for number in range(3):
            await planned(store, number)
        other = (await store.deliveries(DeliveryFilter(), 1, None)).next
        assert other is not None
        for cursor in (Cursor(""), Cursor("x"), Cursor("é"), Cursor("ZTox"), Cursor("A" * 5000), other):
            with pytest.raises(Invalid):
                await store.events(EventFilter(), 10, cursor)

    async def test_counts_tell_what_waits(self, store: Store) -> None:
        counts = await store.counts()
        assert (dict(counts.pending), dict(counts.dead), counts.quarantined) == ({}, {}, 0)
        for number in range(4):
            await planned(store, number, CORE if number else AUDIT)
        claimed = await store.claim_due({CORE: 2}, NOW, plus(NOW, 60))
        await store.record(result(claimed[0], DeliveryState.DEAD))
        await store.record(result(claimed[1]))
        await store.quarantine(new_refusal())
        counts = await store.counts()
        assert (dict(counts.pending), dict(counts.dead), counts.quarantined) == ({CORE: 1, AUDIT: 1}, {CORE: 1}, 1)

    # --- quarantine ---

    async def test_a_refused_request_is_read_back_as_it_came(self, store: Store) -> None:
        for refusal in (new_refusal(), new_refusal(url=None, remote=None, headers=(), body=b"\xff")):
            await store.quarantine(refusal)
            assert await store.refusal(refusal.id) == refusal

    async def test_a_released_request_says_so(self, store: Store) -> None:
        refusal = new_refusal()
        await store.quarantine(refusal)
        await store.mark_released(refusal.id, plus(NOW, 5))
        assert (await store.refusal(refusal.id)).released_at == plus(NOW, 5)

    async def test_refused_requests_are_listed_newest_first_by_source(self, store: Store) -> None:
        refusals = [new_refusal(source=SOURCE if number % 2 else OTHER_SOURCE) for number in range(6)]
        for refusal in refusals:
            await store.quarantine(refusal)
        pages = await pages_of(lambda limit, cursor: store.refusals(None, limit, cursor), 4)
        assert [one for page in pages for one in page] == refusals[::-1]
        pages = await pages_of(lambda limit, cursor: store.refusals(SOURCE, limit, cursor), 2)
        assert [one.id for page in pages for one in page] == [refusals[5].id, refusals[3].id, refusals[1].id]

    async def test_the_oldest_refused_requests_give_way(self, stores: Stores) -> None:
        store = await stores.open(quarantine_rows=5)
        refusals = [new_refusal() for _ in range(40)]
        for refusal in refusals[:7]:
            await store.quarantine(refusal)
        assert [one.id for one in (await store.refusals(None, 50, None)).rows] == [r.id for r in refusals[6:1:-1]]
        await asyncio.gather(*map(store.quarantine, refusals[7:-1]))
        # Transactions side by side do not see each other's rows; the next one makes room for all of them.
        await store.quarantine(refusals[-1])
        assert [one.id for one in (await store.refusals(None, 50, None)).rows] == [r.id for r in refusals[:34:-1]]
        assert (await store.counts()).quarantined == 5
        await stores.close(store)
        store = await stores.open(quarantine_rows=3)
        await store.quarantine(new_refusal())
        assert (await store.counts()).quarantined == 3

    async def test_the_quarantine_is_bounded_in_bytes(self, stores: Stores) -> None:
        store = await stores.open(quarantine_bytes=20_000)
        bodies = [hashlib.shake_256(bytes([number])).digest(4000) for number in range(10)]
        refusals = [new_refusal(body=body) for body in bodies]
        for refusal in refusals:
            await store.quarantine(refusal)
        kept = (await store.refusals(None, 50, None)).rows
        assert [one.id for one in kept] == [one.id for one in refusals[: -len(kept) - 1 : -1]]
        assert 3 <= len(kept) <= 4
        await store.quarantine(new_refusal(body=hashlib.shake_256(b"x").digest(30_000)))
        assert [one.id for one in (await store.refusals(None, 50, None)).rows] == [one.id for one in kept]

    async def test_junk_for_one_source_evicts_no_refused_request_of_another(self, stores: Stores) -> None:
        store = await stores.open(quarantine_rows=16, quarantine_bytes=60_000)
        other = [new_refusal(source=OTHER_SOURCE) for _ in range(5)]
        for refusal in other:
            await store.quarantine(refusal)
        for number in range(60):
            size = 6_000 if number % 2 else 100
            body = hashlib.shake_256(bytes([number])).digest(size)
            await store.quarantine(new_refusal(source=SOURCE, body=body, remote=f"192.0.2.{number}"))
        kept = {one.id for one in (await store.refusals(OTHER_SOURCE, 50, None)).rows}
        assert kept == {one.id for one in other}
        assert (await store.counts()).quarantined <= 16

    async def test_within_a_source_the_peer_that_has_most_gives_way(self, stores: Stores) -> None:
        store = await stores.open(quarantine_rows=16)
        provider = [new_refusal(remote="198.51.100.1") for _ in range(4)]
        for refusal in provider:
            await store.quarantine(refusal)
        junk = [new_refusal(remote=f"2001:db8:1::{number:x}") for number in range(1, 40)]  # one network
        for refusal in junk:
            await store.quarantine(refusal)
        kept = {one.id for one in (await store.refusals(None, 50, None)).rows}
        assert kept >= {one.id for one in provider}
        assert junk[-1].id in kept

    # --- held requests ---

    async def test_a_held_request_is_stored_once(self, stores: Stores) -> None:
        store = await stores.open()
        keys = [b"\1" * 32, b"\2" * 32]
        held = [new_refusal(held=True) for _ in range(8)]
        await store.hold(held[0], keys)
        await asyncio.gather(*(store.hold(refusal, keys) for refusal in held[1:5]))
        store = await stores.after_a_crash(store)
        await store.hold(held[5], keys)
        await store.mark_released(held[0].id, NOW)
        await store.hold(held[6], keys)
        assert [one.id for one in (await store.refusals(None, 50, None)).rows] == [held[0].id]
        await store.hold(held[7], keys[::-1])
        assert (await store.counts()).quarantined == 2

    async def test_a_request_whose_events_are_stored_is_not_held(self, store: Store) -> None:
        events = [new_event(number) for number in range(2)]
        await accept(store, *events)
        keys = [event.dedupe_key for event in events]
        await store.hold(new_refusal(held=True), keys)
        assert (await store.counts()).quarantined == 0
        await store.hold(new_refusal(held=True), [*keys, b"\3" * 32])
        assert (await store.counts()).quarantined == 1

    @pytest.mark.parametrize("bound", [{"held_rows": 2}, {"held_bytes": 9_000}])
    async def test_held_requests_are_bounded_and_a_release_makes_room(
        self, stores: Stores, bound: dict[str, int]
    ) -> None:
        store = await stores.open(**bound)
        held = [new_refusal(held=True, body=hashlib.shake_256(bytes([n])).digest(4_000)) for n in range(4)]
        keys = [[bytes([number]) * 32] for number in range(4)]
        for number in range(2):
            await store.hold(held[number], keys[number])
        with pytest.raises(StoreBusy):
            await store.hold(held[2], keys[2])
        await store.hold(held[3], keys[0])  # held already
        await store.mark_released(held[0].id, NOW)
        await store.hold(held[2], keys[2])
        assert {one.id for one in (await store.refusals(None, 50, None)).rows} == {one.id for one in held[:3]}

    # --- what the gateway keeps for itself ---

    async def test_what_is_kept_is_there_again_after_a_crash(self, stores: Stores) -> None:
        store = await stores.open()
        assert await store.kept("consents") == {}
        assert await store.keep("consents", "a", b"one") == b"one"
        assert await store.keep("consents", "a", b"two") == b"two"
        await store.keep("consents", "b", b"")
        await store.keep("issuer", "a", b"other shelf")
        assert await (await stores.after_a_crash(store)).kept("consents") == {"a": b"two", "b": b""}

    async def test_of_several_that_keep_at_once_one_wins(self, stores: Stores) -> None:
        store = await stores.open()
        stand = await asyncio.gather(*(store.keep("issuer", "key", b"%d" % n, replace=False) for n in range(8)))
        assert len(set(stand)) == 1
        assert await store.keep("issuer", "key", b"late", replace=False) == stand[0]
        assert await store.kept("issuer") == {"key": stand[0]}

    async def test_what_is_forgotten_is_gone_and_may_be_forgotten_twice(self, stores: Stores) -> None:
        store = await stores.open()
        await store.keep("consents", "a", b"one")
        await store.forget("consents", "a")
        await store.forget("consents", "a")
        assert await store.kept("consents") == {}

    async def test_a_value_that_does_not_open_hides_no_other(self, stores: Stores) -> None:
        store = await stores.open()
        for name in ("a", "b", "c"):
            await store.keep("consents", name, name.encode())
        await stores.damage_kept(store, "consents", "b")
        assert await store.kept("consents") == {"a": b"a", "b": None, "c": b"c"}
        assert await store.keep("consents", "a", b"late", replace=False) == b"a"
        with pytest.raises(SealBroken):
            await store.keep("consents", "b", b"late", replace=False)
        assert await store.keep("consents", "b", b"new") == b"new"
        assert await store.kept("consents") == {"a": b"a", "b": b"new", "c": b"c"}

    async def test_a_version_changes_with_each_change_of_its_namespace_and_with_no_other(self, stores: Stores) -> None:
        store = await stores.open()
        assert "consents" not in await store.kv_versions()
        seen = [None]

        async def has_changed() -> bool:
            versions = await store.kv_versions()
            seen.append(versions.get("consents"))
            return seen[-1] not in seen[:-1]

        await store.keep("consents", "a", b"one")
        assert await has_changed()
        await store.keep("consents", "a", b"two")
        assert await has_changed()
        await store.keep("consents", "b", b"one", replace=False)
        assert await has_changed()
        for write in (
            store.keep("consents", "a", b"late", replace=False),
            store.keep("issuer", "a", b"other namespace"),
            store.forget("issuer", "a"),
            store.forget("consents", "never written"),
        ):
            await write
            assert not await has_changed()
        await store.forget("consents", "a")
        assert await has_changed()
        after = await stores.after_a_crash(store)
        assert await after.kv_versions() == await store.kv_versions()

    async def test_what_is_kept_lies_sealed(self, stores: Stores) -> None:
        store = await stores.open()
        await store.keep("issuer", "key", b"a private key that nobody may read")
        await stores.close(store)
        assert b"private key" not in await stores.bytes_on_disk()
