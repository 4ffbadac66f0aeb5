"""An event keeps the provider and the rules that judged it, whatever becomes of its source and of the catalogue."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from gateways import API_KEY, Running, running
from sample_receivers import listening
from stores import STORES, store_settings
from test_receiver_requirements import SECRETS, source

import hookseal
from hookseal.catalogue import reader
from hookseal.model import EndpointId
from hookseal.settings import (
    ApiSettings,
    EgressSettings,
    EndpointSettings,
    Settings,
    SigningSettings,
    SourceSettings,
    StoreSettings,
)

DENIED = {
    "scanRef": "scan-1",
    "final": True,
    "finishTime": 1_779_999_100,
    "status": {"overall": "DENIED", "denyReasons": ["DOC_FAKE"]},
    "data": {"docFirstName": "ANNA", "docLastName": "BERG"},
}
BODY = json.dumps(DENIED).encode()
SOURCE = "idv"


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreSettings]:
    async with store_settings(request.param, tmp_path) as settings:
        yield settings


def settings(store: StoreSettings, *sources: SourceSettings, endpoints: tuple[EndpointSettings, ...] = ()) -> Settings:
    return Settings(
        store=store,
        api=ApiSettings(keys=(API_KEY.encode(),)),
        egress=EgressSettings(allow=("127.0.0.0/8",), allow_http=True),
        sources=sources,
        endpoints=endpoints,
    )


async def accept(gateway: Running, provider: str, body: bytes = BODY) -> str:
    """Send one request to the source; return the id of its event."""
    answer = await gateway.post(f"/in/{SOURCE}", body, hookseal.sign(provider, body, secret=SECRETS[provider]))
    assert answer.status == 200
    id: str = (await gateway.events(SOURCE))[0]["id"]
    return id


async def all_views(gateway: Running, id: str) -> list[dict[str, Any]]:
    """The event as it is returned alone, in a list and as the current state of its subject."""
    state = await gateway.get(f"/api/v1/subjects/{SOURCE}/scan-1")
    del state["counts"]
    return [await gateway.get(f"/api/v1/events/{id}"), *(await gateway.events(SOURCE)), state]


def json_endpoint(url: str) -> EndpointSettings:
    return EndpointSettings(id=EndpointId("core"), url=url, signing=SigningSettings(scheme="none"), format="json")


@contextmanager
def receiver() -> Iterator[tuple[str, list[bytes]]]:
    bodies: list[bytes] = []

    def receive(method: str, headers: object, body: bytes) -> tuple[int, dict[str, str]]:
        bodies.append(body)
        return 204, {}

    with listening(receive) as url:
        yield url, bodies


async def replay(gateway: Running, id: str) -> dict[str, Any]:
    """Send the event again to the endpoint `core`; return the delivery once it has ended."""
    key = {"Authorization": f"Bearer {API_KEY}"}
    async with ClientSession(headers=key) as session:
        body = {"endpoint": "core", "events": [id]}
        async with session.post(gateway.url + "/api/v1/replays", json=body) as answer:
            assert answer.status in (200, 202), await answer.text()
    return await ended(gateway, id)


async def ended(gateway: Running, id: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            rows = (await gateway.get(f"/api/v1/deliveries?event={id}"))["data"]
            if rows and rows[0]["state"] != "pending":
                row: dict[str, Any] = rows[0]
                return row
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("later", ["no source", "another provider", "another envelope"])
async def test_event_keeps_its_meaning_when_its_source_changes(store: StoreSettings, later: str) -> None:
    """A source that left the file, or got another provider, made a stored refusal `outcome: unknown`."""
    async with running(settings(store, source(SOURCE, "idenfy"))) as gateway:
        id = await accept(gateway, "idenfy")
        before = await all_views(gateway, id)
    assert (before[0]["provider"], before[0]["data"]["outcome"]) == ("idenfy", "declined")
    assert before[0]["data"]["reasons"] == ["DOC_FAKE"]
    assert before[0]["data"]["claims"] == {"given_name": "ANNA", "family_name": "BERG"}
    sources = {
        "no source": (),
        "another provider": (source(SOURCE, "zignsec"),),
        "another envelope": (source(SOURCE, "bankid_antifraud", options={"audience": "a"}),),
    }[later]
    with receiver() as (url, bodies):
        async with running(settings(store, *sources, endpoints=(json_endpoint(url),))) as gateway:
            assert await all_views(gateway, id) == before
            delivery = await replay(gateway, id)
    assert (delivery["state"], delivery["last_reason"]) == ("delivered", None)
    assert [json.loads(body) for body in bodies] == [DENIED]


async def test_pending_delivery_goes_out_after_its_source_is_gone(store: StoreSettings) -> None:
    """The delivery of an event without a source ended dead with `config_error`."""
    refusing = json_endpoint("http://127.0.0.1:9/")
    async with running(settings(store, source(SOURCE, "idenfy"), endpoints=(refusing,))) as gateway:
        id = await accept(gateway, "idenfy")
    with receiver() as (url, bodies):
        async with running(settings(store, endpoints=(json_endpoint(url),))) as gateway:
            assert (await ended(gateway, id))["state"] == "delivered"
    assert [json.loads(body) for body in bodies] == [DENIED]


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a later version's catalogue, to be changed by the test. Clear the caches after a change."""
    folder = tmp_path / "providers"
    shutil.copytree(reader.FOLDER, folder)
    monkeypatch.setattr(reader, "FOLDER", folder)
    yield folder
    monkeypatch.undo()
    clear_caches()


