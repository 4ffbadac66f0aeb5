"""kill -9 under load, again and again: what was acknowledged is there, once, and arrives.

Oracles: the clients' own log of what was answered 2xx, the sink's log of what arrived with a good signature, and the
gateway's API after the last restart. Lost 0, stored twice 0, undelivered 0, own faults told as 400, 401, 403, 404 or
413: 0.
"""

import asyncio
import random
import time
from pathlib import Path

import pytest
import tiers
from plug import Clients, Node, check, configuration, drained, sink

from hookseal.probe import Step

pytestmark = pytest.mark.fault

KILLS = tiers.tier(ci=20, full=484)
ACKED = tiers.tier(ci=40_000, full=400_000)
CONNECTIONS = 32

STEPS = {
    Step.BODY_READ: 40,
    Step.DECIDED: 40,
    Step.WRITE_QUEUED: 40,
    Step.WRITE_BEGUN: 12,
    Step.EVENTS_WRITTEN: 12,
    Step.COMMITTING: 12,
    Step.COMMITTED: 12,
    Step.ACKED: 40,
    Step.ANSWERED: 40,
    Step.CLAIMED: 40,
    Step.SENDING: 40,
    Step.SENT: 40,
    Step.RECORDING: 5,
    Step.RECORDED: 5,
    Step.LEASES_VOIDED: 1,
    Step.CHECKPOINTED: 1,
}
"""After how many passages of a step the plug is pulled."""


async def test_nothing_is_lost_or_doubled_by_kills_at_random_times(tmp_path: Path) -> None:
    began = time.monotonic()
    dice = random.Random(20_261_121)
    clients = Clients(seed=1)
    async with sink() as receiver:
        config = tmp_path / "hookseal.toml"
        config.write_text(configuration(receiver.url))
        node = Node(config)
        for kill in range(KILLS):
            assert await node.start(), f"did not come up after kill {kill}"
            load = asyncio.create_task(clients.run(node.url, CONNECTIONS))
            share = ACKED // KILLS
            await clients.acked_beyond(len(clients.acked) + dice.randint(share // 2, share * 3 // 2))
            await node.kill()
            await load
        assert await node.start()
        await clients.run(node.url, CONNECTIONS, until_acked=max(ACKED, len(clients.acked)))
        loaded_s = time.monotonic() - began
        await clients.settle(node.url)
        await drained(node.url)
        await check(node.url, clients, receiver)
        assert await node.stop() == 0
    assert len(clients.acked) >= ACKED
    assert clients.duplicates > 0
    tiers.note(
        "kill -9: one node on sqlite, at random times",
        kills=KILLS,
        acknowledged=len(clients.acked),
        lost=0,
        doubled=0,
        posts_twice=sum(receiver.posts.values()) - len(receiver.posts),
        acknowledged_per_second=round(len(clients.acked) / loaded_s),
        seconds=round(time.monotonic() - began, 1),
    )


@pytest.mark.requirement("Z16")
async def test_nothing_is_lost_or_doubled_by_a_kill_at_any_step(tmp_path: Path) -> None:
    clients = Clients(seed=2)
    async with sink() as receiver:
        config = tmp_path / "hookseal.toml"
        config.write_text(configuration(receiver.url))
        node = Node(config)
        for step, nth in STEPS.items():
            if await node.start(step.value, str(nth)):
                await clients.run(node.url, CONNECTIONS)
            assert node.process is not None
            assert await asyncio.wait_for(node.process.wait(), 60) == -9, f"{step} was not reached"
        assert await node.start()
        await clients.settle(node.url)
        await drained(node.url)
        await check(node.url, clients, receiver)
        assert await node.stop() == 0
    tiers.note(
        "kill -9: one node on sqlite, at every step",
        kills=len(STEPS),
        acknowledged=len(clients.acked),
        lost=0,
        doubled=0,
    )
