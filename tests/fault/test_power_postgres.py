"""The power is cut under PostgreSQL and a gateway at work: what was acknowledged is there and arrives.

The server's data lies on an ext4 of its own, in a file, that is stopped where it stands; then server and gateway are
killed, the disk is mounted again and both are started. Two milder ends, for which the gateway stays: the server alone
is killed, and it is stopped without a checkpoint.

Oracles: as of the kill tests, and `pg_amcheck`. A server that commits without a sync (`synchronous_commit` off, behind
the store's back) must lose something within ten cuts.
"""

import asyncio
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import tiers
from plug import NODE, Clients, Node, check, configuration, drained, pages, sink
from power.loop_disk import LoopDisk, loop_disk
from power.postgres_server import PostgresServer

pytestmark = pytest.mark.fault

CUTS = tiers.tier(ci=3, full=50)
KILLS = tiers.tier(ci=2, full=25)
CUTS_OF_A_CONTROL = 10
CONNECTIONS = 16
CARELESS = NODE.parent / "power" / "careless_postgres_node.py"
KEYRING = "k1:" + "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that a user without rights may pass through, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp(prefix="hookseal-power-"))
    os.chmod(folder, 0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def disk(place: Path) -> Iterator[LoopDisk]:
    with loop_disk(place) as made:
        yield made


@pytest.fixture
def server(request: pytest.FixtureRequest, place: Path) -> Iterator[PostgresServer]:
    """On the disk whose power is cut, where the test asks for that disk."""
    folder = request.getfixturevalue("disk").folder if "disk" in request.fixturenames else place
    made = PostgresServer(folder / "pgdata", place / "postgres.log")
    made.make()
    try:
        yield made
    finally:
        made.close()


def configured(place: Path, server: PostgresServer, sink_url: str) -> Path:
    (place / "keyring").write_text(KEYRING)
    (place / "keyring").chmod(0o600)
    config = place / "hookseal.toml"
    store = f'[store]\nurl = "{server.url}"\nkeyring = "file:{place}/keyring"\n'
    config.write_text(configuration(sink_url) + store)
    return config


async def cut(disk: LoopDisk, server: PostgresServer, node: Node, clients: Clients, more: int) -> None:
    """Cut the power once `more` requests were acknowledged, under load, and give it back.

    The processor stops before the disk does. The kernel's way of stopping a file system calls a sync that is under way a
    success, now and then, though nothing of it is on the disk: a gateway that went on would acknowledge it, as no machine
    without power can.
    """
    load = asyncio.create_task(clients.run(node.url, CONNECTIONS))
    await clients.acked_beyond(len(clients.acked) + more)
    await node.freeze()
    disk.cut()
    await asyncio.to_thread(server.kill)
    await node.kill()
    await load
    await asyncio.to_thread(disk.power_on)


async def let_leases_lapse(server: PostgresServer) -> None:
    """A minute passes: what a dead node had leased is due. Nobody may end its leases earlier, and the test may not wait."""
    connection = await asyncpg.connect(server.url)
    await connection.execute("UPDATE hookseal.deliveries SET due_at = due_at - 60000000 WHERE lease IS NOT NULL")
    await connection.close()


@pytest.mark.root_only
async def test_nothing_is_lost_or_doubled_by_power_cuts_under_postgresql(
    place: Path, disk: LoopDisk, server: PostgresServer
) -> None:
    began = time.monotonic()
    dice = random.Random(5)
    clients = Clients(seed=5)
    async with sink() as receiver:
        node = Node(configured(place, server, receiver.url))
        try:
            for number in range(CUTS):
                await asyncio.to_thread(server.start)
                assert await node.start(), f"did not come up after cut {number}"
                await cut(disk, server, node, clients, dice.randint(1, 1500))
            await asyncio.to_thread(server.start)
            await let_leases_lapse(server)
            assert await node.start(), "did not come up after the last cut"
            await clients.settle(node.url)
            await drained(node.url)
            await check(node.url, clients, receiver)
            assert await node.stop() == 0
        finally:
            await node.kill()
        assert await asyncio.to_thread(server.damaged) == ""
    tiers.note(
        "postgresql: power cut under server and gateway",
        cuts=CUTS,
        acknowledged=len(clients.acked),
        lost=0,
        statuses={str(status): count for status, count in clients.statuses.items()},
        seconds=round(time.monotonic() - began, 1),
    )


@pytest.mark.parametrize("end", ["killed", "stopped at once"])
async def test_a_gateway_outlives_a_server_that_crashes(end: str, place: Path, server: PostgresServer) -> None:
    began = time.monotonic()
    clients = Clients(seed=6)
    async with sink() as receiver:
        node = Node(configured(place, server, receiver.url))
        server.start()
        try:
            assert await node.start()
            goal = 0
            for _ in range(KILLS):
                goal = len(clients.acked) + 600
                load = asyncio.create_task(clients.run(node.url, CONNECTIONS, until_acked=goal))
                await clients.acked_beyond(goal - 300)
                await asyncio.to_thread(server.kill_postmaster if end == "killed" else server.stop_at_once)
                await asyncio.to_thread(server.start)
                await load
            await clients.settle(node.url)
            await drained(node.url)
            await check(node.url, clients, receiver)
            assert await node.stop() == 0
        finally:
            await node.kill()
    tiers.note(
        f"postgresql: server {end}, gateway stays",
        ends=KILLS,
        acknowledged=len(clients.acked),
        lost=0,
        statuses={str(status): count for status, count in clients.statuses.items()},
        seconds=round(time.monotonic() - began, 1),
    )


@pytest.mark.root_only
async def test_commits_that_postgresql_does_not_sync_lose_under_power_cuts(
    place: Path, disk: LoopDisk, server: PostgresServer
) -> None:
    dice = random.Random(7)
    clients = Clients(seed=7)
    async with sink() as receiver:
        node = Node(configured(place, server, receiver.url), script=CARELESS)
        try:
            for number in range(1, CUTS_OF_A_CONTROL + 1):
                await asyncio.to_thread(server.start, {"synchronous_commit": "off"})
                assert await node.start()
                await cut(disk, server, node, clients, dice.randint(50, 500))
                await asyncio.to_thread(server.start, {"synchronous_commit": "off"})
                assert await node.start()
                stored = Counter(str(row["subject"]) for row in await pages(node.url, "/api/v1/events"))
                if lost := clients.acked - stored.keys():
                    tiers.note("control: postgresql, synchronous_commit=off", cuts=number, lost=len(lost))
                    return
                await node.kill()
                await asyncio.to_thread(server.kill)
        finally:
            await node.kill()
    pytest.fail(f"the test does not see what it is for: nothing lost in {CUTS_OF_A_CONTROL} cuts")
