"""What the API tells of an event whose bytes were let go: all but them, and that they cannot be had or sent again."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from api_served import CORE, NOW, Served, a_body, served

from hookseal.clock import Instant, plus
from hookseal.model import EventId
from hookseal.store.port import Cutoffs

NEVER = Instant(0)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path) as api:
        yield api


async def expired(api: Served) -> EventId:
    event, _ = await api.accept(a_body(1), subject="scan-1")
    before = Cutoffs(bodies=plus(NOW, 1), metadata=NEVER, dedupe=NEVER, refusals=NEVER)
    assert (await api.store.expire(before, 10)).bodies == 1
    return event


async def test_an_event_without_bytes_is_listed_with_a_flag_and_no_payload(api: Served) -> None:
    event = await expired(api)
    shown = await api.get(f"/api/v1/events/{event}")
    assert shown["data"] == {
        "outcome": "unknown",
        "final": False,
        "superseded": False,
        "flags": ["body_expired"],
        "reasons": [],
        "payload": None,
    }
    assert (shown["subject"], shown["provider"], shown["id"]) == ("scan-1", "idenfy", event)
    assert (await api.get("/api/v1/events?subject=scan-1"))["data"] == [shown]


async def test_the_bytes_of_such_an_event_are_not_found(api: Served) -> None:
    response, _ = await api.ask(f"/api/v1/events/{await expired(api)}/raw")
    assert response.status == 404


async def test_a_replay_that_names_such_an_event_says_why_not(api: Served) -> None:
    event = await expired(api)
    response, body = await api.ask("/api/v1/replays", "POST", json={"endpoint": CORE, "events": [event]})
    assert response.status == 422
    assert b"its bytes were deleted by retention" in body
    assert b"/events/0" in body


async def test_a_replay_of_all_leaves_such_an_event_out(api: Served) -> None:
    await expired(api)
    await api.accept(a_body(2), after_s=5)
    response, body = await api.ask("/api/v1/replays", "POST", json={"endpoint": CORE})
    assert (response.status, body) == (202, b'{"endpoint":"core","replayed":1}')
