"""One request with thousands of events, and a process that dies while it delivers them.

Oracles: the sink's log of subjects, statuses of a small sender beside it, and the most memory that the system saw each
process use. A copy of the body for each pending delivery took 585 MB.
"""

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import ClientSession
from plug import Clients, Node, configuration, drained, sink
from test_resources import MOST_BYTES, most_memory
from tiers import note, tier

pytestmark = pytest.mark.fault

BOUND_S = 240
EVENTS = tier(ci=2_500, full=5_000)
ALARMS = """
[[source]]
id = "alarms"
provider = "bankid_antifraud"
unsigned = true
addresses = ["127.0.0.1"]
options = { audience = ["tests"], jwks_url = "http://127.0.0.1:9/keys" }
"""


def batch() -> bytes:
    """About 380 bytes an event, 1.9 MB for 5,000."""
    head = {"specversion": "1.0", "type": "no.bankid.antifraud.alarm.dispatch.v2", "source": "/alarms"}
    events = [
        {**head, "id": f"a-{number}", "subject": f"alarm-{number}", "data": {"n": number, "text": f"{number:0220d}"}}
        for number in range(EVENTS)
    ]
    return json.dumps(events).encode()


async def test_a_large_batch_fits_into_memory_while_it_is_stored_delivered_and_delivered_after_a_kill(
    tmp_path: Path,
) -> None:
    async with sink() as receiver:
        config = tmp_path / "hookseal.toml"
        config.write_text(configuration(receiver.url) + ALARMS)
        node, clients = Node(config), Clients(31)
        try:
            assert await node.start()
            done = asyncio.Event()
            beside = asyncio.create_task(clients.run(node.url, 2, until=done.is_set))
            async with ClientSession() as session:
                headers = {"Content-Type": "application/cloudevents-batch+json"}
                async with session.post(f"{node.url}/in/alarms", data=batch(), headers=headers) as answer:
                    assert answer.status == 202
            await asyncio.wait_for(got(receiver.got, EVENTS // 10), BOUND_S)
            done.set()
            await asyncio.wait_for(beside, BOUND_S)
            assert clients.statuses.keys() == {200}
            first = most_memory(node)
            await node.kill()
            assert await node.start()
            await asyncio.wait_for(got(receiver.got, EVENTS), BOUND_S)
            await asyncio.wait_for(drained(node.url), BOUND_S)
            second = most_memory(node)
            note("batch of many events", events=EVENTS, most_memory_mb=first >> 20, after_a_kill_mb=second >> 20)
            assert max(first, second) < MOST_BYTES
            assert await node.stop() == 0
        finally:
            await node.kill()


async def got(subjects: dict[str, int], many: int) -> None:
    while sum(subject.startswith("alarm-") for subject in subjects) < many:
        await asyncio.sleep(0.05)
