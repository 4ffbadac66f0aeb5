"""More comes than a node can take: connections that say nothing, with few files to open, and far too many requests.

Oracles: statuses, the clients' log, the sink's log, the API, and what the system tells of the process: its open files
and the most memory it ever had. A node that is held up by strangers serves those it has, delivers, and recovers when
they leave; one that is asked for too much says 503 with Retry-After and loses nothing that it accepted.
"""

import asyncio
from pathlib import Path

import pytest
from plug import Clients, Node, check, configuration, drained, sink
from tiers import note, tier

pytestmark = pytest.mark.fault

BOUND_S = 120
FILES = 64
STRANGERS = 1_000
OVERLOAD = tier(ci=4_000, full=500_000)
MOST_BYTES = 250 * 1024 * 1024
HERE = Path(__file__).parent


def open_files(node: Node) -> int:
    assert node.process is not None
    return len(list(Path(f"/proc/{node.process.pid}/fd").iterdir()))


def most_memory(node: Node) -> int:
    """The most bytes in memory at any time so far."""
    assert node.process is not None
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


async def stranger(url: str, number: int) -> asyncio.StreamWriter:
    """A connection that says nothing, or half of a head."""
    _, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
    if number % 2:
        writer.write(b"POST /in/zignsec HTTP/1.1\r\nHost: gateway.test\r\nX-Slow: ")
    return writer


async def test_strangers_who_hold_connections_stop_neither_those_served_nor_deliveries(tmp_path: Path) -> None:
    async with sink() as receiver:
        config = tmp_path / "hookseal.toml"
        config.write_text(configuration(receiver.url).replace("[server]\n", "[server]\nheader_timeout_s = 60\n"))
        node, clients = Node(config, script=HERE / "node_few_files.py"), Clients(21)
        assert await node.start(str(FILES))
        crowded = asyncio.Event()
        served = asyncio.create_task(clients.run(node.url, 2, until=crowded.is_set))
        await asyncio.wait_for(clients.acked_beyond(20), BOUND_S)
        crowd = [await asyncio.wait_for(stranger(node.url, number), BOUND_S) for number in range(STRANGERS)]
        await asyncio.wait_for(clients.acked_beyond(len(clients.acked) + 100), BOUND_S)
        assert open_files(node) < FILES, "no file is left for the store and for deliveries"
        crowded.set()
        await asyncio.wait_for(served, BOUND_S)
        await asyncio.wait_for(arrived(clients, receiver.got), BOUND_S)  # while the strangers still hold on
        assert node.process is not None
        assert node.process.returncode is None
        for writer in crowd:
            writer.close()
        await asyncio.wait_for(clients.run(node.url, 8, until_acked=len(clients.acked) + 200), BOUND_S)
        assert clients.statuses.keys() == {200}
        await asyncio.wait_for(clients.settle(node.url), BOUND_S)
        await asyncio.wait_for(drained(node.url), BOUND_S)
        await check(node.url, clients, receiver)
        assert await node.stop() == 0


async def arrived(clients: Clients, got: dict[str, int]) -> None:
    while not clients.acked <= got.keys():
        await asyncio.sleep(0.02)


async def test_an_overload_is_told_when_to_come_again_and_nothing_accepted_is_lost(tmp_path: Path) -> None:
    async with sink() as receiver:
        config = tmp_path / "hookseal.toml"
        config.write_text(configuration(receiver.url).replace("[server]\n", "[server]\nmax_in_flight = 64\n"))
        node, clients = Node(config), Clients(22)
        assert await node.start()
        await asyncio.wait_for(clients.run(node.url, 320, until_acked=OVERLOAD), BOUND_S * 10)
        assert clients.statuses.keys() <= {200, 503, 429}
        assert clients.statuses[503] > 0, "there was no overload"
        after = Clients(23)
        after._numbers = iter(range(8_000_001, 9_000_000))
        await asyncio.wait_for(after.run(node.url, 8, until_acked=300), BOUND_S)
        assert after.statuses.keys() == {200}, "not recovered"
        await asyncio.wait_for(clients.settle(node.url), BOUND_S)
        await asyncio.wait_for(drained(node.url), BOUND_S)
        memory = most_memory(node)
        note(
            "ingest overload, five times the requests in flight",
            accepted=len(clients.acked),
            refused=clients.statuses[503],
            most_memory_mb=memory >> 20,
        )
        assert memory < MOST_BYTES
        clients.acked |= after.acked
        await check(node.url, clients, receiver)
        assert await node.stop() == 0
