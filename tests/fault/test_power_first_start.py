"""The power fails while a store is being made, and nothing has been acknowledged yet: the next start makes it."""

import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiers
from power.audit import Audit
from power.crash_disk import CrashDisk, Decay
from power.crash_vfs import crash_vfs
from power.ledger import KEYRING, Ledger

from hookseal.store.sqlite import SqliteStore

IMAGES = tiers.tier(ci=2, full=100)
BEGINNING = 12
"""Operations until the first page is written and has a log; ten times as many images are drawn there."""


@pytest.fixture
def memory() -> Iterator[Path]:
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="hookseal-power-", dir=place) as folder:
        yield Path(folder)


async def test_a_store_whose_making_was_cut_off_is_made_by_the_next_start(memory: Path) -> None:
    disk = CrashDisk()
    with tempfile.TemporaryDirectory(dir=memory) as folder, crash_vfs(Path(folder), disk) as vfs:
        store = SqliteStore(Path(folder) / "hookseal.db", KEYRING, vfs=vfs)
        await store.open()
        last = disk.position
        await store.close()
    decay, dice = Decay(disk), random.Random(1)
    unsound: list[str] = []
    points = 0
    for position in range(last + 1):
        decay.advance(position)
        for _ in range(IMAGES * 10 if position <= BEGINNING else IMAGES):
            points += 1
            with tempfile.TemporaryDirectory(dir=memory) as folder:
                audit = await Audit.of(Path(folder), decay.image(dice), Ledger(), dice)
            if not audit.sound:
                unsound.append(f"after operation {position} of {last}: {audit}")
    tiers.note("sqlite: power cut while a store is made", crash_points=points, unsound=len(unsound))
    assert unsound == []
