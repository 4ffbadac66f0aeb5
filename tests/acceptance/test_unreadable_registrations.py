"""Registrations that this version cannot read: each one is set aside by itself, and everything else runs.

Oracles: status codes over real sockets, what arrives at receivers of the test's own, and the API's answers. The stored
values are written in the format that `docs/design/005-registrations-on-a-shelf.md` describes: one JSON object.
"""

import asyncio
import hashlib
import hmac
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import apsw
import asyncpg
import pytest
from registered_live import SECRET, Api, Receiver, api, receiver, settings
from stores import STORES, store_settings

from hookseal.settings import Settings, StoreSettings

SIGNING = {"scheme": "standard_webhooks", "secrets": [SECRET]}
IDENFY = "a secret of the tests"
FAULTS = ("newer_format", "not_json", "unknown_provider", "unknown_option", "unknown_key", "broken_seal")


def changed(section: str, table: dict[str, Any], fault: str) -> bytes:
    """The stored value of a registration with this fault."""
    value: dict[str, Any] = {"table": dict(table), "ends": {}}
    if fault == "newer_format":
        value = {"format": 99, "content": "of a later version"}
    elif fault == "not_json":
        return b"\x00 not JSON"
    elif fault == "unknown_provider":
        value["table"] |= {"provider": "nobody"} if section == "sources" else {"as": "nobody"}
    elif fault == "unknown_option":
        more = {"options": {"surprise": 1}} if section == "sources" else {"signing": {**SIGNING, "surprise": 1}}
        value["table"] |= more
    elif fault == "unknown_key":
        value["table"]["surprise"] = True
    return json.dumps(value).encode()


async def break_seal(store: StoreSettings, section: str, id: str) -> None:
    """Put the value of another registration in its place, which then does not belong to its name."""
    sql = "UPDATE {}kept SET sealed = (SELECT sealed FROM {}kept WHERE shelf = '{}' AND name = 'good')"
    sql += f" WHERE shelf = '{section}' AND name = '{id}'"
    if store.is_embedded:
        connection = apsw.Connection(str(store.path))
        connection.execute(sql.format("", "", section))
        connection.close()
    else:
        there = await asyncpg.connect(store.url)
        await there.execute(sql.format("hookseal.", "hookseal.", section))
        await there.close()


async def spoil(of: Api, store: StoreSettings, section: str, table: dict[str, Any], fault: str) -> None:
    if fault != "broken_seal":
        await of.gateway.gateway.store.keep(section, table["id"], changed(section, table, fault))


async def post(of: Api, source: str, body: bytes = b'{"scanRef": "s"}') -> Any:
    digest = hmac.digest(IDENFY.encode(), body, hashlib.sha256).hex()
    headers = [("Content-Type", "application/json"), ("Idenfy-Signature", digest)]
    return await of.gateway.post(f"/in/{source}", body, headers)


def a_source(id: str) -> dict[str, Any]:
    return {"id": id, "provider": "idenfy", "secrets": [IDENFY]}


def an_endpoint(id: str, target: Receiver) -> dict[str, Any]:
    return {"id": id, "url": f"{target.url}/{id}", "signing": SIGNING}


@asynccontextmanager
async def spoiled(kind: str, folder: Path, fault: str, target: Receiver) -> AsyncIterator[tuple[Api, Settings]]:
    """A gateway that was started with a source `bad` and an endpoint `bad` that it cannot read, and good ones beside."""
    async with store_settings(kind, folder) as store:
        made = settings(folder, store=store)
        async with api(made) as of:
            for id in ("good", "bad"):
                await of.made("sources", a_source(id))
                await of.made("endpoints", an_endpoint(id, target))
            await spoil(of, store, "sources", a_source("bad"), fault)
            await spoil(of, store, "endpoints", an_endpoint("bad", target), fault)
        if fault == "broken_seal":
            for section in ("sources", "endpoints"):
                await break_seal(store, section, "bad")
        async with api(made) as of:
            yield of, made


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", STORES)
async def test_only_the_registration_that_cannot_be_read_waits(tmp_path: Path, kind: str, fault: str) -> None:
    async with receiver() as target, spoiled(kind, tmp_path, fault, target) as (of, _):
        assert (await post(of, "good")).status == 200
        assert (await target.next()).path == "/good"
        waiting = await post(of, "bad")
        assert (waiting.status, "retry-after" in waiting.headers) == (503, True)
        assert (await post(of, "nobody")).status == 404
        for section in ("sources", "endpoints"):
            shown = {one["id"]: one["problem"] for one in (await of("GET", f"/api/v1/{section}")).body["data"]}
            assert shown["good"] is None
            assert shown["bad"]
            one = (await of("GET", f"/api/v1/{section}/bad")).body
            assert (one["id"], one["origin"], one["problem"]) == ("bad", "api", shown["bad"])
            assert IDENFY not in json.dumps(one)
            assert SECRET not in json.dumps(one)
        async with of.session.get(of.gateway.url + "/readyz") as ready:
            assert ready.status == 200
            [check] = [one for one in (await ready.json())["checks"] if one["name"] == "registrations_readable"]
            assert check["ok"] is True
            assert "source bad" in check["detail"]
            assert "endpoint bad" in check["detail"]
        assert (await of("POST", "/api/v1/endpoints/bad/test")).status == 409
        assert (await of("POST", "/api/v1/sources/bad/test")).status == 409


