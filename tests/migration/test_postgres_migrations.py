"""Where the migrations of PostgreSQL lead, and what becomes of a database on the way."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
from old_stores import restore
from postgres_databases import Server, postgres_server  # noqa: F401
from store_contract import KEYRING, accept, new_event

from hookseal import probe
from hookseal.probe import Step
from hookseal.sealing import Keyring
from hookseal.settings import StoreSettings
from hookseal.store.migrations import Migration
from hookseal.store.port import UNREADABLE, EventFilter
from hookseal.store.postgres import PostgresStore
from hookseal.store.postgres import migrate as postgres_migrate
from hookseal.store.postgres.migrate import bring, migrations
from hookseal.store.postgres.queries import HERE

SHAPE = """
SELECT 'column', table_name::text,
    -- A dropped column leaves a gap in the positions.
    row_number() OVER (PARTITION BY table_name ORDER BY ordinal_position)::text, column_name::text, data_type::text, is_nullable::text,
    column_default::text
FROM information_schema.columns WHERE table_schema = 'hookseal'
UNION ALL
SELECT 'index', tablename, indexname, indexdef, '', '', '' FROM pg_indexes WHERE schemaname = 'hookseal'
UNION ALL
SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', '', ''
FROM pg_constraint WHERE connamespace = 'hookseal'::regnamespace AND contype <> 'n'
UNION ALL
SELECT 'view', viewname, definition, '', '', '', '' FROM pg_views WHERE schemaname = 'hookseal'
UNION ALL
SELECT 'table', relname, reloptions::text, '', '', '', ''
FROM pg_class WHERE relnamespace = 'hookseal'::regnamespace AND relkind = 'r'
UNION ALL
SELECT 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid), '', '', ''
FROM pg_trigger WHERE NOT tgisinternal
UNION ALL
SELECT 'function', proname, pg_get_functiondef(oid), '', '', '', ''
FROM pg_proc WHERE pronamespace = 'hookseal'::regnamespace
UNION ALL
SELECT 'storage', attrelid::regclass::text, attname, attstorage::text, '', '', ''
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE relnamespace = 'hookseal'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
ORDER BY 1, 2, 3, 4
"""


@pytest.fixture
async def databases(postgres_server: Server) -> AsyncIterator[list[str]]:  # noqa: F811
    made = [await postgres_server.new_database() for _ in range(2)]
    yield made
    for name in made:
        await postgres_server.give_back(name)


async def shape(server: Server, database: str) -> Sequence[tuple[Any, ...]]:
    connection = await asyncpg.connect(server.url_of(database), server_settings={"search_path": "hookseal"})
    try:
        return [tuple(row) for row in await connection.fetch(SHAPE)]
    finally:
        await connection.close()


async def test_the_migrations_lead_to_the_schema(postgres_server: Server, databases: list[str]) -> None:  # noqa: F811
    store = PostgresStore(postgres_server.url_of(databases[0]), KEYRING)
    await store.open()
    await store.close()
    connection = await asyncpg.connect(
        postgres_server.url_of(databases[1]), server_settings={"search_path": "hookseal"}
    )
    await connection.execute("CREATE SCHEMA hookseal")
    await connection.execute((HERE / "schema.sql").read_text())
    await connection.close()
    migrated, written = await shape(postgres_server, databases[0]), await shape(postgres_server, databases[1])
    assert len(migrated) > 100
    assert migrated == written


async def test_nodes_that_start_at_once_migrate_once(postgres_server: Server, databases: list[str]) -> None:  # noqa: F811
    stores = [PostgresStore(postgres_server.url_of(databases[0]), KEYRING) for _ in range(4)]
    await asyncio.gather(*(store.open() for store in stores))
    for number, store in enumerate(stores):
        await accept(store, new_event(number))
        await store.close()
    rows = await postgres_server.run(
        "SELECT version, name FROM hookseal.ledger ORDER BY version", database=databases[0]
    )
    assert [tuple(row) for row in rows] == [(one.version, one.name) for one in migrations()]


async def test_a_migration_that_fails_leaves_the_version_before_it(
    postgres_server: Server,  # noqa: F811
    databases: list[str],
) -> None:
    url = postgres_server.url_of(databases[0])
    store = PostgresStore(url, KEYRING)
    await store.open()
    await accept(store, new_event(1))
    broken = Migration(len(migrations()) + 1, "broken", "CREATE TABLE half (a int); SELECT no_such();")
    connection = await asyncpg.connect(url, server_settings={"search_path": "hookseal"})
    before = await shape(postgres_server, databases[0])
    with pytest.raises(asyncpg.UndefinedFunctionError):
        await bring(connection, "here", KEYRING, 0, [*migrations(), broken])
    assert await shape(postgres_server, databases[0]) == before
    await connection.close()
    await accept(store, new_event(2))
    await store.close()


async def test_a_running_node_goes_on_while_another_one_migrates(
    postgres_server: Server,  # noqa: F811
    databases: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = postgres_server.url_of(databases[0])
    old = PostgresStore(url, KEYRING)
    await old.open()
    await accept(old, new_event(1))
    more = Migration(len(migrations()) + 1, "tomorrow", "ALTER TABLE events ADD COLUMN tomorrow text;")
    known = [*migrations(), more]
    monkeypatch.setattr(postgres_migrate, "migrations", lambda: known)
    new = PostgresStore(url, KEYRING)
    await new.open()
    for number, store in enumerate((old, new, old), 2):
        [stored] = await accept(store, new_event(number))
        assert (await old.event(stored.event)).row.sequence == number
    await new.close()
    await old.close()


_OLD_NODE_STORES = """
INSERT INTO hookseal.events (id, request, item, siblings, source, sequence, received_at, type, provider_type, provider_id,
    subject, time, flags, content, conflicts)
SELECT gen_random_uuid(), request, item, siblings, source, sequence + $1, received_at, type, provider_type, 'id', 'subject',
    time, flags, content, 0 FROM hookseal.events WHERE sequence = 1 AND source = 'gone'
"""


async def test_what_a_forgotten_old_node_stores_between_two_migrations_stays_readable(
    postgres_server: Server,  # noqa: F811
    databases: list[str],
    tmp_path: Path,
) -> None:
    """The operator should have stopped it. What it has acknowledged is kept."""
    url = postgres_server.url_of(databases[0])
    keyfile = tmp_path / "hookseal.key"
    await restore("postgresql", StoreSettings(url=url, keyring=f"file:{keyfile}"), tmp_path)
    old_node = await asyncpg.connect(url)
    stored: list[int] = []

    async def store_one(step: Step) -> None:
        if step is Step.MIGRATED:
            try:
                await old_node.execute(_OLD_NODE_STORES, 1000 + len(stored))
            except asyncpg.UndefinedColumnError:
                return  # it answers 503 from now on
            stored.append(1)

    leave = probe.listen(store_one)
    try:
        store = PostgresStore(url, Keyring.parse(keyfile.read_text()))
        await store.open()
    finally:
        leave()
        await old_node.close()
    page = await store.events(EventFilter(), 100, None)
    await store.close()
    assert len(stored) > 2
    assert len(page.rows) == 5 + len(stored)
    assert [event.row.id for event in page.rows if UNREADABLE in event.row.flags] == []
