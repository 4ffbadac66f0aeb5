import re
import shutil
from pathlib import Path
from typing import Any

import apsw
import pytest

from hookseal.clock import Instant
from hookseal.errors import StoreMismatch
from hookseal.sealing import Keyring
from hookseal.store.sqlite import SqliteStore
from hookseal.store.sqlite import store as sqlite_store
from hookseal.store.sqlite.migrate import HERE, QUERIES, Migration, migrate, migrations

NOW = Instant(1_763_700_000_000_000)
KEYRING = Keyring((("k1", bytes(range(32))),))


def schema_of(connection: apsw.Connection) -> dict[tuple[str, str], str]:
    """Every table, index and view, with its text less blank space and comments."""
    rows = connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
    return {(kind, name): _plain(sql) for kind, name, sql in rows}


def _plain(sql: str) -> str:
    """A column that was added later stands after another comma than one that was always there."""
    return re.sub(r" ?([(),]) ?", r"\1", " ".join(_without_comments(sql).split()))


def _without_comments(sql: str) -> str:
    return "\n".join(line.split("--", 1)[0] for line in sql.splitlines())


def migrated(version: int = 0) -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    migrate(connection, version, migrations(), NOW)
    return connection


def test_the_migrations_lead_to_the_schema_that_is_written_down() -> None:
    written = apsw.Connection(":memory:")
    written.execute((HERE / "schema.sql").read_text(encoding="utf-8"))
    assert schema_of(migrated()) == schema_of(written)


def test_every_migration_is_in_the_ledger() -> None:
    rows = migrated().execute("SELECT version, name, applied_at FROM ledger ORDER BY version").fetchall()
    assert rows == [(one.version, one.name, NOW) for one in migrations()]


def test_a_migration_that_fails_leaves_the_version_before_it() -> None:
    connection = migrated()
    before = schema_of(connection)
    broken = [*migrations(), Migration(len(migrations()) + 1, "broken", "CREATE TABLE half (a); SELECT no_such();")]
    with pytest.raises(apsw.SQLError):
        migrate(connection, len(migrations()), broken, NOW)
    assert schema_of(connection) == before
    assert connection.execute(QUERIES["ledger_version"]).get == len(migrations())
    assert not connection.in_transaction


@pytest.mark.parametrize(
    "names", [["0002_late.sql"], ["0001_a.sql", "0003_c.sql"], ["0001_a.sql", "0001_b.sql"], ["a.sql"]]
)
def test_migrations_are_numbered_without_a_gap(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(ValueError):
        migrations(tmp_path)


async def opened(path: Path) -> None:
    store = SqliteStore(path, KEYRING)
    await store.open()
    await store.close()


async def test_a_store_is_migrated_once_and_keeps_its_ledger(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    await opened(path)
    before = ledger(path)
    await opened(path)
    assert ledger(path) == before
    assert [row[0] for row in before] == [one.version for one in migrations()]


async def test_yesterdays_store_comes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.db"
    await opened(path)
    more = Migration(len(migrations()) + 1, "tomorrow", "CREATE TABLE tomorrow (a INTEGER) STRICT;")
    known = [*migrations(), more]
    monkeypatch.setattr(sqlite_store, "migrations", lambda: known)
    await opened(path)
    assert ledger(path)[-1][:2] == (more.version, "tomorrow")


async def test_a_newer_store_is_refused_and_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.db"
    await opened(path)
    write(path, "INSERT INTO ledger VALUES (9999, 'from_the_future', 0)")
    before = path.read_bytes()
    with pytest.raises(StoreMismatch, match="newer hookseal"):
        await opened(path)
    assert path.read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == {"a.db", "a.db.lock"}


async def test_a_database_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    write(path, "CREATE TABLE customers (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(StoreMismatch, match="not one of hookseal"):
        await opened(path)
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"my diary, dear diary " * 500)
    before = path.read_bytes()
    with pytest.raises(StoreMismatch):
        await opened(path)
    assert path.read_bytes() == before


async def test_a_refused_store_can_be_opened_once_it_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    await opened(path)
    good = tmp_path / "good.db"
    shutil.copy(path, good)
    write(path, "INSERT INTO ledger VALUES (9999, 'from_the_future', 0)")
    with pytest.raises(StoreMismatch):
        await opened(path)
    shutil.copy(good, path)
    await opened(path)


def ledger(path: Path) -> list[Any]:
    connection = apsw.Connection(str(path))
    try:
        return connection.execute("SELECT version, name, applied_at FROM ledger ORDER BY version").fetchall()
    finally:
        connection.close()


def write(path: Path, sql: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(sql)
    connection.close()
