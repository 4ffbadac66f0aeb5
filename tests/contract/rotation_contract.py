"""What every store promises about its keys, as tests over a factory, as `store_contract` does.

A key that the store may need is noted in it before anything is sealed under it; a store is never opened without one.
"""

import asyncio
from collections import Counter
from typing import Any

import pytest
from store_contract import (
    KEYRING,
    NOW,
    Stores,
    accept,
    claim,
    held_at,
    new_event,
    new_refusal,
    planned,
)

from hookseal.clock import Instant, plus
from hookseal.errors import SealBroken, StoreMismatch
from hookseal.model import EventId
from hookseal.probe import Step
from hookseal.sealing import Keyring
from hookseal.store.port import Cursor, Cutoffs, EventFilter, Seals, Store

SECOND = ("k2", bytes(reversed(range(32))))
BOTH = Keyring((SECOND, *KEYRING.keys))
NEW = Keyring((SECOND,))
LONG = Keyring((("a-much-longer-name-of-a-key-0001", bytes(32)), *KEYRING.keys))


async def walk(store: Store, limit: int = 3, *, rewrap: bool = False) -> Seals:
    """The whole walk as one."""
    by_key: Counter[str] = Counter()
    moved = broken = 0
    cursor: Cursor | None = None
    while True:
        one = await (store.rewrap if rewrap else store.seals)(limit, cursor)
        by_key += Counter(one.by_key)
        moved += one.moved
        broken += one.broken
        cursor = one.next
        if cursor is None:
            return Seals(by_key=by_key, moved=moved, broken=broken)


async def fill(store: Store, start: int = 0) -> list[EventId]:
    """Ten requests, four refusals and three values kept by name."""
    events = [new_event(start + number) for number in range(10)]
    for number, event in enumerate(events):
        await accept(store, event, body=b"body %d" % number)
    for _ in range(4):
        await store.quarantine(new_refusal(body=b"refused"))
    for name in ("a", "b", "c"):
        await store.keep("shelf", f"{name}{start}", b"kept")
    return [event.id for event in events]


async def check_all_opens(store: Store, events: list[EventId]) -> None:
    for number, event in enumerate(events):
        assert (await store.event(event)).body == b"body %d" % (number % 10)
    for one in (await store.refusals(None, 100, None)).rows:
        assert (await store.refusal(one.id)).body == b"refused"
    assert set((await store.kept("shelf")).values()) == {b"kept"}


