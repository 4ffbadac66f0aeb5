"""A process that does one thing to a store and pulls its own plug. Run by the tests of long-lived data, never imported.

    python lifetime_node.py FOLDER migrate|heavy|expire|rotate [STEP NTH]

FOLDER holds `hookseal.db` and `hookseal.key`. With STEP and NTH it sends itself SIGKILL when that step is reached for the
NTH time. `heavy` is a migration that this version does not have yet: it writes every event anew.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from hookseal import probe
from hookseal.clock import GivenClock, Instant, SystemClock
from hookseal.manage.retention import Ages, Retention
from hookseal.manage.rotation import KeyRotation
from hookseal.probe import Step
from hookseal.store.keyfile import read
from hookseal.store.migrations import Migration
from hookseal.store.sqlite import SqliteStore
from hookseal.store.sqlite import store as sqlite_store
from hookseal.store.sqlite.migrate import migrations

HEAVY = """
ALTER TABLE events ADD COLUMN tomorrow TEXT;
UPDATE events SET tomorrow = type || key;
CREATE INDEX events_tomorrow ON events (tomorrow);
"""
LATE = Instant(1_963_700_000_000_000)


def pull_the_plug_at(wanted: Step, nth: int) -> None:
    left = nth

    def listener(reached: Step) -> None:
        nonlocal left
        if reached is wanted:
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    probe.listen(listener)


async def main(folder: Path, work: str) -> None:
    if work == "heavy":
        known = [*migrations(), Migration(len(migrations()) + 1, "heavy", HEAVY)]
        sqlite_store.migrations = lambda: known
    store = SqliteStore(folder / "hookseal.db", read(folder / "hookseal.key"))
    print("begun", flush=True)
    await store.open()
    if work == "expire":
        await Retention(store, Ages(bodies=1, metadata=1), GivenClock(LATE)).sweep()
    elif work == "rotate":
        rotation = KeyRotation(store, folder / "hookseal.key", SystemClock(), is_shared=False)
        rotation.start()
        await rotation.rotate()
        await rotation.finished()
    await store.close()


if len(sys.argv) > 3:
    pull_the_plug_at(Step(sys.argv[3]), int(sys.argv[4]))
asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
