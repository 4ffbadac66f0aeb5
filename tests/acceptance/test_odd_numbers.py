"""Numbers that no type of ours holds, on every face that reads some: answered, and never by an error of ours.

Oracles: statuses over a real socket, what the API lists afterwards, exit codes and lines of the command line.
"""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from cli_process import hookseal as run_cli
from gateways import API_KEY
from registered_live import SECRET, api, receiver, settings
from stores import STORES, store_settings
from test_api_cli import hookseal as asked

import hookseal
from hookseal.model import ProviderId, SourceId
from hookseal.settings import SourceSettings

KEY = "your-signing-secret"
DIGITS = "9" * 400
HUGE = ("1e308", "-1e308", "1e400", DIGITS, "-" + DIGITS, "9" * 5000, "1" + "0" * 400 + ".5", "253402300800", "-1")


def body_of(finish_time: str) -> bytes:
    return b'{"final":true,"status":{"overall":"APPROVED"},"scanRef":"s-1","finishTime":%b}' % finish_time.encode()


def signature(body: bytes) -> list[tuple[str, str]]:
    return [("Idenfy-Signature", hmac.digest(KEY.encode(), body, hashlib.sha256).hex())]


@pytest.mark.parametrize("text", HUGE)
def test_a_genuine_body_with_an_impossible_time_is_an_event(text: str) -> None:
    event = hookseal.verify("idenfy", body_of(text), signature(body_of(text)), secrets=[KEY], at=1_763_712_000)
    assert event.as_cloudevent()["time"].endswith("Z")


@pytest.mark.parametrize("kind", STORES)
async def test_a_genuine_body_with_an_impossible_time_is_stored_and_listed(tmp_path: Path, kind: str) -> None:
    idenfy = SourceSettings(id=SourceId("idenfy"), provider=ProviderId("idenfy"), secrets=(KEY.encode(),))
    async with store_settings(kind, tmp_path) as store, api(settings(tmp_path, store=store, sources=(idenfy,))) as of:
        for text in HUGE:
            answer = await of.gateway.post("/in/idenfy", body_of(text), signature(body_of(text)))
            assert answer.status == 200, text
        assert await of.gateway.count_events("idenfy") == len(HUGE)


@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-00:01", "0999-06-01T00:00:00Z", "0001-01-01T00:00:00Z"]
)
async def test_a_published_event_has_a_time_that_can_be_shown_or_is_refused(tmp_path: Path, time: str) -> None:
    async with receiver() as target, api(settings(tmp_path)) as of:
        await of.made("endpoints", {"id": "e", "url": target.url, "signing": {"scheme": "none"}})
        said = await of("POST", "/api/v1/events", {"type": "t", "data": 1, "time": time})
        if said.status == 422:
            assert said.faults == [("/time", "invalid")]
            assert (await of("GET", "/api/v1/events")).body["data"] == []
            return
        assert said.status == 202
        [listed] = (await of("GET", "/api/v1/events")).body["data"]
        sent = json.loads((await target.next()).body)
        assert listed["time"] == sent["time"] == time[:19] + ".000000Z"


@pytest.mark.parametrize("number", [DIGITS, "-" + DIGITS, "1e308", "9" * 4300])
async def test_the_api_refuses_numbers_that_no_setting_holds(tmp_path: Path, number: str) -> None:
    huge = json.loads(number)
    good = {"id": "e", "url": "https://core.example.com/", "signing": {"scheme": "none"}}
    source = {"id": "s", "provider": "idenfy", "secrets": [SECRET]}
    bankid = {"id": "b", "provider": "bankid_antifraud"}
    tables: list[tuple[str, dict[str, Any], str]] = [
        ("endpoints", {"timeout_s": huge}, "/timeout_s"),
        ("endpoints", {"retry": {"delays_s": [huge]}}, "/retry/delays_s/0"),
        ("endpoints", {"retry": {"success": [huge]}}, "/retry/success/0"),
        ("endpoints", {"concurrency": huge}, "/concurrency"),
        ("endpoints", {"rate_per_min": huge}, "/rate_per_min"),
        ("endpoints", {"batch": huge}, "/batch"),
        ("endpoints", {"handshake": {"request_rate": huge}}, "/handshake/request_rate"),
        ("sources", {"max_age_s": huge}, "/max_age_s"),
        ("sources", {"max_body_bytes": huge}, "/max_body_bytes"),
        ("sources", {**bankid, "options": {"audience": "a", "allowed_rate": huge}}, "/options/allowed_rate"),
        ("sources", {**bankid, "options": {"audience": huge}}, "/options/audience"),
    ]
    async with api(settings(tmp_path)) as of:
        await of.made("endpoints", good)
        await of.made("sources", source)
        for kind, wrong, pointer in tables:
            table = {**(good if kind == "endpoints" else source), "id": "new", **wrong}
            assert await of_status(of("POST", f"/api/v1/{kind}", table)) == (422, [pointer])
            own = "e" if kind == "endpoints" else "s"
            if "provider" not in wrong:
                assert await of_status(of("PATCH", f"/api/v1/{kind}/{own}", wrong)) == (422, [pointer])
        for kind, own in (("endpoints", "e"), ("sources", "s")):
            rotated = of("POST", f"/api/v1/{kind}/{own}/rotate", {"overlap_s": huge})
            assert await of_status(rotated) == (422, ["/overlap_s"])


