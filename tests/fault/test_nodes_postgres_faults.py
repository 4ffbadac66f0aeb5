"""PostgreSQL restarts, loses connections, falls over to a standby, is stuck or full, with two nodes at work.

Oracles: as of the kill tests, and: every answer comes within the answer timeout and a little; while nothing can be
stored it is 503 with Retry-After; the first 2xx comes soon after the fault has ended (the seconds are in the figures,
with a bound only against hanging for ever).
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import tiers
from plug import Clients, sink
from postgres_nodes import Nodes, configured, place, run_sql, server
from power.loop_disk import loop_disk
from power.postgres_server import PostgresServer
from wire import COMMIT, Wire

__all__ = ["place", "server"]
pytestmark = pytest.mark.fault

CONNECTIONS = 16
HEALED_S = 150
"""A bound against hanging, long enough for a machine with other work. The time it takes is noted; 5 s are promised."""
ANSWERED_S = 60


@contextlib.asynccontextmanager
async def loaded(nodes: Nodes, clients: Clients) -> AsyncIterator[None]:
    done = False
    load = asyncio.create_task(clients.run_over(nodes.living, CONNECTIONS, lambda: done))
    try:
        yield
    finally:
        done = True
        await asyncio.wait_for(load, ANSWERED_S)


async def healed(clients: Clients) -> float:
    """The seconds until the next event is acknowledged."""
    began = time.monotonic()
    async with asyncio.timeout(HEALED_S):
        await clients.acked_beyond(len(clients.acked) + 1)
    return time.monotonic() - began


async def turned_away(clients: Clients, more: int = 8) -> None:
    """Until some more requests were answered 503."""
    goal = clients.statuses[503] + more
    async with asyncio.timeout(HEALED_S):
        while clients.statuses[503] < goal:
            await asyncio.sleep(0.02)


def told(clients: Clients) -> dict[str, int]:
    return {str(status): count for status, count in sorted(clients.statuses.items())}


# --- it comes back ---


async def test_nothing_is_lost_when_postgresql_restarts_at_once_under_load(place: Path, server: PostgresServer) -> None:
    restarts, seconds = tiers.tier(ci=4, full=50), []
    clients = Clients(seed=31)
    async with sink() as receiver, Nodes(configured(place, server.url, receiver.url)) as nodes:
        async with loaded(nodes, clients):
            for _ in range(restarts):
                await clients.acked_beyond(len(clients.acked) + 300)
                await asyncio.to_thread(server.stop_at_once)
                await turned_away(clients)
                await asyncio.to_thread(server.start)
                seconds.append(await healed(clients))
        await nodes.settle_and_check(clients, receiver)
    tiers.note(
        "two nodes: postgresql restarts at once",
        restarts=restarts,
        acknowledged=len(clients.acked),
        lost=0,
        healed_after_s_at_most=round(max(seconds), 2),
        statuses=told(clients),
    )


async def test_nothing_is_lost_when_all_connections_are_ended_under_load(place: Path, server: PostgresServer) -> None:
    rounds, seconds = tiers.tier(ci=10, full=100), []
    clients = Clients(seed=32)
    async with sink() as receiver, Nodes(configured(place, server.url, receiver.url)) as nodes:
        async with loaded(nodes, clients):
            for _ in range(rounds):
                await clients.acked_beyond(len(clients.acked) + 100)
                await run_sql(
                    server,
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hookseal'",
                )
                seconds.append(await healed(clients))
        await nodes.settle_and_check(clients, receiver)
    tiers.note(
        "two nodes: all connections ended",
        rounds=rounds,
        acknowledged=len(clients.acked),
        lost=0,
        healed_after_s_at_most=round(max(seconds), 2),
        statuses=told(clients),
    )


async def test_a_commit_whose_answer_is_lost_is_told_503_and_the_same_event_again_is_a_duplicate(
    place: Path, server: PostgresServer
) -> None:
    """The server has committed; the wire breaks before it can say so."""
    times = tiers.tier(ci=10, full=200)
    async with sink() as receiver, Wire(server.port) as wire:
        clients = Clients(seed=33)
        async with Nodes(configured(place, wire.url, receiver.url)) as nodes:
            async with loaded(nodes, clients):
                for number in range(times):
                    await clients.acked_beyond(len(clients.acked) + 50)
                    wire.swallow_after = COMMIT
                    async with asyncio.timeout(HEALED_S):
                        while wire.swallowed <= number:
                            await asyncio.sleep(0.005)
            await nodes.settle_and_check(clients, receiver)
    assert clients.statuses[503] > 0
    tiers.note("two nodes: answers to COMMIT lost", lost=0, doubled=0, times=times, statuses=told(clients))


# --- it is taken over ---


@pytest.fixture
def standby(place: Path, server: PostgresServer) -> Iterator[PostgresServer]:
    """Each commit of the server waits until it lies on this one's disk too."""
    made = PostgresServer.standby_of(server, place / "standby", place / "postgres.log")
    try:
        yield made
    finally:
        made.close()


