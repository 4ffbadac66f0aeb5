"""kill -9 of either of two nodes on one PostgreSQL under load, again and again: nothing is lost, doubled or left lying.

Oracles: as of the kill tests of one node. Clients send to whichever node lives, as behind a load balancer. Once in
four times both nodes are killed. Leases are six seconds long, but for the one test of their real minute.
"""

import asyncio
import random
import time
from pathlib import Path

import pytest
import tiers
from plug import Clients, pages, sink
from postgres_nodes import LEASE_S, Nodes, configured, place, reached, run_sql, server
from power.postgres_server import PostgresServer
from test_kill_nine import STEPS

from hookseal.probe import Step

__all__ = ["place", "server"]
pytestmark = pytest.mark.fault

KILLS = tiers.tier(ci=24, full=486)
ACKED = tiers.tier(ci=60_000, full=600_000)
CONNECTIONS = 32
NOT_HERE = {Step.LEASES_VOIDED, Step.CHECKPOINTED}
"""Steps of an embedded store."""


async def test_nothing_is_lost_or_doubled_by_kills_of_either_node(place: Path, server: PostgresServer) -> None:
    began = time.monotonic()
    dice = random.Random(20_261_122)
    clients = Clients(seed=11)
    done = False
    async with sink() as receiver, Nodes(configured(place, server.url, receiver.url)) as nodes:
        load = asyncio.create_task(clients.run_over(nodes.living, CONNECTIONS, lambda: done))
        kills = 0
        while kills < KILLS:
            await clients.acked_beyond(round((kills + dice.random()) * ACKED / KILLS))
            struck = nodes.all if dice.random() < 0.25 else [dice.choice(nodes.all)]
            await asyncio.gather(*(nodes.kill(node) for node in struck))
            kills += len(struck)
            await asyncio.gather(*(nodes.start(node) for node in struck))
        await clients.acked_beyond(ACKED)
        done = True
        await load
        loaded_s = time.monotonic() - began
        await nodes.settle_and_check(clients, receiver)
    assert clients.duplicates > 0
    tiers.note(
        "kill -9: two nodes on postgresql, at random times",
        kills=kills,
        acknowledged=len(clients.acked),
        lost=0,
        doubled=0,
        posts_twice=sum(receiver.posts.values()) - len(receiver.posts),
        statuses={str(status): count for status, count in clients.statuses.items()},
        acknowledged_per_second=round(len(clients.acked) / loaded_s),
        seconds=round(time.monotonic() - began, 1),
    )


async def test_nothing_is_lost_or_doubled_by_a_kill_at_any_step_on_two_nodes(
    place: Path, server: PostgresServer
) -> None:
    began = time.monotonic()
    clients = Clients(seed=12)
    steps = {step: nth for step, nth in STEPS.items() if step not in NOT_HERE}
    async with sink() as receiver, Nodes(configured(place, server.url, receiver.url)) as nodes:
        for turn, (step, nth) in enumerate(steps.items()):
            node = nodes.all[turn % 2]
            await nodes.kill(node)
            assert await node.start(step.value, str(nth))
            process = node.process
            assert process is not None
            await clients.run(node.url, CONNECTIONS)
            assert await asyncio.wait_for(process.wait(), 60) == -9, f"{step} was not reached"
            await nodes.start(node)
        await nodes.settle_and_check(clients, receiver)
    tiers.note(
        "kill -9: two nodes on postgresql, at every step",
        kills=len(steps),
        acknowledged=len(clients.acked),
        lost=0,
        doubled=0,
        seconds=round(time.monotonic() - began, 1),
    )


@pytest.mark.parametrize("lease_s", [LEASE_S, *([60.0] if tiers.FULL else [])])
async def test_what_a_dead_node_had_leased_is_delivered_by_another_when_the_lease_ends(
    lease_s: float, place: Path, server: PostgresServer
) -> None:
    """Nothing is sent again before: the dead node might not be dead."""
    clients = Clients(seed=13)
    async with sink() as receiver:
        config = configured(place, server.url, receiver.url)
        async with Nodes(config, lease_s=None if lease_s == 60.0 else lease_s) as nodes:
            first, second = nodes.all
            await nodes.kill(first)
            assert await first.start(Step.SENDING.value, "40")
            await clients.run(first.url, CONNECTIONS)
            await first.kill()
            [(left, longest_s)] = await run_sql(
                server,
                "SELECT count(*), max(due_at) / 1e6 - extract(epoch FROM now()) FROM hookseal.deliveries"
                " WHERE lease IS NOT NULL",
            )
            assert left > 0
            assert longest_s <= lease_s
            died = time.monotonic()
            subjects = {str(row["subject"]) for row in await pages(second.url, "/api/v1/events")}
            await reached(lambda: subjects <= receiver.got.keys(), within_s=lease_s + 30)
            healed_s = time.monotonic() - died
            await nodes.settle_and_check(clients, receiver)
    tiers.note(
        f"kill -9: leases of {lease_s:.0f} s that a dead node left",
        left=int(left),
        delivered_after_s=round(healed_s, 1),
    )
