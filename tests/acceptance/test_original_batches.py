"""The format `original` and requests with several events, over sockets: no new event stays behind a known one.

Oracle: the bytes that the endpoint received.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from gateways import API_KEY, Running, running
from stores import STORES, store_settings

from hookseal.model import EndpointId, ProviderId, SourceId
from hookseal.settings import (
    ApiSettings,
    EgressSettings,
    EndpointSettings,
    ServerSettings,
    Settings,
    SigningSettings,
    SourceSettings,
    StoreSettings,
)

HANG_S = 30.0
RAW, EACH = EndpointId("raw"), EndpointId("each")
SIGNING = SigningSettings(scheme="standard_webhooks", secrets=(b"whsec_" + b"QUFB" * 11,))
STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"


class Sink:
    """Endpoints on one socket: `/raw` and `/each`. What arrives is kept by path."""

    def __init__(self) -> None:
        self.url = ""
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrivals: dict[str, asyncio.Queue[bytes]] = {"/raw": asyncio.Queue(), "/each": asyncio.Queue()}

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        await self.gate.wait()
        self.arrivals[request.path].put_nowait(body)
        return web.Response()

    async def next(self, path: str = "/raw") -> bytes:
        async with asyncio.timeout(HANG_S):
            return await self.arrivals[path].get()


@asynccontextmanager
async def sink() -> AsyncIterator[Sink]:
    made = Sink()
    app = web.Application()
    app.router.add_post("/{name}", made.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()


@asynccontextmanager
async def gateway(kind: str, folder: Path, receiver: Sink, types: tuple[str, ...] = ("*",)) -> AsyncIterator[Running]:
    async with store_settings(kind, folder) as store, running(settings_of(store, receiver, types)) as started:
        yield started


def settings_of(store: StoreSettings, receiver: Sink, types: tuple[str, ...] = ("*",)) -> Settings:
    endpoint = EndpointSettings(id=RAW, url=f"{receiver.url}/raw", format="original", signing=SIGNING, types=types)
    return Settings(
        server=ServerSettings(),
        store=store,
        api=ApiSettings(keys=(API_KEY.encode(),)),
        egress=EgressSettings(allow=("127.0.0.0/8",), allow_http=True),
        sources=(
            SourceSettings(
                id=SourceId("alarms"),
                provider=ProviderId("bankid_antifraud"),
                unsigned=True,
                addresses=("127.0.0.1",),
                options={"audience": ("tests",), "jwks_url": "http://127.0.0.1:9/keys"},
            ),
        ),
        endpoints=(endpoint, replace(endpoint, id=EACH, url=f"{receiver.url}/each", format="cloudevents")),
    )


def alarm(name: str, type: str = "no.bankid.antifraud.alarm.dispatch.v2") -> dict[str, object]:
    return {"specversion": "1.0", "type": type, "source": "/alarms", "id": name, "subject": name, "data": {}}


async def post(gateway: Running, events: object, media: str = BATCH) -> bytes:
    body = json.dumps(events).encode()
    answer = await gateway.post("/in/alarms", body, [("Content-Type", media)])
    assert answer.status == 202, answer
    return body


@pytest.mark.parametrize("kind", STORES)
async def test_a_batch_whose_first_event_is_known_reaches_an_endpoint_of_original(kind: str, tmp_path: Path) -> None:
    async with sink() as receiver, gateway(kind, tmp_path, receiver) as started:
        alone = await post(started, alarm("a"), STRUCTURED)
        assert await receiver.next() == alone
        both = await post(started, [alarm("a"), alarm("b")])
        assert await receiver.next() == both
        # Nothing is new in a repeat, so that the next bytes are those of the request after it.
        await post(started, [alarm("b"), alarm("a")])
        last = await post(started, [alarm("b"), alarm("c"), alarm("d")])
        assert await receiver.next() == last
        got = [json.loads(await receiver.next("/each"))["subject"] for _ in range(4)]
        assert sorted(got) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("kind", STORES)
async def test_the_first_new_event_of_the_wanted_types_brings_the_request(kind: str, tmp_path: Path) -> None:
    async with sink() as receiver, gateway(kind, tmp_path, receiver, types=("risk.*",)) as started:
        await post(started, [alarm("a"), alarm("x", "unmapped")])
        await receiver.next()
        # A known one that matches, a new one that does not, and a new one that does.
        mixed = await post(started, [alarm("a"), alarm("y", "unmapped"), alarm("b")])
        assert await receiver.next() == mixed
        # Nothing new of the wanted types.
        await post(started, [alarm("a"), alarm("z", "unmapped")])
        last = await post(started, [alarm("c")])
        assert await receiver.next() == last


@pytest.mark.parametrize("kind", STORES)
async def test_a_replay_sends_a_request_once_whichever_of_its_events_are_named(kind: str, tmp_path: Path) -> None:
    async with sink() as receiver, gateway(kind, tmp_path, receiver) as started:
        first = await post(started, [alarm("a"), alarm("b"), alarm("c")])
        assert await receiver.next() == first
        await delivered(started)
        named = [event["id"] for event in await started.events("alarms")]
        assert len(named) == 3
        for wanted in ({"events": named}, {"state": "delivered"}, {"since": "2020-01-01T00:00:00Z"}):
            assert await replayed(started, {"endpoint": "raw", **wanted}) == 1, wanted
            assert await receiver.next() == first
            await delivered(started)


async def replayed(started: Running, wanted: dict[str, object]) -> int:
    key = {"Authorization": f"Bearer {API_KEY}"}
    async with (
        ClientSession(headers=key) as session,
        session.post(started.url + "/api/v1/replays", json=wanted) as answer,
    ):
        assert answer.status < 300, await answer.text()
        count: int = (await answer.json())["replayed"]
        return count


async def delivered(started: Running) -> None:
    """Wait until no delivery of the endpoint is pending."""
    async with asyncio.timeout(HANG_S):
        while (await started.get("/api/v1/deliveries?endpoint=raw&state=pending"))["data"]:
            await asyncio.sleep(0.02)
