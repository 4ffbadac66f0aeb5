"""The management API acts: replays and releases, over a socket and a real store."""

import json
from pathlib import Path
from typing import Any

import pytest
from api_served import CORE, GONE, IDENFY, NARROW, Served, a_body, served

from hookseal.errors import CannotDecide, StoreUnavailable
from hookseal.manage.release import SourceGone
from hookseal.message import Headers
from hookseal.model import DeliveryId, DeliveryState, EndpointId, Reason
from hookseal.store.port import DeliveryFilter, Lease, NewRequest


async def replayed(api: Served, **asked: Any) -> int:
    response, body = await api.ask("/api/v1/replays", "POST", json=asked)
    assert response.status == 202, body
    answer = json.loads(body)
    assert answer["endpoint"] == asked["endpoint"]
    return int(answer["replayed"])


async def pending(api: Served, endpoint: EndpointId) -> set[str]:
    """The events that have a pending delivery to an endpoint."""
    where = DeliveryFilter(endpoint=endpoint, state=DeliveryState.PENDING)
    return {row.event for row in (await api.store.deliveries(where, 1000, None)).rows}


async def ended(api: Served, body: bytes, state: DeliveryState, **how: Any) -> tuple[str, DeliveryId]:
    """An event whose delivery to `core` has ended so."""
    lease = Lease(hash(body) & 0x7FFF_FFFF | 1)
    event, (delivery,) = await api.accept(body, endpoints=[CORE], lease=lease, **how)
    await api.try_once(delivery, lease, state, None if state is DeliveryState.DELIVERED else "http_500")
    return event, delivery


