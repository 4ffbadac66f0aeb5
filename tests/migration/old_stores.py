"""Stores as an older version left them, by the rows in `old_store/`.

The rows were written by hookseal before version 0.1, at schema 4 of SQLite and 5 of PostgreSQL, through its HTTP interface:
two verdicts of iDenfy at `idv` (the second one late, both with a delivery to `core` that waits), two messages of
ZignSec at `gone`, an event of its own, a refused request at `idv`, a held one at `held`, a registered source. `views` has
what its API returned.
"""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import asyncpg

from hookseal.clock import Instant
from hookseal.settings import StoreSettings
from hookseal.store.postgres.migrate import migrations as postgres_migrations
from hookseal.store.sqlite.migrate import migrate
from hookseal.store.sqlite.migrate import migrations as sqlite_migrations

FOLDER = Path(__file__).parent / "old_store"
_SQLITE_VERSION = 4
_POSTGRES_VERSION = 5
_AT = Instant(1_763_700_000_000_000)


@dataclass(frozen=True, slots=True)
class OldStore:
    settings: StoreSettings
    views: dict[str, list[dict[str, Any]]]


async def restore(kind: str, settings: StoreSettings, folder: Path) -> OldStore:
    """Make the store in an empty place."""
    old = json.loads((FOLDER / f"{kind}.json").read_text())
    keyfile = folder / "hookseal.key"
    keyfile.write_text(old["keyring"])
    keyfile.chmod(0o600)
    if kind == "sqlite":
        _fill_sqlite(folder / "hookseal.db", old["tables"])
    else:
        await _fill_postgres(settings.url, old["tables"])
    return OldStore(settings, old["views"])


def _value(value: Any) -> Any:
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value


def _fill_sqlite(path: Path, tables: dict[str, list[dict[str, Any]]]) -> None:
    connection = apsw.Connection(str(path))
    migrate(connection, 0, sqlite_migrations()[:_SQLITE_VERSION], _AT)
    for table, rows in tables.items():
        for row in rows:
            marks = ", ".join("?" * len(row))
            sql = f"INSERT OR REPLACE INTO {table} ({', '.join(row)}) VALUES ({marks})"
            connection.execute(sql, [_value(value) for value in row.values()])
    connection.close()


async def _fill_postgres(url: str, tables: dict[str, list[dict[str, Any]]]) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CREATE SCHEMA hookseal; SET search_path = hookseal")
        await connection.execute(
            "CREATE TABLE ledger (version integer PRIMARY KEY, name text NOT NULL, applied_at bigint NOT NULL)"
        )
        await connection.set_type_codec(
            "uuid", schema="pg_catalog", encoder=lambda id: id, decoder=bytes, format="binary"
        )
        for migration in postgres_migrations()[:_POSTGRES_VERSION]:
            await connection.execute(migration.sql)
            await connection.execute("INSERT INTO ledger VALUES ($1, $2, $3)", migration.version, migration.name, _AT)
        for table, rows in tables.items():
            for row in rows:
                marks = ", ".join(f"${number}" for number in range(1, len(row) + 1))
                sql = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})"
                await connection.execute(sql, *(_value(value) for value in row.values()))
    finally:
        await connection.close()
