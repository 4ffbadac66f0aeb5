"""The PostgreSQL store, held to the contract, on each PostgreSQL that there is."""

from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import asyncpg
import pytest

pytest.register_assert_rewrite("store_contract")
from postgres_databases import Server, postgres_server  # noqa: E402, F401
from store_contract import KEYRING, NOW, StoreContract, Stores, claim, planned, result  # noqa: E402

from hookseal.clock import plus  # noqa: E402
from hookseal.model import EventId  # noqa: E402
from hookseal.sealing import Keyring  # noqa: E402
from hookseal.store.packing import pack_uuid  # noqa: E402
from hookseal.store.port import Store  # noqa: E402
from hookseal.store.postgres import PostgresStore  # noqa: E402
from hookseal.store.postgres.queries import QUERIES  # noqa: E402
from hookseal.store.sqlite.migrate import QUERIES as SQLITE  # noqa: E402

TABLES = "SELECT relname::text FROM pg_class WHERE relnamespace = 'hookseal'::regnamespace AND relkind = 'r' ORDER BY relname"
DISK_FULL = """
CREATE FUNCTION public.no_room() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER no_room BEFORE INSERT ON hookseal.bodies FOR EACH STATEMENT EXECUTE FUNCTION public.no_room();
"""


class PostgresStores:
    def __init__(self, server: Server, database: str) -> None:
        self.server = server
        self.database = database
        self._databases = [database]
        self._open: list[PostgresStore] = []

    async def open(self, keyring: Keyring = KEYRING, *, database: str | None = None, **given: Any) -> PostgresStore:
        url = self.server.url_of(database or self.database)
        store = PostgresStore(url, keyring, **{"database_time": False, **given})
        await store.open()
        self._open.append(store)
        return store

    async def after_a_crash(self, store: Store, keyring: Keyring = KEYRING) -> PostgresStore:
        """Return a store with what is committed at this moment, in a database of its own."""
        copy = await self.server.new_database()
        self._databases.append(copy)
        await self.close(await self.open(database=copy))  # makes the schema
        await self._copy_to(copy)
        return await self.open(keyring, database=copy)

    async def _copy_to(self, copy: str) -> None:
        source = await asyncpg.connect(self.server.url_of(self.database))
        target = await asyncpg.connect(self.server.url_of(copy))
        try:
            async with source.transaction(isolation="repeatable_read"), target.transaction():
                for (table,) in await source.fetch(TABLES):
                    rows = BytesIO()
                    await source.copy_from_table(table, schema_name="hookseal", output=rows, format="binary")
                    rows.seek(0)
                    await target.execute(f"TRUNCATE hookseal.{table}")
                    await target.copy_to_table(table, schema_name="hookseal", source=rows, format="binary")
        finally:
            await source.close()
            await target.close()

    async def close(self, store: Store) -> None:
        assert isinstance(store, PostgresStore)
        self._open.remove(store)
        await store.close()

    async def close_all(self) -> None:
        for store in list(self._open):
            await self.close(store)
        for database in self._databases:
            await self.server.give_back(database)

    async def bytes_on_disk(self) -> bytes:
        rows = BytesIO()
        connection = await asyncpg.connect(self.server.url_of(self.database))
        try:
            if await connection.fetchval("SELECT to_regnamespace('hookseal') IS NOT NULL"):
                for (table,) in await connection.fetch(TABLES):
                    await connection.copy_from_table(table, schema_name="hookseal", output=rows, format="binary")
        finally:
            await connection.close()
        return rows.getvalue()

    async def run(self, sql: str, *values: Any) -> Any:
        return await self.server.run(sql, *values, database=self.database)

    async def fill(self, store: Store) -> None:
        connection = await asyncpg.connect(self.server.url_of(self.database))
        await connection.execute(DISK_FULL)
        await connection.close()

    async def make_room(self, store: Store) -> None:
        await self.run("DROP TRIGGER no_room ON hookseal.bodies")

    async def damage(self, store: Store, event: EventId) -> None:
        packed = pack_uuid(event)
        assert packed is not None
        await self.run(
            "UPDATE hookseal.bodies SET sealed = substr(sealed, 1, length(sealed) - 1)"
            " WHERE request = (SELECT request FROM hookseal.events WHERE id = $1::text::uuid)",
            event,
        )

    async def damage_kept(self, store: Store, shelf: str, name: str) -> None:
        sql = "UPDATE hookseal.kept SET sealed = substr(sealed, 1, length(sealed) - 1) WHERE shelf = $1 AND name = $2"
        await self.run(sql, shelf, name)


