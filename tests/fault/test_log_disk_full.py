"""The disk that the log goes to is full, or gets full: the node receives and delivers as before, and says no more.

Oracles: statuses, the clients' log, the sink's log, the API, the exit code, and the log once there is room again.
"""

import asyncio
import json
import socket
import sys
from pathlib import Path

import ending
import pytest
from aiohttp import ClientSession
from plug import Clients, Node, check, configuration, drained, letter, sink
from small_disks import BOUND_S, fill_up, free_bytes, small_disk

pytestmark = pytest.mark.fault

ACKED, FORGED = 200, 50


async def forged(url: str, count: int) -> set[int]:
    """The answers to requests with a wrong signature. The node would say a word about each."""
    one = letter(1)
    async with ClientSession() as session:
        return {
            (await session.post(url + one.path, data=b"{}", headers={one.header: one.signature})).status
            for _ in range(count)
        }


async def works(url: str, clients: Clients) -> None:
    """All that a node says a word about is done all the same."""
    await asyncio.wait_for(clients.run(url, 4, until_acked=len(clients.acked) + ACKED), BOUND_S)
    assert await forged(url, FORGED) <= {401, 403}
    assert clients.statuses.keys() == {200}


async def logs_again(url: str, log: Path, before: int) -> None:
    """Send refused requests until one of them is logged: lines that repeat are left out for some seconds."""
    events: list[str] = []
    while "refused" not in events:
        await forged(url, 1)
        events = [json.loads(line)["event"] for line in log.read_bytes()[before:].splitlines()]


@pytest.mark.root_only
async def test_a_node_whose_log_disk_fills_up_goes_on_and_logs_again_when_there_is_room(tmp_path: Path) -> None:
    clients = Clients(71)
    with small_disk(tmp_path, 1) as logs:
        async with sink() as receiver:
            config = logs / "hookseal.toml"  # the log is written beside it
            store = f'[store]\nurl = "sqlite:///{tmp_path}/hookseal.db"\nkeyring = "file:{tmp_path}/hookseal.key"\n'
            config.write_text(configuration(receiver.url) + store)
            node = Node(config)
            try:
                assert await node.start()
                fill_up(logs / "ballast")
                await works(node.url, clients)
                assert free_bytes(logs) == 0
                (logs / "ballast").unlink()
                before = len((logs / "node.log").read_bytes())
                await works(node.url, clients)
                await asyncio.wait_for(logs_again(node.url, logs / "node.log", before), BOUND_S)
                await asyncio.wait_for(drained(node.url), BOUND_S)
                await check(node.url, clients, receiver)
                assert await node.stop() == 0
            finally:
                await node.kill()


async def test_the_program_starts_serves_and_ends_with_a_full_log_disk(tmp_path: Path) -> None:
    clients = Clients(72)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"  # it cannot tell which one it took
    async with sink() as receiver:
        config = tmp_path / "hookseal.toml"
        config.write_text(configuration(receiver.url).replace("127.0.0.1:0", listen))
        with Path("/dev/full").open("wb") as full:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "hookseal", "serve", "--config", str(config)), stdout=full, stderr=full
            )
        try:
            async with asyncio.timeout(BOUND_S):
                while not clients.acked:
                    assert process.returncode is None, "did not start"
                    await clients.run(f"http://{listen}", 1, until_acked=1)
                    await asyncio.sleep(0.05)
            clients.statuses.clear()  # before the store was open the answer was 503
            await works(f"http://{listen}", clients)
            await asyncio.wait_for(drained(f"http://{listen}"), BOUND_S)
            await check(f"http://{listen}", clients, receiver)
            process.terminate()
            assert await asyncio.wait_for(process.wait(), BOUND_S) == 0
        finally:
            await ending.kill(process)
