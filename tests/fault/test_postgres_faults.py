"""What a PostgreSQL that restarts, stalls, fills up or goes read-only does to a node.

Oracles: an operation fails with StoreUnavailable, within 10 s; the first one tried 2 s after the fault has passed goes
through; what was acknowledged is stored once.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
from postgres_databases import KINDS, Server, running
from power.postgres_server import programs_of
from store_contract import KEYRING, accept, new_event

from hookseal.errors import StoreMismatch, StoreUnavailable
from hookseal.sealing import Keyring
from hookseal.store.port import EventFilter
from hookseal.store.postgres import PostgresStore
from hookseal.store.postgres.connection import Hosts, place_of

pytestmark = pytest.mark.fault


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server of its own: these tests stop it, stall it and change its settings."""
    programs = next(filter(None, map(programs_of, KINDS)), None)
    if programs is None:
        pytest.skip("NOT TESTED: there is no PostgreSQL to harm")
    with running(programs) as started:
        yield started


@pytest.fixture
async def database(server: Server) -> str:
    return await server.new_database()


@pytest.fixture
async def store(server: Server, database: str) -> AsyncIterator[PostgresStore]:
    opened = PostgresStore(server.url_of(database), KEYRING)
    await opened.open()
    yield opened
    await opened.close()


async def bounded(operation: Awaitable[Any]) -> Any:
    async with asyncio.timeout(10):
        return await operation


async def healed(store: PostgresStore, number: int) -> None:
    """Within 5 s a write and a read go through, and stay so."""
    async with asyncio.timeout(5):
        while True:
            try:
                await accept(store, new_event(number))
                break
            except StoreUnavailable:
                await asyncio.sleep(0.05)
    await store.counts()
    await accept(store, new_event(number + 1))


async def numbers(store: PostgresStore) -> list[int]:
    rows = (await store.events(EventFilter(), 1000, None)).rows
    return sorted(one.row.sequence for one in rows)


async def test_a_killed_server_loses_nothing_that_was_acknowledged(server: Server, store: PostgresStore) -> None:
    acknowledged = set()
    for round_ in range(3):
        waiting = [asyncio.ensure_future(accept(store, new_event(round_ * 1000 + number))) for number in range(200)]
        [first] = await waiting[0]
        await asyncio.to_thread(server.own.kill)
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(one) for one in outcomes if isinstance(one, BaseException)} <= {StoreUnavailable}
        acknowledged |= {one[0].event for one in outcomes if not isinstance(one, BaseException)} | {first.event}
        await asyncio.to_thread(server.own.start)
        await healed(store, round_ * 1000 + 500)
    stored = {one.row.id for one in (await store.events(EventFilter(), 1000, None)).rows}
    assert acknowledged <= stored
    found = await numbers(store)
    assert found == list(range(1, len(found) + 1))


async def test_a_commit_whose_answer_is_lost_is_unavailable_and_the_resend_dedupes(
    server: Server, database: str
) -> None:
    """The server commits; a proxy cuts the connection before its answer comes through."""
    async with Proxy(server) as proxy:
        store = PostgresStore(proxy.url_of(database), KEYRING, writers=1)
        await store.open()
        await accept(store, new_event(0))
        event = new_event(1)
        proxy.cut_after = b"COMMIT;"
        with pytest.raises(StoreUnavailable):
            await bounded(accept(store, event))
        proxy.cut_after = None
        assert (await server.run("SELECT count(*) FROM hookseal.events", database=database))[0][0] == 2
        await healed(store, 10)
        [again] = await accept(store, new_event(1))
        assert (again.event, again.duplicate, again.sequence) == (event.id, True, 2)
        await store.close()


class Proxy:
    """Passes bytes between a node and the server. cut_after: what a node sends, whose answer is swallowed and all cut."""

    def __init__(self, server: Server) -> None:
        self._url = server.url
        self.cut_after: bytes | None = None
        self._listening: asyncio.Server | None = None

    async def __aenter__(self) -> "Proxy":
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listening is not None
        self._listening.close()

    def url_of(self, database: str) -> str:
        assert self._listening is not None
        return f"postgresql://postgres@127.0.0.1:{self._listening.sockets[0].getsockname()[1]}/{database}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(self._url)
        there_reader, there_writer = await asyncio.open_connection(parts.hostname, parts.port)
        cutting = asyncio.Event()

        async def up() -> None:
            while data := await reader.read(65536):
                if self.cut_after is not None and self.cut_after in data:
                    cutting.set()
                there_writer.write(data)

        async def down() -> None:
            while data := await there_reader.read(65536):
                if cutting.is_set():
                    return
                writer.write(data)

        tasks = {asyncio.ensure_future(up()), asyncio.ensure_future(down())}
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        writer.close()
        there_writer.close()


async def test_a_server_that_is_down_is_unavailable_at_once_and_heals(server: Server, store: PostgresStore) -> None:
    await asyncio.to_thread(server.own.stop_at_once)
    try:
        for number in range(3):
            with pytest.raises(StoreUnavailable):
                await bounded(accept(store, new_event(number)))
            with pytest.raises(StoreUnavailable):
                await bounded(store.counts())
    finally:
        await asyncio.to_thread(server.own.start)
    await healed(store, 10)


