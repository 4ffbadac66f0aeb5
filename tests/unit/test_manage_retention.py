"""The sweep: which ages it asks for, how it paces itself, and that nothing stops it for good."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hookseal import probe
from hookseal.clock import GivenClock, Instant, plus
from hookseal.errors import StoreUnavailable
from hookseal.ids import new_delivery_id, new_event_id
from hookseal.manage.retention import Ages, Retention
from hookseal.manage.retention_time import RetentionTime
from hookseal.model import DeliveryState, EndpointId, SourceId
from hookseal.probe import Step
from hookseal.sealing import Keyring
from hookseal.settings import StoreSettings
from hookseal.store.port import (
    AttemptRow,
    Cursor,
    Cutoffs,
    EventFilter,
    Expired,
    NewDelivery,
    NewEvent,
    NewRequest,
    Result,
)
from hookseal.store.sqlite import SqliteStore

NOW = Instant(1_763_700_000_000_000)
DAY_S = 86_400.0
CORE = EndpointId("core")


async def fill(store: SqliteStore, number: int, *, at: Instant = NOW, planned: bool = False) -> None:
    key = number.to_bytes(32)
    deliveries = (NewDelivery(id=new_delivery_id(at), endpoint=CORE, due_at=at),) if planned else ()
    event = NewEvent(id=new_event_id(at), item=0, type="other", dedupe_key=key, content=key, deliveries=deliveries)
    await store.accept(NewRequest(source=SourceId("a"), received_at=at, headers=(), body=b"personal", events=(event,)))


async def bodies(store: SqliteStore) -> list[bytes]:
    return [one.body for one in (await store.events(EventFilter(), 1000, None)).rows]


class Reached:
    """Waits until a step was passed a number of times."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._loop = asyncio.get_running_loop()
        self._count = 0
        self._event = asyncio.Event()
        self.leave: Callable[[], None] = probe.listen(self._note)

    def _note(self, step: Step) -> None:
        if step is self._step:
            self._loop.call_soon_threadsafe(self._counted)

    def _counted(self) -> None:
        self._count += 1
        self._event.set()

    async def times(self, count: int) -> None:
        while self._count < count:
            self._event.clear()
            await asyncio.wait_for(self._event.wait(), 30)


