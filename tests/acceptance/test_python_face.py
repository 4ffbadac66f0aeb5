"""hookseal in the user's own program: `verify`, `sign`, and a gateway mounted in a FastAPI app."""

import asyncio
import base64
import hashlib
import hmac
import json
import math
import subprocess
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from fastapi import FastAPI

import hookseal
from hookseal.settings import (
    ApiSettings,
    EgressSettings,
    EndpointSettings,
    RetrySettings,
    ServerSettings,
    SigningSettings,
    SourceSettings,
)
from hookseal.store.port import DeliveryFilter
from hookseal.web.server import serving

SECRET = "your-signing-secret"
BODY = b'{"final":true,"status":{"overall":"APPROVED"},"data":{"docFirstName":"JONAS"},"scanRef":"s-1","clientId":"c"}'


def test_what_sign_signs_verify_accepts() -> None:
    for provider in ("zignsec", "idenfy", "seal_id"):
        event = hookseal.verify(provider, BODY, hookseal.sign(provider, BODY, secret=SECRET), secrets=["other", SECRET])
        assert event.provider == provider


@pytest.mark.parametrize(
    ("body", "signed"),
    [
        (b'{"a": 1, "b": "c d"}\n', b'{"a":1,"b":"c d"}'),
        (b"not JSON, with blanks\n", b"not JSON, with blanks\n"),
        (b'{"a": 1, "b": ', b'{"a": 1, "b": '),
        (b'{"a": "\xe5 b"} ', b'{"a": "\xe5 b"} '),
    ],
)
def test_seal_id_signs_json_without_its_blanks_and_any_other_body_as_it_is(body: bytes, signed: bytes) -> None:
    at = datetime(2026, 11, 21, 12, tzinfo=UTC)
    digest = hmac.new(SECRET.encode(), b"20261121T120000Z|" + signed, hashlib.sha512).digest()
    headers = dict(hookseal.sign("seal_id", body, secret=SECRET, at=at))
    assert headers["ubiid-notification-signature"] == base64.b64encode(digest).decode()


def test_verify_gives_the_normalised_event() -> None:
    event = hookseal.verify("idenfy", BODY, dict(hookseal.sign("idenfy", BODY, secret=SECRET)), secrets=[SECRET])
    assert (event.type, event.outcome, event.subject) == ("identity.verification.completed", "approved", "s-1")
    assert event.as_cloudevent()["data"]["payload"] == json.loads(BODY)


def test_verify_refuses_with_a_reason() -> None:
    with pytest.raises(hookseal.Refused) as refused:
        hookseal.verify("idenfy", BODY, {"Idenfy-Signature": "0" * 64}, secrets=[SECRET])
    assert refused.value.reason == "signature_mismatch"
    with pytest.raises(hookseal.Refused) as refused:
        hookseal.verify("idenfy", BODY, {}, secrets=[SECRET])
    assert refused.value.reason == "header_missing"


def test_verify_without_keys_cannot_decide() -> None:
    token = "Bearer eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiIsImtpZCI6ImsifQ.e30.AAAA"
    with pytest.raises(hookseal.CannotDecide):
        hookseal.verify("bankid_antifraud", b"{}", {"Authorization": token}, options={"audience": "a"})
    with pytest.raises(hookseal.ConfigurationError):
        hookseal.verify("bankid_antifraud", b"{}", {"Authorization": token})
    with pytest.raises(hookseal.ConfigurationError):
        hookseal.verify("nobody", b"{}", {})