def clear_caches() -> None:
    reader.ids.cache_clear()
    reader.provider.cache_clear()


@pytest.mark.parametrize("change", ["other rules", "no entry"])
async def test_event_keeps_its_meaning_when_the_catalogue_changes(
    store: StoreSettings, catalogue: Path, change: str
) -> None:
    async with running(settings(store, source(SOURCE, "idenfy"))) as gateway:
        id = await accept(gateway, "idenfy")
        before = await all_views(gateway, id)
    file = catalogue / "idenfy.toml"
    if change == "no entry":
        file.unlink()
    else:
        text = file.read_text()
        for old, new in (
            ('DENIED = "declined"', 'DENIED = "review"'),
            ('"body:/data/docFirstName"', '"body:/data/docLastName"'),
            ('"body:/status/denyReasons/*"', '"body:/status/overall"'),
        ):
            assert old in text
            text = text.replace(old, new)
        file.write_text(text)
    clear_caches()
    sources = () if change == "no entry" else (source(SOURCE, "idenfy"),)
    async with running(settings(store, *sources)) as gateway:
        assert await all_views(gateway, id) == before
        if sources:
            later = replace_scan(BODY)
            new = await gateway.get(f"/api/v1/events/{await accept(gateway, 'idenfy', later)}")
            assert (new["data"]["outcome"], new["data"]["claims"]["given_name"]) == ("review", "BERG")
            assert new["data"]["reasons"] == ["DENIED"]


def replace_scan(body: bytes) -> bytes:
    return body.replace(b"scan-1", b"scan-2")


async def test_event_of_a_deleted_provider_does_not_prevent_the_start(store: StoreSettings, catalogue: Path) -> None:
    """A source was registered through the API and deleted. Its provider then left the catalogue: the start failed."""
    key = {"Authorization": f"Bearer {API_KEY}"}
    async with running(settings(store)) as gateway, ClientSession(headers=key) as session:
        table = {"id": SOURCE, "provider": "idenfy", "secrets": [SECRETS["idenfy"]]}
        async with session.post(gateway.url + "/api/v1/sources", json=table) as answer:
            assert answer.status == 201, await answer.text()
        id = await accept(gateway, "idenfy")
        async with session.delete(gateway.url + f"/api/v1/sources/{SOURCE}") as answer:
            assert answer.status == 204
        before = await all_views(gateway, id)
    (catalogue / "idenfy.toml").unlink()
    clear_caches()
    async with running(settings(store)) as gateway:
        assert await all_views(gateway, id) == before
    assert (before[0]["provider"], before[0]["data"]["outcome"]) == ("idenfy", "declined")


async def test_published_event_is_shown_as_published_after_a_restart(store: StoreSettings) -> None:
    key = {"Authorization": f"Bearer {API_KEY}"}
    async with running(settings(store)) as gateway, ClientSession(headers=key) as session:
        async with session.post(gateway.url + "/api/v1/events", json={"type": "a.b", "data": {"n": 1}}) as answer:
            id = (await answer.json())["id"]
        before = await gateway.get(f"/api/v1/events/{id}")
    assert (before["provider"], before["data"]["payload"]) == ("hookseal", {"n": 1})
    async with running(settings(store)) as gateway:
        assert await gateway.get(f"/api/v1/events/{id}") == before