async def test_each_kind_goes_at_its_own_age(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db", Keyring.generate())
    await store.open()
    clock = GivenClock(NOW)
    retention = Retention(store, Ages(bodies=30, metadata=90), clock)
    await fill(store, 1)
    await fill(store, 2, planned=True)
    clock.advance(30 * DAY_S)
    assert (await retention.sweep()).bodies == 0
    clock.advance(1)
    assert (await retention.sweep()).bodies == 1
    assert await bodies(store) == [b"personal", b""]
    clock.advance(60 * DAY_S)
    assert (await retention.sweep()).events == 1
    clock.advance(1000 * DAY_S)
    gone = await retention.sweep()
    assert (gone.bodies, gone.events) == (0, 0)
    assert await bodies(store) == [b"personal"]
    [claimed] = await store.claim_due({CORE: 1}, clock.now(), plus(clock.now(), 60))
    tried = AttemptRow(number=1, started_at=clock.now(), duration_ms=0, status=200, reason=None)
    assert await store.record(
        Result(delivery=claimed.id, lease=claimed.lease, attempt=tried, state=DeliveryState.DELIVERED, due_at=None)
    )
    clock.advance(30 * DAY_S + 1)
    assert (await retention.sweep()).bodies == 1
    await store.close()


class SettableClock(GivenClock):
    """Its wall time can be set; its monotonic time is not changed by that."""

    ahead_s = 0.0

    def now(self) -> Instant:
        return plus(super().now(), self.ahead_s)


async def a_restart(store: SqliteStore, clock: GivenClock, ages: Ages) -> Retention:
    """What a new process has of the old one: the store."""
    counted = RetentionTime(clock, store)
    await counted.open()
    return Retention(store, ages, clock, counted=counted)


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_clock_that_jumps_ahead_deletes_nothing(tmp_path: Path, restarted: bool) -> None:
    """It deleted every event whose deliveries had ended, all bodies and, in the end, the dedupe keys."""
    store = SqliteStore(tmp_path / "a.db", Keyring.generate())
    await store.open()
    clock = SettableClock(NOW)
    retention = await a_restart(store, clock, Ages())
    await fill(store, 1)
    assert (await retention.sweep()).bodies == 0
    clock.ahead_s = 500 * DAY_S
    if restarted:
        retention = await a_restart(store, clock, Ages())
    for _ in range(20):
        clock.advance(60)
        gone = await retention.sweep()
        assert (gone.bodies, gone.events) == (0, 0)
    for _ in range(14):
        clock.advance(DAY_S)
        assert (await retention.sweep()).bodies == 0
    clock.advance(DAY_S)
    assert (await retention.sweep()).bodies == 1, "30 days, at two a day"
    await store.close()


async def test_a_store_of_an_earlier_version_begins_at_its_newest_event(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db", Keyring.generate())
    await store.open()
    await fill(store, 1)
    clock = GivenClock(plus(NOW, 200 * DAY_S))
    retention = await a_restart(store, clock, Ages())
    for _ in range(15):
        assert (await retention.sweep()).bodies == 0
        clock.advance(DAY_S)
    clock.advance(1)
    assert (await retention.sweep()).bodies == 1
    await store.close()


async def test_a_clock_that_was_set_back_holds_retention_up_for_as_long_as_it_was_wrong(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db", Keyring.generate())
    await store.open()
    clock = SettableClock(NOW)
    await fill(store, 1)
    retention = await a_restart(store, clock, Ages())
    for _ in range(29):
        clock.advance(DAY_S)
        await retention.sweep()
    clock.ahead_s = -400 * DAY_S
    await retention.sweep()
    clock.advance(DAY_S)
    assert (await retention.sweep()).bodies == 0
    clock.ahead_s = 0
    await retention.sweep()
    clock.advance(2 * DAY_S)
    assert (await retention.sweep()).bodies == 1
    await store.close()


async def test_stored_retention_time_is_read_again(tmp_path: Path) -> None:
    """A process that ran for ten days leaves the next one ten days further, whatever the clock shows then."""
    store = SqliteStore(tmp_path / "a.db", Keyring.generate())
    await store.open()
    await fill(store, 1)
    clock = SettableClock(NOW)
    retention = await a_restart(store, clock, Ages(bodies=10))
    clock.advance(10 * DAY_S)
    assert (await retention.sweep()).bodies == 0
    clock.ahead_s = 500 * DAY_S
    retention = await a_restart(store, clock, Ages(bodies=10))
    assert (await retention.sweep()).bodies == 0
    clock.advance(1)
    assert (await retention.sweep()).bodies == 1
    await store.close()


def test_ages_are_those_of_the_settings_and_events_outlive_their_bytes() -> None:
    assert Ages.of(StoreSettings()) == Ages(bodies=30, metadata=90, dedupe=400)
    assert Ages.of(StoreSettings(retain_days=200)).metadata == 200
    before = Ages(bodies=1, metadata=2, dedupe=3).cutoffs(NOW)
    assert before == Cutoffs(
        bodies=plus(NOW, -DAY_S),
        metadata=plus(NOW, -2 * DAY_S),
        dedupe=plus(NOW, -3 * DAY_S),
        refusals=plus(NOW, -DAY_S),
    )


async def test_it_sweeps_again_and_again_until_it_is_stopped(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db", Keyring.generate())
    await store.open()
    clock = GivenClock(NOW)
    for number in range(3):
        await fill(store, number)
    retention = Retention(store, Ages(), clock, every_s=60)
    expired = Reached(Step.EXPIRED)
    retention.start()
    for sweeps in (1, 2):
        await settled(clock)
        clock.advance(16 * DAY_S)
        await expired.times(4 * sweeps)
    await settled(clock)
    await retention.stop()
    expired.leave()
    assert await bodies(store) == [b"", b"", b""]
    await store.close()


async def settled(clock: GivenClock) -> None:
    """Until somebody waits for the clock."""
    while not clock._moved:
        await asyncio.sleep(0)


class Scripted:
    """A store of which only `expire` is there: each call takes as long as told."""

    def __init__(self, clock: GivenClock, took_s: list[float | Exception]) -> None:
        self.clock = clock
        self.took_s = took_s
        self.limits: list[int] = []
        self.called = asyncio.Event()

    async def expire(self, before: Cutoffs, limit: int, cursor: Cursor | None = None) -> Expired:
        self.limits.append(limit)
        self.called.set()
        took = self.took_s.pop(0)
        if isinstance(took, Exception):
            raise took
        self.clock.advance(took)
        return Expired(bodies=1, next=Cursor("more") if self.took_s else None)


async def test_slices_shrink_while_the_writer_is_busy_and_grow_while_it_is_not() -> None:
    clock = GivenClock(NOW)
    slow: list[float | Exception] = [0.5] * 6
    store: Any = Scripted(clock, [0.0, 0.0, 0.008, *slow, 0.0])
    sweeping = asyncio.create_task(Retention(store, Ages(), clock).sweep())
    while not sweeping.done():
        await asyncio.sleep(0)
        clock.advance(2)
    assert store.limits == [256, 512, 512, 512, 256, 128, 128, 128, 128, 128]


async def test_between_two_slices_it_rests_twice_as_long_as_one_took() -> None:
    clock = GivenClock(NOW)
    store: Any = Scripted(clock, [0.5, 0.0])
    sweeping = asyncio.create_task(Retention(store, Ages(), clock).sweep())
    await settled(clock)
    clock.advance(0.99)
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(store.limits) == 1
    clock.advance(0.02)
    assert (await sweeping).bodies == 2


@pytest.mark.parametrize("error", [StoreUnavailable("full"), RuntimeError("ours")])
async def test_a_sweep_that_fails_is_not_the_last_one(error: Exception) -> None:
    clock = GivenClock(NOW)
    store: Any = Scripted(clock, [error, 0.0])
    retention = Retention(store, Ages(), clock, every_s=60)
    retention.start()
    for _ in range(2):
        await settled(clock)
        store.called.clear()
        clock.advance(60)
        await asyncio.wait_for(store.called.wait(), 30)
    await settled(clock)
    await retention.stop()
    assert len(store.limits) == 2
