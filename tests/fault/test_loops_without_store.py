"""The store fails while work is due: what the loops of the process wait for, as long as it fails and afterwards.

Real stores that fail: a disk that is full, and a database that is read-only. Observable oracles: what a loop asks the
clock to wait for, and whether that wait could end at once; deliveries that arrive once the store works again.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import apsw
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from delivery_parts import SOURCE, START, TYPE, Receiver, Watch, endpoint, normalise, soon
from postgres_databases import any_server

from hookseal.clock import Instant, SystemClock, plus
from hookseal.delivery.engine import POLL_S, Engine
from hookseal.ids import new_delivery_id, new_event_id
from hookseal.model import EndpointId
from hookseal.sealing import Keyring
from hookseal.store.port import NewDelivery, NewEvent, NewRequest, Store
from hookseal.store.postgres import PostgresStore
from hookseal.store.sqlite import SqliteStore

pytestmark = pytest.mark.fault

KINDS = ("sqlite", "postgresql")
KEYRING = Keyring.generate()
MANY = 14
"""Pauses looked at: the back-off has reached its bound by then."""

Switch = Callable[[], Awaitable[None]]


class FullDisk(apsw.VFS):
    """Its log cannot be written while `full`."""

    def __init__(self, name: str) -> None:
        self.full = False
        super().__init__(name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        return FullDiskFile(self, name, flags)


class FullDiskFile(apsw.VFSFile):
    def __init__(self, disk: FullDisk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._disk = disk
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        if self._disk.full:
            raise apsw.FullError("the disk of the tests is full")
        super().xWrite(data, offset)


@asynccontextmanager
async def failing_store(kind: str, folder: Path, clock: "PacedClock") -> AsyncIterator[tuple[Store, Switch, Switch]]:
    """An open store, what makes its writes fail, and what heals it."""
    store: Store
    if kind == "sqlite":
        disk = FullDisk(f"full-disk-{folder.name}")
        store = SqliteStore(folder / "hookseal.db", KEYRING, clock=clock, vfs=f"full-disk-{folder.name}")

        async def fail() -> None:
            disk.full = True

        async def heal() -> None:
            disk.full = False

        await store.open()
        try:
            yield store, fail, heal
        finally:
            disk.full = False
            await store.close()
            disk.unregister()
        return
    server = any_server()
    database = await server.new_database()
    store = PostgresStore(server.url_of(database), KEYRING, clock=clock)

    async def set_read_only(setting: str) -> None:
        await server.run(f"ALTER DATABASE {database} {setting}")
        await server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", database)

    await store.open()
    try:
        yield (
            store,
            lambda: set_read_only("SET default_transaction_read_only = on"),
            lambda: set_read_only("RESET default_transaction_read_only"),
        )
    finally:
        await server.run(f"ALTER DATABASE {database} RESET default_transaction_read_only")
        await store.close()
        await server.give_back(database)


class PacedClock:
    """Time passes only when the watched loop waits: as much as it asked for, and at once.

    pauses     of the watched loop: for how many seconds it wanted to wait, and whether the event was set already.
    disturb    called before each pause.
    All other loops wait for their events without a time, until the clock `is_real`.
    """

    def __init__(self) -> None:
        self.pauses: list[tuple[float | None, bool]] = []
        self.watched: Callable[[], asyncio.Task[None] | None] = lambda: None
        self.disturb: Callable[[], None] = lambda: None
        self.many = asyncio.Event()
        self.is_real = False
        self._now = START

    def now(self) -> Instant:
        return self._now

    def monotonic(self) -> float:
        return (self._now - START) / 1_000_000

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        if self.is_real:
            return await SystemClock().wait(event, timeout_s)
        if asyncio.current_task() is not self.watched():
            await event.wait()
            return True
        self.disturb()
        self.pauses.append((timeout_s, event.is_set()))
        if len(self.pauses) >= MANY:
            self.many.set()
        await asyncio.sleep(0)
        if event.is_set():
            return True
        if timeout_s is None:
            await event.wait()
            return True
        self._now = plus(self._now, timeout_s)
        return False


def request(now: Instant) -> NewRequest:
    """A request with one delivery that is due and leased by nobody."""
    id = new_event_id(now)
    due = NewDelivery(id=new_delivery_id(now, Random(1).randbytes), endpoint=EndpointId("core"), due_at=now)
    event = NewEvent(id=id, item=0, type=TYPE, dedupe_key=id.encode()[:32], content=bytes(32), deliveries=(due,))
    return NewRequest(source=SOURCE, received_at=now, headers=(), body=b"{}", events=(event,))


@pytest.mark.parametrize("kind", KINDS)
async def test_the_claim_loop_backs_off_for_as_long_as_the_store_fails(kind: str, tmp_path: Path) -> None:
    """Each failed claim woke the loop that had failed: it span, with thousands of log lines in a second."""
    clock, receiver = PacedClock(), Receiver()
    async with failing_store(kind, tmp_path, clock) as (store, fail, heal):
        await store.accept(request(clock.now()))
        engine = Engine(
            store,
            [endpoint()],
            {EndpointId("core"): receiver},
            normalise=normalise,
            clock=clock,
            random=Random(1),
            observer=Watch(),
        )
        clock.watched = lambda: engine.loops.get("claim_loop")
        clock.disturb = engine.wake  # as every request does whose storing fails
        await fail()
        await engine.start()
        try:
            await soon(clock.many.wait())
            pauses = clock.pauses[:MANY]
            assert [is_set for _, is_set in pauses] == [False] * MANY, "a wait that ends at once"
            seconds = [seconds or 0.0 for seconds, _ in pauses]
            assert seconds[0] >= 0.05
            assert seconds == sorted(seconds)
            assert seconds[-1] == POLL_S
            clock.is_real = True
            await heal()
            await receiver.arrived()
        finally:
            await heal()
            clock.is_real = True
            await engine.stop(5.0)
