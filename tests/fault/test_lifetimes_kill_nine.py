"""kill -9 at each step of what happens to data in its life: migrations, retention, a change of keys.

Oracles: the file's own integrity, its ledger, how many rows there are and in which state, and that every body that was
sealed opens with the keys of the key file. After every kill the next process goes on, and the last one finishes.
"""

from pathlib import Path

import pytest
from lifetimes import BODY, PENDING, SEALED, check_file, look, make_store, run_node
from tiers import note, tier

from hookseal.errors import StoreMismatch
from hookseal.probe import Step
from hookseal.sealing import Sealer
from hookseal.store.keyfile import read
from hookseal.store.packing import unpack_request
from hookseal.store.rows import request_label
from hookseal.store.sqlite import SqliteStore
from hookseal.store.sqlite.migrate import migrations

pytestmark = pytest.mark.fault

ROWS = tier(ci=50_000, full=1_000_000)
FEW = tier(ci=6_000, full=50_000)
KILLED = -9


def ledger(folder: Path) -> int:
    return int(str(look(folder, "SELECT max(version) FROM ledger")[0][0]))


def counts(folder: Path) -> list[object]:
    tables = ("requests", "bodies", "events", "deliveries", "attempts")
    return [look(folder, f"SELECT count(*) FROM {table}")[0][0] for table in tables]


def check_bodies(folder: Path) -> int:
    """Every sealed body that is there opens with the key file; returns how many that is."""
    sealer = Sealer(read(folder / "hookseal.key"))
    rows = look(folder, f"SELECT request, sealed FROM bodies WHERE request % {SEALED} = 0")
    for key, sealed in rows:
        assert isinstance(sealed, bytes)
        assert unpack_request(sealer.unseal(sealed, request_label(b"%016d" % key))).body == BODY
    return len(rows)


async def test_a_migration_killed_at_any_step_leaves_the_version_before_or_after(tmp_path: Path) -> None:
    make_store(tmp_path, ROWS, version=1)
    newest = len(migrations())
    for version in range(1, newest):
        assert await run_node(tmp_path, "migrate", Step.MIGRATING, "1") == KILLED
        assert ledger(tmp_path) == version
        assert await run_node(tmp_path, "migrate", Step.MIGRATED, "1") == KILLED
        assert ledger(tmp_path) == version + 1
    assert await run_node(tmp_path, "heavy", Step.MIGRATING, "1") == KILLED
    check_file(tmp_path)
    assert ledger(tmp_path) == newest
    assert counts(tmp_path) == [ROWS] * 5
    assert await run_node(tmp_path, "heavy") == 0
    check_file(tmp_path)
    assert look(tmp_path, "SELECT count(*) FROM events WHERE tomorrow = type || key") == [(ROWS,)]
    assert counts(tmp_path) == [ROWS] * 5
    store = SqliteStore(tmp_path / "hookseal.db", read(tmp_path / "hookseal.key"))
    with pytest.raises(StoreMismatch, match="newer hookseal"):
        await store.open()


async def test_a_migration_killed_at_any_time_resumes(tmp_path: Path) -> None:
    make_store(tmp_path, ROWS)
    newest = len(migrations())
    kills = 0
    for turn in range(1, tier(ci=6, full=20)):
        # Later and later, so that the first is certainly in time, and some fall into the commit.
        kills += await run_node(tmp_path, "heavy", kill_after_s=0.02 * turn**2) == KILLED
        if ledger(tmp_path) > newest:
            break
        assert counts(tmp_path) == [ROWS] * 5
    assert kills
    assert await run_node(tmp_path, "heavy") == 0
    check_file(tmp_path)
    assert look(tmp_path, "SELECT count(*) FROM events WHERE tomorrow = type || key") == [(ROWS,)]
    note("migration killed at any time", rows=ROWS, kills=kills)


async def test_retention_killed_at_any_step_takes_nothing_that_is_pending(tmp_path: Path) -> None:
    make_store(tmp_path, FEW)
    for nth in ("1", "2", "4"):
        for step in (Step.EXPIRING, Step.EXPIRED):
            assert await run_node(tmp_path, "expire", step, nth) == KILLED
            check_file(tmp_path)
            check_kept(tmp_path)
    assert await run_node(tmp_path, "expire") == 0
    check_file(tmp_path)
    assert counts(tmp_path) == [FEW // PENDING] * 5
    assert look(tmp_path, "SELECT DISTINCT state FROM deliveries") == [("pending",)]
    check_bodies(tmp_path)


def check_kept(folder: Path) -> None:
    """All that is pending is whole."""
    [(pending,)] = look(
        folder,
        "SELECT count(*) FROM deliveries JOIN events ON events.key = event JOIN requests ON requests.key = events.request"
        " JOIN bodies ON bodies.request = requests.key JOIN attempts ON attempts.delivery = deliveries.key"
        " WHERE state = 'pending'",
    )
    assert pending == FEW // PENDING


async def test_a_change_of_keys_killed_at_any_step_leaves_every_value_readable(tmp_path: Path) -> None:
    """The first write is the note of the new key: the file has it by then."""
    make_store(tmp_path, FEW)
    for step, nth in (
        (Step.WRITE_BEGUN, "1"),
        (Step.COMMITTED, "1"),
        (Step.REWRAPPING, "1"),
        (Step.REWRAPPED, "1"),
        (Step.REWRAPPING, "2"),
        (Step.REWRAPPED, "2"),
    ):
        assert await run_node(tmp_path, "rotate", step, nth) == KILLED, step
        check_file(tmp_path)
        assert check_bodies(tmp_path) == FEW // SEALED
    assert await run_node(tmp_path, "rotate") == 0
    check_file(tmp_path)
    assert check_bodies(tmp_path) == FEW // SEALED
    active = read(tmp_path / "hookseal.key").active
    heads = look(tmp_path, f"SELECT DISTINCT substr(sealed, 3, 2) FROM bodies WHERE request % {SEALED} = 0")
    assert heads == [(active.encode(),)]
