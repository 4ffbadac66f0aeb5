"""The disk fills up: by what is accepted, or by a stranger's file. Then there is room again.

Oracles: statuses, the clients' log, the sink's log and the API. From the reserve on everything new is 503 with
Retry-After, what was accepted goes on to be delivered and recorded, and with room everything goes on by itself.
"""

import asyncio
import random
from pathlib import Path

import pytest
from plug import Clients, Letter, drained, letter
from small_disks import BOUND_S, accepted_again, check_without_the_unanswered, fill_up, free_bytes, node_on, small_disk
from tiers import tier

pytestmark = [pytest.mark.fault, pytest.mark.root_only]

MEGABYTES = tier(ci=64, full=256)


def large(number: int) -> Letter:
    """A request of about 60 kB that compresses to half."""
    return letter(number, random.Random(number).randbytes(30_000).hex())


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
