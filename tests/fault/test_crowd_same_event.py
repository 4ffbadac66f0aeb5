"""The same event on 64 connections at the same moment, round after round: one row, one delivery, all told 2xx."""

import asyncio
from pathlib import Path

import pytest
from local import BOUND_S, Running, endpoints, running
from plug import IDENFY_SECRET, ZIGNSEC_SECRET, Letter, letter
from tiers import tier

pytestmark = pytest.mark.fault

CONNECTIONS = 64
ROUNDS = tier(ci=40, full=1_000)
SOURCES = f"""
[[source]]
id = "zignsec"
provider = "zignsec"
secrets = ["{ZIGNSEC_SECRET}"]
[[source]]
id = "idenfy"
provider = "idenfy"
secrets = ["{IDENFY_SECRET}"]
"""


async def test_the_same_event_at_once_on_many_connections_is_stored_and_delivered_once(tmp_path: Path) -> None:
    async with endpoints() as there, running(tmp_path, SOURCES + there.settings("core")) as gateway:
        connections = [
            await asyncio.open_connection("127.0.0.1", int(gateway.url.rsplit(":", 1)[1])) for _ in range(CONNECTIONS)
        ]
        for number in range(ROUNDS):
            one = letter(number)
            statuses = await asyncio.gather(*(send(one, *connection) for connection in connections))
            assert set(statuses) == {200}
        for _, writer in connections:
            writer.close()
        await there.until(lambda: len(there.got["core"]) == ROUNDS)
        await all_delivered(gateway)
        assert set(there.got["core"].values()) == {1}
        assert len(await gateway.all("/events")) == ROUNDS
        assert len(await gateway.all("/deliveries")) == ROUNDS


async def send(one: Letter, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    writer.write(one.raw)
    async with asyncio.timeout(BOUND_S):
        return int((await reader.readuntil(b"\r\n\r\n"))[9:12])


async def all_delivered(gateway: Running) -> None:
    async with asyncio.timeout(BOUND_S):
        while await gateway.all("/deliveries?state=pending"):
            await asyncio.sleep(0.01)
