"""More comes than a node can take: connections that say nothing, with few files to open, and far too many requests.

Oracles: statuses, the clients' log, the sink's log, the API, and what the system tells of the process: its open files
and the most memory it ever had. A node that is held up by strangers serves those it has, delivers, and recovers when
they leave; one that is asked for too much says 503 with Retry-After and loses nothing that it accepted.
"""

import asyncio
import random
from pathlib import Path

import pytest
from plug import Clients, Letter, Node, check, configuration, drained, letter, sink
from tiers import note, tier

from hookseal.web.server import raise_file_limit

pytestmark = pytest.mark.fault

BOUND_S = 120
CROWDS = [(64, 1_000), (8_192, 2_000)][: tier(ci=1, full=2)]
"""How many files the node may open, and how many strangers come; half of them say nothing, half of them are slow."""
OVERLOAD = tier(ci=4_000, full=500_000)
MOST_BYTES = 250 * 1024 * 1024
LARGE = tier(ci=80, full=10_000)
SMALL_MACHINE = "max_reading = 8\nmax_in_flight = 8\n"
FEW_AT_ONCE = "concurrency = 4\n"
"""What an operator sets where there are 256 MB and bodies of 1 MB are usual. By default it may be 450 MB."""
NOISE = random.Random(24).randbytes(1_000_000).hex()
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


@pytest.mark.parametrize(("files", "strangers"), CROWDS)
async def test_strangers_who_hold_connections_stop_neither_those_served_nor_deliveries(
    files: int, strangers: int, tmp_path: Path
) -> None:
    raise_file_limit()  # ours: the other end of their connections
    async with sink() as receiver:
        config = tmp_path / "hookseal.toml"
        config.write_text(configuration(receiver.url).replace("[server]\n", "[server]\nheader_timeout_s = 60\n"))
        node, clients = Node(config, script=HERE / "node_few_files.py"), Clients(21)
        assert await node.start(str(files))
        crowded = asyncio.Event()
        served = asyncio.create_task(clients.run(node.url, 2, until=crowded.is_set))
        await asyncio.wait_for(clients.acked_beyond(20), BOUND_S)
        crowd = [await asyncio.wait_for(stranger(node.url, number), BOUND_S) for number in range(strangers)]
        await asyncio.wait_for(clients.acked_beyond(len(clients.acked) + 100), BOUND_S)
        assert open_files(node) < files, "no file is left for the store and for deliveries"
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


def large(number: int) -> Letter:
    """A request of 1 MB that compresses to half."""
    start = number * 7919 % 1_000_000
    return letter(number, NOISE[start : start + 1_000_000])


async def test_large_bodies_from_many_connections_fit_into_a_small_machine(tmp_path: Path) -> None:
    async with sink() as receiver:
        config = tmp_path / "hookseal.toml"
        text = configuration(receiver.url, FEW_AT_ONCE)
        config.write_text(text.replace("[server]\n", f"[server]\n{SMALL_MACHINE}"))
        node, clients = Node(config), Clients(24, large)
        try:
            assert await node.start()
            await asyncio.wait_for(clients.run(node.url, 128, until_acked=LARGE), BOUND_S * 10)
            assert clients.statuses.keys() == {200, 503}
            assert node.process is not None
            assert node.process.returncode is None
            after = Clients(25)
            after._numbers = iter(range(8_000_001, 9_000_000))
            await asyncio.wait_for(after.run(node.url, 8, until_acked=200), BOUND_S)
            assert after.statuses.keys() == {200}, "not recovered"
            await asyncio.wait_for(clients.settle(node.url), BOUND_S * 10)
            await asyncio.wait_for(drained(node.url), BOUND_S)
            memory = most_memory(node)
            note(
                "bodies of 1 MB on 128 connections, on a small machine",
                accepted=len(clients.acked),
                refused=clients.statuses[503],
                most_memory_mb=memory >> 20,
            )
            assert memory < MOST_BYTES
            clients.acked |= after.acked
            await check(node.url, clients, receiver)
            assert await node.stop() == 0
        finally:
            await node.kill()