async def test_a_named_event_goes_again_and_the_engine_is_woken(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        event, first = await ended(api, a_body(1), DeliveryState.DEAD)
        other, _ = await ended(api, a_body(2), DeliveryState.DEAD)
        assert await replayed(api, endpoint=CORE, events=[event]) == 1
        assert await pending(api, CORE) == {event}
        assert api.woken == [None]
        rows = (await api.get(f"/api/v1/deliveries?event={event}"))["data"]
        assert {row["state"] for row in rows} == {"replayed", "pending"}
        by_id = {row["id"]: row for row in rows}
        assert by_id.pop(first)["replayed_as"] in by_id
        still_dead = (await api.get("/api/v1/deliveries?state=dead"))["data"]
        assert {row["event"] for row in still_dead} == {other}


async def test_a_pending_delivery_is_left_alone_and_nobody_is_woken(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        event, _ = await api.accept(a_body(), endpoints=[CORE])
        assert await replayed(api, endpoint=CORE, events=[event]) == 0
        assert await replayed(api, endpoint=CORE) == 0
        assert api.woken == []


async def test_a_replay_by_state_takes_the_deliveries_in_that_state_only(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        dead, _ = await ended(api, a_body(1), DeliveryState.DEAD)
        await ended(api, a_body(2), DeliveryState.DELIVERED)
        late, _ = await ended(api, a_body(3), DeliveryState.DEAD, after_s=3600)
        assert await replayed(api, endpoint=CORE, state="dead", until="2025-11-21T08:30:00Z") == 1
        assert await pending(api, CORE) == {dead}
        assert await replayed(api, endpoint=CORE, state="dead", since="2025-11-21T08:30:00Z") == 1
        assert await pending(api, CORE) == {dead, late}


async def test_a_replay_of_a_time_range_keeps_to_what_the_endpoint_asked_for(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        wanted = {(await api.accept(a_body(number), after_s=number))[0] for number in range(60)}
        other, _ = await api.accept(a_body(100), type="other", after_s=100)
        assert await replayed(api, endpoint=NARROW) == 60
        assert await pending(api, NARROW) == wanted
        assert await replayed(api, endpoint=CORE, since="2025-11-21T08:01:40Z") == 1
        assert await pending(api, CORE) == {other}
        assert await replayed(api, endpoint=NARROW, events=[other]) == 1  # named: the operator has asked for it


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        ({"endpoint": "nowhere"}, "/endpoint"),
        ({"endpoint": "core", "events": ["0199d1a4-7b3c-7e11-8a2b-0123456789ab"]}, "/events/0"),
    ],
)
async def test_what_does_not_exist_cannot_be_replayed(tmp_path: Path, asked: dict[str, Any], pointer: str) -> None:
    async with served(tmp_path) as api:
        response, body = await api.ask("/api/v1/replays", "POST", json=asked)
        assert response.status == 422
        assert [fault["pointer"] for fault in json.loads(body)["errors"]] == [pointer]


async def test_a_request_that_now_holds_is_released_once(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        refusal = await api.refuse(a_body())
        path = f"/api/v1/quarantine/{refusal}/release"
        response, body = await api.ask(path, "POST")
        released = json.loads(body)
        assert response.status == 200
        assert (released["id"], released["released"]) == (refusal, True)
        [event] = released["events"]
        assert event["duplicate"] is False
        assert (await api.get(f"/api/v1/events/{event['id']}"))["receivedtime"] == "2025-11-21T08:00:00.000000Z"
        [row] = (await api.get("/api/v1/quarantine"))["data"]
        assert row["released_at"] == "2025-11-21T08:00:00.000000Z"
        _, again = await api.ask(path, "POST", json={})
        assert json.loads(again)["events"] == [{**event, "duplicate": True}]
        assert len((await api.get("/api/v1/events"))["data"]) == 1


async def test_a_request_that_arrived_again_meanwhile_is_a_duplicate(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        refusal = await api.refuse(a_body())
        arrived, _ = await api.accept(a_body(), after_s=60)
        _, body = await api.ask(f"/api/v1/quarantine/{refusal}/release", "POST")
        assert [(one["id"], one["duplicate"]) for one in json.loads(body)["events"]] == [(arrived, True)]


async def test_a_request_that_is_refused_still_stays_where_it_is(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        refusal = await api.refuse(a_body())
        api.judge.still = Reason.SIGNATURE_MISMATCH
        response, body = await api.ask(f"/api/v1/quarantine/{refusal}/release", "POST")
        assert response.status == 409
        assert json.loads(body)["reason"] == "signature_mismatch"
        api.judge.still, api.judge.outcome = None, SourceGone()
        response, body = await api.ask(f"/api/v1/quarantine/{refusal}/release", "POST")
        assert (response.status, json.loads(body)["type"]) == (409, "/problems/source-gone")
        assert (await api.get("/api/v1/quarantine"))["data"][0]["released_at"] is None
        assert (await api.get("/api/v1/events"))["data"] == []


@pytest.mark.parametrize("error", [CannotDecide("no keys"), StoreUnavailable("locked")])
async def test_what_cannot_be_said_now_is_503_and_changes_nothing(tmp_path: Path, error: Exception) -> None:
    async with served(tmp_path) as api:
        refusal = await api.refuse(a_body())
        api.judge.error = error
        response, body = await api.ask(f"/api/v1/quarantine/{refusal}/release", "POST")
        assert response.status == 503
        assert int(response.headers["Retry-After"]) > 0
        assert "locked" not in body.decode()
        assert (await api.get("/api/v1/quarantine"))["data"][0]["released_at"] is None


async def test_an_endpoint_that_gets_requests_as_they_came_gets_each_once(tmp_path: Path) -> None:
    """A request of three events, for an endpoint of the format `original`: one delivery, not three."""
    from dataclasses import replace

    from api_served import ENDPOINTS, SOURCES, Judge, new_event

    from hookseal.manage.operations import Management
    from hookseal.manage.reading import EventReader
    from hookseal.store.port import Replay

    headers: Headers = ((b"content-type", b"application/json"),)
    async with served(tmp_path) as api:
        for number in range(20):
            body = a_body(number)
            events = tuple(new_event(body, api.clock.now(), item=item) for item in range(3))
            await api.store.accept(
                NewRequest(source=IDENFY, received_at=api.clock.now(), headers=headers, body=body, events=events)
            )
            api.clock.advance(1)
        management = Management(
            api.store,
            sources=SOURCES,
            endpoints=[replace(ENDPOINTS[0], format="original")],
            read=EventReader(SOURCES),
            judge_again=Judge(api.store),
            clock=api.clock,
        )
        assert await management.replay(Replay(endpoint=CORE)) == 20
        assert GONE not in {source.id for source in management.sources()}
