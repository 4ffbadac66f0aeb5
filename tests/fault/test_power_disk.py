"""The power of the disk is cut under a gateway at work, again and again: what was acknowledged is there and arrives.

The store lies on an ext4 of its own, in a file. A cut stops that file system where it stands, with nothing flushed;
then the gateway is killed, the disk is mounted again and the gateway started again. The clients' and the sink's logs
are in another process on another disk.

Oracles: as of the kill tests. Lost 0, stored twice 0, undelivered 0, own faults told as the sender's 0. A gateway
that commits without a sync, and one whose syncs are swallowed, must lose something within ten cuts.
"""

import asyncio
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import apsw
import pytest
import tiers
from plug import NODE, Clients, Node, check, configuration, drained, pages, sink
from power.loop_disk import LoopDisk, loop_disk

pytestmark = [pytest.mark.fault, pytest.mark.root_only]

CUTS = tiers.tier(ci=10, full=200)
CUTS_OF_A_CONTROL = 10
CONNECTIONS = 16
CARELESS = NODE.parent / "power" / "careless_node.py"
LYING = NODE.parent / "power" / "lying_syncs.c"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[LoopDisk]:
    with loop_disk(tmp_path) as made:
        yield made


def configured(folder: Path, disk: LoopDisk, sink_url: str) -> Path:
    """A configuration on the disk that stays, a store and its key file on the one that fails."""
    store = disk.folder / "data"
    store.mkdir(exist_ok=True)
    config = folder / "hookseal.toml"
    config.write_text(configuration(sink_url) + f'[store]\nurl = "sqlite:///{store}/hookseal.db"\n')
    return config


async def cut(disk: LoopDisk, node: Node, clients: Clients, more: int) -> None:
    """Cut the power once `more` requests were acknowledged, under load, and give it back.

    The processor stops before the disk does. The kernel's way of stopping a file system calls a sync that is under way a
    success, now and then, though nothing of it is on the disk: a gateway that went on would acknowledge it, as no machine
    without power can.
    """
    load = asyncio.create_task(clients.run(node.url, CONNECTIONS))
    await clients.acked_beyond(len(clients.acked) + more)
    await node.freeze()
    disk.cut()
    await node.kill()
    await load
    await asyncio.to_thread(disk.power_on)


async def test_nothing_is_lost_or_doubled_by_power_cuts(tmp_path: Path, disk: LoopDisk) -> None:
    began = time.monotonic()
    dice = random.Random(3)
    clients = Clients(seed=3)
    async with sink() as receiver:
        node = Node(configured(tmp_path, disk, receiver.url))
        try:
            for number in range(CUTS):
                assert await node.start(), f"did not come up after cut {number}"
                await cut(disk, node, clients, dice.randint(1, 1500))
            assert await node.start(), "did not come up after the last cut"
            await clients.settle(node.url)
            await drained(node.url)
            await check(node.url, clients, receiver)
            assert await node.stop() == 0
        finally:
            await node.kill()
        assert integrity(disk.folder / "data" / "hookseal.db") == ["ok"]
    tiers.note(
        "sqlite: power cut under a gateway",
        cuts=CUTS,
        acknowledged=len(clients.acked),
        lost=0,
        resent=clients.duplicates,
        statuses={str(status): count for status, count in clients.statuses.items()},
        seconds=round(time.monotonic() - began, 1),
    )


def integrity(file: Path) -> list[str]:
    connection = apsw.Connection(str(file))
    try:
        return [row[0] for row in connection.execute("PRAGMA integrity_check")]
    finally:
        connection.close()


# --- what must be noticed ---------------------------------------------------------------------------------------------


async def cuts_until_loss(
    folder: Path, disk: LoopDisk, *, script: Path = NODE, environment: Mapping[str, str] | None = None
) -> tuple[int, int | None]:
    """How many cuts it took until something acknowledged was gone, and how much; None when the store did not open."""
    dice = random.Random(4)
    clients = Clients(seed=4)
    async with sink() as receiver:
        node = Node(configured(folder, disk, receiver.url), script=script, environment=environment)
        try:
            assert await node.start()
            for number in range(1, CUTS_OF_A_CONTROL + 1):
                await cut(disk, node, clients, dice.randint(50, 500))
                if not await node.start():
                    return number, None
                stored = Counter(str(row["subject"]) for row in await pages(node.url, "/api/v1/events"))
                if lost := clients.acked - stored.keys():
                    return number, len(lost)
        finally:
            await node.kill()
    pytest.fail(f"the test does not see what it is for: nothing lost in {CUTS_OF_A_CONTROL} cuts")


async def test_commits_that_are_not_synced_lose_under_power_cuts(tmp_path: Path, disk: LoopDisk) -> None:
    cuts, lost = await cuts_until_loss(tmp_path, disk, script=CARELESS)
    tiers.note("control: sqlite on ext4, synchronous=NORMAL", cuts=cuts, lost=lost)


async def test_swallowed_syncs_lose_under_power_cuts(tmp_path: Path, disk: LoopDisk) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    library = tmp_path / "lying_syncs.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(LYING)], check=True)
    cuts, lost = await cuts_until_loss(tmp_path, disk, environment={"LD_PRELOAD": str(library)})
    tiers.note("control: sqlite on ext4, syncs swallowed", cuts=cuts, lost=lost)
