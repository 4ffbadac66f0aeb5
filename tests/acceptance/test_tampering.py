"""Somebody who can write to the database and has no key exchanges what is stored. It is noticed when it is read or sent."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import asyncpg
import pytest
from aiohttp import ClientSession
from gateways import API_KEY, Running, running
from stores import STORES, store_settings
from test_event_meaning import DENIED, ended, json_endpoint, receiver, settings
from test_receiver_requirements import SECRETS, source

import hookseal
import hookseal.errors
from hookseal.model import EndpointId
from hookseal.settings import EndpointSettings, SigningSettings, StoreSettings

sys.path.insert(0, str(Path(__file__).parents[1] / "migration"))
from stored_bytes import bytes_of

SOURCES = (source("idv", "idenfy"), source("other", "idenfy"), source("zig", "zignsec"))
AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class Database:
    """The attacker's way to the store, while the gateway is stopped."""

    kind: str
    settings: StoreSettings
    folder: Path

    async def run(self, *statements: str) -> None:
        if self.kind == "sqlite":
            connection = apsw.Connection(str(self.folder / "hookseal.db"))
            for statement in statements:
                connection.execute(statement)
            connection.close()
            return
        connection = await asyncpg.connect(self.settings.url, server_settings={"search_path": "hookseal"})
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    @property
    def key(self) -> str:
        """The column that events and deliveries are referred to by."""
        return "key" if self.kind == "sqlite" else "id"


@pytest.fixture(params=STORES)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with store_settings(request.param, tmp_path) as store:
        yield Database(request.param, store, tmp_path)


def unreachable(id: str = "core") -> EndpointSettings:
    return EndpointSettings(
        id=EndpointId(id), url="http://127.0.0.1:9/", signing=SigningSettings(scheme="none"), format="json"
    )


async def send(gateway: Running, source_id: str, provider: str, body: dict[str, Any]) -> str:
    raw = json.dumps(body).encode()
    answer = await gateway.post(f"/in/{source_id}", raw, hookseal.sign(provider, raw, secret=SECRETS[provider]))
    assert answer.status == 200
    id: str = (await gateway.events(source_id))[0]["id"]
    return id


async def two_events(database: Database) -> tuple[str, str]:
    """Store one event of `idv` and one of `zig`; each has a delivery to `core` that waits and is due."""
    async with running(settings(database.settings, *SOURCES, endpoints=(unreachable(),))) as gateway:
        ids = (
            await send(gateway, "idv", "idenfy", DENIED),
            await send(gateway, "zig", "zignsec", {"id": "s", "status": "sent"}),
        )
    await database.run("UPDATE deliveries SET due_at = 0, lease = NULL")
    return ids


async def ask(gateway: Running, path: str, method: str = "GET") -> tuple[int, dict[str, Any]]:
    key = {"Authorization": f"Bearer {API_KEY}"}
    async with ClientSession(headers=key) as session, session.request(method, gateway.url + path) as answer:
        return answer.status, await answer.json()


# Of two events: `sequence` is 1 for both, the source tells them apart.
IDV, ZIG = "(SELECT {0} FROM events WHERE source = 'idv')", "(SELECT {0} FROM events WHERE source = 'zig')"

EVENT_COLUMNS = {
    "source": "UPDATE events SET source = 'other' WHERE source = 'idv'",
    "receipt": "UPDATE events SET received_at = received_at - 86400000000 WHERE source = 'idv'",
    "item": "UPDATE events SET item = 1 WHERE source = 'idv'",
    "type": "UPDATE events SET type = 'identity.verification.updated' WHERE source = 'idv'",
    "outcome": "UPDATE events SET outcome = 'approved' WHERE source = 'idv'",
    "finality": "UPDATE events SET final = {false} WHERE source = 'idv'",
    "time": "UPDATE events SET time = time - 1 WHERE source = 'idv'",
    "flags": "UPDATE events SET flags = 'released' WHERE source = 'idv'",
    "content": "UPDATE events SET content = " + ZIG.format("content") + " WHERE source = 'idv'",
    "place in the order": "UPDATE events SET standing = 1, peak = 1 WHERE source = 'idv'",
    "request": "UPDATE events SET request = " + ZIG.format("request") + " WHERE source = 'idv'",
    "rules": "UPDATE events SET mapping = " + ZIG.format("mapping") + " WHERE source = 'idv'",
    "no rules": "UPDATE events SET mapping = NULL WHERE source = 'idv'",
    "altered rules": "UPDATE mappings SET rules = {empty} WHERE provider = 'idenfy'",
    "subject": "UPDATE events SET subject_hash = " + ZIG.format("subject_hash") + " WHERE source = 'idv'",
    "facts": "UPDATE events SET facts = " + ZIG.format("facts") + " WHERE source = 'idv'",
    "no facts": "UPDATE events SET facts = NULL WHERE source = 'idv'",
    "body": "UPDATE bodies SET sealed = (SELECT sealed FROM bodies WHERE request = "
    + ZIG.format("request")
    + ") WHERE request = "
    + IDV.format("request"),
}