class RotationContract:
    @pytest.fixture
    async def store(self, stores: Stores) -> Store:
        return await stores.open()

    async def test_new_values_are_sealed_under_the_first_key_and_old_ones_open(self, store: Store) -> None:
        events = await fill(store)
        assert (await walk(store)).by_key == {"k1": 18}
        await store.use_keyring(BOTH)
        assert store.keyring == BOTH
        events += await fill(store, 100)
        assert (await walk(store)).by_key == {"k1": 18, "k2": 17}
        await check_all_opens(store, events)

    @pytest.mark.parametrize("keyring", [BOTH, LONG], ids=["same length", "longer"])
    async def test_rewrapped_values_open_without_the_old_key(
        self, store: Store, stores: Stores, keyring: Keyring
    ) -> None:
        events = await fill(store)
        await store.use_keyring(keyring)
        found = await walk(store, rewrap=True)
        assert (found.by_key, found.moved, found.broken) == ({"k1": 18}, 18, 0)
        again = await walk(store, rewrap=True)
        assert (again.by_key, again.moved) == ({keyring.active: 18}, 0)
        await check_all_opens(store, events)
        await store.drop_key("k1")
        await stores.close(store)
        alone = await stores.open(Keyring(keyring.keys[:1]))
        await check_all_opens(alone, events)
        assert (await walk(alone)).by_key == {keyring.active: 18}

    async def test_a_store_is_not_opened_without_a_key_that_it_may_need(self, store: Store, stores: Stores) -> None:
        await fill(store)
        await store.use_keyring(BOTH)
        await stores.close(store)
        for lacking in (KEYRING, NEW):
            with pytest.raises(StoreMismatch):
                await stores.open(lacking)
        await stores.close(await stores.open(BOTH))

    async def test_the_new_key_is_noted_before_anything_is_sealed_under_it(self, store: Store, stores: Stores) -> None:
        with held_at(Step.COMMITTING) as there:
            turning = asyncio.ensure_future(store.use_keyring(BOTH))
            await asyncio.to_thread(there.wait, 30)
            assert store.keyring == KEYRING
            before = await stores.after_a_crash(store)
            assert before.keyring == KEYRING
        await turning
        assert store.keyring == BOTH

    async def test_a_keyring_without_a_noted_key_is_refused_and_not_used(self, store: Store, stores: Stores) -> None:
        event = new_event(1)
        await accept(store, event)
        other = Keyring((("k1", bytes(32)), SECOND))
        for wrong in (NEW, other):
            with pytest.raises(StoreMismatch):
                await store.use_keyring(wrong)
        assert store.keyring == KEYRING
        await stores.close(store)
        store = await stores.open(KEYRING)
        assert (await store.event(event.id)).body

    async def test_a_rotation_that_was_cut_short_goes_on_where_it_ended(self, store: Store, stores: Stores) -> None:
        events = await fill(store)
        await store.use_keyring(BOTH)
        with held_at(Step.REWRAPPING) as there:
            moving = asyncio.ensure_future(store.rewrap(4))
            await asyncio.to_thread(there.wait, 30)
            after = await self.reopened_after_a_crash(stores, store)
        await moving
        assert (await walk(after)).by_key == {"k1": 18}
        await after.rewrap(4)
        assert (await walk(after)).by_key == {"k1": 14, "k2": 4}
        await check_all_opens(after, events)
        assert (await walk(after, rewrap=True)).moved == 14
        await check_all_opens(after, events)

    async def reopened_after_a_crash(self, stores: Stores, store: Store) -> Store:
        """With both keys, as the process that was killed had them."""
        raise NotImplementedError

    async def test_a_value_whose_seal_is_broken_stays_as_it_is_and_keeps_nobody(
        self, store: Store, stores: Stores
    ) -> None:
        events = await fill(store)
        await stores.damage(store, events[0])  # its end, which a move of its beginning does not look at
        await store.use_keyring(BOTH)
        assert (await walk(store, rewrap=True)).moved == 18
        with pytest.raises(SealBroken):
            await store.event(events[0])
        for event in events[1:]:
            assert (await store.event(event)).body

    async def test_receiving_and_reading_go_on_while_keys_change(self, store: Store) -> None:
        events = await fill(store)
        await store.use_keyring(BOTH)
        more = [new_event(1000 + number) for number in range(100)]

        async def receive_and_read(number: int) -> None:
            await accept(store, more[number], body=b"body %d" % (number % 10))
            assert (await store.event(more[number].id)).body == b"body %d" % (number % 10)
            assert (await store.event(events[number % 10])).body == b"body %d" % (number % 10)

        await asyncio.gather(walk(store, rewrap=True), *map(receive_and_read, range(100)))
        await walk(store, rewrap=True)
        assert (await walk(store)).by_key == {"k2": 118}

    async def test_a_value_that_retention_took_meanwhile_is_left_alone(
        self, store: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await accept(store, new_event(1))
        await store.use_keyring(BOTH)
        never = Instant(0)
        old = Cutoffs(bodies=plus(NOW, 1), metadata=never, dedupe=never, refusals=never)
        submit = store._writer.submit

        def retention_first(handler: Any, *given: Any) -> Any:
            async def both() -> Any:
                assert (await store.expire(old, 10)).bodies == 1
                return await submit(handler, *given)

            return asyncio.ensure_future(both()) if handler.name == "rewrap" else submit(handler, *given)

        monkeypatch.setattr(store._writer, "submit", retention_first)
        assert (await store.rewrap(10)).moved == 0
        assert [one.body for one in (await store.events(EventFilter(), 10, None)).rows] == [b""]

    async def test_pending_deliveries_are_claimed_under_the_new_key(self, store: Store) -> None:
        await planned(store, 1)
        await store.use_keyring(BOTH)
        await walk(store, rewrap=True)
        [claimed] = await claim(store)
        assert claimed.event.body
