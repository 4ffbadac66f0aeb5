"""`POST /api/v1/events`: an event of one's own is stored once, and delivered like any other.

Oracles: the API's answers, and what arrives at receivers of the test's own.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from registered_live import SECRET, api, receiver, settings
from stores import STORES, store_settings

SIGNING = {"scheme": "standard_webhooks", "secret": SECRET}
DATA = b'{"amount": 1.0, "big": 123456789012345678901234567890, "z": null, "a": "\\u00e9"}'
MINIFIED = b'{"amount":1.0,"big":123456789012345678901234567890,"z":null,"a":"\\u00e9"}'


def a_body(data: bytes = DATA, **more: Any) -> bytes:
    rest = "".join(f", {json.dumps(name)}: {json.dumps(value)}" for name, value in more.items())
    return b'{"type": "order.paid", "data": ' + data + rest.encode() + b"}"


async def test_a_published_event_reaches_the_endpoints_that_take_its_type_and_source(tmp_path: Path) -> None:
    async with receiver() as target, api(settings(tmp_path)) as of:
        for id, more in (
            ("events", {"types": ["order.*"], "sources": ["api"]}),
            ("payload", {"types": ["order.paid"], "format": "json"}),
            ("others", {"types": ["other"]}),
            ("elsewhere", {"sources": ["idenfy-*"]}),
        ):
            await of.made("endpoints", {"id": id, "url": f"{target.url}/{id}", "signing": SIGNING, **more})
        said = await of(
            "POST",
            "/api/v1/events",
            a_body(subject="order-7", time="2026-11-20T10:00:00+01:00", id="evt-1"),
        )
        assert said.status == 202, said.body
        posts = {post.path: post for post in [await target.next() for _ in range(2)]}
        assert posts.keys() == {"/events", "/payload"}
        assert posts["/payload"].body == MINIFIED
        event = json.loads(posts["/events"].body)
        assert MINIFIED in posts["/events"].body
        assert event["id"] == said.body["id"]
        assert (event["type"], event["source"], event["subject"]) == ("order.paid", "/sources/api", "order-7")
        assert (event["time"], event["providerid"]) == ("2026-11-20T09:00:00.000000Z", "evt-1")
        shown = (await of("GET", f"/api/v1/events/{said.body['id']}")).body
        assert shown == {**event, "data": shown["data"]}
        [listed] = (await of("GET", "/api/v1/events?source=api&type=order.paid")).body["data"]
        assert listed["sequence"] == said.body["sequence"]


@pytest.mark.parametrize("kind", STORES)
async def test_one_key_publishes_once_also_at_once_and_after_a_restart(tmp_path: Path, kind: str) -> None:
    async with store_settings(kind, tmp_path) as store:
        made = settings(tmp_path, store=store)
        async with api(made) as of:
            said = await asyncio.gather(
                *(of("POST", "/api/v1/events", a_body(), Idempotency_Key="k-1") for _ in range(8))
            )
            assert [one.status for one in said] == [202] * 8
            assert len({json.dumps(one.body) for one in said}) == 1
        async with api(made) as of:
            again = await of("POST", "/api/v1/events", a_body(), Idempotency_Key="k-1")
            assert (again.status, again.body) == (202, said[0].body)
            other = await of("POST", "/api/v1/events", a_body(b"2"), Idempotency_Key="k-1")
            assert (other.status, other.body["type"]) == (409, "/problems/key-reused")
            another = await of("POST", "/api/v1/events", a_body(), Idempotency_Key="k-2")
            assert another.body["id"] != again.body["id"]
            assert await of.gateway.count_events("api") == 2


async def test_an_id_of_ones_own_publishes_once_and_what_has_no_name_every_time(tmp_path: Path) -> None:
    async with api(settings(tmp_path)) as of:
        named = [(await of("POST", "/api/v1/events", a_body(id="evt-1"))).body["id"] for _ in range(2)]
        nameless = [(await of("POST", "/api/v1/events", a_body())).body["id"] for _ in range(2)]
        assert len({*named}) == 1
        assert len({*named, *nameless}) == 3


async def test_what_is_published_goes_out_as_the_provider_that_an_endpoint_acts_as(tmp_path: Path) -> None:
    async with receiver() as target, api(settings(tmp_path)) as of:
        table = {"id": "z", "url": target.url, "as": "zignsec", "signing": {"secret": SECRET}}
        await of.made("endpoints", table)
        await of("POST", "/api/v1/events", a_body(b'{"id": "x", "errors": []}'))
        post = await target.next()
        assert post.body == b'{"id":"x","errors":[]}'
        assert post.values("webhook-id") == []


@pytest.mark.parametrize("data", [b"null", b"5", b'"text"', b"[1, 2]", b"true"])
async def test_data_may_be_any_json(tmp_path: Path, data: bytes) -> None:
    async with receiver() as target, api(settings(tmp_path)) as of:
        await of.made("endpoints", {"id": "e", "url": target.url, "signing": SIGNING})
        assert (await of("POST", "/api/v1/events", a_body(data))).status == 202
        assert json.loads((await target.next()).body)["data"]["payload"] == json.loads(data)


@pytest.mark.parametrize(
    ("body", "status", "faults"),
    [
        (b"[]", 422, [("", "not_an_object")]),
        (b"{}", 422, [("/type", "missing"), ("/data", "missing")]),
        (b'{"type": null, "data": 1}', 422, [("/type", "missing")]),
        (b'{"type": "", "data": 1}', 422, [("/type", "invalid")]),
        (b'{"type": 5, "data": 1}', 422, [("/type", "not_text")]),
        (b'{"type": "a", "data": 1, "time": "yesterday"}', 422, [("/time", "invalid")]),
        (b'{"type": "a", "data": 1, "more": 1}', 422, [("", "unknown_member")]),
        (b'{"type": "a", "data": ', 400, None),
        (b'{"type": "a", "data": "' + b"x" * 2_097_152 + b'"}', 413, None),
    ],
)
async def test_what_is_no_event_is_refused_and_not_stored(
    tmp_path: Path, body: bytes, status: int, faults: list[tuple[str, str]] | None
) -> None:
    async with api(settings(tmp_path)) as of:
        said = await of("POST", "/api/v1/events", body)
        assert said.status == status
        if faults is not None:
            assert said.faults == faults
        assert await of.gateway.count_events("api") == 0


async def test_a_key_that_cannot_be_one_is_422_and_nothing_is_published(tmp_path: Path) -> None:
    async with api(settings(tmp_path)) as of:
        for key in ("", "x" * 256, "é"):
            said = await of("POST", "/api/v1/events", a_body(), Idempotency_Key=key)
            assert (said.status, said.faults) == (422, [("Idempotency-Key", "invalid")])
        assert await of.gateway.count_events("api") == 0