async def of_status(call: Any) -> tuple[int, list[str]]:
    said = await call
    return said.status, [pointer for pointer, _ in said.faults]


@pytest.mark.parametrize("declared", ["9" * 20, "9" * 4301, "0" * 5000 + "99999999"])
async def test_a_declared_length_of_any_size_is_too_large(tmp_path: Path, declared: str) -> None:
    """In process: the server in front of us refuses such a length itself, another server may pass it on."""
    idenfy = SourceSettings(id=SourceId("idenfy"), provider=ProviderId("idenfy"), secrets=(KEY.encode(),))
    async with hookseal.Gateway(settings(tmp_path, sources=(idenfy,))) as gateway:
        for path in ("/in/idenfy", "/api/v1/endpoints"):
            assert await asgi_status(gateway, path, declared) == 413


async def asgi_status(app: Any, path: str, declared: str) -> int:
    headers = [
        (b"host", b"gateway.test"),
        (b"authorization", b"Bearer " + API_KEY.encode()),
        (b"content-type", b"application/json"),
        (b"content-length", declared.encode()),
    ]
    scope = {
        **{"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""},
        **{"headers": headers, "http_version": "1.1", "scheme": "http", "client": ("127.0.0.1", 1), "root_path": ""},
        **{"server": ("127.0.0.1", 80), "asgi": {"version": "3.0"}},
    }
    statuses = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(scope, receive, send)
    return int(statuses[0])


SOURCES = '[[source]]\nid = "s"\nprovider = "bankid_antifraud"\noptions = {{ audience = "a", allowed_rate = {} }}\n'
ENDPOINT = '[[endpoint]]\nid = "e"\nurl = "https://h.example/"\nsigning = {{ scheme = "none" }}\n{} = {}\n'
HEX = "0x" + "f" * 5000  # has no limit of digits, where decimal digits have one


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SOURCES.format(HEX), "options.allowed_rate"),
        (ENDPOINT.format("timeout_s", HEX), "timeout_s"),
        (ENDPOINT.format("timeout_s", "inf"), "timeout_s"),
        (ENDPOINT.format("timeout_s", "nan"), "timeout_s"),
        (ENDPOINT.format("timeout_s", "1e400"), "timeout_s"),
        (ENDPOINT.format("concurrency", HEX), "concurrency"),
        (ENDPOINT.format("retry", f"{{ delays_s = [{HEX}] }}"), "retry.delays_s[0]"),
        (ENDPOINT.format("retry", f"{{ success = [{HEX}] }}"), "retry.success[0]"),
        (f"[server]\nbody_timeout_s = {HEX}\n", "[server] body_timeout_s"),
        (f"[store]\nretain_days = {HEX}\n", "[store] retain_days"),
        (f"[server]\nmax_headers = {'9' * 5000}\n", "not TOML"),
    ],
)
def test_check_names_the_key_of_a_number_that_cannot_be(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "hookseal.toml").write_text(text)
    checked = run_cli("check", folder=tmp_path)
    assert checked.code == 2
    assert words in checked.out + checked.err
    assert "Traceback" not in checked.err


async def test_a_number_on_the_command_line_that_json_cannot_say_is_told_of(tmp_path: Path) -> None:
    async with api(settings(tmp_path)) as of:
        await of.made("endpoints", {"id": "e", "url": "https://core.example.com/", "signing": {"scheme": "none"}})
        for number in ("1e400", "-1e999", "9" * 5000, DIGITS):
            changed = await asked(
                "endpoints", "update", "e", "--set", f"timeout_s={number}", url=of.gateway.url, key=API_KEY
            )
            assert changed.code == 2
            assert "/timeout_s" in changed.err
