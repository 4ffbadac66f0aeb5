"""Several nodes on one PostgreSQL that is the test's own to harm, and what their tests have in common."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

import asyncpg
import pytest
from plug import NODE, Clients, Node, Sink, check, configuration, drained
from power.postgres_server import PostgresServer

LEASE_S = 6.0
KEYRING = "k1:" + "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
SHORT_TRIES = "timeout_s = 3\n"
"""A try has to fit into a short lease."""


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that a user without rights may pass through, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp(prefix="hookseal-nodes-"))
    os.chmod(folder, 0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def server(place: Path) -> Iterator[PostgresServer]:
    made = PostgresServer(place / "pgdata", place / "postgres.log")
    made.make()
    made.start()
    try:
        yield made
    finally:
        made.close()


def configured(place: Path, database_url: str, sink_url: str, keys: str = SHORT_TRIES) -> Path:
    """The configuration of all nodes. keys: of the endpoint."""
    (place / "keyring").write_text(KEYRING)
    (place / "keyring").chmod(0o600)
    config = place / "hookseal.toml"
    store = f'[store]\nurl = "{database_url}"\nkeyring = "file:{place}/keyring"\n'
    config.write_text(configuration(sink_url, keys) + store)
    return config


class Nodes:
    """Some nodes with one configuration. As a context they are all killed at its end.

    lease_s  of all of them; None is the one of production.
    """

    def __init__(self, config: Path, count: int = 2, *, lease_s: float | None = LEASE_S, script: Path = NODE) -> None:
        environment = {} if lease_s is None else {"NODE_LEASE_S": str(lease_s)}
        self.all = [Node(config, script=script, environment=environment) for _ in range(count)]
        self._living: dict[Node, str] = {}

    async def __aenter__(self) -> "Nodes":
        await asyncio.gather(*(self.start(node) for node in self.all))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(self.kill(node) for node in self.all))

    def living(self) -> Sequence[str]:
        """The URLs of those that may be asked."""
        return list(self._living.values())

    async def start(self, node: Node) -> None:
        assert await node.start(), "a node did not come up"
        self._living[node] = node.url

    async def kill(self, node: Node) -> None:
        self._living.pop(node, None)
        await node.kill()

    async def stop(self, node: Node) -> int:
        self._living.pop(node, None)
        return await node.stop()

    async def settle_and_check(self, clients: Clients, receiver: Sink) -> None:
        """The end of every test: send what was never answered, let all be delivered, compare what everybody knows."""
        url = self.living()[0]
        async with asyncio.timeout(120):
            await clients.settle(url)
            await drained(url)
        await check(url, clients, receiver)
        living = list(self._living)
        assert await asyncio.gather(*(self.stop(node) for node in living)) == [0] * len(living)


async def run_sql(server: PostgresServer, sql: str, *values: object) -> Sequence[asyncpg.Record]:
    connection = await asyncpg.connect(server.url)
    try:
        return list(await connection.fetch(sql, *values))
    finally:
        await connection.close()


async def reached(met: Callable[[], bool], within_s: float = 60) -> None:
    """Wait for something that another process brings about."""
    async with asyncio.timeout(within_s):
        while not met():
            await asyncio.sleep(0.01)
