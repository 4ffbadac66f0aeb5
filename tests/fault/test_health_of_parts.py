"""A part of the gateway crashes, or the store cannot write: what `/readyz` says, and whether the process ends.

Observable oracles: statuses and bodies of `/readyz` and `/healthz`, statuses of POST, the exit code and stderr.
"""

import asyncio
import contextlib
import signal
import sys
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession
from plug import Node, configuration, letter, sink

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
sys.path.insert(0, str(Path(__file__).parents[1] / "acceptance"))
from postgres_databases import any_server
from stores import STORES, store_settings

pytestmark = pytest.mark.fault

HERE = Path(__file__).parent
BOUND_S = 60
LOOPS = (
    "claim_loop",
    "lease_loop",
    "rate_loop",
    "suspect_loop",
    "retention",
    "registrations",
    "subscriptions",
    "key_sets",
)


@asynccontextmanager
async def node_with(kind: str, folder: Path, *words: str, script: str) -> AsyncIterator[Node]:
    async with sink() as receiver, store_settings(kind, folder) as store:
        config = folder / "hookseal.toml"
        where = f'[store]\nurl = "{store.url}"\nkeyring = "file:{folder}/hookseal.key"\n'
        config.write_text(configuration(receiver.url) + where)
        node = Node(config, script=HERE / script)
        assert await node.start(*words)
        try:
            yield node
        finally:
            await node.kill()


async def checks(session: ClientSession, url: str, path: str = "/readyz") -> tuple[int, dict[str, tuple[bool, str]]]:
    async with session.get(url + path) as answer:
        body: dict[str, Any] = await answer.json(content_type=None)
        return answer.status, {check["name"]: (check["ok"], check["detail"]) for check in body.get("checks", ())}


async def post(url: str, number: int) -> int:
    one = letter(number)
    headers = {one.header: one.signature, "Content-Type": "application/json"}
    async with ClientSession() as session, session.post(url + one.path, data=one.body, headers=headers) as answer:
        return answer.status


async def polled(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(BOUND_S):
        while not await condition():
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("kind", STORES)
async def test_a_crashed_store_writer_ends_the_process_with_a_message(kind: str, tmp_path: Path) -> None:
    """The writer was dead, every POST was 503, `/readyz` and `/healthz` were 200, and the process ran on."""
    async with node_with(kind, tmp_path, "store_writer", script="node_broken_part.py") as node:
        assert node.process is not None
        assert await post(node.url, 1) == 200
        async with ClientSession() as session:
            status, found = await checks(session, node.url)
        assert status == 200
        assert found["store_writer"] == (True, "running")
        node.process.send_signal(signal.SIGUSR1)
        with contextlib.suppress(OSError):  # the process may end before it answers
            await post(node.url, 2)
        assert await asyncio.wait_for(node.process.wait(), BOUND_S) == 1
    said = (tmp_path / "node.log").read_text()
    assert "hookseal: store_writer ended unexpectedly" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("part", LOOPS)
async def test_a_crashed_loop_ends_the_process_with_a_message(part: str, tmp_path: Path) -> None:
    async with node_with("sqlite", tmp_path, part, script="node_broken_part.py") as node:
        assert node.process is not None
        async with ClientSession() as session:
            status, found = await checks(session, node.url)
        assert (status, found[part]) == (200, (True, "running"))
        node.process.send_signal(signal.SIGUSR1)
        assert await asyncio.wait_for(node.process.wait(), BOUND_S) == 1
    assert f"hookseal: {part} ended unexpectedly" in (tmp_path / "node.log").read_text()


@pytest.mark.parametrize("wish", ["full", "write_fails", "sync_fails", "stuck"])
async def test_a_disk_that_cannot_write_makes_the_node_unready_until_it_can(wish: str, tmp_path: Path) -> None:
    word = tmp_path / "wish"
    word.write_text("well")
    async with node_with("sqlite", tmp_path, str(word), script="node_disk.py") as node, ClientSession() as session:
        assert (await checks(session, node.url))[0] == 200
        word.write_text(wish)

        async def is_unready() -> bool:
            status, found = await checks(session, node.url)
            return status == 503 and not found["store"][0]

        async def is_ready() -> bool:
            return (await checks(session, node.url))[0] == 200

        await polled(is_unready)
        assert (await checks(session, node.url, "/healthz"))[0] == 200, "a full disk is no reason to restart"
        word.write_text("well")
        await polled(is_ready)
        assert await post(node.url, 1) == 200


async def test_a_database_that_cannot_write_makes_the_node_unready_until_it_can(tmp_path: Path) -> None:
    async with node_with("postgresql", tmp_path, script="node.py") as node, ClientSession() as session:
        assert (await checks(session, node.url))[0] == 200
        database = database_of(node)
        await any_server().run(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
        await disconnect_all(database)

        async def is_unready() -> bool:
            status, found = await checks(session, node.url)
            return status == 503 and found["store"] == (False, "store_unavailable")

        async def is_ready() -> bool:
            return (await checks(session, node.url))[0] == 200

        try:
            await polled(is_unready)
            assert await post(node.url, 1) == 503
            assert (await checks(session, node.url, "/healthz"))[0] == 200
        finally:
            await any_server().run(f"ALTER DATABASE {database} RESET default_transaction_read_only")
        await disconnect_all(database)
        await polled(is_ready)
        assert await post(node.url, 1) == 200


def database_of(node: Node) -> str:
    with node.config.open("rb") as file:
        return urlsplit(tomllib.load(file)["store"]["url"]).path.removeprefix("/")


async def disconnect_all(database: str) -> None:
    await any_server().run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", database)