@pytest.mark.parametrize("what", EVENT_COLUMNS)
async def test_altered_event_is_neither_shown_nor_sent(database: Database, what: str) -> None:
    altered, whole = await two_events(database)
    spelled = {"sqlite": ("0", "x'7b7d'"), "postgresql": ("false", "'\\x7b7d'::bytea")}[database.kind]
    await database.run(EVENT_COLUMNS[what].replace("{false}", spelled[0]).replace("{empty}", spelled[1]))
    with receiver() as (url, bodies):
        # Altered rules are repaired at a start with a source that has them.
        sources = SOURCES[2:] if what == "altered rules" else SOURCES
        async with running(settings(database.settings, *sources, endpoints=(json_endpoint(url),))) as gateway:
            delivery = await ended(gateway, altered)
            assert (delivery["state"], delivery["last_reason"]) == ("dead", "seal_broken")
            assert (await ended(gateway, whole))["state"] == "delivered"
            status, problem = await ask(gateway, f"/api/v1/events/{altered}")
            assert (status, problem["type"]) == (503, "/problems/seal-broken")
            assert (await ask(gateway, f"/api/v1/events/{altered}/raw"))[0] == 503
            rows = {row["id"]: row for row in (await gateway.get("/api/v1/events"))["data"]}
            assert "unreadable" in rows[altered]["data"]["flags"]
            assert "unreadable" not in rows[whole]["data"]["flags"]
            if what != "body":
                assert (rows[altered]["provider"], rows[altered]["data"]["outcome"]) == ("unknown", "unknown")
            state, body = await ask(gateway, "/api/v1/subjects/idv/scan-1")
            assert state == 404 or "unreadable" in body["data"]["flags"]
    assert [json.loads(body) for body in bodies] == [{"id": "s", "status": "sent"}]


async def test_untouched_events_are_shown_and_sent(database: Database) -> None:
    """The control of the tests here: the same without the attack."""
    ids = await two_events(database)
    with receiver() as (url, bodies):
        async with running(settings(database.settings, *SOURCES, endpoints=(json_endpoint(url),))) as gateway:
            assert [(await ended(gateway, id))["state"] for id in ids] == ["delivered", "delivered"]
            assert (await gateway.get(f"/api/v1/events/{ids[0]}"))["data"]["outcome"] == "declined"
    assert len(bodies) == 2


@pytest.mark.parametrize("what", ["event", "endpoint", "seal"])
async def test_altered_delivery_is_not_sent(database: Database, what: str) -> None:
    altered, whole = await two_events(database)
    mine = f"event = (SELECT {database.key} FROM events WHERE source = 'idv')"
    statement = {
        "event": f"UPDATE deliveries SET event = (SELECT {database.key} FROM events WHERE source = 'zig') WHERE {mine}",
        "endpoint": f"UPDATE deliveries SET endpoint = '{AUDIT}' WHERE {mine}",
        "seal": f"UPDATE deliveries SET seal = NULL WHERE {mine}",
    }[what]
    await database.run(statement)
    with receiver() as (url, bodies):
        endpoints = (json_endpoint(url), EndpointSettings(**{**_fields(json_endpoint(url)), "id": EndpointId(AUDIT)}))
        async with running(settings(database.settings, *SOURCES, endpoints=endpoints)) as gateway:
            if what == "event":
                rows = await all_ended(gateway, whole)
            else:
                rows = [await ended(gateway, altered), await ended(gateway, whole)]
            assert sorted((row["state"], row["last_reason"]) for row in rows) == [
                ("dead", "seal_broken"),
                ("delivered", None),
            ]
            broken = next(row for row in rows if row["state"] == "dead")
            status, problem = await ask(gateway, f"/api/v1/deliveries/{broken['id']}")
            assert (status, problem["type"]) == (503, "/problems/seal-broken")
    assert [json.loads(body) for body in bodies] == [{"id": "s", "status": "sent"}]


