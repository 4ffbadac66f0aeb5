"""A disk that is slow, stuck, or answers with errors, under a gateway in a process of its own.

Oracles: the clients' log of statuses, the sink's log, and the API after the fault and after a kill. No commit that
failed is acknowledged, all doubt is 503 with Retry-After, and the node goes on by itself when the disk does.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from plug import Clients, Node, Sink, check, configuration, drained, sink
from tiers import tier

pytestmark = pytest.mark.fault

BOUND_S = 120
ROUNDS = tier(ci=10, full=200)


@dataclass(slots=True)
class Fixture:
    node: Node
    receiver: Sink
    clients: Clients
    wish: Path

    def disk(self, word: str) -> None:
        fresh = self.wish.with_suffix(".new")
        fresh.write_text(word)
        fresh.replace(self.wish)

    @property
    def syncs(self) -> int:
        return self.wish.with_suffix(".syncs").stat().st_size

    async def load(self, connections: int, *, acked: int | None = None, refused: int | None = None) -> None:
        """Send until so many more are acknowledged, or so many more are refused."""
        until_acked = None if acked is None else len(self.clients.acked) + acked
        enough = None if refused is None else self.clients.statuses[503] + refused
        await asyncio.wait_for(
            self.clients.run(
                self.node.url,
                connections,
                until_acked,
                lambda: enough is not None and self.clients.statuses[503] >= enough,
            ),
            BOUND_S,
        )

    async def ends_well(self) -> None:
        assert self.clients.statuses.keys() <= {200, 503}
        await asyncio.wait_for(self.clients.settle(self.node.url), BOUND_S)
        await self.node.kill()
        assert await self.node.start(str(self.wish))
        await asyncio.wait_for(drained(self.node.url), BOUND_S)
        await check(self.node.url, self.clients, self.receiver)
        assert await self.node.stop() == 0


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Fixture]:
    async with on_a_disk(tmp_path) as made:
        yield made


@asynccontextmanager
async def on_a_disk(folder: Path) -> AsyncIterator[Fixture]:
    async with sink() as receiver:
        config = folder / "hookseal.toml"
        config.write_text(configuration(receiver.url).replace("[server]\n", "[server]\nanswer_timeout_s = 0.5\n"))
        wish = folder / "disk"
        wish.write_text("well")
        node = Node(config, script=Path(__file__).with_name("node_disk.py"))
        assert await node.start(str(wish))
        try:
            yield Fixture(node, receiver, Clients(7), wish)
        finally:
            await node.kill()


@pytest.mark.parametrize("word", ["sync_fails", "write_fails", "full"])
async def test_no_failed_commit_is_acknowledged(gateway: Fixture, word: str) -> None:
    await gateway.load(8, acked=100)
    gateway.disk(word)
    new = Clients(8)
    new._numbers = iter(range(1_000_000, 2_000_000))
    await asyncio.wait_for(new.run(gateway.node.url, 8, until=lambda: new.statuses[503] >= 100), BOUND_S)
    assert new.acked == set(), "acknowledged, and the commit failed"
    assert new.statuses.keys() == {503}
    gateway.disk("well")
    await asyncio.wait_for(new.settle(gateway.node.url), BOUND_S)
    gateway.clients.acked |= new.acked
    await gateway.load(8, acked=100)
    await gateway.ends_well()


async def test_syncs_that_fail_now_and_then_under_load_lose_nothing(gateway: Fixture) -> None:
    for _ in range(ROUNDS):
        gateway.disk("sync_fails_once")
        await gateway.load(16, acked=50)
    assert gateway.clients.statuses[503] > 0
    await gateway.ends_well()


async def test_a_slow_disk_shares_its_syncs_among_requests(gateway: Fixture) -> None:
    gateway.disk("slow")
    before = gateway.syncs
    await gateway.load(64, acked=400)
    assert (gateway.syncs - before) * 4 <= 400, "requests did not share commits"
    gateway.disk("well")
    await gateway.ends_well()


async def test_a_stuck_disk_is_answered_503_within_the_answer_timeout(gateway: Fixture) -> None:
    await gateway.load(8, acked=50)
    gateway.disk("stuck")
    await gateway.load(16, refused=48)  # each connection is told three times: nobody is kept waiting
    gateway.disk("well")
    await gateway.load(8, acked=50)
    await gateway.ends_well()