@pytest.fixture
async def stores(postgres_server: Server) -> AsyncIterator[PostgresStores]:  # noqa: F811
    made = PostgresStores(postgres_server, await postgres_server.new_database())
    yield made
    await made.close_all()


class TestPostgresStore(StoreContract):
    async def test_voided_leases_are_due_at_once_and_counted_as_losses(self, store: Store, stores: Stores) -> None:
        """This store is not embedded: other nodes live, so that leases of a dead one end when their time is over."""
        await planned(store, 1)
        [leased] = await claim(store, lease_s=60)
        after = await stores.after_a_crash(store)
        assert await after.void_leases(plus(NOW, 2)) == 0
        assert await claim(after, plus(NOW, 59)) == []
        [again] = await claim(after, plus(NOW, 60))
        assert (again.id, again.losses) == (leased.id, 1)
        assert await after.record(result(leased)) is False


ONLY_SQLITE = {
    "find_dedupe, find_collisions, insert_collisions, read_partitions, write_partition": "a plain unique index stays flat",
    "insert_recent, read_recent, drop_recent": "the same: keys need not be put in order first",
    "insert_subjects": "an index over a hash of the subject does it",
    "read_counters, write_counters": "rows are known by their ids; sequences move within insert_events",
    "insert_requests, insert_bodies": "insert_events writes them too: a statement is a journey to the server",
    "find_peaks, read_peak": "insert_events raises them, in a table of their own that locks one subject for all nodes",
    "insert_attempts": "record_results writes them too",
    "find_due, lease_due, read_leased": "claim_due does the three, because it locks what it finds",
    "oldest_held, drop_held, oldest_refusals, drop_refusals": "expire_refusals deletes both kinds by their age",
    "is_held": "held_keys looks for those of a whole batch",
    "replay_keys": "replay_named looks at named events at once; there are no keys beside ids",
    "void_leases": "other nodes are alive",
    "look_at_requests, expire_requests": "requests have no table of their own",
    "expire_deliveries": "expire_events lets them go too",
    "expire_subjects, drop_partition": "no partitions",
}
ONLY_POSTGRES = {
    "expire_peaks": "on SQLite a peak lies with the newest event of its subject",
    "server_state, sync_commits": "the server is somebody else's, and may be another one tomorrow",
    "lock_schema, wait_for_schema, has_schema, create_schema": "other nodes and other tables share the database",
    "claim_due": "see above",
    "held_keys": "see `is_held`",
    "lock_quarantine": "nodes make room at the same time",
    "stored_keys": "SQLite looks in the index of its dedupe keys, part of which is in memory",
    "tables_without_rights": "SQLite has no roles",
    "database_time": "SQLite has no clock but that of this machine",
    "release_adrift": "no answer of SQLite's is lost on the way",
    "lock_retention, share_retention": "one node lets go of what is old, and none while a replay is planned",
    "look_at_events": "requests have no table of their own",
    "expire_refusals": "SQLite keeps count of the quarantine, and drops by key",
    "replay_named, replay_slice, lock_replay": "ids are not dense, and nodes may replay at once",
}


def names(reasons: dict[str, str]) -> list[str]:
    return sorted(name for some in reasons for name in some.split(", "))


def test_both_dialects_have_the_same_statements() -> None:
    assert sorted(SQLITE.names - QUERIES.names) == names(ONLY_SQLITE)
    assert sorted(QUERIES.names - SQLITE.names) == names(ONLY_POSTGRES)
