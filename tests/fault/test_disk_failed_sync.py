"""A sync fails once. The kernel then shows what was written as if it were on the disk, and no later sync writes it.

Oracles: what was acknowledged is there after a power cut that comes later, whether the process went on or was started
anew in between. The write whose sync failed is never acknowledged. The disk is `CrashDisk`: a failed sync drops from it
what was not yet synced, while the real file, which stands for the kernel's cache, keeps it.
"""

import asyncio
import hashlib
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest
from power.crash_disk import CrashDisk, Decay, Kind, Operation
from power.crash_vfs import CrashVfs, _CrashFile
from power.ledger import KEYRING, NOW

from hookseal.clock import Instant
from hookseal.errors import StoreUnavailable
from hookseal.ids import new_event_id
from hookseal.model import EventId, SourceId
from hookseal.store.port import EventFilter, NewEvent, NewRequest
from hookseal.store.sqlite import SqliteStore
from hookseal.store.sqlite import store as sqlite_store

pytestmark = pytest.mark.fault

LOG = "hookseal.db-wal"
IMAGES = 60


class FailingVfs(CrashVfs):
    """fail_next: the next sync of the log fails, and what it should have written never reaches the disk."""

    fail_next = False

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if not path or not path.endswith("-wal"):
            return super().xOpen(name, flags)
        with self.disk.lock:
            file = _FailingLog(self, path, name, flags)
            self.disk.opened(LOG)
            return file


class _FailingLog(_CrashFile):
    def __init__(self, vfs: FailingVfs, path: str, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._vfs = vfs
        super().__init__(vfs.disk, path, name, flags)

    def xSync(self, flags: int) -> None:
        if not self._vfs.fail_next:
            super().xSync(flags)
            return
        self._vfs.fail_next = False
        disk = self._vfs.disk
        with disk.lock:
            for at in range(len(disk.log) - 1, -1, -1):
                one = disk.log[at]
                if one.name == LOG and one.kind is Kind.SYNC:
                    break
                if one.name == LOG and one.kind is Kind.WRITE:
                    disk.log[at] = Operation(Kind.WRITE, LOG, 0, b"")
        raise apsw.IOError("a sync of the tests failed")


@contextmanager
def failing(disk: CrashDisk, name: str) -> Iterator[FailingVfs]:
    vfs = FailingVfs(name, disk)
    try:
        yield vfs
    finally:
        vfs.unregister()


@pytest.fixture
def memory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hookseal-sync-") as folder:
        yield Path(folder)


def request(number: int) -> NewRequest:
    body = random.Random(number).randbytes(20_000)
    event = NewEvent(
        id=new_event_id(Instant(NOW + number)),
        item=0,
        type="other",
        dedupe_key=hashlib.sha256(b"%d" % number).digest(),
        content=hashlib.sha256(body).digest(),
    )
    return NewRequest(source=SourceId("zignsec"), received_at=NOW, headers=(), body=body, events=(event,))


async def accept(store: SqliteStore, numbers: range) -> set[EventId]:
    return {(await store.accept(request(number)))[0].event for number in numbers}


async def lost(memory: Path, disk: CrashDisk, acked: set[EventId]) -> int:
    """How many acknowledged events some power cut at the end of the disk's log takes, at worst."""
    worst, dice = 0, random.Random(3)
    decay = Decay(disk)
    decay.advance(disk.position)
    for _ in range(IMAGES):
        with tempfile.TemporaryDirectory(dir=memory) as folder:
            for name, data in decay.image(dice).items():
                (Path(folder) / name).write_bytes(data)
            store = SqliteStore(Path(folder) / "hookseal.db", KEYRING)
            await store.open()
            found = {one.row.id for one in (await store.events(EventFilter(), 1000, None)).rows}
            await store.close()
            worst = max(worst, len(acked - found))
    return worst


async def lives_after_a_failed_sync(memory: Path, name: str) -> tuple[CrashDisk, set[EventId]]:
    """Accept, fail, die, start again on the same files, accept more. The disk at the end, and what was acknowledged."""
    first, second = memory / f"{name}-1", memory / f"{name}-2"
    first.mkdir()
    disk = CrashDisk()
    with failing(disk, name) as vfs:
        store = SqliteStore(first / "hookseal.db", KEYRING, vfs=name)
        await store.open()
        acked = await accept(store, range(10))
        vfs.fail_next = True
        with pytest.raises(StoreUnavailable):
            await store.accept(request(10))
        # kill -9 here: nothing more of this process reaches the files; the log's index dies with it
        shutil.copytree(first, second, ignore=shutil.ignore_patterns("*-shm", "*.lock"))
        at_kill = Decay(disk)
        at_kill.advance(disk.position)
        await store.close()
    durable = {path.name: path.read_bytes() for path in second.iterdir()}
    durable[LOG] = bytes(at_kill._seen[LOG].durable)
    on_disk = CrashDisk(durable)
    with failing(on_disk, name):
        store = SqliteStore(second / "hookseal.db", KEYRING, vfs=name)
        await store.open()
        acked |= await accept(store, range(20, 30))
        after_acks = CrashDisk(on_disk.base)
        after_acks.log = list(on_disk.log)
        await store.close()
    return after_acks, acked


async def test_what_is_accepted_after_a_failed_sync_outlives_a_power_cut(memory: Path) -> None:
    disk = CrashDisk()
    with failing(disk, "goes-on") as vfs:
        store = SqliteStore(memory / "hookseal.db", KEYRING, vfs="goes-on")
        await store.open()
        acked = await accept(store, range(10))
        for round_ in range(3):
            vfs.fail_next = True
            with pytest.raises(StoreUnavailable):
                await store.accept(request(100 + round_))
            acked |= await accept(store, range(200 + 10 * round_, 210 + 10 * round_))
        at_end = CrashDisk()
        at_end.log = list(disk.log)
        await store.close()
    assert len(acked) == 40
    assert await lost(memory, at_end, acked) == 0


async def test_what_is_accepted_by_the_next_process_outlives_a_power_cut(memory: Path) -> None:
    disk, acked = await lives_after_a_failed_sync(memory, "restarted")
    assert len(acked) == 20
    assert await lost(memory, disk, acked) == 0


async def test_going_on_in_the_old_log_is_noticed(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: without beginning the log anew, commits stand behind frames that the disk never got."""
    monkeypatch.setattr(sqlite_store, "begin_log_anew", lambda connection: None)
    disk, acked = await lives_after_a_failed_sync(memory, "control")
    monkeypatch.undo()
    assert await lost(memory, disk, acked) > 0


async def test_every_write_waiting_on_a_failed_sync_is_told(memory: Path) -> None:
    with failing(CrashDisk(), "told") as vfs:
        store = SqliteStore(memory / "hookseal.db", KEYRING, vfs="told")
        await store.open()
        vfs.fail_next = True
        told = await asyncio.gather(*(store.accept(request(number)) for number in range(8)), return_exceptions=True)
        failed = [one for one in told if isinstance(one, StoreUnavailable)]
        stored = {one[0].event for one in told if isinstance(one, tuple)}
        assert failed
        found = {one.row.id for one in (await store.events(EventFilter(), 1000, None)).rows}
        assert found == stored
        await store.close()
