"""Late states and old requests, through HTTP against a running gateway: what the sender is told, what is in force."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import ClientSession
from gateways import API_KEY, Answer, Running, running
from test_api_cli import hookseal as hookseal_command
from test_receiver_requirements import SEAL, newest, send, settings, source

import hookseal
from hookseal.clock import GivenClock, from_unix
from hookseal.errors import StoreUnavailable

NOW = 1_780_000_000
VERDICT = {"scanRef": "scan-1", "platform": "PC", "startTime": 1_779_999_000}
AUTOMATIC = {**VERDICT, "final": False, "finishTime": 1_779_999_500, "status": {"overall": "SUSPECTED"}}
MANUAL = {**VERDICT, "final": True, "finishTime": 1_779_999_100, "status": {"overall": "APPROVED"}}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Running]:
    sources = (source("zignsec", "zignsec"), source("idenfy", "idenfy"), source("seal_id", "seal_id"))
    async with running(settings(tmp_path, *sources)) as started:
        yield started


async def sms(gateway: Running, id: str, status: str) -> None:
    assert (await send(gateway, "zignsec", json.dumps({"id": id, "status": status}).encode())).status == 200


async def in_force(gateway: Running, source_id: str, subject: str) -> dict[str, Any]:
    found: dict[str, Any] = await gateway.get(f"/api/v1/subjects/{source_id}/{quote(subject, safe='')}")
    return found


# --- the order guard ------------------------------------------------------------------------------------------------


@pytest.mark.requirement("Z08")
async def test_a_late_sent_does_not_move_a_delivered_message_back(gateway: Running) -> None:
    told = []
    for status in ("queued", "delivered", "sent"):
        await sms(gateway, "sms-1", status)
        event = await newest(gateway, "zignsec")
        told.append((event["data"]["payload"]["status"], event["data"]["final"], event["data"]["superseded"]))
    assert told == [("queued", False, False), ("delivered", True, False), ("sent", False, True)]
    state = await in_force(gateway, "zignsec", "sms-1")
    assert (state["data"]["payload"]["status"], state["data"]["superseded"]) == ("delivered", False)
    assert state["counts"] == {"events": 3, "superseded": 1}
    assert {**state, "counts": 0} == {**(await gateway.events("zignsec"))[1], "counts": 0}


async def test_the_command_line_shows_the_state_in_force(gateway: Running) -> None:
    for status in ("delivered", "sent"):
        await sms(gateway, "a/b c", status)
    shown = await hookseal_command("subjects", "zignsec", "a/b c", "--json", url=gateway.url, key=API_KEY)
    assert shown.json == await in_force(gateway, "zignsec", "a/b c")
    told = (await hookseal_command("subjects", "zignsec", "a/b c", url=gateway.url, key=API_KEY)).out.decode()
    lines = dict(line.split(maxsplit=1) for line in told.splitlines())
    assert (lines["subject"], lines["final"], lines["events"], lines["superseded"]) == ("a/b c", "true", "2", "1")


@pytest.mark.requirement("Z08")
async def test_states_at_once_end_in_the_same_state_however_they_arrive(gateway: Running) -> None:
    orders = list(itertools.permutations(("queued", "sent", "failed", "delivered")))
    await asyncio.gather(*(_one_after_another(gateway, f"m-{number}", order) for number, order in enumerate(orders)))
    await asyncio.gather(*(sms(gateway, "all at once", status) for status in orders[0]))
    for subject in (*(f"m-{number}" for number in range(len(orders))), "all at once"):
        state = await in_force(gateway, "zignsec", subject)
        assert state["data"]["payload"]["status"] == "delivered"


async def _one_after_another(gateway: Running, id: str, statuses: tuple[str, ...]) -> None:
    for status in statuses:
        await sms(gateway, id, status)


@pytest.mark.requirement("I14")
@pytest.mark.parametrize("bodies", [(AUTOMATIC, MANUAL), (MANUAL, AUTOMATIC)], ids=["in order", "late"])
async def test_the_final_verdict_of_a_scan_stands_whichever_comes_first(
    gateway: Running, bodies: tuple[dict[str, Any], ...]
) -> None:
    for body in bodies:
        assert (await send(gateway, "idenfy", json.dumps(body).encode())).status == 200
    assert await gateway.count_events("idenfy") == 2
    state = await in_force(gateway, "idenfy", "scan-1")
    assert (state["data"]["final"], state["data"]["outcome"]) == (True, "approved")
    assert state["counts"]["superseded"] == (1 if bodies[0] is MANUAL else 0)


@pytest.mark.requirement("I14")
async def test_a_screening_of_a_person_does_not_count_as_a_late_verdict(gateway: Running) -> None:
    await send(gateway, "idenfy", json.dumps(MANUAL).encode())
    screening = {"scanRef": "scan-1", "monitoringId": "m", "alertStatus": "ALERT"}
    await send(gateway, "idenfy", json.dumps(screening).encode())
    event = await newest(gateway, "idenfy")
    assert (event["type"], event["data"]["superseded"]) == ("identity.screening.updated", False)
    assert (await in_force(gateway, "idenfy", "scan-1"))["data"]["outcome"] == "approved"


@pytest.mark.requirement("L17")
async def test_steps_of_a_seal_id_case_rank_before_their_time(gateway: Running) -> None:
    steps = ["SIGNED", "OUTSTANDING", "SCHEDULED", "SOMETHING_NEW"]
    for number, status in enumerate(steps):
        body = {"ubiIdCaseId": "case/7", "status": status, "createdTime": f"20260101T00000{number}Z"}
        assert (await send(gateway, "seal_id", json.dumps(body).encode())).status == 200
    rows = (await gateway.events("seal_id"))[::-1]
    assert [row["data"]["superseded"] for row in rows] == [False, True, True, False]
    assert (await in_force(gateway, "seal_id", "case/7"))["providertype"] == "SIGNED"


async def test_what_is_delivered_says_that_it_came_too_late(tmp_path: Path) -> None:
    made = hookseal.Gateway(settings(tmp_path, source("zignsec", "zignsec")))
    came: dict[str, bool] = {}
    both = asyncio.Event()

    @made.on()
    async def note(event: hookseal.Event) -> None:
        came[event.payload["status"]] = event.superseded
        if len(came) == 2:
            both.set()

    async with running(made.settings, gateway=made) as gateway:
        await sms(gateway, "sms-1", "delivered")
        await sms(gateway, "sms-1", "sent")
        await asyncio.wait_for(both.wait(), 20)
    assert came == {"delivered": False, "sent": True}


async def test_an_unknown_subject_is_not_found(gateway: Running) -> None:
    await sms(gateway, "sms-1", "sent")
    for path in ("zignsec/sms-2", "idenfy/sms-1", "nobody/sms-1", "zignsec/"):
        assert (await ask(gateway, "GET", f"/api/v1/subjects/{path}"))[0] == 404


# --- stale = "hold" -------------------------------------------------------------------------------------------------


async def ask(gateway: Running, method: str, path: str) -> tuple[int, Any]:
    key = {"Authorization": f"Bearer {API_KEY}"}
    async with ClientSession(headers=key) as session, session.request(method, gateway.url + path) as answer:
        return answer.status, await answer.json()


async def seal(gateway: Running, id: str, body: bytes, at: int, *, secret: str = SEAL) -> Answer:
    return await gateway.post(f"/in/{id}", body, hookseal.sign("seal_id", body, secret=secret, at=at))


@pytest.mark.parametrize("age_s", [301, -301])
async def test_a_genuine_request_out_of_time_is_held_answered_as_accepted_and_released_by_hand(
    tmp_path: Path, age_s: int
) -> None:
    made = source("held", "seal_id", max_age_s=300, stale="hold")
    body = json.dumps({"id": "n-1", "ubiIdCaseId": "c-1", "status": "SIGNED"}).encode()
    clock = GivenClock(from_unix(NOW))
    async with running(settings(tmp_path, made), clock=clock) as gateway:
        clock.advance(600)
        now = NOW + 600
        assert (await seal(gateway, "held", body, now - age_s)).status == 200
        # Durable before the answer: the row is there at once.
        [held] = (await gateway.get("/api/v1/quarantine"))["data"]
        assert (held["reason"], held["held"], held["released_at"]) == ("timestamp_stale", True, None)
        assert await gateway.count_events("held") == 0
        status, released = await ask(gateway, "POST", f"/api/v1/quarantine/{held['id']}/release")
        assert (status, released["events"][0]["duplicate"]) == (200, False)
        event = await newest(gateway, "held")
        assert set(event["data"]["flags"]) == {"stale", "released"}
        status, again = await ask(gateway, "POST", f"/api/v1/quarantine/{held['id']}/release")
        assert (status, again["events"][0]["duplicate"]) == (200, True)


async def test_a_captured_request_is_held_once_however_often_it_is_sent(tmp_path: Path) -> None:
    """40 of one request were 40 rows and 59 MB."""
    made = source("held", "seal_id", max_age_s=300, stale="hold")
    clock = GivenClock(from_unix(NOW))
    async with running(settings(tmp_path, made), clock=clock) as gateway:
        assert (await seal(gateway, "held", b'{"id":"in time"}', NOW)).status == 200
        clock.advance(600)
        for _ in range(40):
            assert (await seal(gateway, "held", b'{"id":"too late"}', NOW)).status == 200
            assert (await seal(gateway, "held", b'{"id":"in time"}', NOW)).status == 200
        [held] = (await gateway.get("/api/v1/quarantine"))["data"]
        assert (await ask(gateway, "POST", f"/api/v1/quarantine/{held['id']}/release"))[0] == 200
        assert (await seal(gateway, "held", b'{"id":"too late"}', NOW)).status == 200
        assert len((await gateway.get("/api/v1/quarantine"))["data"]) == 1
        assert await gateway.count_events("held") == 2


async def test_a_source_that_holds_takes_what_is_young_and_refuses_what_is_not_proven(tmp_path: Path) -> None:
    made = source("held", "seal_id", max_age_s=300, stale="hold")
    clock = GivenClock(from_unix(NOW))
    async with running(settings(tmp_path, made, source("strict", "seal_id", max_age_s=300)), clock=clock) as gateway:
        clock.advance(600)
        now = NOW + 600
        assert (await seal(gateway, "held", b'{"id":"young"}', now - 300)).status == 200
        assert (await seal(gateway, "held", b'{"id":"forged"}', now - 301, secret="another secret")).status == 401
        assert (await seal(gateway, "strict", b'{"id":"old"}', now - 301)).status == 401
        [event] = await gateway.events("held")
        assert (event["providerid"], event["data"]["flags"]) == ("young", [])


async def test_what_cannot_be_held_is_not_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = source("held", "seal_id", max_age_s=300, stale="hold")
    clock = GivenClock(from_unix(NOW))
    async with running(settings(tmp_path, made), clock=clock) as gateway:
        clock.advance(600)
        assert gateway.gateway.receiving.receiver is not None

        async def no_room(refusal: object, dedupe_keys: object) -> None:
            raise StoreUnavailable("no room")

        monkeypatch.setattr(gateway.gateway.receiving.receiver._store, "hold", no_room)
        answer = await seal(gateway, "held", b'{"id":"old"}', NOW)
        assert (answer.status, "retry-after" in answer.headers) == (503, True)
