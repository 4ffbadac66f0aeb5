"""The disk fills up: by what is accepted, or by a stranger's file. Then there is room again.

Oracles: statuses, the clients' log, the sink's log and the API. From the reserve on everything new is 503 with
Retry-After, what was accepted goes on to be delivered and recorded, and with room everything goes on by itself.
"""

import asyncio
import os
import random
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from plug import Clients, Letter, Node, Sink, check, configuration, drained, letter, sink
from tiers import tier

pytestmark = [pytest.mark.fault, pytest.mark.root_only]

MEGABYTES = tier(ci=64, full=256)
BOUND_S = 120


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    place = folder / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "hookseal", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def free_bytes(place: Path) -> int:
    disk = os.statvfs(place)
    return disk.f_bavail * disk.f_frsize


def large(number: int) -> Letter:
    """A request of about 60 kB that compresses to half."""
    return letter(number, random.Random(number).randbytes(30_000).hex())


@asynccontextmanager
async def node_on(place: Path, folder: Path) -> AsyncIterator[tuple[Node, Sink]]:
    async with sink() as receiver:
        config = folder / "hookseal.toml"
        where = f'[store]\nurl = "sqlite:///{place}/hookseal.db"\nkeyring = "file:{place}/hookseal.key"\n'
        config.write_text(configuration(receiver.url) + where)
        node = Node(config)
        assert await node.start()
        try:
            yield node, receiver
        finally:
            await node.kill()


async def accepted_again(clients: Clients, url: str) -> None:
    before = len(clients.acked)
    await asyncio.wait_for(clients.run(url, 4, until_acked=before + 20), BOUND_S)


async def test_a_disk_that_fills_by_load_refuses_before_it_is_full_and_heals(tmp_path: Path) -> None:
    clients = Clients(1, large)
    with small_disk(tmp_path, MEGABYTES) as place:
        async with node_on(place, tmp_path) as (node, receiver):
            ballast = place / "ballast"
            ballast.write_bytes(bytes(MEGABYTES * 1024 * 1024 // 8))
            await asyncio.wait_for(clients.run(node.url, 8, until=lambda: clients.statuses[503] >= 200), BOUND_S)
            assert clients.statuses.keys() == {200, 503}
            assert free_bytes(place) > 4 * 1024 * 1024, "the reserve is used up"
            await asyncio.wait_for(drained(node.url), BOUND_S)  # results are recorded in the reserve
            assert clients.acked <= receiver.got.keys()
            ballast.unlink()
            await accepted_again(clients, node.url)
            await asyncio.wait_for(clients.run(node.url, 8, until=lambda: clients.statuses[503] >= 400), BOUND_S)
            await asyncio.wait_for(drained(node.url), BOUND_S)
            await check_without_the_unanswered(node, clients, receiver)
            assert await node.stop() == 0


async def check_without_the_unanswered(node: Node, clients: Clients, receiver: Sink) -> None:
    assert clients.statuses.keys() == {200, 503}
    await check(node.url, clients, receiver)


async def test_a_disk_filled_by_others_to_the_last_byte_loses_nothing_and_heals(tmp_path: Path) -> None:
    clients = Clients(2, large)
    with small_disk(tmp_path, MEGABYTES) as place:
        async with node_on(place, tmp_path) as (node, receiver):
            await asyncio.wait_for(clients.run(node.url, 8, until_acked=100), BOUND_S)
            ballast = place / "ballast"
            load = asyncio.create_task(clients.run(node.url, 8, until=lambda: clients.statuses[503] >= 300))
            fill_up(ballast)
            await asyncio.wait_for(load, BOUND_S)
            assert free_bytes(place) == 0
            ballast.unlink()
            await accepted_again(clients, node.url)
            await asyncio.wait_for(clients.settle(node.url), BOUND_S)
            await asyncio.wait_for(drained(node.url), BOUND_S)
            await check_without_the_unanswered(node, clients, receiver)
            assert await node.stop() == 0


async def test_a_node_starts_on_a_full_disk_and_accepts_once_there_is_room(tmp_path: Path) -> None:
    clients = Clients(3, large)
    with small_disk(tmp_path, MEGABYTES) as place:
        async with node_on(place, tmp_path) as (node, receiver):
            await asyncio.wait_for(clients.run(node.url, 8, until_acked=50), BOUND_S)
            await node.kill()
            ballast = place / "ballast"
            fill_up(ballast)
            assert await node.start(), "did not start on a full disk"
            await asyncio.wait_for(clients.run(node.url, 4, until=lambda: clients.statuses[503] >= 20), BOUND_S)
            ballast.unlink()
            await asyncio.wait_for(clients.settle(node.url), BOUND_S)
            await node.kill()  # leases that could not be voided lapse in a minute; the next start need not wait
            assert await node.start()
            await asyncio.wait_for(drained(node.url), BOUND_S)
            await check_without_the_unanswered(node, clients, receiver)
            assert await node.stop() == 0


def fill_up(file: Path) -> None:
    with file.open("wb", buffering=0) as ballast:
        for size in (1024 * 1024, 4096):
            try:
                while True:
                    ballast.write(bytes(size))
            except OSError:
                continue
