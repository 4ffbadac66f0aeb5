"""An event that kills whoever sends it, one that makes reading it fail, and a batch with one bad item.

Oracles: how often the process died, what arrived at the sink, and the API. The killer is dead after twelve crashes and
is not attempted again; its neighbours arrive; a body that cannot be read harms only itself; a batch is all or nothing.
"""

import asyncio
import json
from pathlib import Path

import ending
import pytest
from aiohttp import ClientSession, web
from issuers import alarm, issuer, key_set, new_key, public, token
from local import NOW, SteppedClock, endpoints, running
from plug import API_KEY, Clients, Node, configuration, drained, letter, pages, sink
from tiers import tier

from hookseal.identity import normalise as normalising
from hookseal.store.port import EventRow

pytestmark = pytest.mark.fault

NEIGHBOURS = tier(ci=2_000, full=10_000)
BOUND_S = 240
CRASHES = 2 + 10
"""Two with other deliveries in flight, ten with none."""


async def test_an_event_that_kills_its_sender_ends_dead_and_its_neighbours_arrive(
    tmp_path: Path,
) -> None:
    """The waits between isolated attempts are set to 0: by `standard` the twelve crashes take 75 h."""
    killer = letter(999_999)
    clients = Clients(5)
    deaths = 0
    async with sink() as receiver:

        async def kill_or_pass_on(request: web.Request) -> web.Response:
            """In front of the sink: whoever brings the killer dies before it has an answer."""
            nonlocal deaths
            body = await request.read()
            if json.loads(body)["subject"] == killer.key and node.process is not None:
                deaths += 1
                await ending.kill(node.process)
                return web.Response(status=500)
            receiver.got[json.loads(body)["subject"]] += 1
            return web.Response(status=200)

        app = web.Application()
        app.router.add_post("/hook", kill_or_pass_on)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        config = tmp_path / "hookseal.toml"
        config.write_text(
            configuration(f"http://127.0.0.1:{runner.addresses[0][1]}/hook", "retry = { delays_s = [0] }")
        )
        node = Node(config)
        assert await node.start()
        load = asyncio.create_task(clients.run(node.url, 8, until_acked=NEIGHBOURS // 2))
        await clients.acked_beyond(NEIGHBOURS // 4)
        _, writer = await asyncio.open_connection("127.0.0.1", int(node.url.rsplit(":", 1)[1]))
        writer.write(killer.raw)
        await asyncio.wait_for(load, BOUND_S)
        writer.close()
        twice = 0
        async with asyncio.timeout(BOUND_S):
            while deaths < CRASHES:
                assert node.process is not None
                await node.process.wait()
                if deaths == 2:  # what was in flight now is sent again: 16 calls at most
                    twice = sum(count > 1 for count in receiver.got.values())
                await node.start()
        assert sum(count > 1 for count in receiver.got.values()) <= twice + 16, "isolated crashes sent others twice"
        await asyncio.wait_for(clients.run(node.url, 8, until_acked=NEIGHBOURS), BOUND_S)
        await asyncio.wait_for(clients.settle(node.url), BOUND_S)
        await asyncio.wait_for(drained(node.url), BOUND_S)
        assert deaths == CRASHES, "attempted again after its end"
        rows = await pages(node.url, "/api/v1/deliveries")
        dead = [row for row in rows if row["state"] == "dead"]
        assert [row["last_reason"] for row in dead] == ["worker_lost"]
        async with (
            ClientSession(headers={"Authorization": f"Bearer {API_KEY}"}) as session,
            session.get(f"{node.url}/api/v1/deliveries/{dead[0]['id']}") as answer,
        ):
            assert (await answer.json())["attempts"] == [], "an attempt was invented"
        assert {row["state"] for row in rows} == {"delivered", "dead"}
        assert clients.acked <= receiver.got.keys()
        assert await node.stop() == 0
        await runner.cleanup()


@pytest.mark.parametrize("error", [RecursionError, MemoryError, ValueError])
async def test_an_event_that_cannot_be_read_harms_only_itself(
    error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault is put where the fields of a body are read, as a body that no parser of ours withstands would do."""
    true_event = normalising.event

    def fails_for_one(provider: object, row: EventRow, *rest: object) -> object:
        if row.subject == "subject-7":
            raise error("as if by its body")
        return true_event(provider, row, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(normalising, "event", fails_for_one)
    key = new_key()
    async with issuer() as keys, endpoints() as there:
        keys.body = key_set(public(key, "k1"))
        retry = "retry = { delays_s = [0] }"
        async with running(tmp_path, keys.settings() + there.settings("core", more=retry), SteppedClock()) as gateway:
            for number in range(200):
                body, headers = alarm(number, token(key, "k1", NOW))
                assert (await gateway.post("/in/bankid", body, headers)).status == 202
            async with asyncio.timeout(BOUND_S):
                while {row["state"] for row in await gateway.all("/deliveries")} != {"delivered", "dead"}:
                    await asyncio.sleep(0.01)
            dead = [row for row in await gateway.all("/deliveries") if row["state"] == "dead"]
            assert [row["last_reason"] for row in dead] == ["config_error"]
            assert there.got["core"].keys() == {f"subject-{number}" for number in range(200) if number != 7}
            events = await gateway.all("/events")
            assert len(events) == 200, "one event that cannot be read took the list with it"
            [unread] = [event for event in events if "unreadable" in event["data"]["flags"]]
            assert unread["subject"] == "subject-7"
            assert unread["data"]["payload_base64"]


async def test_a_batch_with_one_bad_item_is_refused_as_a_whole(tmp_path: Path) -> None:
    key = new_key()
    async with issuer() as keys, endpoints() as there:
        keys.body = key_set(public(key, "k1"))
        async with running(tmp_path, keys.settings() + there.settings("core"), SteppedClock()) as gateway:
            items = [json.loads(alarm(number, "")[0]) for number in range(20)]
            headers = {
                "Content-Type": "application/cloudevents-batch+json",
                "Authorization": f"Bearer {token(key, 'k1', NOW)}",
            }
            for bad in ({}, {**items[3], "specversion": "9"}, {**items[3], "id": ""}, 7, None, []):
                batch = json.dumps([*items[:3], bad, *items[4:]]).encode()
                assert (await gateway.post("/in/bankid", batch, headers)).status == 400
            assert await gateway.all("/events") == []
            assert (await gateway.post("/in/bankid", json.dumps(items).encode(), headers)).status == 202
            assert len(await gateway.all("/events")) == 20
            await there.until(lambda: len(there.got["core"]) == 20)
            assert set(there.got["core"].values()) == {1}