def both(server: PostgresServer, standby: PostgresServer) -> str:
    return f"postgresql://postgres@127.0.0.1:{server.port},127.0.0.1:{standby.port}/postgres"


@pytest.mark.parametrize("time_", range(tiers.tier(ci=1, full=10)))
async def test_nothing_is_lost_when_a_synchronous_standby_takes_over(
    time_: int, place: Path, server: PostgresServer, standby: PostgresServer
) -> None:
    clients = Clients(seed=34 + time_)
    async with sink() as receiver, Nodes(configured(place, both(server, standby), receiver.url)) as nodes:
        async with loaded(nodes, clients):
            await clients.acked_beyond(2000)
            died = time.monotonic()
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(standby.promote)
            promoted_s = time.monotonic() - died
            healed_s = await healed(clients)
            await clients.acked_beyond(len(clients.acked) + 500)
        await nodes.settle_and_check(clients, receiver)
    tiers.note(
        f"two nodes: a synchronous standby of postgresql takes over, {time_}",
        acknowledged=len(clients.acked),
        lost=0,
        promoted_after_s=round(promoted_s, 2),
        healed_after_s=round(healed_s, 2),
        statuses=told(clients),
    )


async def test_nothing_is_acknowledged_that_a_synchronous_standby_has_not_got_not_even_when_sent_again(
    place: Path, server: PostgresServer, standby: PostgresServer
) -> None:
    """A commit that waited for a standby when the primary crashed has happened, and on the primary alone. Whoever sends
    its event again must not be told that all is well. It was so: a duplicate wrote nothing, and waited for nobody."""
    clients = Clients(seed=36)
    async with sink() as receiver, Nodes(configured(place, both(server, standby), receiver.url)) as nodes:
        async with loaded(nodes, clients):
            await clients.acked_beyond(500)
        await asyncio.to_thread(standby.kill)
        before = clients.statuses[200]
        async with loaded(nodes, clients):
            await turned_away(clients, CONNECTIONS)
            await asyncio.to_thread(server.stop_at_once)
            await asyncio.to_thread(server.start)
            await turned_away(clients, 2 * CONNECTIONS)
        acked_alone = clients.statuses[200] - before
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(standby.start)
        await asyncio.to_thread(standby.promote)
        async with loaded(nodes, clients):
            await healed(clients)
        await nodes.settle_and_check(clients, receiver)
    assert acked_alone == 0
    tiers.note("two nodes: the synchronous standby of postgresql is away", acknowledged_meanwhile=0, lost=0)


# --- it is stuck ---


