"""The key of the store is gone, is another, or one sealed value is damaged.

Oracles: the exit code and the words of the process, bytes of the store before and after, states over the API, and what
arrives. A store without its key is not touched; one damaged event harms only itself.
"""

import asyncio
import os
import sys
from pathlib import Path
from uuid import UUID

import apsw
import pytest
from plug import Clients, Node, Sink, configuration, drained, letter, pages, sink

pytestmark = pytest.mark.fault

BOUND_S = 60
EVENTS = 100


async def serve(config: Path) -> tuple[int, str]:
    """Exit code and words of `hookseal serve`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hookseal", "serve", "--config", str(config), stderr=asyncio.subprocess.PIPE
    )
    _, told = await asyncio.wait_for(process.communicate(), BOUND_S)
    assert process.returncode is not None
    return process.returncode, told.decode()


async def filled(folder: Path, receiver: Sink) -> tuple[Path, Node, Clients]:
    """A stopped node with some events in its store."""
    config = folder / "hookseal.toml"
    config.write_text(configuration(receiver.url))
    node, clients = Node(config), Clients(11)
    assert await node.start()
    await asyncio.wait_for(clients.run(node.url, 4, until_acked=EVENTS), BOUND_S)
    await asyncio.wait_for(drained(node.url), BOUND_S)
    assert await node.stop() == 0
    return config, node, clients


LOSSES = ("missing", "another", "empty", "not a key", "open to all")


def lose(key: Path, loss: str) -> None:
    if loss == "missing":
        key.unlink()
    elif loss == "another":
        name, _, _ = key.read_bytes().partition(b":")
        key.write_bytes(name + b":" + b"A" * 43 + b"=\n")
    elif loss == "empty":
        key.write_bytes(b"")
    elif loss == "not a key":
        key.write_bytes(os.urandom(64))
    else:
        key.chmod(0o644)


async def test_a_store_without_its_key_is_not_opened_and_not_touched(tmp_path: Path) -> None:
    async with sink() as receiver:
        config, node, _ = await filled(tmp_path, receiver)
        key, store = tmp_path / "hookseal.key", tmp_path / "hookseal.db"
        true_key, before = key.read_bytes(), store.read_bytes()
        for loss in LOSSES:
            lose(key, loss)
            code, told = await serve(config)
            assert code == 2, (loss, told)
            assert "Traceback" not in told, loss
            assert "key" in told, loss
            assert true_key.strip().partition(b":")[2].decode() not in told, loss
            assert store.read_bytes() == before, loss
            assert key.exists() == (loss != "missing"), "a new key was made for an old store"
            key.write_bytes(true_key)
            key.chmod(0o600)
        assert await node.start()
        assert len(await pages(node.url, "/api/v1/events")) >= EVENTS
        assert await node.stop() == 0


async def test_a_key_file_that_is_taken_away_matters_at_the_next_start_only(tmp_path: Path) -> None:
    async with sink() as receiver:
        config, node, clients = await filled(tmp_path, receiver)
        assert await node.start()
        key = tmp_path / "hookseal.key"
        kept = key.read_bytes()
        key.unlink()
        await asyncio.wait_for(clients.run(node.url, 4, until_acked=EVENTS * 2), BOUND_S)
        await asyncio.wait_for(drained(node.url), BOUND_S)
        assert clients.statuses.keys() == {200}
        assert clients.acked <= receiver.got.keys()
        assert await node.stop() == 0
        assert (await serve(config))[0] == 2
        key.write_bytes(kept)
        key.chmod(0o600)
        assert await node.start()
        assert len(await pages(node.url, "/api/v1/events")) == len(clients.acked)
        assert await node.stop() == 0


async def test_one_damaged_event_is_dead_and_told_and_the_others_go_on(tmp_path: Path) -> None:
    """The sink is down at first, so that deliveries wait in the store and are read back from there."""
    async with sink() as receiver:
        config = tmp_path / "hookseal.toml"
        retry = "retry = { delays_s = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1] }\n"
        config.write_text(configuration("http://127.0.0.1:1/hook") + retry)
        node, clients = Node(config), Clients(12)
        assert await node.start()
        await asyncio.wait_for(clients.run(node.url, 4, until_acked=EVENTS), BOUND_S)
        subjects = {row["id"]: row["subject"] for row in await pages(node.url, "/api/v1/events")}
        await node.kill()
        damaged = subjects[damage_one(tmp_path / "hookseal.db")]
        config.write_text(configuration(receiver.url) + retry)
        assert await node.start()
        await asyncio.wait_for(drained(node.url), BOUND_S)
        rows = await pages(node.url, "/api/v1/deliveries")
        assert [row["last_reason"] for row in rows if row["state"] == "dead"] == ["seal_broken"]
        assert sum(row["state"] == "delivered" for row in rows) == len(rows) - 1
        assert clients.acked - receiver.got.keys() == {damaged}
        await reading_tells(node, damaged)
        fresh = letter(5_000_001)
        clients._letter = lambda number: fresh
        await asyncio.wait_for(clients.run(node.url, 1, until_acked=len(clients.acked) + 1), BOUND_S)
        await asyncio.wait_for(drained(node.url), BOUND_S)
        assert receiver.got[fresh.key] == 1
        assert await node.stop() == 0


def damage_one(store: Path) -> str:
    """Change one byte of one sealed body; return the event's id."""
    connection = apsw.Connection(str(store))
    [(event, request, sealed)] = connection.execute(
        "SELECT e.id, b.request, b.sealed FROM events e JOIN bodies b ON b.request = e.request LIMIT 1 OFFSET 50"
    ).fetchall()
    broken = sealed[:-1] + bytes([sealed[-1] ^ 1])
    connection.execute("UPDATE bodies SET sealed = ? WHERE request = ?", (broken, request))
    connection.close()
    return str(UUID(bytes=event))


async def reading_tells(node: Node, subject: str) -> None:
    from aiohttp import ClientSession
    from plug import API_KEY

    events = await pages(node.url, "/api/v1/events")
    [event] = [one for one in events if one["subject"] == subject]
    assert "unreadable" in event["data"]["flags"]  # type: ignore[index]
    async with ClientSession(headers={"Authorization": f"Bearer {API_KEY}"}) as session:
        for path in (f"/api/v1/events/{event['id']}", f"/api/v1/events/{event['id']}/raw"):
            async with session.get(node.url + path) as answer:
                assert answer.status in (500, 503)
                problem = await answer.json()
                assert answer.content_type == "application/problem+json"
                assert "seal" in problem["type"]
