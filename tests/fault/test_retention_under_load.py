"""Retention of a long history while events come in: nothing that is pending goes, nothing new is lost, and it all ends.

Oracles: the clients' own list of what was acknowledged, and the rows of the file afterwards. How long an answer took with
and without retention is a figure of the run, not a condition.
"""

import asyncio
import hashlib
import os
import statistics
import time
from pathlib import Path

import pytest
from lifetimes import NOW, PENDING, SEALED, check_file, look, make_store
from tiers import note, tier

from hookseal.clock import GivenClock, Instant, SystemClock, plus
from hookseal.ids import new_delivery_id, new_event_id
from hookseal.manage.retention import Ages, Retention
from hookseal.manage.rotation import KeyRotation
from hookseal.model import DeliveryState, EndpointId, EventId, SourceId
from hookseal.store.port import AttemptRow, Lease, NewDelivery, NewEvent, NewRequest, Result
from hookseal.store.sqlite import SqliteStore

pytestmark = pytest.mark.fault

ROWS = tier(ci=60_000, full=1_000_000)
ALONE = tier(ci=3_000, full=20_000)
CLIENTS = 16
CORE = EndpointId("core")
LATE = Instant(NOW + 100 * 86_400_000_000)


class Clock(SystemClock):
    """Real durations, another date."""

    def now(self) -> Instant:
        return LATE


class Load:
    """Clients that store events and record their deliveries, one after the other, and note what was acknowledged."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.acked: list[EventId] = []
        self.took_ms: list[float] = []
        self.stop = asyncio.Event()

    async def run(self, count: int | None = None) -> None:
        until = None if count is None else len(self.acked) + count
        await asyncio.gather(*(self._one(until) for _ in range(CLIENTS)))

    async def _one(self, until: int | None) -> None:
        while not self.stop.is_set() and (until is None or len(self.acked) < until):
            event, lease = EventId(new_event_id(LATE)), Lease(1 + int.from_bytes(os.urandom(7)))
            key = hashlib.sha256(event.encode()).digest()
            delivery = NewDelivery(
                id=new_delivery_id(LATE), endpoint=CORE, due_at=LATE, lease=lease, lease_until=plus(LATE, 60)
            )
            new = NewEvent(id=event, item=0, type="other", dedupe_key=key, content=key, deliveries=(delivery,))
            began = time.perf_counter()
            await self.store.accept(
                NewRequest(source=SourceId("now"), received_at=LATE, headers=(), body=os.urandom(600), events=(new,))
            )
            self.took_ms.append((time.perf_counter() - began) * 1000)
            self.acked.append(event)
            tried = AttemptRow(number=1, started_at=LATE, duration_ms=1, status=200, reason=None)
            assert await self.store.record(
                Result(delivery=delivery.id, lease=lease, attempt=tried, state=DeliveryState.DELIVERED, due_at=None)
            )

    def p99_ms(self, start: int, end: int | None = None) -> float:
        return round(statistics.quantiles(self.took_ms[start:end], n=100)[98], 1)


async def test_retention_of_a_history_takes_nothing_pending_and_keeps_nobody_from_storing(tmp_path: Path) -> None:
    keyring = make_store(tmp_path, ROWS)
    store = SqliteStore(tmp_path / "hookseal.db", keyring)
    await store.open()
    load = Load(store)
    began = time.perf_counter()
    await load.run(ALONE)
    alone_s = time.perf_counter() - began
    alone = len(load.acked)
    running = asyncio.create_task(load.run())
    began = time.perf_counter()
    gone = await Retention(store, Ages(bodies=30, metadata=90), Clock()).sweep()
    took_s = time.perf_counter() - began
    load.stop.set()
    await running
    kept = ROWS // PENDING
    assert (gone.bodies, gone.events) == (ROWS - kept, ROWS - kept)
    for event in (*load.acked[:100], *load.acked[-100:]):
        assert len((await store.event(event)).body) == 600
    await store.close()
    check_file(tmp_path)
    assert look(tmp_path, "SELECT state, count(*) FROM deliveries WHERE endpoint = 'core' GROUP BY state") == [
        ("delivered", len(load.acked)),
        ("pending", kept),
    ]
    assert look(tmp_path, "SELECT count(*) FROM bodies") == [(kept + len(load.acked),)]
    stored = {bytes(str(row[0]), "ascii") for row in look(tmp_path, "SELECT lower(hex(id)) FROM events")}
    assert {event.replace("-", "").encode() for event in load.acked} <= stored
    beside = len(load.acked) - alone
    note(
        "retention under load",
        rows=ROWS,
        seconds=round(took_s, 1),
        requests_let_go_per_s=round(ROWS / took_s),
        stored_per_s_alone=round(alone / alone_s),
        stored_per_s_beside=round(beside / took_s),
        p99_ms_alone=load.p99_ms(0, alone),
        p99_ms_beside=load.p99_ms(alone),
    )


async def test_retention_alone_reuses_the_room_that_it_makes(tmp_path: Path) -> None:
    """The file does not grow while as much comes in as goes."""
    rows = 5_000
    keyring = make_store(tmp_path, rows)
    store = SqliteStore(tmp_path / "hookseal.db", keyring)
    await store.open()
    await Retention(store, Ages(bodies=30, metadata=90), GivenClock(LATE)).sweep()
    await store.close()
    before = (tmp_path / "hookseal.db").stat().st_size
    store = SqliteStore(tmp_path / "hookseal.db", keyring)
    await store.open()
    load = Load(store)
    await load.run(rows // 2)
    await store.close()
    assert (tmp_path / "hookseal.db").stat().st_size <= before
    assert len(load.acked) >= rows // 2


async def test_keys_change_under_load_and_every_value_opens(tmp_path: Path) -> None:
    rows = tier(ci=20_000, full=300_000)
    keyring = make_store(tmp_path, rows)
    store = SqliteStore(tmp_path / "hookseal.db", keyring)
    await store.open()
    load = Load(store)
    await load.run(ALONE)
    alone = len(load.acked)
    rotation = KeyRotation(store, tmp_path / "hookseal.key", SystemClock(), is_shared=False)
    reads = 0

    async def read() -> None:
        """Whatever the walk has or has not reached yet opens."""
        nonlocal reads
        while not load.stop.is_set():
            for event in load.acked[:: max(1, len(load.acked) // 50)]:
                assert len((await store.event(event)).body) == 600
                reads += 1

    running = [asyncio.create_task(load.run()), asyncio.create_task(read())]
    began = time.perf_counter()
    done = await rotation.rotate()
    await rotation.finished()
    took_s = time.perf_counter() - began
    load.stop.set()
    await asyncio.gather(*running)
    keys = {key.id: key.values for key in await rotation.keys()}
    await store.close()
    check_file(tmp_path)
    # Bodies that the history has no real seal of say nothing of a key.
    assert rotation.broken == rows - rows // SEALED
    # The secret of the store is one value more.
    assert keys[done.active] == rows // SEALED + len(load.acked) + 1
    assert keys["k1"] == 0
    note(
        "keys changed under load",
        rows=rows,
        moved=rotation.moved,
        seconds=round(took_s, 1),
        looked_at_per_s=round((rows + len(load.acked)) / took_s),
        read_meanwhile=reads,
        p99_ms_alone=load.p99_ms(0, alone),
        p99_ms_beside=load.p99_ms(alone),
    )