@contextlib.asynccontextmanager
async def a_lock(server: PostgresServer, table: str) -> AsyncIterator[None]:
    holder = await asyncpg.connect(server.url)
    try:
        async with holder.transaction():
            await holder.execute(f"LOCK TABLE hookseal.{table} IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await holder.close()


@contextlib.asynccontextmanager
async def no_connection_left(server: PostgresServer) -> AsyncIterator[None]:
    """Others hold all connections, those of the nodes were ended."""
    others: list[asyncpg.Connection] = []
    ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hookseal'"
    try:
        for _ in range(200):
            try:
                others.append(await asyncpg.connect(server.url))
            except asyncpg.PostgresError:
                await others[0].execute(ending)
                await asyncio.sleep(0.02)
            [(ours,)] = await others[0].fetch(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hookseal'"
            )
            if not ours and len(others) > 50:
                break
        yield
    finally:
        for one in others:
            await one.close()


@contextlib.asynccontextmanager
async def read_only(server: PostgresServer) -> AsyncIterator[None]:
    await run_sql(server, "ALTER SYSTEM SET default_transaction_read_only = on")
    await run_sql(server, "SELECT pg_reload_conf()")
    try:
        yield
    finally:
        connection = await asyncpg.connect(server.url, server_settings={"default_transaction_read_only": "off"})
        await connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()


@contextlib.asynccontextmanager
async def no_room_left(server: PostgresServer) -> AsyncIterator[None]:
    """Its disk is full. A server that ended for that is started again once there is room."""
    filler = server.data.parent / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(1 << 16)):
            pass
    try:
        yield
    finally:
        filler.unlink()
        if not await asyncio.to_thread(server.lives):
            await asyncio.to_thread(server.start)


STUCK = {
    "the events are locked": lambda server: a_lock(server, "events"),
    "the dedupe keys are locked": lambda server: a_lock(server, "dedupe"),
    "the sequences are locked": lambda server: a_lock(server, "sequences"),
    "no connection is left": no_connection_left,
    "it is read-only": read_only,
}


@pytest.mark.parametrize("how", STUCK)
async def test_while_postgresql_is_stuck_requests_are_told_503_in_time_and_then_all_is_well(
    how: str, place: Path, server: PostgresServer
) -> None:
    clients = Clients(seed=35)
    async with sink() as receiver, Nodes(configured(place, server.url, receiver.url)) as nodes:
        async with loaded(nodes, clients):
            await clients.acked_beyond(100)
            async with STUCK[how](server):
                began = time.monotonic()
                await turned_away(clients, CONNECTIONS + 1)
                stuck_s = time.monotonic() - began
            healed_s = await healed(clients)
        await nodes.settle_and_check(clients, receiver)
    tiers.note(
        f"two nodes: postgresql, {how}",
        lost=0,
        slowest_answer_s=round(clients.slowest_s, 2),
        stuck_s=round(stuck_s, 2),
        healed_after_s=round(healed_s, 2),
        statuses=told(clients),
    )


@pytest.mark.root_only
async def test_while_the_disk_of_postgresql_is_full_requests_are_told_503_and_then_all_is_well(place: Path) -> None:
    clients = Clients(seed=37)
    with loop_disk(place, 256) as disk:
        server = PostgresServer(disk.folder / "pgdata", place / "postgres.log")
        try:
            server.make()
            server.start()
            async with sink() as receiver, Nodes(configured(place, server.url, receiver.url)) as nodes:
                async with loaded(nodes, clients):
                    await clients.acked_beyond(100)
                    async with no_room_left(server):
                        await turned_away(clients, 4 * CONNECTIONS)
                    healed_s = await healed(clients)
                    await clients.acked_beyond(len(clients.acked) + 200)
                await nodes.settle_and_check(clients, receiver)
            assert await asyncio.to_thread(server.damaged) == ""
        finally:
            server.close()
    tiers.note(
        "two nodes: the disk of postgresql is full",
        lost=0,
        slowest_answer_s=round(clients.slowest_s, 2),
        healed_after_s=round(healed_s, 2),
        statuses=told(clients),
    )