async def test_a_server_that_stalls_holds_nobody_for_ever(server: Server, store: PostgresStore) -> None:
    await accept(store, new_event(0))
    with server.own.stalled():
        waiting = [bounded(accept(store, new_event(number))) for number in range(1, 20)]
        outcomes = await asyncio.gather(*waiting, bounded(store.counts()), return_exceptions=True)
    assert {type(one) for one in outcomes} == {StoreUnavailable}
    await healed(store, 30)


async def test_a_lock_that_somebody_holds_is_unavailable_while_it_lasts(
    server: Server, database: str, store: PostgresStore
) -> None:
    holder = await asyncpg.connect(server.url_of(database))
    async with holder.transaction():
        await holder.execute("LOCK TABLE hookseal.events IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreUnavailable, match="55P03"):
            await bounded(accept(store, new_event(1)))
    await holder.close()
    await healed(store, 2)


async def test_a_read_only_server_is_unavailable_while_it_lasts(
    server: Server, database: str, store: PostgresStore
) -> None:
    await server.run(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    await server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", database)
    with pytest.raises(StoreUnavailable):
        await bounded(accept(store, new_event(1)))
    await server.run(f"ALTER DATABASE {database} SET default_transaction_read_only = off")
    await healed(store, 2)


async def test_no_connection_left_is_unavailable_while_it_lasts(
    server: Server, database: str, store: PostgresStore
) -> None:
    await server.run(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
    await server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", database)
    with pytest.raises((StoreUnavailable, StoreMismatch)):
        await bounded(accept(store, new_event(1)))
    await server.run(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")
    async with asyncio.timeout(5):
        while True:
            try:
                await accept(store, new_event(2))
                return
            except (StoreUnavailable, StoreMismatch):
                await asyncio.sleep(0.05)


# --- what is refused ---


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
async def test_a_server_that_may_lose_commits_is_refused(server: Server, database: str, setting: str) -> None:
    try:
        await server.run(f"ALTER SYSTEM SET {setting} = off")
        await server.run("SELECT pg_reload_conf()")
        await settled(server, setting, "off")
        with pytest.raises(StoreMismatch, match=setting):
            await PostgresStore(server.url_of(database), KEYRING).open()
    finally:
        await server.run(f"ALTER SYSTEM RESET {setting}")
        await server.run("SELECT pg_reload_conf()")
        await settled(server, setting, "on")


async def settled(server: Server, setting: str, value: str) -> None:
    async with asyncio.timeout(10):
        while (await server.run(f"SHOW {setting}"))[0][0] != value:
            await asyncio.sleep(0.02)


async def test_our_sessions_wait_for_the_disk_whatever_the_default_is(server: Server, database: str) -> None:
    await server.run(f"ALTER DATABASE {database} SET synchronous_commit = off")
    connection = await Hosts(server.url_of(database)).connect()
    assert await connection.fetchval("SHOW synchronous_commit") == "on"
    await connection.close()


async def test_a_schema_that_is_not_ours_is_refused_and_left_alone(server: Server, database: str) -> None:
    await server.run("CREATE SCHEMA hookseal", database=database)
    await server.run("CREATE TABLE hookseal.theirs (a int)", database=database)
    with pytest.raises(StoreMismatch, match="not one of hookseal"):
        await PostgresStore(server.url_of(database), KEYRING).open()
    assert (await server.run("SELECT count(*) FROM pg_class WHERE relname = 'ledger'", database=database))[0][0] == 0


async def test_a_newer_schema_is_refused(server: Server, database: str, store: PostgresStore) -> None:
    await server.run("INSERT INTO hookseal.ledger VALUES (999, 'tomorrow', 0)", database=database)
    with pytest.raises(StoreMismatch, match="newer hookseal"):
        await PostgresStore(server.url_of(database), KEYRING).open()


async def test_nodes_with_different_keyrings_that_start_at_once_do_not_both_open(server: Server, database: str) -> None:
    rings = [Keyring((("k1", bytes([number]) * 32),)) for number in range(4)]
    stores = [PostgresStore(server.url_of(database), ring) for ring in rings]
    outcomes = await asyncio.gather(*(store.open() for store in stores), return_exceptions=True)
    assert sorted(type(one).__name__ for one in outcomes) == ["NoneType", *["StoreMismatch"] * 3]
    for store, outcome in zip(stores, outcomes, strict=True):
        if outcome is None:
            await store.close()


# --- several hosts ---


async def test_a_host_that_is_down_is_passed_over(server: Server, database: str) -> None:
    port = server.url.rpartition(":")[2].partition("/")[0]
    url = f"postgresql://postgres@127.0.0.1:1,127.0.0.1:{port}/{database}?target_session_attrs=read-write"
    store = PostgresStore(url, KEYRING)
    await store.open()
    await accept(store, new_event(1))
    await store.close()


async def test_a_host_that_never_answers_leaves_time_for_the_next(server: Server, database: str) -> None:
    port = server.url.rpartition(":")[2].partition("/")[0]
    silent = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    dumb = silent.sockets[0].getsockname()[1]
    store = PostgresStore(f"postgresql://postgres@127.0.0.1:{dumb},127.0.0.1:{port}/{database}", KEYRING)
    await bounded(store.open())
    await store.close()
    silent.close()


def test_a_place_is_told_without_user_and_password() -> None:
    assert place_of("postgresql://u:secret@h1,h2:5433/db?sslmode=require&password=x") == "h1,h2:5433/db"
