"""Crashes that no delivery caused: a slow endpoint, and a process that is killed again and again while it waits.

Oracles: what the endpoint received, and the API. No delivery is dead, no attempt is listed that was not made, and all
deliveries arrive once the endpoint answers.
"""

import asyncio
from pathlib import Path

import pytest
from aiohttp import ClientSession
from plug import API_KEY, Node, Sink, configuration, drained, letter, pages, sink
from postgres_nodes import LEASE_S, configured, place, reached, server  # noqa: F401 - fixtures
from power.postgres_server import PostgresServer

pytestmark = pytest.mark.fault

KILLS = 6
DELIVERIES = 4
BOUND_S = 120
AT_ONCE = "retry = { delays_s = [0] }\ntimeout_s = 3\n"


async def test_kills_while_an_endpoint_is_slow_make_no_delivery_dead(tmp_path: Path) -> None:
    """Before, three lost leases ended a delivery, with an attempt that was never made."""
    async with sink() as receiver:
        config = tmp_path / "hookseal.toml"
        config.write_text(configuration(receiver.url, AT_ONCE.replace("3", "15")))
        await survive_kills(Node(config), receiver)


async def test_kills_while_an_endpoint_is_slow_make_no_delivery_dead_on_postgresql(
    place: Path,  # noqa: F811
    server: PostgresServer,  # noqa: F811
) -> None:
    """The same where the leases of a dead node lapse."""
    async with sink() as receiver:
        config = configured(place, server.url, receiver.url, AT_ONCE)
        await survive_kills(Node(config, environment={"NODE_LEASE_S": str(LEASE_S)}), receiver)


async def survive_kills(node: Node, receiver: Sink) -> None:
    receiver.kept_waiting = True
    assert await node.start()
    for number in range(DELIVERIES):
        await post(node.url, number)
    for kill in range(KILLS):
        before = receiver.posts.total()
        if kill:
            assert await node.start()
        # The first process has sent all four; a later one is killed when the endpoint has received anything from it.
        awaited = DELIVERIES if not kill else before + 1
        await reached(lambda least=awaited: receiver.posts.total() >= least, BOUND_S)  # type: ignore[misc]
        await node.kill()
    receiver.answer()
    assert await node.start()
    await asyncio.wait_for(drained(node.url), BOUND_S)
    rows = await pages(node.url, "/api/v1/deliveries")
    assert [(row["state"], row["last_status"]) for row in rows] == [("delivered", 200)] * DELIVERIES
    assert len(receiver.got) == DELIVERIES
    async with ClientSession(headers={"Authorization": f"Bearer {API_KEY}"}) as session:
        for row in rows:
            async with session.get(f"{node.url}/api/v1/deliveries/{row['id']}") as response:
                attempts = (await response.json())["attempts"]
            assert attempts[-1]["status"] == 200
            assert "worker_lost" not in {attempt["reason"] for attempt in attempts}
    assert await node.stop() == 0


async def post(url: str, number: int) -> None:
    message = letter(number)
    async with ClientSession() as session:
        headers = {message.header: message.signature, "Content-Type": "application/json"}
        async with session.post(url + message.path, data=message.body, headers=headers) as response:
            assert response.status == 200
