"""The power fails at every point of the store's life: between any two operations on its files.

The store is the real one, with its writer, its readers and its thread for checkpoints; its files lie on a disk that
writes down every write and every sync. From that log come the images: what was synced is there, of the rest any sector
is kept, dropped or garbled. The store opens each image as it would after an outage.

Oracles: what the store had acknowledged before that point, and SQLite's own integrity check. Lost 0, corrupt 0,
doubled 0. A disk that lies, commits that are not synced and checkpoints that are not synced must each be noticed, or
the test sees nothing.
"""

import os
import random
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import apsw
import pytest
import tiers
from power.audit import Audit
from power.crash_disk import CrashDisk, Decay
from power.crash_vfs import crash_vfs
from power.ledger import Ledger
from power.older import migrated, older, with_tomorrow
from power.workload import Extent, live

from hookseal.store.sqlite import connection
from hookseal.store.sqlite import store as sqlite_store
from hookseal.store.sqlite.migrate import migrations

pytestmark = pytest.mark.fault

POINTS = {
    "work": tiers.tier(ci=1_100, full=10_000),
    "retention": tiers.tier(ci=300, full=1_200),
    "rotation": tiers.tier(ci=300, full=1_200),
    "migration": tiers.tier(ci=300, full=1_200),
}
"""How often in the lives of each kind. A migration's life begins with a file of a former version."""
POINTS_OF_ONE_LIFE = {"work": 500, "retention": 150, "rotation": 150, "migration": 60}
POINTS_OF_A_CONTROL = 80


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory where there is one: images are many, and the disk below them is on paper."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="hookseal-power-", dir=place) as folder:
        yield Path(folder)


@dataclass(slots=True)
class Life:
    """A store's life: the disk, and what was acknowledged. also: statements that find nothing in it when all is well."""

    disk: CrashDisk
    ledger: Ledger
    also: tuple[str, ...] = ()


async def lived(
    memory: Path, seed: int, *, kind: str = "work", before: Life | None = None, syncs: bool = True, rounds: int = 8
) -> Life:
    """before: begin with an image of that life, at a place by chance, instead of with nothing."""
    base: dict[str, bytes] = {}
    ledger = Ledger()
    also: tuple[str, ...] = ()
    extent = Extent(rounds=rounds, upkeep=kind)
    if before is not None:
        dice = random.Random(seed)
        position = dice.randrange(before.disk.position // 2, before.disk.position)
        decay = Decay(before.disk)
        decay.advance(position)
        base, ledger, also = decay.image(dice), before.ledger.known_at(position).from_before(), before.also
    elif kind == "migration":
        former = await lived(memory, seed)
        decay = Decay(former.disk)
        decay.advance(former.disk.position)
        # Earlier versions have columns in the clear that the newest rows have encrypted: they cannot be made of them.
        version = len(migrations())
        base, last = older(decay.image(random.Random(seed)), version, memory)
        ledger, also = former.ledger.from_before(), migrated(last)
    if kind == "migration":
        extent = Extent(rounds=1, lives=1)
    disk = CrashDisk(base, syncs=syncs)
    with tempfile.TemporaryDirectory(dir=memory) as folder, crash_vfs(Path(folder), disk) as vfs:
        await live(Path(folder), disk, vfs, ledger, seed, extent)
    return Life(disk, ledger, also)


async def audits(memory: Path, life: Life, points: int, seed: int) -> AsyncIterator[tuple[int, Audit]]:
    """Cut the power at so many points of a life, by chance, each at most once."""
    dice = random.Random(seed)
    last = life.disk.position
    decay = Decay(life.disk)
    for position in sorted(dice.sample(range(last + 1), min(points, last + 1))):
        decay.advance(position)
        with tempfile.TemporaryDirectory(dir=memory) as folder:
            known = life.ledger.known_at(position)
            yield position, await Audit.of(Path(folder), decay.image(dice), known, dice, life.also)


@pytest.fixture
def tomorrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest version of the schema is one that writes every event anew."""
    monkeypatch.setattr(sqlite_store, "migrations", with_tomorrow)


@pytest.fixture(params=sorted(POINTS))
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "migration":
        request.getfixturevalue("tomorrow")
    return str(request.param)


async def test_no_power_cut_takes_what_was_acknowledged(memory: Path, kind: str) -> None:
    began = time.monotonic()
    points = acknowledged = 0
    unsound: list[str] = []
    life: Life | None = None
    seed = 0
    while points < POINTS[kind]:
        seed += 1
        life = await lived(memory, seed, kind=kind, before=life if seed % 3 else None)
        async for position, audit in audits(memory, life, min(POINTS_OF_ONE_LIFE[kind], POINTS[kind] - points), seed):
            points += 1
            if not audit.sound:
                unsound.append(f"seed {seed}, after operation {position} of {life.disk.position}: {audit}")
        acknowledged += life.ledger.facts
    tiers.note(
        f"sqlite: power cut at a point of the log, {kind}",
        crash_points=points,
        lives=seed,
        acknowledged=acknowledged,
        unsound=len(unsound),
        seconds=round(time.monotonic() - began, 1),
    )
    assert unsound == []


# --- what must be noticed ---------------------------------------------------------------------------------------------


async def noticed(
    memory: Path,
    test: str,
    *,
    kind: str = "work",
    syncs: bool = True,
    rounds: int = 8,
    points: int = POINTS_OF_A_CONTROL,
) -> None:
    """Something is wrong on purpose; cuts of the power must bring it to light."""
    life = await lived(memory, 1, kind=kind, syncs=syncs, rounds=rounds)
    found = [audit async for _, audit in audits(memory, life, points, 1)]
    unsound = sum(not audit.sound for audit in found)
    lost = sum(bool(audit.lost) for audit in found)
    tiers.note(f"control: {test}", crash_points=len(found), unsound=unsound, with_loss=lost)
    assert unsound > 0, "the test does not see what it is for"


async def test_a_disk_that_lies_is_noticed(memory: Path, kind: str) -> None:
    points = POINTS_OF_A_CONTROL if kind == "work" else 20
    await noticed(memory, f"sqlite, syncs dropped, {kind}", kind=kind, syncs=False, points=points)


async def test_commits_that_are_not_synced_are_noticed(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(path: Path, vfs: str | None = None) -> apsw.Connection:
        opened = connection.open_writer(path, vfs)
        opened.execute("PRAGMA synchronous = NORMAL")
        return opened

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_store, "open_writer", careless)
        await noticed(memory, "sqlite, synchronous=NORMAL")


async def test_checkpoints_that_are_not_synced_are_noticed(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(path: Path, vfs: str | None = None) -> apsw.Connection:
        opened = connection.open_checkpointer(path, vfs)
        opened.execute("PRAGMA synchronous = OFF")
        return opened

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_store, "open_checkpointer", careless)
        await noticed(memory, "sqlite, checkpoints not synced", rounds=24)
