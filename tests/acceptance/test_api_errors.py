"""Every way out with an error has the one shape, and repeats nothing that was sent.

Oracles: status; `application/problem+json` with `type`, `title`, `status`, `request_id`; 401 has a challenge, 405 an
`Allow`, 503 a `Retry-After`; no canary (a key, a secret, a personal number) in the answer.
"""

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from api_served import CORE, KEY, PERSON, SECRET, Served, a_body, served

from hookseal.api import paging
from hookseal.api.app import MAX_BODY_BYTES
from hookseal.errors import StoreBusy
from hookseal.model import Reason
from hookseal.store.port import Cursor, Store

CANARY = "junk-canary-1f9a"
SOME_ID = "0199d1a4-7b3c-7e11-8a2b-0123456789ab"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")


def paths(api: Served) -> list[tuple[str, str, bool]]:
    """(method, a path with ids of nothing in it, whether it needs a key) of every route."""
    ids = {"getDelivery": "msg_" + "0" * 32}
    return [
        (one.method, one.path.replace("{id}", ids.get(one.name, SOME_ID)), one.needs_key)
        for one in api.app.state.operations
    ]


def checked(response: aiohttp.ClientResponse, body: bytes, status: int) -> dict[str, Any]:
    assert response.status == status, body
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    problem: dict[str, Any] = json.loads(body)
    assert problem["status"] == status
    assert problem["type"].startswith("/problems/")
    assert problem["title"]
    assert problem["request_id"] == response.headers["X-Request-Id"]
    if status == 401:
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
    if status == 405:
        assert response.headers["Allow"]
    if status == 503:
        assert int(response.headers["Retry-After"]) > 0
    for canary in (CANARY, KEY, SECRET, PERSON):
        assert canary not in body.decode()
        assert canary not in str(response.headers)
    return problem