@pytest.mark.parametrize("fault", ["unknown_option", "unknown_key", "unknown_provider"])
async def test_what_came_meanwhile_is_delivered_once_the_endpoint_is_replaced(tmp_path: Path, fault: str) -> None:
    async with receiver() as target, spoiled("sqlite", tmp_path, fault, target) as (of, _):
        assert (await post(of, "good")).status == 200
        assert (await target.next()).path == "/good"
        states = {one["endpoint"]: one["state"] for one in (await of("GET", "/api/v1/deliveries")).body["data"]}
        assert states["bad"] == "pending"
        await of.made("endpoints", an_endpoint("bad", target))
        assert (await target.next()).path == "/bad"
        await of.made("sources", a_source("bad"))
        assert (await post(of, "bad")).status == 200
        assert (await of("GET", "/api/v1/endpoints/bad")).body["problem"] is None


async def test_what_was_pending_waits_and_is_not_cancelled(tmp_path: Path) -> None:
    async with receiver() as target, store_settings("sqlite", tmp_path) as store:
        made = settings(tmp_path, store=store)
        async with api(made) as of:
            target.status = 500
            await of.made("endpoints", an_endpoint("bad", target))
            await of.made("endpoints", an_endpoint("good", target))
            await of("POST", "/api/v1/events", {"type": "order.paid", "data": 1})
            await target.next()
            await target.next()
        await break_seal(store, "endpoints", "bad")
        target.status = 200
        async with api(made) as of:
            [row] = (await of("GET", "/api/v1/deliveries?endpoint=bad")).body["data"]
            assert row["state"] == "pending"
            assert (await of("POST", "/api/v1/endpoints", an_endpoint("bad", target))).status == 201
            await of("POST", "/api/v1/replays", {"endpoint": "bad"})
            async with asyncio.timeout(20):
                while (await of("GET", f"/api/v1/deliveries/{row['id']}")).body["state"] != "delivered":
                    await asyncio.sleep(0.01)


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_registration_that_cannot_be_read_can_be_deleted(tmp_path: Path, fault: str) -> None:
    async with receiver() as target, spoiled("sqlite", tmp_path, fault, target) as (of, _):
        for section in ("sources", "endpoints"):
            assert (await of("DELETE", f"/api/v1/{section}/bad")).status == 204
            assert (await of("GET", f"/api/v1/{section}/bad")).status == 404
        assert (await post(of, "bad")).status == 404


async def test_a_change_repairs_what_can_be_read_in_part_and_not_what_cannot(tmp_path: Path) -> None:
    async with receiver() as target, spoiled("sqlite", tmp_path, "unknown_option", target) as (of, _):
        assert (await of("PATCH", "/api/v1/sources/bad", {"options": None})).status == 200
        assert (await post(of, "bad")).status == 200
    (tmp_path / "other").mkdir()
    async with receiver() as target, spoiled("sqlite", tmp_path / "other", "newer_format", target) as (of, _):
        said = await of("PATCH", "/api/v1/sources/bad", {"max_age_s": 5})
        assert (said.status, said.body["type"]) == (409, "/problems/unreadable")
        assert (await post(of, "bad")).status == 503


async def test_a_running_node_goes_on_following_the_other_registrations(tmp_path: Path) -> None:
    async with receiver() as target, store_settings("postgresql", tmp_path) as store:
        made = settings(tmp_path, store=store)
        async with api(made) as here, api(made) as there:
            for id in ("bad", "good"):
                if id == "good":
                    await spoil(here, store, "sources", a_source("bad"), "newer_format")
                    await spoil(here, store, "endpoints", an_endpoint("bad", target), "newer_format")
                await here.made("sources", a_source(id))
                await here.made("endpoints", {**an_endpoint(id, target), "sources": [id]})
                async with asyncio.timeout(20):
                    while (await there("GET", f"/api/v1/endpoints/{id}")).status == 404:
                        await asyncio.sleep(0.01)
                assert (await post(there, id)).status == 200
                assert (await target.next()).path == f"/{id}"
            assert (await post(there, "bad")).status == 503
            assert (await there("GET", "/api/v1/endpoints/bad")).body["problem"]
            deleted = await there("DELETE", "/api/v1/sources/bad")
            assert deleted.status == 204, deleted.body
            assert (await post(here, "bad")).status == 404


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hookseal", "check", "--config", str(folder / "hookseal.toml")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("fault", FAULTS)
async def test_check_names_what_cannot_be_read(tmp_path: Path, fault: str) -> None:
    async with receiver() as target, spoiled("sqlite", tmp_path, fault, target):
        pass
    place = f'[store]\nurl = "sqlite:///{tmp_path}/hookseal.db"\nkeyring = "file:{tmp_path}/hookseal.key"\n'
    (tmp_path / "hookseal.toml").write_text(f'{place}[server]\npublic_url = "https://hooks.example.com"\n' + LOOPBACK)
    checked = await asyncio.to_thread(check, tmp_path)
    assert checked.returncode == 0, checked.stderr
    for section in ("source", "endpoint"):
        [line] = [one for one in checked.stderr.splitlines() if f'{section} "bad"' in one]
        assert line.startswith("hookseal: warning: ")
    assert '"good"' not in checked.stderr


LOOPBACK = '[egress]\nallow = ["127.0.0.0/8"]\nallow_http = true\n'
