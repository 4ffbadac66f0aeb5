"""Long-lived data on PostgreSQL: several nodes that sweep and rotate, a dump put back, migrations of a history cut short.

The history is written by SQL and is as large as `HOOKSEAL_FAULTS` says.
"""

import asyncio
import os
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

pytest.register_assert_rewrite("store_contract", "retention_contract", "rotation_contract")
from postgres_databases import Server, postgres_server  # noqa: E402, F401
from retention_contract import all_before, deliver, sweep  # noqa: E402
from rotation_contract import BOTH, walk  # noqa: E402
from store_contract import (  # noqa: E402
    CORE,
    KEYRING,
    NOW,
    accept,
    claim,
    held_at,
    new_delivery,
    new_event,
)
from test_store_postgres import PostgresStores  # noqa: E402

from hookseal.clock import SystemClock, plus  # noqa: E402
from hookseal.errors import StoreMismatch  # noqa: E402
from hookseal.manage.retention import Ages, Retention  # noqa: E402
from hookseal.probe import Step  # noqa: E402
from hookseal.store.port import EventFilter, Replay  # noqa: E402
from hookseal.store.postgres.migrate import migrations  # noqa: E402

FULL = os.environ.get("HOOKSEAL_FAULTS") == "full"
ROWS = 1_000_000 if FULL else 5_000
MIGRATED = 1_000_000 if FULL else 50_000
PENDING = 100
DAY_S = 86_400.0

FILL = """
INSERT INTO bodies SELECT lpad(to_hex(n), 32, '0')::uuid, repeat('x', 600)::bytea FROM generate_series(1, $1::int) AS n;
"""
FILL_EVENTS = """
INSERT INTO events (id, request, item, siblings, source, sequence, received_at, type, flags, content)
SELECT lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(n), 32, '0')::uuid, 0, 1, 'idenfy', n, $2::bigint + n, 'other', '',
    decode(repeat('00', 32), 'hex')
FROM generate_series(1, $1::int) AS n;
"""
FILL_DELIVERIES = """
INSERT INTO deliveries (id, event, endpoint, state, attempts, created_at, due_at, first_attempt_at, ended_at)
SELECT lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(n), 32, '0')::uuid, 'core',
    CASE n % $3::int WHEN 0 THEN 'pending' ELSE 'delivered' END, 1, $2::bigint,
    CASE n % $3::int WHEN 0 THEN $2::bigint END, $2::bigint, CASE n % $3::int WHEN 0 THEN NULL ELSE $2::bigint END
FROM generate_series(1, $1::int) AS n;
"""
FILL_DEDUPE = """
INSERT INTO dedupe (dedupe_key, event, received_at)
SELECT sha256(n::text::bytea), lpad(to_hex(n), 32, '0')::uuid, $2::bigint + n FROM generate_series(1, $1::int) AS n;
"""


@pytest.fixture
async def stores(postgres_server: Server) -> AsyncIterator[PostgresStores]:  # noqa: F811
    made = PostgresStores(postgres_server, await postgres_server.new_database())
    yield made
    await made.close_all()


async def fill(stores: PostgresStores, rows: int) -> None:
    connection = await asyncpg.connect(
        stores.server.url_of(stores.database), server_settings={"search_path": "hookseal"}
    )
    try:
        await connection.execute(FILL.replace("$1", str(rows)))
        await connection.execute(FILL_EVENTS.replace("$1", str(rows)).replace("$2", str(NOW)))
        text = FILL_DELIVERIES.replace("$1", str(rows)).replace("$2", str(NOW)).replace("$3", str(PENDING))
        await connection.execute(text)
        await connection.execute(FILL_DEDUPE.replace("$1", str(rows)).replace("$2", str(NOW)))
        await connection.execute("ANALYZE")
    finally:
        await connection.close()


async def count(stores: PostgresStores, table: str) -> int:
    [(number,)] = await stores.run(f"SELECT count(*) FROM hookseal.{table}")
    return int(number)