async def all_ended(gateway: Running, event: str) -> list[dict[str, Any]]:
    """Return the deliveries of an event once none of them is pending."""
    async with asyncio.timeout(20):
        while True:
            rows: list[dict[str, Any]] = (await gateway.get(f"/api/v1/deliveries?event={event}"))["data"]
            if rows and all(row["state"] != "pending" for row in rows):
                return rows
            await asyncio.sleep(0.02)


def _fields(endpoint: EndpointSettings) -> dict[str, Any]:
    return {name: getattr(endpoint, name) for name in ("url", "signing", "format")}


@pytest.mark.parametrize("what", ["source", "receipt", "reason", "held", "another's bytes"])
async def test_altered_refused_request_is_not_released(database: Database, what: str) -> None:
    """It was judged by the secrets of the source that the row named: that of an attacker's own source would do."""
    body = json.dumps(DENIED).encode()
    async with running(settings(database.settings, *SOURCES)) as gateway:
        for source_id in ("idv", "zig"):
            answer = await gateway.post(f"/in/{source_id}", body, [("Idenfy-Signature", "0" * 64)])
            assert answer.status in (401, 403)
    true = {"sqlite": "1", "postgresql": "true"}[database.kind]
    await database.run(
        {
            "source": "UPDATE quarantine SET source = 'other' WHERE source = 'idv'",
            "receipt": "UPDATE quarantine SET received_at = received_at - 1 WHERE source = 'idv'",
            "reason": "UPDATE quarantine SET reason = 'timestamp_stale' WHERE source = 'idv'",
            "held": f"UPDATE quarantine SET held = {true} WHERE source = 'idv'",
            "another's bytes": "UPDATE quarantine SET (sealed, bytes) ="
            " (SELECT sealed, bytes FROM quarantine WHERE source = 'zig') WHERE source = 'idv'",
        }[what]
    )
    async with running(settings(database.settings, *SOURCES)) as gateway:
        rows = (await gateway.get("/api/v1/quarantine"))["data"]
        [row] = [row for row in rows if row["source"] != "zig"]
        status, problem = await ask(gateway, f"/api/v1/quarantine/{row['id']}/release", "POST")
        assert (status, problem["type"]) == (503, "/problems/seal-broken")
        assert await gateway.count_events("idv") == await gateway.count_events("other") == 0


async def test_store_without_its_secret_is_not_opened(database: Database) -> None:
    await two_events(database)
    await database.run("DELETE FROM kept WHERE shelf = 'event_secret'")
    with pytest.raises(hookseal.errors.StoreMismatch, match="has lost the secret"):
        async with running(settings(database.settings, *SOURCES)):
            pass


async def test_nothing_personal_lies_open(database: Database, tmp_path: Path) -> None:
    async with running(settings(database.settings, *SOURCES)) as gateway:
        raw = json.dumps({**DENIED, "scanRef": "CANARY-SUBJECT"}).encode()
        pairs = [*hookseal.sign("idenfy", raw, secret=SECRETS["idenfy"]), ("Idenfy-Event-Type", "CANARY_TYPE")]
        assert (await gateway.post("/in/idv", raw, pairs)).status == 200
        [event] = (await gateway.get("/api/v1/events?subject=CANARY-SUBJECT"))["data"]
        assert (event["subject"], event["providertype"]) == ("CANARY-SUBJECT", "CANARY_TYPE")
        assert event["providerid"] == "CANARY-SUBJECT"
        assert (await gateway.get("/api/v1/events?subject=canary-subject"))["data"] == []
        assert (await gateway.get("/api/v1/subjects/idv/CANARY-SUBJECT"))["id"] == event["id"]
    assert b"CANARY" not in await bytes_of(database.settings, tmp_path)
