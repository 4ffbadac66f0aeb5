"""ZignSec's test call, `POST /v2/webhook/test`, as its document of 2024 describes it.

Oracles: the answer's members, and what the target got.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from gateways import Answer
from registered_live import Api, Receiver, api, receiver, settings

from hookseal.clock import GivenClock, from_unix
from hookseal.settings import EgressSettings, ServerSettings

PATH = "/v2/webhook/test"
MEMBERS = ["elapsed", "statusCode", "error", "errorMessage"]
KEY = "12345678-e2a2-4968-b651-5352305c9fb0"
OTHER = "ffffffff-e2a2-4968-b651-5352305c9fb0"


@pytest.fixture
async def target() -> AsyncIterator[Receiver]:
    async with receiver() as made:
        yield made


@pytest.fixture
async def of(tmp_path: Path) -> AsyncIterator[Api]:
    async with api(settings(tmp_path)) as made:
        await register(made)
        yield made


async def register(of: Api) -> None:
    for id, key in (("other", OTHER), ("mine", KEY)):
        table = {"id": id, "url": "https://mine.example/", "as": "zignsec", "signing": {"secret": key}}
        await of.made("endpoints", table)
    table = {"id": "foreign", "url": "https://x.example/", "signing": {"scheme": "idenfy", "secret": "foreign key"}}
    await of.made("endpoints", table)


async def call(of: Api, body: bytes, key: str | None = KEY, content_type: str = "application/json") -> Answer:
    headers = [("Content-Type", content_type)] + ([] if key is None else [("Authorization", key)])
    return await of.gateway.post(PATH, body, headers)


def told(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/json"
    said: dict[str, Any] = json.loads(answer.body)
    assert list(said) == MEMBERS, "exactly these members, nulls included"
    assert type(said["elapsed"]) is int
    assert said["elapsed"] >= 0
    return said


@pytest.mark.requirement("Z26", "Z28", "Z29")
async def test_it_makes_one_call_signed_with_the_callers_key_and_tells_of_it(of: Api, target: Receiver) -> None:
    said = told(
        await call(of, json.dumps({"Url": target.url + "/hook?a=1"}).encode(), KEY, "application/json; charset=utf-8")
    )
    assert (said["statusCode"], said["error"], said["errorMessage"]) == (200, None, None)
    post = await target.next()
    assert (post.method, post.path) == ("POST", "/hook?a=1")
    digest = base64.b64encode(hmac.digest(KEY.encode(), post.body, hashlib.sha256)).decode()
    assert post.values("X-ZignSec-Hmac-SHA256") == [digest]
    assert target.got.empty()
    assert await of.gateway.events("api") == []


@pytest.mark.requirement("Z27")
@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"Url": null}',
        b'{"Url": ""}',
        b'{"Url": 5}',
        b'{"Url": "/relative"}',
        b'{"Url": "relative"}',
        b'{"Url": "https://"}',
        b'{"Url": "//host/x"}',
        b'{"Url": "ftp://host/x"}',
        b"not JSON",
        b"",
        b"[]",
        b'"https://h.example/"',
        b"[" * 10_000,
        b"\xff",
        b" " * 20_000,
    ],
)
async def test_without_a_url_it_is_told_in_the_documents_words_and_nothing_is_called(
    of: Api, target: Receiver, body: bytes
) -> None:
    answer = await call(of, body)
    assert 400 <= answer.status <= 499
    [error] = json.loads(answer.body)["errors"]
    assert error["code"] == "INVALID_WEBHOOK"
    assert error["description"]
    assert target.got.empty()


@pytest.mark.requirement("Z27")
async def test_the_member_may_be_written_in_lower_case_and_in_any_media_type(of: Api, target: Receiver) -> None:
    body = json.dumps({"url": target.url}).encode()
    assert told(await call(of, body, content_type="text/plain"))["statusCode"] == 200
    await target.next()


@pytest.mark.requirement("Z28")
@pytest.mark.parametrize(
    "key", [None, "", "wrong", f"Bearer {KEY}", f"Basic {KEY}", KEY.upper() + "x", KEY[:-1], "foreign key", "é"]
)
async def test_only_the_bare_key_is_taken_and_without_it_nothing_is_called(
    of: Api, target: Receiver, key: str | None
) -> None:
    answer = await call(of, json.dumps({"Url": target.url}).encode(), key)
    assert answer.status == 401
    assert json.loads(answer.body)["errors"][0]["code"] == "UNAUTHORIZED"
    assert KEY.encode() not in answer.body
    assert target.got.empty()


@pytest.mark.requirement("Z28")
async def test_two_keys_at_once_are_none(of: Api, target: Receiver) -> None:
    headers = [("Content-Type", "application/json"), ("Authorization", KEY), ("Authorization", KEY)]
    answer = await of.gateway.post(PATH, json.dumps({"Url": target.url}).encode(), headers)
    assert answer.status in (400, 401)
    assert target.got.empty()


@pytest.mark.requirement("Z28")
async def test_a_rotated_key_is_taken_until_its_overlap_is_over_and_a_deleted_one_never(
    of: Api, target: Receiver
) -> None:
    body = json.dumps({"Url": target.url}).encode()
    new = (await of("POST", "/api/v1/endpoints/mine/rotate")).body["secret"]
    for key in (KEY, new):
        assert (await call(of, body, key)).status == 200
        post = await target.next()
        digest = base64.b64encode(hmac.digest(key.encode(), post.body, hashlib.sha256)).decode()
        assert post.values("X-ZignSec-Hmac-SHA256") == [digest], (
            "signed with the key that was shown, not with another live one"
        )
    await of("DELETE", "/api/v1/endpoints/mine")
    assert [(await call(of, body, key)).status for key in (KEY, new, OTHER)] == [401, 401, 200]


@pytest.mark.requirement("Z26", "Z29")
async def test_a_target_that_fails_is_told_and_not_called_again(of: Api, target: Receiver) -> None:
    target.status = 503
    said = told(await call(of, json.dumps({"Url": target.url}).encode()))
    assert (said["statusCode"], said["error"]) == (503, "http_503")
    assert said["errorMessage"]
    await target.next()
    assert target.got.empty()


@pytest.mark.requirement("Z29")
async def test_elapsed_is_the_calls_milliseconds(tmp_path: Path, target: Receiver) -> None:
    clock = GivenClock(from_unix(1_763_712_000))

    def slowly(request: web.Request) -> web.Response:
        clock.advance(1.288)
        return web.Response(status=200)

    target.answer = slowly
    async with api(settings(tmp_path), clock=clock) as of:
        await register(of)
        assert told(await call(of, json.dumps({"Url": target.url}).encode()))["elapsed"] == 1288


@pytest.mark.requirement("Z29")
async def test_a_target_that_is_not_there_is_an_answer_all_the_same(of: Api) -> None:
    async with receiver() as gone:
        url = gone.url
    said = told(await call(of, json.dumps({"Url": url}).encode()))
    assert (said["statusCode"], said["error"]) == (None, "connect_refused")
    assert said["errorMessage"]


@pytest.mark.requirement("Z30")
async def test_a_redirect_is_not_followed(of: Api, target: Receiver) -> None:
    target.answer = lambda request: web.Response(status=307, headers={"Location": target.url + "/other"})
    said = told(await call(of, json.dumps({"Url": target.url}).encode()))
    assert (said["statusCode"], said["error"]) == (307, "redirect_refused")
    assert "redirect" in said["errorMessage"]
    assert (await target.next()).path == "/"
    assert target.got.empty()


@pytest.mark.requirement("Z30")
async def test_forbidden_addresses_are_told_and_no_socket_is_opened_to_them(tmp_path: Path, target: Receiver) -> None:
    port = target.url.rpartition(":")[2]
    for egress in (EgressSettings(), EgressSettings(allow_http=True)):
        folder = tmp_path / str(egress.allow_http)
        folder.mkdir()
        async with api(replace(settings(folder), egress=egress)) as of:
            await register(of)
            for host in ("127.0.0.1", "localhost", "[::1]", "169.254.169.254", "[::ffff:127.0.0.1]", "0.0.0.0"):
                for scheme in ("http", "https"):
                    said = told(await call(of, json.dumps({"Url": f"{scheme}://{host}:{port}/"}).encode()))
                    assert said["statusCode"] is None
                    assert said["error"] in ("denied_address", "config_error"), (host, said)
                    assert said["errorMessage"]
    assert target.got.empty()


async def test_it_is_answered_also_where_management_has_a_listener_of_its_own(tmp_path: Path, target: Receiver) -> None:
    async with api(settings(tmp_path)) as of:
        await register(of)
    apart = settings(tmp_path, server=ServerSettings(manage_listen="127.0.0.1:1"))
    async with api(apart) as of:
        assert told(await call(of, json.dumps({"Url": target.url}).encode()))["statusCode"] == 200
        assert (await of("GET", "/api/v1/endpoints")).status == 404
