"""hookseal in the user's own program: `verify`, `sign`, and a gateway mounted in a FastAPI app."""

import asyncio
import json
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession
from fastapi import FastAPI

import hookseal
from hookseal.store.port import DeliveryFilter
from hookseal.web.server import serving

SECRET = "your-signing-secret"
BODY = b'{"final":true,"status":{"overall":"APPROVED"},"data":{"docFirstName":"JONAS"},"scanRef":"s-1","clientId":"c"}'


def test_what_sign_signs_verify_accepts() -> None:
    for provider in ("zignsec", "idenfy", "seal_id"):
        event = hookseal.verify(provider, BODY, hookseal.sign(provider, BODY, secret=SECRET), secrets=["other", SECRET])
        assert event.provider == provider


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
