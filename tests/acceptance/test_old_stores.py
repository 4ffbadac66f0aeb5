"""A store of an older version is opened: everything is there as it was, and nothing lies open any more."""

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from gateways import API_KEY, Running, running
from stores import STORES, store_settings
from test_event_meaning import ended, json_endpoint, receiver, settings
from test_receiver_requirements import SECRETS, source

import hookseal

sys.path.insert(0, str(Path(__file__).parents[1] / "migration"))
from old_stores import OldStore, restore
from stored_bytes import bytes_of

HELD = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
SOURCES = (
    source("idv", "idenfy"),
    source("gone", "zignsec"),
    source("held", "standard_webhooks", secrets=(HELD.encode(),), stale="hold", max_age_s=300),
)


@pytest.fixture(params=STORES)
async def old(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OldStore]:
    async with store_settings(request.param, tmp_path) as empty:
        yield await restore(request.param, empty, tmp_path)


async def views(gateway: Running) -> dict[str, list[dict[str, Any]]]:
    return {name: (await gateway.get(f"/api/v1/{name}"))["data"] for name in ("events", "quarantine", "deliveries")}


REMOVED = {"diagnosis"}
"""Members of rows that the API returned once. Refused requests had it, always empty."""


def assert_same(now: dict[str, list[dict[str, Any]]], before: dict[str, list[dict[str, Any]]]) -> None:
    """Every member that the older version returned has the same value. A newer one may return more members."""
    for name, rows in now.items():
        assert len(rows) == len(before[name])
        for row, old_row in zip(rows, before[name], strict=True):
            expected = {member: value for member, value in old_row.items() if member not in REMOVED}
            assert {member: row.get(member) for member in expected} == expected


async def test_old_store_is_read_as_it_was_and_then_keeps_its_meaning(old: OldStore) -> None:
    async with running(settings(old.settings, *SOURCES)) as gateway:
        assert_same(await views(gateway), old.views)
        for source_id, subject, events, superseded in (("idv", "scan-1", 2, 1), ("gone", "sms-1", 2, 1)):
            state = await gateway.get(f"/api/v1/subjects/{source_id}/{subject}")
            assert state["counts"] == {"events": events, "superseded": superseded}
            found = (await gateway.get(f"/api/v1/events?subject={subject}"))["data"]
            assert [event["id"] for event in found] == [
                event["id"] for event in old.views["events"] if event.get("subject") == subject
            ]
    # The rules of that start were assigned: the sources are not needed any more.
    with receiver() as (url, bodies):
        async with running(settings(old.settings, endpoints=(json_endpoint(url),))) as gateway:
            assert_same({"events": (await views(gateway))["events"]}, old.views)
            for delivery in old.views["deliveries"]:
                assert (await ended(gateway, delivery["event"]))["state"] == "delivered"
    assert len(bodies) == 2


async def test_late_state_is_recognised_after_the_upgrade(old: OldStore) -> None:
    """The order of a subject's states was noted under another hash of the subject before."""

    async with running(settings(old.settings, *SOURCES)) as gateway:
        body = json.dumps({"id": "sms-1", "status": "queued"}).encode()
        answer = await gateway.post("/in/gone", body, hookseal.sign("zignsec", body, secret=SECRETS["zignsec"]))
        assert answer.status == 200
        assert (await gateway.events("gone"))[0]["data"]["superseded"] is True


async def test_held_request_of_an_old_store_can_be_released(old: OldStore) -> None:
    held = next(one for one in old.views["quarantine"] if one["source"] == "held")
    key = {"Authorization": f"Bearer {API_KEY}"}
    async with running(settings(old.settings, *SOURCES)) as gateway, ClientSession(headers=key) as session:
        async with session.post(gateway.url + f"/api/v1/quarantine/{held['id']}/release") as answer:
            assert answer.status == 200, await answer.text()
        assert len(await gateway.events("held")) == 1


async def test_nothing_personal_lies_open_after_the_upgrade(old: OldStore, tmp_path: Path) -> None:
    private = (b"scan-1", b"sms-1", b"ANNA")
    before = await bytes_of(old.settings, tmp_path)
    assert [marker in before for marker in private] == [True, True, False]
    async with running(settings(old.settings, *SOURCES)):
        pass
    after = await bytes_of(old.settings, tmp_path)
    assert [marker in after for marker in private] == [False] * 3
