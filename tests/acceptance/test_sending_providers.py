"""One gateway sends as a provider does, another receives from that provider: both real, over real sockets.

Between them stands a line that loses the first try and the answer to the second, and keeps the bytes of all of them. The
bytes are compared with values that were computed elsewhere, so that a mistake made on both sides shows.

    oracles  what the receiving gateway has stored, how the sender's deliveries ended, the bytes on the line
"""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import ClientSession
from gateways import API_KEY, Running, running

from hookseal import probe
from hookseal.clock import GivenClock, from_unix
from hookseal.egress.port import Failure, Reply
from hookseal.model import EndpointId, ProviderId, SourceId
from hookseal.probe import Step
from hookseal.settings import (
    ApiSettings,
    EgressSettings,
    EndpointSettings,
    HandshakeSettings,
    RetrySettings,
    ServerSettings,
    Settings,
    SigningSettings,
    SourceSettings,
    StoreSettings,
)
from hookseal.web.app import Gateway

VECTORS: dict[str, Any] = {
    one["id"]: one
    for one in json.loads((Path(__file__).parents[1] / "data/vectors.json").read_text(encoding="utf-8"))["vectors"]
}
TENANT = "08a02467-3604-46e9-b818-6be676cf015b"
AUDIENCE = "11111111-2222-4333-8444-555555555555"
ORIGIN = "eventgrid.azure.net"
KEYS = f"/issuer/{TENANT}/discovery/v2.0/keys"
ALARM = (
    b'{"specversion":"1.0","type":"no.bankid.antifraud.alarm.dispatch.v2","source":"/antifraud","id":"a-1",'
    b'"time":"2026-11-21T08:00:00.1234567Z","data":{"code":"ID01","score":1.0}}'
)
LOOPBACK = EgressSettings(allow=("127.0.0.0/8",), allow_http=True)
TIMEOUT_S = 30


class Line:
    """The way to a gateway. plan: what becomes of each POST: `lost` before it, `swallowed` answer, `held` first, else passed."""

    def __init__(self, plan: Sequence[str]) -> None:
        self.plan = list(plan)
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self.options: list[dict[str, str]] = []
        self.port = 0
        self.target = ""
        self._held = self._gate = asyncio.Event()

    def hold(self, held: asyncio.Event, gate: asyncio.Event) -> None:
        """A POST that is to be `held` says so and passes when the gate is opened."""
        self._held, self._gate = held, gate

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                raw = await reader.readuntil(b"\r\n\r\n")
                first, *lines = raw[:-4].decode("latin-1").split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                fate = "passed"
                if first.startswith("POST"):
                    self.posts.append((headers, body))
                    fate = self.plan.pop(0) if self.plan else "passed"
                else:
                    self.options.append(headers)
                if fate == "held":
                    self._held.set()
                    await self._gate.wait()
                answer = b"HTTP/1.1 500 Lost\r\nContent-Length: 0\r\n\r\n"
                if fate != "lost" and self.target:
                    passed = await self._passed(raw, body)
                    answer = answer if fate == "swallowed" else passed
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _passed(self, raw: bytes, body: bytes) -> bytes:
        host, _, port = self.target.rpartition("//")[2].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(raw + body)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
        rest = await reader.readexactly(int(length.split(b":")[1]))
        writer.close()
        return head + rest