class Late(SystemClock):
    def now(self) -> Any:
        return plus(NOW, 500 * DAY_S)


async def test_a_history_goes_while_nodes_store_and_nothing_pending_goes(stores: PostgresStores) -> None:
    one, two = await stores.open(), await stores.open()
    await fill(stores, ROWS)
    late = Late().now()
    acked: list[Any] = []
    done = asyncio.Event()

    async def client(store: Any, number: int) -> None:
        while not done.is_set():
            event = new_event(ROWS + number + 1000 * len(acked), deliveries=(new_delivery(due_at=late),))
            await accept(store, event, received_at=late)
            acked.append(event.id)

    clients = [asyncio.create_task(client((one, two)[number % 2], number)) for number in range(8)]
    began = time.perf_counter()
    sweeps = await asyncio.gather(Retention(one, Ages(), Late()).sweep(), Retention(two, Ages(), Late()).sweep())
    again = await Retention(one, Ages(), Late()).sweep()
    took_s = time.perf_counter() - began
    done.set()
    await asyncio.gather(*clients)
    kept = ROWS // PENDING
    gone = [*sweeps, again]
    assert sum(each.bodies for each in gone) == sum(each.events for each in gone) == ROWS - kept
    assert sum(each.dedupe_keys for each in gone) == ROWS
    assert await count(stores, "bodies") == await count(stores, "events") == kept + len(acked)
    [(pending,)] = await stores.run("SELECT count(*) FROM hookseal.deliveries WHERE state = 'pending'")
    assert pending == kept + len(acked)
    for event in acked[:50]:
        assert (await two.event(event)).body
    print(f"let go {round(ROWS / took_s)} requests/s beside {round(len(acked) / took_s)} stored/s")


async def test_one_node_sweeps_and_the_other_is_told_that_there_is_no_more(stores: PostgresStores) -> None:
    one, two = await stores.open(), await stores.open()
    await accept(one, new_event(1))
    with held_at(Step.EXPIRING) as there:
        first = asyncio.ensure_future(one.expire(all_before(plus(NOW, 1)), 10))
        await asyncio.to_thread(there.wait, 30)
        second = await two.expire(all_before(plus(NOW, 1)), 10)
    assert (second.bodies, second.next) == (0, None)
    assert (await first).bodies == 1


async def test_a_replay_of_another_node_never_plans_what_is_being_let_go(stores: PostgresStores) -> None:
    one, two = await stores.open(), await stores.open()
    await accept(one, new_event(1))
    with held_at(Step.EXPIRING) as there:
        expiring = asyncio.ensure_future(one.expire(all_before(plus(NOW, 1)), 10))
        await asyncio.to_thread(there.wait, 30)
        replaying = asyncio.ensure_future(two.replay(Replay(endpoint=CORE), NOW))
        while not await waiting_for_the_lock(stores):
            assert not replaying.done()
    assert (await expiring).bodies == 1
    assert await replaying == 0
    assert await claim(two) == []