def test_verify_loads_no_server_database_or_http_client() -> None:
    program = f"""
import sys, hookseal
body = {BODY!r}
hookseal.verify("idenfy", body, hookseal.sign("idenfy", body, secret="s"), secrets=["s"])
heavy = {{"granian", "apsw", "sqlite3", "aiohttp", "asyncpg", "starlette", "typer", "rich", "prometheus_client", "jwt"}}
print(sorted(heavy & {{name.split(".")[0] for name in sys.modules}}))
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


CONFIG = f"""
[[source]]
id = "idenfy"
provider = "idenfy"
secrets = ["{SECRET}"]
"""


@pytest.mark.requirement("Z15")
async def test_gateway_mounted_in_fastapi_hands_events_to_handlers(tmp_path: Path) -> None:
    (tmp_path / "hookseal.toml").write_text(CONFIG)
    gateway = hookseal.Gateway(tmp_path / "hookseal.toml")
    opened: list[hookseal.Event] = []
    others: list[hookseal.Event] = []
    answered, arrived = asyncio.Event(), asyncio.Event()

    @gateway.on("identity.verification.completed")
    async def open_account(event: hookseal.Event) -> None:
        await answered.wait()  # opens only once the client has the whole answer: a handler that ran before would hang
        opened.append(event)
        arrived.set()

    @gateway.on("risk.*")
    async def alarm(event: hookseal.Event) -> None:
        others.append(event)

    app = FastAPI(lifespan=gateway.lifespan)
    app.mount("/hooks", gateway)
    async with app.router.lifespan_context(app), serving(app, "127.0.0.1:0") as address, ClientSession() as session:
        headers = dict(hookseal.sign("idenfy", BODY, secret=SECRET))
        for _ in range(2):  # the second is a duplicate
            async with session.post(f"{address.url}/hooks/in/idenfy", data=BODY, headers=headers) as answer:
                assert answer.status == 200
        answered.set()
        await asyncio.wait_for(arrived.wait(), 20)
    assert [event.subject for event in opened] == ["s-1"]
    assert others == []


async def test_failing_handler_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "hookseal.toml").write_text(CONFIG)
    gateway = hookseal.Gateway(tmp_path / "hookseal.toml")
    tried = asyncio.Event()

    @gateway.on()
    async def fails(event: hookseal.Event) -> None:
        tried.set()
        raise RuntimeError("191212121212")

    async with gateway, serving(gateway, "127.0.0.1:0") as address, ClientSession() as session:
        headers = dict(hookseal.sign("idenfy", BODY, secret=SECRET))
        async with session.post(f"{address.url}/in/idenfy", data=BODY, headers=headers) as answer:
            assert answer.status == 200
        await asyncio.wait_for(tried.wait(), 20)
    async with hookseal.Gateway(tmp_path / "hookseal.toml") as second:
        rows = (await second.store.deliveries(DeliveryFilter(), 10, None)).rows
    assert [(row.state, row.attempts, row.last_reason) for row in rows] == [("pending", 1, "handler_error")]


async def test_unstarted_mounted_gateway_answers_503(tmp_path: Path) -> None:
    (tmp_path / "hookseal.toml").write_text(CONFIG)

    @asynccontextmanager
    async def nothing(_: object):  # type: ignore[no-untyped-def]
        yield

    app = FastAPI(lifespan=nothing)
    app.mount("/hooks", hookseal.Gateway(tmp_path / "hookseal.toml"))
    async with serving(app, "127.0.0.1:0") as address, ClientSession() as session:
        headers = dict(hookseal.sign("idenfy", BODY, secret=SECRET))
        async with session.post(f"{address.url}/hooks/in/idenfy", data=BODY, headers=headers) as answer:
            assert answer.status == 503
            assert answer.headers["Retry-After"]


@pytest.mark.parametrize("secrets", [SECRET, SECRET.encode(), bytearray(SECRET.encode()), {SECRET: 1}, None, 7])
def test_verify_takes_secrets_as_a_list_only(secrets: Any) -> None:
    """Iterated, a text would make a live key of each of its characters: then its first letter signs."""
    forged = hookseal.sign("idenfy", BODY, secret=SECRET[0])
    for verify in (hookseal.verify, hookseal.verify_all):
        with pytest.raises(TypeError, match=r"secrets=\[secret\]"):
            verify("idenfy", BODY, forged, secrets=secrets)


@pytest.mark.parametrize("secret", [None, 7, ["a"], bytearray(b"a"), object()])
def test_every_secret_is_text_or_bytes(secret: Any) -> None:
    signed = hookseal.sign("idenfy", BODY, secret=SECRET)
    with pytest.raises(TypeError, match=r"secrets\[1\].*str or bytes"):
        hookseal.verify("idenfy", BODY, signed, secrets=[SECRET, secret])
    with pytest.raises(TypeError, match=r"secret.*str or bytes"):
        hookseal.sign("idenfy", BODY, secret=secret)


def test_secrets_may_be_any_collection_of_texts() -> None:
    signed = hookseal.sign("idenfy", BODY, secret=SECRET)
    for secrets in ([SECRET], (SECRET.encode(),), {SECRET}, iter(["other", SECRET])):
        assert hookseal.verify("idenfy", BODY, signed, secrets=secrets).subject == "s-1"


def test_verify_without_a_usable_secret_is_a_configuration_error() -> None:
    signed = hookseal.sign("idenfy", BODY, secret=SECRET)
    with pytest.raises(hookseal.ConfigurationError, match=r"secrets.*Signing key"):
        hookseal.verify("idenfy", BODY, signed)
    for secrets, key in ([[""], "secrets[0]"], [[SECRET, b""], "secrets[1]"], [["\ud800"], "secrets[0]"]):
        with pytest.raises(hookseal.ConfigurationError) as unusable:
            hookseal.verify("idenfy", BODY, signed, secrets=secrets)  # type: ignore[arg-type]
        assert unusable.value.key == key
    with pytest.raises(hookseal.ConfigurationError):
        hookseal.sign("idenfy", BODY, secret="\ud800")


def test_verify_and_sign_take_the_body_as_bytes_only() -> None:
    with pytest.raises(TypeError, match=r"body.*bytes"):
        hookseal.verify("idenfy", BODY.decode(), {}, secrets=[SECRET])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"body.*bytes"):
        hookseal.sign("idenfy", BODY.decode(), secret=SECRET)  # type: ignore[arg-type]


def test_one_address_as_text_is_a_list_of_one() -> None:
    signed = hookseal.sign("idenfy", BODY, secret=SECRET)
    for addresses in ("192.0.2.0/24", ["192.0.2.0/24"]):
        options: Any = {"addresses": addresses}
        assert hookseal.verify("idenfy", BODY, signed, secrets=[SECRET], options=options, remote="192.0.2.7")
        with pytest.raises(hookseal.Refused):
            hookseal.verify("idenfy", BODY, signed, secrets=[SECRET], options=options, remote="198.51.100.7")
    for wrong in (b"\x01\x02", [7], "192.0.2.0/24 ", ["nobody"], {"a": 1}, None, 7):
        with pytest.raises(hookseal.ConfigurationError) as unusable:
            hookseal.verify("idenfy", BODY, signed, secrets=[SECRET], options={"addresses": wrong}, remote="0.0.0.1")  # type: ignore[dict-item]
        assert unusable.value.key == "addresses"


@pytest.mark.parametrize("at", [math.nan, math.inf, -math.inf, 1e308, 10**400, -1e15, "now", True])
def test_verify_at_a_time_that_is_none_is_the_callers_error(at: Any) -> None:
    signed = hookseal.sign("idenfy", BODY, secret=SECRET)
    with pytest.raises((TypeError, ValueError), match="at"):
        hookseal.verify("idenfy", BODY, signed, secrets=[SECRET], at=at)
    with pytest.raises((TypeError, ValueError), match="at"):
        hookseal.sign("idenfy", BODY, secret=SECRET, at=at)


@pytest.mark.parametrize(
    ("shape", "wrong"),
    [
        (SourceSettings, {"secrets": SECRET}),
        (SourceSettings, {"secrets": SECRET.encode()}),
        (SourceSettings, {"secrets": (SECRET,)}),
        (SourceSettings, {"retired_secrets": SECRET}),
        (SourceSettings, {"addresses": "192.0.2.0/24"}),
        (EndpointSettings, {"types": "identity.*"}),
        (EndpointSettings, {"sources": "bank-*"}),
        (EndpointSettings, {"sources": (b"bank",)}),
        (SigningSettings, {"secrets": SECRET.encode()}),
        (RetrySettings, {"success": "2xx"}),
        (RetrySettings, {"delays_s": "55"}),
        (ApiSettings, {"keys": SECRET.encode()}),
        (EgressSettings, {"allow": "10.0.0.0/8"}),
        (ServerSettings, {"trusted_proxies": "10.0.0.0/8"}),
    ],
)
def test_settings_made_in_code_take_lists_as_lists(shape: Any, wrong: dict[str, Any]) -> None:
    """`types="identity.*"` would be a list of letters, of which `*` takes every event."""
    needed = {
        SourceSettings: {"id": "idenfy", "provider": "idenfy"},
        EndpointSettings: {"id": "core", "url": "https://core.example.com/"},
        SigningSettings: {"scheme": "idenfy"},
    }
    (name,) = wrong
    with pytest.raises(TypeError, match=name):
        shape(**needed.get(shape, {}), **wrong)


@pytest.mark.parametrize("wrong", [["risk.*"], b"risk.*", None])
def test_a_handler_takes_one_glob_as_text(tmp_path: Path, wrong: Any) -> None:
    (tmp_path / "hookseal.toml").write_text(CONFIG)
    gateway = hookseal.Gateway(tmp_path / "hookseal.toml")
    with pytest.raises(TypeError, match="type"):
        gateway.on(wrong)
    with pytest.raises(TypeError, match="source"):
        gateway.on(source=wrong)
    with pytest.raises(TypeError, match=r"gateway\.on\(\)"):
        gateway.on(test_one_address_as_text_is_a_list_of_one)  # type: ignore[arg-type]
