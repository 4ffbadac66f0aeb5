"""An id may be given by its first characters, as the tables of the command line show it.

Oracles: what the full id answers; status and problem code of the API; exit code and words of the command line.
"""

from pathlib import Path
from typing import Any

import pytest
from api_served import CORE, Served, a_body, served
from test_api_cli import both, hookseal

SHORT = 13


def minimal(ids: list[str], id: str) -> str:
    """The shortest prefix from `SHORT` characters on that no other of these ids begins with."""
    return next(id[:n] for n in range(SHORT, 37) if sum(one.startswith(id[:n]) for one in ids) == 1)


async def problem_of(api: Served, path: str, status: int) -> Any:
    response, body = await api.ask(path)
    assert response.status == status, body
    return await response.json()


async def test_a_unique_prefix_answers_as_the_id(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        stored = [await api.accept(a_body(number), after_s=number, endpoints=[CORE]) for number in range(3)]
        refusals = [await api.refuse(a_body(number), after_s=number) for number in range(3)]
        groups: dict[str, list[str]] = {
            "events": [event for event, _ in stored],
            "deliveries": [deliveries[0] for _, deliveries in stored],
            "quarantine": list(refusals),
        }
        for what in ("events", "deliveries"):
            for id in groups[what]:
                prefix = minimal(groups[what], id)
                assert len(prefix) < 36
                whole = await api.get(f"/api/v1/{what}/{id}")
                assert await api.get(f"/api/v1/{what}/{prefix}") == whole
                assert await api.get(f"/api/v1/{what}/{id[:30]}") == whole
        event = groups["events"][1]
        prefix = minimal(groups["events"], event)
        raw, body = await api.ask(f"/api/v1/events/{prefix}/raw")
        assert body == a_body(1)
        assert event in raw.headers["Content-Disposition"]
        page = await api.get(f"/api/v1/deliveries?event={prefix}")
        assert [one["event"] for one in page["data"]] == [event]
        assert await api.get("/api/v1/deliveries?event=00000000") == {"data": [], "next": None}
        released, body = await api.ask(
            f"/api/v1/quarantine/{minimal(groups['quarantine'], refusals[2])}/release", "POST"
        )
        assert released.status == 200, body
        assert refusals[2] in body.decode()


async def test_a_prefix_of_several_ids_is_409_and_asks_for_more_characters(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        for number in range(2):
            event, (delivery,) = await api.accept(a_body(number), endpoints=[CORE])
            refusal = await api.refuse(a_body(number))
        for path in (
            f"events/{event[:13]}",
            f"events/{event[:13]}/raw",
            f"deliveries/{delivery[:13]}",
            f"deliveries?event={event[:13]}",
        ):
            response, body = await api.ask(f"/api/v1/{path}")
            assert (response.status, b"/problems/ambiguous-id" in body) == (409, True), body
            assert b"more characters" in body
        response, body = await api.ask(f"/api/v1/quarantine/{refusal[:13]}/release", "POST")
        assert (response.status, b"/problems/ambiguous-id" in body) == (409, True)
        asked = {"endpoint": "core", "events": [event, event[:13]]}
        response, body = await api.ask("/api/v1/replays", "POST", json=asked)
        assert response.status == 422
        assert b'"/events/1"' in body
        assert b"more characters" in body


@pytest.mark.parametrize(
    "prefix", ["01", "0199d1a", "0199d1a4-7", "0199D1A4", "0199d1a47b3c", "%25%25%25%25%25%25%25%25"]
)
async def test_a_prefix_of_nothing_is_404_and_says_what_an_id_is(tmp_path: Path, prefix: str) -> None:
    async with served(tmp_path) as api:
        await api.accept(a_body())
        response, body = await api.ask(f"/api/v1/events/{prefix}")
        assert (response.status, b"/problems/not-found" in body) == (404, True)
        if prefix != "0199d1a4-7":
            assert b"8" in body  # how many characters there must be


async def test_the_document_says_that_ids_may_be_prefixes(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        document = await api.get("/api/v1/openapi.json")
        operation = document["paths"]["/api/v1/events/{id}"]["get"]
        [parameter] = operation["parameters"]
        assert "8" in parameter["description"]
        assert "409" in operation["responses"]


async def test_commands_take_the_prefixes_that_tables_show(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        event, (delivery,) = await api.accept(a_body(), endpoints=[CORE])
        await api.accept(a_body(1), after_s=60, endpoints=[CORE])
        refusal = await api.refuse(a_body())
        assert (await both(api, "events", event[:SHORT]))[1]["id"] == event
        assert (await hookseal("events", "raw", event[:SHORT], url=api.url)).out == a_body()
        assert (await both(api, "deliveries", delivery[:SHORT]))[1]["id"] == delivery
        made = await hookseal("replay", "--endpoint", "narrow", "--event", event[:SHORT], "--json", url=api.url)
        assert made.json["replayed"] == 1
        released = await hookseal("quarantine", "release", refusal[:SHORT], "--json", url=api.url)
        assert released.json["id"] == refusal
        await api.accept(a_body(2), endpoints=[CORE])
        several = await hookseal("events", event[:SHORT], url=api.url)
        assert (several.code, several.out) == (1, b"")
        assert "more characters" in several.err