async def waiting_for_the_lock(stores: PostgresStores) -> bool:
    [(many,)] = await stores.run("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    return bool(many)


async def test_nothing_is_let_go_while_a_replay_is_planned(stores: PostgresStores) -> None:
    one, two = await stores.open(), await stores.open()
    event = new_event(1)
    await accept(one, event)
    with held_at(Step.COMMITTING) as there:
        replaying = asyncio.ensure_future(two.replay(Replay(endpoint=CORE), NOW))
        await asyncio.to_thread(there.wait, 30)
        expiring = asyncio.ensure_future(one.expire(all_before(plus(NOW, DAY_S)), 10))
        while [row async for row in transactions(stores)] != [2]:
            await asyncio.sleep(0.001)
    assert await replaying == 1
    assert (await expiring).bodies == 0
    assert await sweep(one, all_before(plus(NOW, DAY_S))) == {}
    [claimed] = await claim(two)
    assert claimed.event.row.id == event.id


async def transactions(stores: PostgresStores) -> AsyncIterator[int]:
    """How many transactions of the nodes are open."""
    [(many,)] = await stores.run(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND application_name = 'hookseal'"
        " AND state = 'idle in transaction'",
        stores.database,
    )
    yield int(many)


async def test_a_node_without_the_new_key_does_not_start_and_one_with_it_reads_both(stores: PostgresStores) -> None:
    one = await stores.open(KEYRING)
    await accept(one, new_event(1))
    await one.use_keyring(BOTH)
    await accept(one, new_event(2))
    with pytest.raises(StoreMismatch):
        await stores.open(KEYRING)
    two = await stores.open(BOTH)
    assert [len((await two.event(row.row.id)).body) for row in (await two.events(EventFilter(), 9, None)).rows] == [
        8,
        8,
    ]


async def test_two_nodes_move_values_at_once_and_each_is_moved_once(stores: PostgresStores) -> None:
    one = await stores.open(KEYRING)
    for number in range(60):
        await accept(one, new_event(number))
    await one.use_keyring(BOTH)
    two = await stores.open(BOTH)
    moved = [each.moved for each in await asyncio.gather(walk(one, rewrap=True), walk(two, rewrap=True))]
    assert sum(moved) == 61  # 60 bodies and the secret of the store
    assert (await walk(two)).by_key == Counter({"k2": 61})


async def test_a_dump_put_back_has_all_that_was_acknowledged_and_delivers_what_was_pending(
    stores: PostgresStores, tmp_path: Path
) -> None:
    store = await stores.open()
    events = [new_event(number, deliveries=(new_delivery(),)) for number in range(50)]
    for event in events[:25]:
        await accept(store, event)
    await deliver(store)
    for event in events[25:]:
        await accept(store, event)
    leased = await claim(store, free=10)
    assert len(leased) == 10
    dump = tmp_path / "hookseal.dump"
    tool(stores, "pg_dump", "--format=custom", "--schema=hookseal", f"--file={dump}", database=stores.database)
    copy = await stores.server.new_database()
    stores._databases.append(copy)
    tool(stores, "pg_restore", str(dump), database=copy)
    with pytest.raises(StoreMismatch):
        await stores.open(type(KEYRING)((("k1", bytes(32)),)), database=copy)
    restored = await stores.open(database=copy)
    for event in events:
        assert (await restored.event(event.id)).body
    [again] = await accept(restored, new_event(1000, dedupe_key=events[0].dedupe_key))
    assert again.duplicate
    assert len(await claim(restored, free=100)) == 15
    assert len(await claim(restored, plus(NOW, 60), free=100)) == 10 + 15


def tool(stores: PostgresStores, name: str, *arguments: str, database: str) -> None:
    """A program of the server's own version: an older one refuses a newer server, a newer one sets what it lacks."""
    programs = stores.server.programs
    assert programs is not None
    done = subprocess.run(
        [str(programs / name), f"--dbname={stores.server.url_of(database)}", *arguments],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


async def test_a_migration_of_a_history_cut_short_leaves_the_version_before(
    stores: PostgresStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node dies (its connection does) with the last migration written and not committed."""
    known = migrations()
    monkeypatch.setattr("hookseal.store.postgres.migrate.migrations", lambda: known[:-1])
    await stores.close(await stores.open())
    await fill(stores, MIGRATED)
    monkeypatch.undo()
    with held_at(Step.MIGRATING) as there:
        dying = asyncio.ensure_future(stores.open())
        assert await asyncio.to_thread(there.wait, 60)
        await stores.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND application_name = 'hookseal'",
            stores.database,
        )
    assert isinstance((await asyncio.gather(dying, return_exceptions=True))[0], Exception)
    [(version,)] = await stores.run("SELECT max(version) FROM hookseal.ledger")
    assert version == len(known) - 1
    store = await stores.open()
    [(version,)] = await stores.run("SELECT max(version) FROM hookseal.ledger")
    assert version == len(known)
    for table in ("bodies", "events", "deliveries", "dedupe"):
        assert await count(stores, table) == MIGRATED
    await accept(store, new_event(MIGRATED))
