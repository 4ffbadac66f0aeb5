"""`hookseal backup` and `hookseal keys`, as an operator runs them: while a gateway serves, and when none does."""

import asyncio
import json
import shutil
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fault"))
from plug import API_KEY, Clients, Node, check, configuration, drained, pages, sink

from hookseal.store.keyfile import read

EVENTS = 300


async def hookseal(*arguments: str, folder: Path) -> tuple[int, Any, str]:
    """Exit code, JSON or text of stdout, stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "hookseal",
        *arguments,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, json.loads(out) if out.startswith(b"{") else out.decode(), err.decode()


@asynccontextmanager
async def hanging() -> AsyncIterator[str]:
    """A receiver that takes requests and never answers."""
    writers: list[asyncio.StreamWriter] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.read(-1)

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    finally:
        server.close()
        for writer in writers:
            writer.close()


async def test_a_restored_copy_has_all_that_was_acknowledged_and_delivers_what_was_pending(tmp_path: Path) -> None:
    """The copy is made under load, with deliveries under way; only the restored gateway ends them."""
    clients = Clients(seed=4)
    live, restored = tmp_path / "live", tmp_path / "restored"
    live.mkdir()
    restored.mkdir()
    async with hanging() as url:
        (live / "hookseal.toml").write_text(configuration(url))
        node = Node(live / "hookseal.toml")
        assert await node.start()
        await clients.run(node.url, 8, until_acked=EVENTS)
        before = set(clients.acked)
        load = asyncio.create_task(clients.run(node.url, 8))
        code, said, told = await hookseal("backup", str(restored / "hookseal.db"), "--json", folder=live)
        assert code == 0, told
        assert said["backup"] == str(restored / "hookseal.db")
        await node.kill()
        await load
    assert stat.S_IMODE((restored / "hookseal.db").stat().st_mode) == 0o600
    assert [path.name for path in restored.iterdir()] == ["hookseal.db"]

    async with sink() as receiver:
        (restored / "hookseal.toml").write_text(configuration(receiver.url))
        without_key, _, told = await hookseal("check", folder=restored)
        assert without_key == 2
        assert "key file" in told
        shutil.copy2(live / "hookseal.key", restored / "hookseal.key")
        node = Node(restored / "hookseal.toml")
        assert await node.start()
        stored = {str(row["subject"]) for row in await pages(node.url, "/api/v1/events")}
        assert before <= stored
        # The clients do not hold a copy to what came after it.
        clients.acked &= stored
        await drained(node.url)
        await check(node.url, clients, receiver)
        assert before <= receiver.got.keys()
        assert await node.stop() == 0


async def test_a_copy_never_takes_the_place_of_anything(tmp_path: Path) -> None:
    (tmp_path / "hookseal.toml").write_text("")
    code, _, told = await hookseal("migrate", folder=tmp_path)
    assert code == 0, told
    taken = tmp_path / "taken.db"
    taken.write_bytes(b"something of value")
    code, _, told = await hookseal("backup", str(taken), "--data", str(tmp_path), folder=tmp_path)
    assert code == 2
    assert "not there yet" in told
    assert taken.read_bytes() == b"something of value"
    assert not list(tmp_path.glob("*.new"))


async def test_there_must_be_something_to_copy(tmp_path: Path) -> None:
    (tmp_path / "hookseal.toml").write_text("")
    code, _, told = await hookseal("backup", str(tmp_path / "b.db"), "--data", str(tmp_path), folder=tmp_path)
    assert code == 2
    assert "no store" in told
    assert not (tmp_path / "b.db").exists()


async def test_a_serving_gateway_gets_a_new_key_and_drops_the_old_one(tmp_path: Path) -> None:
    clients = Clients(seed=5)
    async with sink() as receiver:
        config = tmp_path / "hookseal.toml"
        config.write_text(configuration(receiver.url))
        node = Node(config)
        assert await node.start()
        there = ("--url", node.url, "--key", API_KEY, "--json")
        await clients.run(node.url, 8, until_acked=EVENTS)
        load = asyncio.create_task(clients.run(node.url, 8, until_acked=4 * EVENTS))
        code, done, told = await hookseal("keys", "rotate", *there, folder=tmp_path)
        assert (code, done) == (0, {"active": "k2", "new": True}), told
        await load
        assert read(tmp_path / "hookseal.key").kids == ("k2", "k1")
        while True:
            _, shown, _ = await hookseal("keys", *there, folder=tmp_path)
            if not shown["rotating"]:
                break
        assert [(key["id"], key["active"]) for key in shown["keys"]] == [("k2", True), ("k1", False)]
        assert shown["keys"][1]["values"] == 0
        assert shown["keys"][0]["values"] >= len(clients.acked)
        assert shown["broken"] == 0
        _, pruned, _ = await hookseal("keys", "prune", *there, folder=tmp_path)
        assert pruned == {"dropped": ["k1"]}
        assert read(tmp_path / "hookseal.key").kids == ("k2",)
        await drained(node.url)
        await check(node.url, clients, receiver)
        here, _, told = await hookseal("keys", folder=tmp_path)
        assert here == 2
        assert str(node.process.pid if node.process else "") in told
        assert await node.stop() == 0
        assert await node.start()
        await check(node.url, clients, receiver)
        assert await node.stop() == 0


async def test_keys_of_a_stopped_gateway_are_changed_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "hookseal.toml").write_text("")
    code, _, told = await hookseal("migrate", folder=tmp_path)
    assert code == 0, told
    here = ("--data", str(tmp_path), "--json")
    _, shown, told = await hookseal("keys", "list", *here, folder=tmp_path)
    assert [(key["id"], key["active"], key["values"]) for key in shown["keys"]] == [("k1", True, 1)], told
    _, rotated, _ = await hookseal("keys", "rotate", *here, folder=tmp_path)
    assert rotated == {"active": "k2", "new": True}
    _, pruned, _ = await hookseal("keys", "prune", *here, folder=tmp_path)
    assert pruned == {"dropped": ["k1"]}
    assert stat.S_IMODE((tmp_path / "hookseal.key").stat().st_mode) == 0o600
    code, _, told = await hookseal("keys", "list", *here[:2], folder=tmp_path)
    assert code == 0, told


@pytest.mark.parametrize("words", [("burn",), ("rotate", "now")])
async def test_other_words_are_a_misuse(tmp_path: Path, words: tuple[str, ...]) -> None:
    code, _, told = await hookseal("keys", *words, folder=tmp_path)
    assert code == 2
    assert "`rotate`" in told
