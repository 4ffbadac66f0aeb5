"""Deliveries that wait for an endpoint which is not called: warned of, ended after their time, and then forgotten.

Oracles: the rows of the store, the bytes that it still has, the log, and what the observer was told.
"""

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from hookseal.clock import GivenClock, Instant, plus
from hookseal.ids import new_delivery_id, new_event_id
from hookseal.logs import configure
from hookseal.manage.pending import PendingExpiry
from hookseal.manage.retention import Ages, Retention
from hookseal.model import DeliveryId, DeliveryState, EndpointId, SourceId
from hookseal.sealing import Keyring
from hookseal.store.port import EventFilter, NewDelivery, NewEvent, NewRequest
from hookseal.store.sqlite import SqliteStore

NOW = Instant(1_763_700_000_000_000)
DAY_S = 86_400.0
CORE, GONE = EndpointId("core"), EndpointId("gone")


class Watch:
    def __init__(self) -> None:
        self.endings: list[tuple[EndpointId, DeliveryId, str]] = []
        self.oldest_s: Mapping[EndpointId, float] = {}

    def ended(self, endpoint: EndpointId, delivery: DeliveryId, state: DeliveryState, reason: str) -> None:
        assert state is DeliveryState.DEAD
        self.endings.append((endpoint, delivery, reason))

    def waiting_uncalled(self, oldest_s: Mapping[EndpointId, float]) -> None:
        self.oldest_s = oldest_s


class SettableClock(GivenClock):
    """Its wall time can be set; its monotonic time is not changed by that."""

    ahead_s = 0.0

    def now(self) -> Instant:
        return plus(super().now(), self.ahead_s)


class Scene:
    """A store, its retention, and the endpoints that are called."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.watch, self.called = SettableClock(NOW), Watch(), {CORE}
        self.store = SqliteStore(folder / "a.db", Keyring.generate(), clock=self.clock)
        self.retention = self.restarted()

    def restarted(self) -> Retention:
        pending = PendingExpiry(self.store, lambda: self.called, 30, self.clock, self.watch)
        self.retention = Retention(self.store, Ages(bodies=30, metadata=90), self.clock, pending=pending)
        return self.retention

    async def receive(self, number: int, *endpoints: EndpointId) -> list[DeliveryId]:
        at, key = self.clock.now(), number.to_bytes(32)
        deliveries = tuple(NewDelivery(id=new_delivery_id(at), endpoint=one, due_at=at) for one in endpoints)
        event = NewEvent(id=new_event_id(at), item=0, type="other", dedupe_key=key, content=key, deliveries=deliveries)
        request = NewRequest(source=SourceId("a"), received_at=at, headers=(), body=b"personal", events=(event,))
        await self.store.accept(request)
        return [one.id for one in deliveries]

    async def state(self, delivery: DeliveryId) -> str:
        return str((await self.store.delivery(delivery))[0].state)

    async def pass_days(self, days: float) -> None:
        """As it passes: a sweep every quarter of a day, so that the time that retention counts follows."""
        for _ in range(round(days * 4)):
            self.clock.advance(DAY_S / 4)
            await self.retention.sweep()


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    undo = configure("warning", stream=stream, strict=True)
    yield stream
    undo()


async def test_a_delivery_of_an_endpoint_that_is_gone_ends_after_30_days_and_its_data_later(
    tmp_path: Path, log: io.StringIO
) -> None:
    """Before, it stayed pending for ever, and with it the body of its request."""
    scene = Scene(tmp_path)
    await scene.store.open()
    waiting, called = await scene.receive(1, GONE, CORE)
    await scene.pass_days(29)
    assert await scene.state(waiting) == "pending"
    assert round(scene.watch.oldest_s[GONE] / DAY_S) == 29
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert {line["endpoint"] for line in lines} == {"gone"}, "no warning, or one of an endpoint that is called"
    assert 0 < len(lines) <= 29, "more than one warning a day"
    await scene.pass_days(1.5)
    row, attempts = await scene.store.delivery(waiting)
    assert (row.state, row.last_reason, row.attempts, attempts) == (DeliveryState.DEAD, "pending_expired", 0, [])
    assert scene.watch.endings == [(GONE, waiting, "pending_expired")]
    assert await scene.state(called) == "pending", "an endpoint that is called loses nothing"
    await scene.store.cancel(called, scene.clock.now())
    await scene.pass_days(29)
    [event] = (await scene.store.events(EventFilter(), 10, None)).rows
    assert event.body == b"personal"
    await scene.pass_days(2)
    [event] = (await scene.store.events(EventFilter(), 10, None)).rows
    assert event.body == b""
    await scene.store.close()


async def test_an_endpoint_that_is_called_again_keeps_its_deliveries(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    await scene.store.open()
    [waiting] = await scene.receive(1, GONE)
    await scene.pass_days(29)
    scene.called.add(GONE)
    await scene.pass_days(5)
    assert await scene.state(waiting) == "pending"
    assert scene.watch.oldest_s == {}
    await scene.store.close()


async def test_a_node_that_has_just_started_ends_nothing_for_an_hour(tmp_path: Path) -> None:
    """A consent may not be read yet, and a wrong configuration may be noticed."""
    scene = Scene(tmp_path)
    await scene.store.open()
    [waiting] = await scene.receive(1, GONE)
    scene.clock.advance(40 * DAY_S)
    retention = scene.restarted()
    for _ in range(4):
        await retention.sweep()
        assert await scene.state(waiting) == "pending"
        scene.clock.advance(14 * 60)
    scene.clock.advance(5 * 60)
    await retention.sweep()
    assert await scene.state(waiting) == "dead"
    await scene.store.close()


async def test_a_clock_that_is_set_years_ahead_ends_nothing(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    await scene.store.open()
    [waiting] = await scene.receive(1, GONE)
    await scene.pass_days(2)
    scene.clock.ahead_s = 3 * 365 * DAY_S
    await scene.pass_days(5)
    assert await scene.state(waiting) == "pending"
    assert scene.watch.endings == []
    await scene.store.close()


async def test_many_deliveries_end_in_slices(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    await scene.store.open()
    for number in range(1100):
        await scene.receive(number, GONE)
    scene.clock.advance(31 * DAY_S)
    retention = scene.restarted()
    await retention.sweep()
    scene.clock.advance(3600)
    await retention.sweep()
    assert (await scene.store.counts()).pending == {}
    assert len(scene.watch.endings) == len(set(scene.watch.endings)) == 1100
    await scene.store.close()


async def test_an_endpoint_that_is_called_again_during_a_sweep_keeps_what_has_not_ended(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    await scene.store.open()
    for number in range(1100):
        await scene.receive(number, GONE)
    scene.clock.advance(31 * DAY_S)
    retention = scene.restarted()
    await retention.sweep()
    scene.clock.advance(3600)
    ended = scene.watch.ended

    def admit(*arguments: Any) -> None:
        ended(*arguments)
        scene.called.add(GONE)

    scene.watch.ended = admit  # type: ignore[method-assign]
    await retention.sweep()
    assert len(scene.watch.endings) == 500, "one slice"
    assert (await scene.store.counts()).pending == {GONE: 600}
    await scene.store.close()