async def test_without_the_right_key_every_route_and_every_method_is_401(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        for _, path, needs_key in paths(api):
            for method in METHODS if needs_key else ():
                for key in (None, CANARY, KEY[:-1], KEY + "x"):
                    response, body = await api.ask(path, method, key=key)
                    assert response.status == 401
                    if method != "HEAD":
                        checked(response, body, 401)


async def test_a_stranger_cannot_tell_routes_or_ids_that_are_from_those_that_are_not(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        event, _ = await api.accept(a_body())
        answers = set()
        for path in ("/", "/api/v1/nothing", "/api/v1/events", f"/api/v1/events/{event}", f"/api/v1/events/{SOME_ID}"):
            problem = checked(*await api.ask(path, key=None), 401)
            answers.add(json.dumps({**problem, "request_id": ""}))
        assert len(answers) == 1


async def test_a_wrong_method_is_405_and_told_which_are_right(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        allowed_at: dict[str, set[str]] = {}
        for right, path, _ in paths(api):
            allowed_at.setdefault(path, set()).update({"GET", "HEAD"} if right == "GET" else {right})
        for path, allowed in allowed_at.items():
            for method in set(METHODS) - allowed:
                response, body = await api.ask(path, method)
                assert response.headers["Allow"] == ", ".join(sorted(allowed))
                if method != "HEAD":
                    checked(response, body, 405)


@pytest.mark.parametrize("path", ["/api/v1/sources/zs", "/api/v1/endpoints/core"])
@pytest.mark.parametrize(("method", "rest"), [("PATCH", ""), ("DELETE", ""), ("POST", "/rotate")])
async def test_changing_what_came_from_the_file_is_409_and_says_where_it_is_changed(
    tmp_path: Path, path: str, method: str, rest: str
) -> None:
    async with served(tmp_path) as api:
        problem = checked(*await api.ask(path + rest, method, json={}), 409)
        assert "configuration file" in problem["detail"]


@pytest.mark.parametrize(
    "table",
    [
        {CANARY: PERSON},
        {"id": CANARY, "url": CANARY, "signing": {"scheme": CANARY, CANARY: SECRET}, "retry": {CANARY: 1}},
        {"id": "x", "url": f"https://{CANARY}:{SECRET}@h.example/", "signing": {"scheme": "none", "secret": SECRET}},
        {"id": "x", "url": "https://h.example/", "as": CANARY, "format": CANARY, "headers": {"X": SECRET + "\n"}},
    ],
)
@pytest.mark.parametrize("kind", ["endpoints", "sources"])
async def test_a_registration_that_cannot_be_is_told_without_its_words(
    tmp_path: Path, kind: str, table: dict[str, Any]
) -> None:
    async with served(tmp_path) as api:
        assert checked(*await api.ask(f"/api/v1/{kind}", "POST", json=table), 422)["errors"]


@pytest.mark.parametrize(
    "query",
    [
        f"{CANARY}=1",
        f"limit={CANARY}",
        "limit=1&limit=2",
        "limit=0",
        "limit=1001",
        f"cursor={CANARY}",
        f"cursor={PERSON}",
        "cursor=%ff%fe",
    ],
)
async def test_a_query_that_is_not_ours_is_422_on_every_listing(tmp_path: Path, query: str) -> None:
    async with served(tmp_path) as api:
        listings = [one.path for one in api.app.state.operations if one.is_paged]
        assert len(listings) == 5
        for path in listings:
            problem = checked(*await api.ask(f"{path}?{query}"), 422)
            assert problem["errors"]


@pytest.mark.parametrize("text", ["x", "-5", "99999999999999999999", "e.1", "٣", "é" * 200])
async def test_a_cursor_that_somebody_forged_is_no_failure_of_ours(tmp_path: Path, text: str) -> None:
    async with served(tmp_path) as api:
        await api.accept(a_body())
        for one in (one for one in api.app.state.operations if one.is_paged):
            forged = paging.wrap(Cursor(text), one.name, {})
            response, body = await api.ask(f"{one.path}?cursor={forged}")
            if response.status != 200:
                assert checked(response, body, 422)["errors"][0]["pointer"].strip("/") == "cursor"


async def test_every_route_refuses_a_parameter_that_it_does_not_have(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        for method, path, _ in paths(api):
            response, body = await api.ask(f"{path}?{CANARY}={PERSON}", method)
            if path.startswith("/api/v1/"):
                assert checked(response, body, 422)["errors"] == [{"pointer": "", "code": "unknown_parameter"}]
            elif path.startswith("/v2/"):
                assert response.status == 401  # the key is asked for before anything is read
            else:
                assert response.status == 200  # a probe that is told 422 would take a healthy node for a sick one


@pytest.mark.parametrize(
    ("path", "pointer"),
    [
        (f"/api/v1/events?since={CANARY}", "since"),
        ("/api/v1/events?until=2026-11-21", "until"),
        ("/api/v1/events?subject=a%00b", "subject"),
        (f"/api/v1/deliveries?state={CANARY}", "state"),
        (f"/api/v1/deliveries?event={PERSON}", "event"),
        (f"/api/v1/quarantine?source={'x' * 600}", "source"),
    ],
)
async def test_a_filter_that_cannot_be_is_422_at_its_name(tmp_path: Path, path: str, pointer: str) -> None:
    async with served(tmp_path) as api:
        problem = checked(*await api.ask(path), 422)
        [fault] = problem["errors"]
        assert (fault["pointer"], fault["code"]) == (pointer, "invalid")
        assert fault["detail"].startswith("write ")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api/v1",
        "/api/v1/",
        "/api/v1/events/",
        f"/api/v1/{CANARY}",
        f"/api/v1/events/{CANARY}",
        f"/api/v1/events/{SOME_ID}",
        f"/api/v1/events/{SOME_ID}/raw",
        f"/api/v1/events/{SOME_ID}/{CANARY}",
        f"/api/v1/deliveries/{PERSON}",
        "/api/v1/deliveries/msg_" + "0" * 32,
        f"/api/v1/sources/{CANARY}",
        "/api/v1/sources/%00",
        f"/api/v1/endpoints/{CANARY}",
        "/api/v1/endpoints/..%2f..%2fetc",
        "/api/v1/events/%ff",
        "//api/v1/events",
    ],
)
async def test_what_is_not_there_is_404(tmp_path: Path, path: str) -> None:
    async with served(tmp_path) as api:
        checked(*await api.ask(path), 404)


async def test_releasing_what_is_not_there_is_404(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        for refusal in (SOME_ID, CANARY):
            checked(*await api.ask(f"/api/v1/quarantine/{refusal}/release", "POST"), 404)


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {"Content-Type": "application/json"}, 400),
        (b"{", {"Content-Type": "application/json"}, 400),
        (b'{"endpoint": "' + CANARY.encode(), {"Content-Type": "application/json"}, 400),
        (b"\xff\xfe{}", {"Content-Type": "application/json"}, 400),
        (b"[" * 100_000, {"Content-Type": "application/json"}, 400),
        (b'{"endpoint": NaN}', {"Content-Type": "application/json"}, 400),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"{}", {"Content-Type": "application/xml"}, 415),
        (b"endpoint=core", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (gzip.compress(b"{}"), {"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415),
        (b"[]", {"Content-Type": "application/json"}, 422),
        (b'"' + CANARY.encode() + b'"', {"Content-Type": "application/json"}, 422),
        (json.dumps({CANARY: PERSON}).encode(), {"Content-Type": "application/json"}, 422),
        (json.dumps({"endpoint": CANARY}).encode(), {"Content-Type": "application/json; charset=utf-8"}, 422),
        (json.dumps({"endpoint": CORE, "events": [CANARY]}).encode(), {"Content-Type": "application/json"}, 422),
        (b" " * (MAX_BODY_BYTES + 1), {"Content-Type": "application/json"}, 413),
    ],
)
async def test_a_body_that_cannot_be_read_is_told_without_its_words(
    tmp_path: Path, body: bytes, headers: dict[str, str], status: int
) -> None:
    async with served(tmp_path) as api:
        problem = checked(*await api.ask("/api/v1/replays", "POST", data=body, headers=headers), status)
        assert bool(problem.get("errors")) == (status == 422)


async def test_a_body_of_unknown_length_is_cut_off_at_the_limit(tmp_path: Path) -> None:
    async def endless() -> Any:
        for _ in range(MAX_BODY_BYTES // 1024 + 2):
            yield b" " * 1024

    async with served(tmp_path) as api:
        headers = {"Content-Type": "application/json"}
        checked(*await api.ask("/api/v1/replays", "POST", data=endless(), headers=headers), 413)


async def test_a_release_takes_no_body_with_members(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        refusal = await api.refuse(a_body())
        path = f"/api/v1/quarantine/{refusal}/release"
        problem = checked(*await api.ask(path, "POST", json={CANARY: 1}), 422)
        assert problem["errors"] == [{"pointer": "", "code": "not_empty"}]
        checked(*await api.ask(path, "POST", data=b"x", headers={"Content-Type": "text/plain"}), 415)


@pytest.mark.parametrize("framing", ["Content-Length: 99\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\nff\r\n{"])
async def test_a_body_that_is_cut_off_is_a_problem(tmp_path: Path, framing: str) -> None:
    """The server answered 500 in plain text when the application ended without an answer."""
    async with served(tmp_path) as api:
        url = urlsplit(api.url)
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        head = f"POST /api/v1/events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n"
        writer.write((head + "Content-Type: application/json\r\n" + framing).encode())
        writer.write_eof()
        received = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        assert received.startswith(b"HTTP/1.1 408 ")
        assert b"application/problem+json" in received


async def test_a_body_that_never_comes_is_408(tmp_path: Path) -> None:
    async with served(tmp_path, body_timeout_s=0.05) as api:
        address = urlsplit(api.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(
            b"POST /api/v1/replays HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
            + KEY.encode()
            + b"\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_without_configured_keys_the_api_is_off_and_health_is_not(tmp_path: Path) -> None:
    async with served(tmp_path, keys=()) as api:
        for key in (None, CANARY):
            problem = checked(*await api.ask("/api/v1/events", key=key), 403)
            assert "off" in problem["title"]
        assert (await api.ask("/healthz", key=None))[0].status == 200


async def test_open_access_serves_this_machine_without_a_key_and_no_foreign_page(tmp_path: Path) -> None:
    async with served(tmp_path, keys=(), open_access=True) as api:
        assert (await api.ask("/api/v1/events", key=None))[0].status == 200
        checked(*await api.ask("/api/v1/events", key=None, headers={"Host": "evil.example"}), 403)
        foreign = {"Origin": f"https://{CANARY}.example"}
        checked(*await api.ask("/api/v1/replays", "POST", key=None, headers=foreign, data=b"{}"), 403)


class Broken:
    """A store that fails in one way, whatever is asked of it."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        async def fail(*_: object) -> Any:
            raise self._error

        return fail


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (StoreBusy(CANARY), 503, "/problems/store-busy"),
        (ValueError(CANARY), 500, "/problems/internal"),
        (KeyError(PERSON), 500, "/problems/internal"),
        (RecursionError(SECRET), 500, "/problems/internal"),
    ],
)
async def test_every_route_that_fails_says_so_without_saying_what(
    tmp_path: Path, error: Exception, status: int, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async with served(tmp_path) as api:
        api.health.error = error
        broken: Store = Broken(error)  # type: ignore[assignment]
        management = api.management
        management._store = broken
        for path in (
            "/api/v1/events",
            "/api/v1/deliveries",
            "/api/v1/quarantine",
            f"/api/v1/events/{SOME_ID}",
            "/readyz",
        ):
            assert checked(*await api.ask(path), status)["type"] == kind
        checked(*await api.ask("/api/v1/replays", "POST", json={"endpoint": CORE}), status)
        checked(*await api.ask(f"/api/v1/quarantine/{SOME_ID}/release", "POST"), status)
    written = "".join(capfd.readouterr())
    assert "request_id" in written
    for canary in (CANARY, PERSON, SECRET, KEY):
        assert canary not in written


async def test_errors_and_figures_hold_nothing_of_what_is_stored(tmp_path: Path) -> None:
    """Events and refusals full of canaries are there; no error and no figure repeats a piece of them."""
    async with served(tmp_path) as api:
        event, deliveries = await api.accept(a_body(note=CANARY), subject=PERSON, endpoints=[CORE])
        refusal = await api.refuse(a_body(note=CANARY))
        api.judge.still = Reason.SIGNATURE_MISMATCH
        checked(*await api.ask(f"/api/v1/quarantine/{refusal}/release", "POST"), 409)
        checked(*await api.ask(f"/api/v1/events/{event}?subject={PERSON}"), 422)
        checked(*await api.ask(f"/api/v1/events/{event}", "POST"), 405)
        checked(*await api.ask(f"/api/v1/deliveries/{event}"), 404)
        api.metrics.answered(PERSON, 200)
        _, figures = await api.ask("/metrics")
        for canary in (CANARY, PERSON, SECRET, KEY, event, refusal, *deliveries):
            assert canary.encode() not in figures


async def test_a_request_id_is_ours_and_new_for_every_request(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        given = {"X-Request-Id": CANARY}
        ids = {(await api.ask("/healthz", headers=given))[0].headers["X-Request-Id"] for _ in range(3)}
        assert len(ids) == 3
        assert CANARY not in ids