@asynccontextmanager
async def line(*plan: str) -> AsyncIterator[Line]:
    made = Line(plan)
    server = await asyncio.start_server(made.take, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


@asynccontextmanager
async def recorded(number: int) -> AsyncIterator[asyncio.Event]:
    """Set when so many results have been recorded."""
    loop, done, count = asyncio.get_running_loop(), asyncio.Event(), 0

    def heard(step: Step) -> None:
        nonlocal count
        if step is Step.RECORDED:
            count += 1
            if count == number:
                loop.call_soon_threadsafe(done.set)

    leave = probe.listen(heard)
    try:
        yield done
    finally:
        leave()


async def delivered(here: Running, number: int) -> Sequence[dict[str, Any]]:
    """The deliveries, when so many are delivered. One commit may record several, so each is a reason to look."""
    loop, moved = asyncio.get_running_loop(), asyncio.Event()
    leave = probe.listen(lambda step: loop.call_soon_threadsafe(moved.set) if step is Step.RECORDED else None)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                moved.clear()
                rows = (await here.get("/api/v1/deliveries"))["data"]
                if sum(row["state"] == "delivered" for row in rows) >= number:
                    return rows  # type: ignore[no-any-return]
                await moved.wait()
    finally:
        leave()


def settings(folder: Path, name: str, **parts: Any) -> Settings:
    store = StoreSettings(url=f"sqlite:///{folder / name}.db", keyring=f"file:{folder / name}.key")
    return Settings(store=store, api=ApiSettings(keys=(API_KEY.encode(),)), egress=LOOPBACK, **parts)


def sender(folder: Path, provider: str, url: str, **changes: Any) -> Settings:
    """It takes anything from this machine, and sends it on as the provider does."""
    row = EndpointSettings(
        id=EndpointId("partner"),
        url=url,
        acting_as=ProviderId(provider),
        **{
            "retry": RetrySettings(delays_s=(0.05, 0.05)),
            "given": frozenset({"retry", "signing"}),
            **changes,
        },
    )
    source = SourceSettings(
        id=SourceId("in"),
        provider=ProviderId(provider),
        unsigned=True,
        addresses=("127.0.0.0/8",),
        options=audience(provider),
    )
    return settings(folder, "sender", sources=(source,), endpoints=(row,))


def audience(provider: str) -> dict[str, str]:
    return {"audience": AUDIENCE} if provider == "bankid_antifraud" else {}


CASES = {
    "zignsec": ("ZS-1", "application/json; charset=utf-8", "identity.authentication.completed"),
    "idenfy": ("ID-1", "application/json", "identity.verification.completed"),
    "seal_id": ("SL-1", "application/json", "identity.verification.completed"),
    "bankid_antifraud": (None, "application/cloudevents+json; charset=utf-8", "risk.alarm.raised"),
}


@pytest.mark.requirement("X02", "Z13", "B22", "B33")
@pytest.mark.parametrize("provider", CASES)
async def test_sender_and_receiver_agree_through_a_lost_try_and_a_lost_answer(tmp_path: Path, provider: str) -> None:
    vector, content_type, event_type = CASES[provider]
    secret = VECTORS[vector]["secret"].encode() if vector else b""
    body = base64.b64decode(VECTORS[vector]["body_b64"]) if vector else ALARM
    signing = (
        SigningSettings(scheme="", secrets=(secret,))
        if secret
        else SigningSettings(scheme="", options=audience(provider))
    )
    async with line("lost", "swallowed") as between, recorded(3) as done:
        given = sender(tmp_path, provider, f"{between.url}/in/there", signing=signing)
        async with running(given) as here:
            there = SourceSettings(
                id=SourceId("there"),
                provider=ProviderId(provider),
                secrets=(secret,) if secret else (),
                options={} if secret else {"audience": AUDIENCE, "jwks_url": here.url + KEYS},
            )
            async with running(settings(tmp_path, "receiver", sources=(there,))) as receiver:
                between.target = receiver.url
                if provider == "bankid_antifraud":
                    await here.gateway.subscriptions.ask(EndpointId("partner"))
                answer = await here.post("/in/in", body, [("Content-Type", content_type)])
                assert answer.status in (200, 202)
                async with asyncio.timeout(TIMEOUT_S):
                    await done.wait()
                (event,) = await receiver.events("there")
                assert event["type"] == event_type
                assert event["data"]["payload"] == json.loads(body)
                (delivery,) = (await here.get("/api/v1/deliveries"))["data"]
                assert (delivery["state"], delivery["attempt_count"]) == ("delivered", 3)
                if provider == "bankid_antifraud":
                    await consent_was_asked(between, here)
    assert [sent for _, sent in between.posts] == [body] * 3
    CHECKED[provider](between.posts, secret)


@pytest.mark.requirement("B21")
async def test_a_batch_arrives_whole_after_a_lost_try_and_each_of_its_events_is_one_delivery(tmp_path: Path) -> None:
    """The first event goes at once and its answer is kept back; what is published meanwhile goes in one call."""
    signing = SigningSettings(scheme="", options=audience("bankid_antifraud"))
    gate, first, number = asyncio.Event(), asyncio.Event(), 20
    async with line("held", "lost", "swallowed") as between:
        between.hold(first, gate)
        given = sender(
            tmp_path, "bankid_antifraud", f"{between.url}/in/there", signing=signing, batch=50, concurrency=1
        )
        async with running(given) as here:
            there = SourceSettings(
                id=SourceId("there"),
                provider=ProviderId("bankid_antifraud"),
                options={"audience": AUDIENCE, "jwks_url": here.url + KEYS},
            )
            async with running(settings(tmp_path, "receiver", sources=(there,))) as receiver:
                between.target = receiver.url
                await here.gateway.subscriptions.ask(EndpointId("partner"))
                for one in range(1 + number):
                    alarm = ALARM.replace(b'"a-1"', b'"a-%d"' % one)
                    answer = await here.post("/in/in", alarm, [("Content-Type", "application/cloudevents+json")])
                    assert answer.status == 202
                    if one == 0:
                        async with asyncio.timeout(TIMEOUT_S):
                            await first.wait()
                gate.set()
                rows = await delivered(here, 1 + number)
                events = await receiver.events("there")
                assert len(events) == 1 + number
                assert {event["data"]["payload"]["id"] for event in events} == {f"a-{n}" for n in range(1 + number)}
                assert sorted((row["state"], row["attempt_count"]) for row in rows) == [
                    ("delivered", 1),
                    *[("delivered", 3)] * number,
                ]
    headers, body = between.posts[1]
    assert headers["content-type"] == "application/cloudevents-batch+json; charset=utf-8"
    assert [event["id"] for event in json.loads(body)] == [f"a-{n}" for n in range(1, 1 + number)]
    assert [body for _, body in between.posts[1:]] == [body] * 3
    as_bankid(between.posts, b"")


def as_zignsec(posts: list[tuple[dict[str, str], bytes]], secret: bytes) -> None:
    assert {headers["x-zignsec-hmac-sha256"] for headers, _ in posts} == {VECTORS["ZS-1"]["expected"]}
    assert len({json.dumps(headers, sort_keys=True) for headers, _ in posts}) == 1


def as_idenfy(posts: list[tuple[dict[str, str], bytes]], secret: bytes) -> None:
    assert {headers["idenfy-signature"] for headers, _ in posts} == {VECTORS["ID-1"]["expected"]}
    assert len({json.dumps(headers, sort_keys=True) for headers, _ in posts}) == 1


def as_seal_id(posts: list[tuple[dict[str, str], bytes]], secret: bytes) -> None:
    for headers, body in posts:
        stamp = headers["ubiid-notification-timestamp"]
        digest = hmac.digest(secret, stamp.encode() + b"|" + body, hashlib.sha512)
        assert headers["ubiid-notification-signature"] == base64.b64encode(digest).decode()
        assert headers["x-ubiid-notification-signature"] == headers["ubiid-notification-signature"]
        assert headers["x-ubiid-notification-timestamp"] == stamp


def as_bankid(posts: list[tuple[dict[str, str], bytes]], secret: bytes) -> None:
    for headers, _ in posts:
        claims = jwt.decode(headers["authorization"].split()[1], options={"verify_signature": False})
        assert (claims["aud"], claims["tid"], claims["ver"]) == (AUDIENCE, TENANT, "2.0")


CHECKED = {"zignsec": as_zignsec, "idenfy": as_idenfy, "seal_id": as_seal_id, "bankid_antifraud": as_bankid}


async def consent_was_asked(between: Line, here: Running) -> None:
    asked = between.options[-1]
    assert asked["webhook-request-origin"] == ORIGIN
    assert "authorization" not in asked
    shown = await here.get("/api/v1/endpoints/partner")
    assert (shown["consent"], shown["as"], shown["handshake"]) == ("active", "bankid_antifraud", "cloudevents")
    async with ClientSession() as session, session.get(here.url + KEYS) as answer:
        (key,) = json.loads(await answer.read())["keys"]
        assert key.keys() == {"kty", "use", "kid", "n", "e"}
    token = between.posts[0][0]["authorization"].split()[1]
    assert jwt.decode(token, jwt.PyJWK({**key, "alg": "RS256"}).key, ["RS256"], audience=AUDIENCE)["iss"]


# --- the issuer and the callback ------------------------------------------------------------------------------------

BANKID = SigningSettings(scheme="", options={"audience": AUDIENCE})


async def fetch(method: str, url: str, **headers: str) -> tuple[int, bytes]:
    async with ClientSession() as session, session.request(method, url, headers=headers) as answer:
        return answer.status, await answer.read()


@pytest.mark.requirement("B33")
async def test_the_issuers_key_outlives_a_restart_and_is_shown_to_everyone(tmp_path: Path) -> None:
    given = sender(tmp_path, "bankid_antifraud", "http://127.0.0.1:1/", signing=BANKID)
    seen = []
    for _ in range(2):
        async with running(given) as here:
            status, body = await fetch("GET", here.url + KEYS)
            assert status == 200
            seen.append(json.loads(body))
            assert (await fetch("GET", f"{here.url}/issuer/another-tenant/discovery/v2.0/keys"))[0] == 404
            assert (await fetch("POST", here.url + KEYS))[0] == 405
            for path in ("/issuer/", f"/issuer/{TENANT}", f"/issuer/a/b{KEYS}"):
                assert (await fetch("GET", here.url + path))[0] == 404
    assert seen[0] == seen[1]


async def test_a_gateway_that_sends_no_tokens_is_no_issuer(tmp_path: Path) -> None:
    async with running(sender(tmp_path, "idenfy", "http://127.0.0.1:1/")) as here:
        assert (await fetch("GET", here.url + KEYS))[0] == 404


async def test_the_key_set_stays_public_where_management_has_moved_away(tmp_path: Path) -> None:
    given = sender(tmp_path, "bankid_antifraud", "http://127.0.0.1:1/", signing=BANKID)
    moved = Settings(
        server=ServerSettings(manage_listen="127.0.0.1:8401"),
        store=given.store,
        api=given.api,
        egress=given.egress,
        sources=given.sources,
        endpoints=given.endpoints,
    )
    async with running(moved) as here:
        assert (await fetch("GET", here.url + KEYS))[0] == 200
        assert (await fetch("GET", here.url + "/api/v1/endpoints"))[0] == 404


@pytest.mark.requirement("B10")
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_consent_by_the_callback_lets_what_waited_go(tmp_path: Path, method: str) -> None:
    async with line() as between, recorded(1) as done:
        later = HandshakeSettings(kind="cloudevents", callback=True)
        given = sender(
            tmp_path,
            "bankid_antifraud",
            f"{between.url}/hooks",
            signing=BANKID,
            handshake=later,
            given=frozenset({"signing", "handshake"}),
        )
        served = Settings(
            server=ServerSettings(public_url="https://hooks.example.com"),
            store=given.store,
            api=given.api,
            egress=given.egress,
            sources=given.sources,
            endpoints=given.endpoints,
        )
        async with silent() as (target, asked):
            between.target = target
            async with running(served) as here:
                async with asyncio.timeout(TIMEOUT_S):
                    await asked.wait()
                await here.post("/in/in", ALARM, [("Content-Type", "application/cloudevents+json")])
                (options,) = between.options
                callback = options["webhook-request-callback"]
                assert callback.startswith("https://hooks.example.com/handshake/")
                assert len(callback.rpartition("/")[2]) >= 43
                path = callback.removeprefix("https://hooks.example.com")
                assert between.posts == []
                assert (await fetch("HEAD", here.url + path))[0] == 405
                assert (await fetch(method, here.url + path[:-1]))[0] == 404
                assert (await fetch(method, here.url + path, **{"WebHook-Allowed-Rate": "+5"}))[0] == 400
                assert (await fetch(method, here.url + path, **{"WebHook-Allowed-Rate": "60"}))[0] == 200
                assert (await fetch(method, here.url + path))[0] == 404, "a token counts once"
                async with asyncio.timeout(TIMEOUT_S):
                    await done.wait()
                assert [body for _, body in between.posts] == [ALARM]


@asynccontextmanager
async def silent() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A receiver that knows no handshake: 200 to everything, without a header."""
    asked = asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((one for one in head.lower().split(b"\r\n") if one.startswith(b"content-length:")), b":0")
        await reader.readexactly(int(length.split(b":")[1]))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()
        asked.set()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()


# --- the receiving side consents later ------------------------------------------------------------------------------


class Egress:
    """The way out, as far as a test lets anything out."""

    def __init__(self) -> None:
        self.calls: asyncio.Queue[tuple[str, str, dict[str, str]]] = asyncio.Queue()
        self.answers: list[Reply | Failure] = []

    async def call(self, method: str, url: str, *, headers: Any = (), **_: Any) -> Reply | Failure:
        self.calls.put_nowait((method, url, dict(headers)))
        return self.answers.pop(0) if self.answers else Reply(status=200, headers={})

    async def close(self) -> None:
        pass


CALLBACK = "https://rp-eastus.eventgrid.azure.net:553/eventsubscriptions/a/validate?id=1&t=2"


@asynccontextmanager
async def consenting(folder: Path, **options: Any) -> AsyncIterator[tuple[Running, Egress, GivenClock]]:
    source = SourceSettings(
        id=SourceId("bankid"),
        provider=ProviderId("bankid_antifraud"),
        options={"audience": AUDIENCE, "allowed_rate": 100, **options},
    )
    egress, clock = Egress(), GivenClock(from_unix(1_763_712_000))
    gateway = Gateway(settings(folder, "receiver", sources=(source,)), egress=egress, clock=clock)
    async with running(gateway.settings, gateway=gateway) as made:
        yield made, egress, clock


async def options(made: Running, callback: str | None) -> dict[str, str]:
    headers = {"WebHook-Request-Origin": ORIGIN} | ({"WebHook-Request-Callback": callback} if callback else {})
    async with ClientSession() as session, session.options(f"{made.url}/in/bankid", headers=headers) as answer:
        assert answer.status == 200
        return {name.lower(): value for name, value in answer.headers.items()}


async def passing(clock: GivenClock, egress: Egress) -> tuple[str, str, dict[str, str]]:
    """The next call that is no fetch of keys; time passes meanwhile."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            if not egress.calls.empty():
                call = egress.calls.get_nowait()
                if not call[1].endswith("/keys"):
                    return call
            clock.advance(1.0)
            await asyncio.sleep(0)


@pytest.mark.requirement("B10")
async def test_a_listed_callback_is_called_and_the_answer_itself_consents_to_nothing(tmp_path: Path) -> None:
    async with consenting(tmp_path, callback_hosts=[ORIGIN]) as (made, egress, clock):
        answered = await options(made, CALLBACK)
        assert not [name for name in answered if name.startswith("webhook-")]
        assert await passing(clock, egress) == ("GET", CALLBACK, {"WebHook-Allowed-Rate": "100"})


@pytest.mark.requirement("B10")
@pytest.mark.parametrize(
    "callback",
    [
        "http://rp.eventgrid.azure.net/a",
        "https://eventgrid.azure.net.evil.example/a",
        "https://evileventgrid.azure.net/a",
        "https://eventgrid.azure.net@evil.example/a",
        "https://evil.example/?eventgrid.azure.net",
        "https://evil.example#.eventgrid.azure.net",
        "https://evil.example\\.eventgrid.azure.net/",
        "//eventgrid.azure.net/a",
        "",
    ],
)
async def test_any_other_callback_is_not_called_and_consent_is_given_at_once(tmp_path: Path, callback: str) -> None:
    async with consenting(tmp_path, callback_hosts=[ORIGIN]) as (made, egress, clock):
        answered = await options(made, callback)
        assert (answered["webhook-allowed-origin"], answered["webhook-allowed-rate"]) == (ORIGIN, "100")
        await options(made, CALLBACK)
        assert (await passing(clock, egress))[1] == CALLBACK, "the listed one is the first that is called"


@pytest.mark.requirement("B10")
async def test_without_listed_hosts_no_callback_is_looked_at(tmp_path: Path) -> None:
    async with consenting(tmp_path) as (made, _, _):
        assert (await options(made, CALLBACK))["webhook-allowed-origin"] == ORIGIN


@pytest.mark.requirement("B10")
async def test_a_callback_that_cannot_be_reached_is_called_again(tmp_path: Path) -> None:
    async with consenting(tmp_path, callback_hosts=[ORIGIN]) as (made, egress, clock):
        await options(made, CALLBACK)
        egress.answers = [Reply(status=503, headers={})] * 1
        calls = [await passing(clock, egress) for _ in range(2)]
        assert [url for _, url, _ in calls] == [CALLBACK, CALLBACK]
