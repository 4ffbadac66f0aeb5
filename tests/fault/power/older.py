"""A store's file as a former version of the gateway would have left it, and a migration that a later one may bring."""

import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import apsw
from power.ledger import NOW

from hookseal.store.migrations import Migration
from hookseal.store.sqlite.migrate import migrate, migrations

_HEAVY = """
ALTER TABLE events ADD COLUMN tomorrow TEXT;
UPDATE events SET tomorrow = type || key;
CREATE INDEX events_tomorrow ON events (tomorrow);
"""
"""Writes every event anew."""


def with_tomorrow() -> list[Migration]:
    known = migrations()
    return [*known, Migration(len(known) + 1, "heavy", _HEAVY)]


def migrated(last_key: int) -> tuple[str, ...]:
    """Statements that find what `with_tomorrow` should have brought to a file with events up to this key."""
    versions = ",".join(str(one.version) for one in with_tomorrow())
    return (
        "SELECT 'the ledger tells of ' || versions FROM (SELECT group_concat(version ORDER BY version) AS versions"
        f" FROM ledger) WHERE versions <> '{versions}'",
        f"SELECT 'the migration passed an event over' FROM events WHERE key <= {last_key}"
        " AND tomorrow IS NOT type || key",
    )


def older(image: Mapping[str, bytes], version: int, memory: Path) -> tuple[dict[str, bytes], int]:
    """The rows of a store at the newest version in a file at this one, and the key of its last event. Columns and tables
    that it does not have are left out."""
    with tempfile.TemporaryDirectory(dir=memory) as place:
        folder = Path(place)
        for file, data in image.items():
            (folder / file).write_bytes(data)
        with (
            closing(apsw.Connection(str(folder / "hookseal.db"))) as newest,
            closing(apsw.Connection(str(folder / "older.db"))) as made,
        ):
            made.execute("PRAGMA page_size = 8192; PRAGMA journal_mode = WAL").fetchall()
            migrate(made, 0, migrations()[:version], NOW)
            tables = made.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'ledger'").fetchall()
            with made:
                for (table,) in tables:
                    _copy(newest, made, table)
            [(last,)] = made.execute("SELECT coalesce(max(key), 0) FROM events").fetchall()
            made.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return {"hookseal.db": (folder / "older.db").read_bytes()}, int(last)


def _copy(source: apsw.Connection, target: apsw.Connection, table: str) -> None:
    names = [name for _, name, *_ in target.execute(f"PRAGMA table_info({table})")]
    columns, marks = ", ".join(names), ", ".join("?" * len(names))
    rows = source.execute(f"SELECT {columns} FROM {table}").fetchall()
    # A trigger of `kept` writes `kv_versions` too.
    target.executemany(f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({marks})", rows)
