"""What the documents ask of a receiver, through HTTP against a running gateway, where a vector alone does not say it."""

import asyncio
import base64
import hashlib
import hmac
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from gateways import API_KEY, Answer, Running, running

import hookseal
from hookseal import catalogue
from hookseal.clock import GivenClock, SystemClock, from_unix
from hookseal.errors import StoreUnavailable
from hookseal.message import Request
from hookseal.model import ProviderId, SourceId
from hookseal.schemes.jwk import public_jwks
from hookseal.schemes.verdict import SigningKeys
from hookseal.settings import ApiSettings, EgressSettings, ServerSettings, Settings, SourceSettings, StoreSettings

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "vectors.json").read_text())
BY_ID = {vector["id"]: vector for vector in VECTORS["vectors"]}
ZIGNSEC = "12345678-e2a2-4968-b651-5352305c9fb0"
IDENFY = "your-signing-secret"
SEAL = "seal-shared-secret-for-tests-0123456789abcdef"
AUDIENCE = "11111111-2222-4333-8444-555555555555"
STRUCTURED = ("Content-Type", "application/cloudevents+json; charset=utf-8")
SECRETS = {"zignsec": ZIGNSEC, "idenfy": IDENFY, "seal_id": SEAL}


def body_of(vector: str) -> bytes:
    return base64.b64decode(BY_ID[vector]["body_b64"])


def source(id: str, provider: str, **more: object) -> SourceSettings:
    secrets = (SECRETS[provider].encode(),) if provider in SECRETS else ()
    return replace(SourceSettings(id=SourceId(id), provider=ProviderId(provider), secrets=secrets), **more)


def settings(folder: Path, *sources: SourceSettings, **server: object) -> Settings:
    return Settings(
        server=replace(ServerSettings(), **server),
        store=StoreSettings(url=f"sqlite:///{folder}/hookseal.db", keyring=f"file:{folder}/hookseal.key"),
        api=ApiSettings(keys=(API_KEY.encode(),)),
        egress=EgressSettings(allow=("127.0.0.0/8",), allow_http=True),
        sources=sources,
    )


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(settings(tmp_path, *(source(id, id) for id in SECRETS))) as started:
        yield started


async def send(gateway: Running, id: str, body: bytes, *more: tuple[str, str]) -> Answer:
    return await gateway.post(f"/in/{id}", body, [*hookseal.sign(id, body, secret=SECRETS[id]), *more])


async def newest(gateway: Running, id: str) -> dict[str, Any]:
    return (await gateway.events(id))[0]


# --- ZignSec --------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("Z03", "Z05", "Z06")
async def test_xml_and_json_of_one_result_are_one_normalised_event(gateway: Running) -> None:
    kept = []
    for vector, content_type in (("ZS-1", "application/json"), ("ZS-6", "Text/XML; charset=UTF-8")):
        assert (await send(gateway, "zignsec", body_of(vector), ("Content-Type", content_type))).status == 200
        kept.append(await newest(gateway, "zignsec"))
    for event in kept:
        assert (event["type"], event["data"]["outcome"]) == ("identity.authentication.completed", "approved")
        assert event["time"] == "2018-10-22T06:26:41.867568Z"
        assert event["subject"] == "61d300c2-cff8-4dc1-9abc-6d59f8876d32"
        identity = event["data"]["payload"]["identity"]
        assert len(identity) == 12
        assert (identity["PersonalNumber"], identity["Age"]) == ("191212121212", 107)
        assert identity["IdentificationDate"] == "2018-10-22T08:26:41.8675683+02:00"
        assert event["data"]["payload"]["method"] == "sbid-another"
        claims = event["data"]["verified_claims"]["claims"]
        assert (claims["given_name"], claims["family_name"], claims["birthdate"]) == ("LARS", "SVENSSON", "1912-12-12")
        assert claims["personal_administrative_number"] == "191212121212"
    assert kept[0]["data"]["payload"] == kept[1]["data"]["payload"]
    assert kept[0]["data"]["verified_claims"] == kept[1]["data"]["verified_claims"]


@pytest.mark.requirement("Z03")
@pytest.mark.parametrize(
    "body",
    [
        b'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><result><id>&x;</id></result>',
        b"<!DOCTYPE r [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>]><result>&b;&b;&b;</result>",
        b"<r>" * 100_000 + b"</r>" * 100_000,
    ],
    ids=["external entity", "billion laughs", "depth"],
)
async def test_hostile_xml_is_kept_raw_and_never_parsed(gateway: Running, body: bytes) -> None:
    assert (await send(gateway, "zignsec", body, ("Content-Type", "application/xml"))).status == 200
    event = await newest(gateway, "zignsec")
    assert event["type"] == "other"
    assert event["data"]["flags"]
    assert base64.b64decode(event["data"]["payload_base64"]) == body


@pytest.mark.requirement("Z07")
async def test_failed_partial_and_unknown_results_are_read(gateway: Running) -> None:
    await send(gateway, "zignsec", body_of("ZS-7"))
    failed = await newest(gateway, "zignsec")
    assert failed["type"] == "identity.authentication.completed"
    assert failed["data"]["outcome"] in ("error", "declined")
    assert "verified_claims" not in failed["data"]
    other = {"id": "n-1", "method": "nbid_oidc", "errors": [], "BANKIdNO_OIDC": '{\r\n "sub": "x"\r\n}'}
    body = json.dumps({**other, "identity": {"FirstName": "OLA", "IdProviderName": "BankIDNO"}}).encode()
    assert (await send(gateway, "zignsec", body)).status == 200
    event = await newest(gateway, "zignsec")
    assert event["data"]["outcome"] == "approved"
    assert event["data"]["payload"]["BANKIdNO_OIDC"] == other["BANKIdNO_OIDC"]


@pytest.mark.requirement("Z08", "Z13")
async def test_three_states_of_one_message_are_three_events_and_a_repeat_is_none(gateway: Running) -> None:
    for status in ("queued", "sent", "delivered", "delivered"):
        body = json.dumps({"id": "sms-1", "status": status}).encode()
        assert (await send(gateway, "zignsec", body)).status == 200
    assert await gateway.count_events("zignsec") == 3


@pytest.mark.requirement("Z14", "Z15")
async def test_answers_come_while_every_handler_is_still_busy(tmp_path: Path) -> None:
    """Oracle: 50 whole answers are read before the gate opens that all handlers wait for."""
    made = hookseal.Gateway(settings(tmp_path, source("zignsec", "zignsec")))
    gate, began, done = asyncio.Event(), [], asyncio.Event()

    @made.on()
    async def slow(event: hookseal.Event) -> None:
        began.append(event.subject)
        await gate.wait()
        if len(set(began)) == 50:
            done.set()

    async with running(made.settings, gateway=made) as gateway:
        bodies = [json.dumps({"id": f"z-{number}", "identity": {}}).encode() for number in range(50)]
        answers = await asyncio.gather(*(send(gateway, "zignsec", body) for body in bodies))
        assert {answer.status for answer in answers} == {200}
        gate.set()
        await asyncio.wait_for(done.wait(), 30)


PUBLISHED = catalogue.provider(ProviderId("zignsec")).addresses


@pytest.mark.requirement("Z22", "Z23", "Z24", "Z25")
async def test_address_list_adds_to_the_proof_and_is_read_through_trusted_proxies(tmp_path: Path) -> None:
    listed, unlisted = "137.117.208.41", "137.117.208.109"
    sources = (
        source("signed", "zignsec", addresses=("zignsec",)),
        source("unsigned", "zignsec", addresses=("zignsec",), secrets=(), unsigned=True),
        source("plain", "zignsec"),
    )
    async with running(settings(tmp_path, *sources, trusted_proxies=("127.0.0.0/8",))) as gateway:
        body = body_of("ZS-1")
        good = hookseal.sign("zignsec", body, secret=ZIGNSEC)
        bad = [("X-ZignSec-Hmac-SHA256", "A" * 43 + "=")]

        async def status(id: str, proof: list[tuple[str, str]], forwarded: str) -> int:
            headers = [*proof, ("X-Forwarded-For", forwarded)] if forwarded else proof
            return (await gateway.post(f"/in/{id}", body, headers)).status

        assert await status("signed", good, listed) == 200
        assert await status("signed", good, f"::ffff:{listed}") == 200
        assert await status("signed", bad, listed) == 401
        assert await status("signed", [], listed) == 401  # a listed address is no substitute for the signature
        assert await status("signed", good, unlisted) == 403
        assert await status("signed", bad, unlisted) == 403  # the address is judged first
        assert (
            await status("signed", good, f"{listed}, {unlisted}") == 403
        )  # the left-most entry is the client's to write
        assert await status("signed", good, f"{unlisted}, {listed}") == 200
        for other in ("127.0.0.1", "::1"):
            assert await status("signed", good, other) == 403
        for junk in ("137.117.208.0108", "0x89.117.208.108", ""):  # names no address: nothing is certain
            assert await status("signed", good, junk) == 503
        assert await status("unsigned", [], listed) == 200
        assert await status("unsigned", [], unlisted) == 403
        assert await status("plain", [], listed) == 401


@pytest.mark.requirement("Z23")
def test_published_list_has_eight_distinct_addresses() -> None:
    everything = VECTORS["ip_allowlist"]["outbound"] + VECTORS["ip_allowlist"]["additional"]
    assert len(everything) == 11
    assert {address.split("/")[0] for address in PUBLISHED} == set(everything)
    assert len(set(everything)) == 8


@pytest.mark.requirement("Z25")
async def test_forwarded_address_of_an_untrusted_peer_counts_for_nothing(tmp_path: Path) -> None:
    listing = source("signed", "zignsec", addresses=("zignsec",))
    async with running(settings(tmp_path, listing)) as gateway:
        body = body_of("ZS-1")
        headers = [*hookseal.sign("zignsec", body, secret=ZIGNSEC), ("X-Forwarded-For", "137.117.208.41")]
        assert (await gateway.post("/in/signed", body, headers)).status == 403


# --- BankID Antifraud -----------------------------------------------------------------------------------------------


class Issuer:
    """An issuer whose answers the test decides."""

    def __init__(self) -> None:
        self.private = {"key-1": rsa.generate_private_key(65537, 2048)}
        self.published = ["key-1"]
        self.status = 200
        self.fetches = 0
        self.url = ""

    async def keys(self, _: web.Request) -> web.Response:
        self.fetches += 1
        keys = [public_jwks(self.private[kid], kid)["keys"][0] for kid in self.published]
        return web.json_response({"keys": keys}, status=self.status)

    def rotate(self, kid: str) -> None:
        self.private[kid] = rsa.generate_private_key(65537, 2048)
        self.published.append(kid)

    def token(self, kid: str, body: bytes, **options: str) -> tuple[str, str]:
        entry = catalogue.provider(ProviderId("bankid_antifraud")).bind({"audience": AUDIENCE, **options})
        keys = SigningKeys(private_key=self.private[kid], kid=kid)
        return entry.sign(Request(body=body), keys, SystemClock().now())[0]


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    state = Issuer()
    app = web.Application()
    app.router.add_get("/keys", state.keys)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    state.url = f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
    yield state
    await runner.cleanup()


def bankid(issuer: Issuer, **options: object) -> SourceSettings:
    return source("bankid", "bankid_antifraud", options={"audience": AUDIENCE, "jwks_url": issuer.url, **options})


def alarm(number: int, data: object = None, **more: object) -> bytes:
    event = {
        "specversion": "1.0",
        "type": "no.bankid.antifraud.alarm.dispatch.v2",
        "source": "/bankid",
        "id": str(number),
    }
    return json.dumps({**event, "data": data, **more}).encode()


@pytest.mark.requirement("B29")
async def test_rotation_is_followed_and_an_outage_is_never_a_refusal(tmp_path: Path, issuer: Issuer) -> None:
    async with running(settings(tmp_path, bankid(issuer))) as gateway:

        async def status(kid: str, number: int) -> int:
            body = alarm(number)
            return (await gateway.post("/in/bankid", body, [STRUCTURED, issuer.token(kid, body)])).status

        assert await status("key-1", 1) == 202
        before = issuer.fetches
        issuer.rotate("key-2")
        assert await status("key-2", 2) == 202
        assert issuer.fetches == before + 1
        issuer.private["never-published"] = rsa.generate_private_key(65537, 2048)
        flood = await asyncio.gather(*(status("never-published", number) for number in range(100, 200)))
        assert set(flood) <= {401, 503}
        one_by_one = [await status("never-published", number) for number in range(200, 210)]
        assert set(one_by_one) <= {401, 503}
        assert issuer.fetches <= before + 2, "neither many at once nor one after another make us flood the issuer"
        issuer.status = 500
        assert await status("key-1", 3) == 202


@pytest.mark.requirement("B29", "B32")
async def test_issuer_that_was_never_reached_is_503_with_retry_after(tmp_path: Path, issuer: Issuer) -> None:
    issuer.status = 503
    async with running(settings(tmp_path, bankid(issuer))) as gateway:
        body = alarm(1)
        answer = await gateway.post("/in/bankid", body, [STRUCTURED, issuer.token("key-1", body)])
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.requirement("B18", "B19")
async def test_alarms_are_handed_on_unchanged_and_test_alarms_are_no_alarms(tmp_path: Path, issuer: Issuer) -> None:
    async with running(settings(tmp_path, bankid(issuer))) as gateway:
        for number, data in enumerate([{"code": "ID01"}, None, [1, {"a": None}], '{"a":1}', 5]):
            body = alarm(number, data)
            assert (await gateway.post("/in/bankid", body, [STRUCTURED, issuer.token("key-1", body)])).status == 202
            event = await newest(gateway, "bankid")
            assert event["type"] == "risk.alarm.raised"
            assert event["data"]["payload"]["data"] == data
        for number, code in enumerate(("IDX1_TEST", "IDX2_HEARTBEAT"), 100):
            body = alarm(number, {"alarmCode": code})
            assert (await gateway.post("/in/bankid", body, [STRUCTURED, issuer.token("key-1", body)])).status == 202
            event = await newest(gateway, "bankid")
            assert (event["type"], event["data"]["outcome"]) == ("other", "unknown")


@pytest.mark.requirement("B22")
async def test_same_id_of_another_source_is_another_event_and_parallel_repeats_are_one(
    tmp_path: Path, issuer: Issuer
) -> None:
    async with running(settings(tmp_path, bankid(issuer))) as gateway:

        async def post(body: bytes) -> int:
            return (await gateway.post("/in/bankid", body, [STRUCTURED, issuer.token("key-1", body)])).status

        assert await post(alarm(1)) == 202
        assert await post(alarm(1, source="/elsewhere")) == 202
        assert set(await asyncio.gather(*(post(alarm(2)) for _ in range(32)))) == {202}
        assert await gateway.count_events("bankid") == 3
        assert await post(alarm(1, {"other": "data"})) == 202
        events = await gateway.events("bankid")
        assert len(events) == 3
        assert ["conflict" in event["data"]["flags"] for event in events if event["providerid"] == "1"].count(True) == 1


@pytest.mark.requirement("B21")
async def test_of_a_batch_all_or_nothing_is_stored(tmp_path: Path, issuer: Issuer) -> None:
    made = hookseal.Gateway(settings(tmp_path, bankid(issuer)))
    async with running(made.settings, gateway=made) as gateway:

        async def post(*events: bytes) -> int:
            body = b"[" + b",".join(events) + b"]"
            kind = ("Content-Type", "application/cloudevents-batch+json; charset=utf-8")
            return (await gateway.post("/in/bankid", body, [kind, issuer.token("key-1", body)])).status

        assert await post(alarm(1), alarm(2).replace(b'"id"', b'"no-id"')) == 400
        receiver = made.receiving.receiver
        assert receiver is not None
        accept = receiver._store.accept

        async def full(_: object) -> object:
            raise StoreUnavailable("full")

        receiver._store.accept = full  # type: ignore[assignment,method-assign]
        assert await post(alarm(1), alarm(2)) == 503
        receiver._store.accept = accept  # type: ignore[method-assign]
        assert await gateway.count_events("bankid") == 0
        assert await post(alarm(1), alarm(2)) == 202
        assert await post(alarm(2), alarm(1), alarm(3)) == 202
        assert sorted(event["providerid"] for event in await gateway.events("bankid")) == ["1", "2", "3"]


@pytest.mark.requirement("B32")
async def test_a_mebibyte_is_taken_sixteen_are_not_and_a_locked_store_is_503(tmp_path: Path, issuer: Issuer) -> None:
    made = hookseal.Gateway(settings(tmp_path, bankid(issuer)))
    async with running(made.settings, gateway=made) as gateway:
        body = alarm(1, "x" * 1_048_576)
        token = issuer.token("key-1", body)
        assert (await gateway.post("/in/bankid", body, [STRUCTURED, token])).status == 202
        assert (await gateway.post("/in/bankid", alarm(2, "x" * 16_777_216), [STRUCTURED, token])).status == 413
        assert (await gateway.post("/in/bankid", b"{", [STRUCTURED])).status == 401  # the token first, then the body
        receiver = made.receiving.receiver
        assert receiver is not None

        async def locked(_: object) -> object:
            raise StoreUnavailable("locked")

        receiver._store.accept = locked  # type: ignore[assignment,method-assign]
        answer = await gateway.post("/in/bankid", alarm(3), [STRUCTURED, token])
        assert answer.status == 503
        assert answer.headers["retry-after"]


# --- seal.ID --------------------------------------------------------------------------------------------------------


def seal_id_proof(body: bytes, signed: str, told: str) -> list[tuple[str, str]]:
    """Signed over one time, sent with another."""
    digest = hmac.digest(SEAL.encode(), signed.encode() + b"|" + body, hashlib.sha512)
    pair = ("ubiid-notification-signature", base64.b64encode(digest).decode())
    return [pair, ("ubiid-notification-timestamp", told)]


@pytest.mark.requirement("L12")
async def test_the_headers_timestamp_is_what_is_signed(gateway: Running) -> None:
    body, later = body_of("SL-1"), "20221115T090920Z"  # its createdTime is 20221115T090914Z
    assert (await gateway.post("/in/seal_id", body, seal_id_proof(body, later, later))).status == 200
    assert (await gateway.post("/in/seal_id", body, seal_id_proof(body, "20221115T090914Z", later))).status == 401


@pytest.mark.requirement("L03")
@pytest.mark.parametrize(
    "text",
    [
        *("2022-11-15T09:09:14Z", "20221115T090914", "20221115T090914z", "20221115t090914Z", "20221115T090914+0000"),
        *("20221315T090914Z", "20221131T090914Z", "20221115T250914Z", "20221115T0909Z", "20221115T090914.5Z"),
        *("20221115 090914Z", "1668503354", "+0221115T090914Z", "2022_115T090914Z"),
    ],
)
async def test_a_time_that_is_not_basic_iso_in_utc_is_refused_though_it_is_signed(gateway: Running, text: str) -> None:
    body = body_of("SL-1")
    assert (await gateway.post("/in/seal_id", body, seal_id_proof(body, text, text))).status == 401
    assert await gateway.count_events("seal_id") == 0


@pytest.mark.requirement("L13")
async def test_age_limit_is_off_by_default_and_exact_where_it_is_set(tmp_path: Path) -> None:
    signed_at = 1668503354  # 2022-11-15T09:09:14Z
    vector = BY_ID["SL-1"]
    headers = [tuple(pair) for pair in vector["headers"]]
    sources = (source("limited", "seal_id", max_age_s=300), source("open", "seal_id"))
    for age, limited in ((300, 200), (301, 401)):
        folder = tmp_path / str(age)
        folder.mkdir()
        clock = GivenClock(from_unix(signed_at + age))
        async with running(settings(folder, *sources), clock=clock) as gateway:
            assert (await gateway.post("/in/limited", body_of("SL-1"), headers)).status == limited
            assert (await gateway.post("/in/open", body_of("SL-1"), headers)).status == 200


@pytest.mark.requirement("L17")
async def test_both_kinds_of_notification_and_unknown_states_are_read(gateway: Running) -> None:
    await send(gateway, "seal_id", body_of("SL-1"))
    event = await newest(gateway, "seal_id")
    assert event["subject"] == "4e9aae75-1f9f-4179-abe5-449a72b4da52"
    assert event["data"]["outcome"] == "approved"
    assert len(event["data"]["payload"]) == 14
    example = json.loads(body_of("SL-1"))
    for change in ({"status": "SOMETHING_NEW"}, {"extra": 1}, {"ubiIdStatusReason": ..., "ubiIdStatusDetails": ...}):
        body = json.dumps({k: v for k, v in {**example, **change}.items() if v is not ...}).encode()
        assert (await send(gateway, "seal_id", body)).status == 200
    signing = {"id": "1", "documentBasketId": "basket-1", "documentBasketStatus": "SIGNED", "signers": None}
    assert (await send(gateway, "seal_id", json.dumps({**signing, "documents": None}).encode())).status == 200
    event = await newest(gateway, "seal_id")
    assert event["subject"] == "basket-1"
    assert event["type"].startswith("identity.signature.")


# --- iDenfy ---------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("I04", "Z20")
async def test_signatures_are_compared_by_compare_digest_over_all_secrets(
    gateway: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def spy(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    body = body_of("ID-1")
    assert (await send(gateway, "idenfy", body)).status == 200
    digest = hmac.digest(IDENFY.encode(), body, hashlib.sha256).hex().encode()
    assert any(digest in pair for pair in compared)


@pytest.mark.requirement("I12")
async def test_body_that_something_in_front_rewrote_is_refused(gateway: Running) -> None:
    body = body_of("ID-2")  # indented
    headers = hookseal.sign("idenfy", body, secret=IDENFY)
    assert (await gateway.post("/in/idenfy", json.dumps(json.loads(body)).encode(), headers)).status == 403
    assert (await gateway.post("/in/idenfy", body, headers)).status == 200


@pytest.mark.requirement("I13")
async def test_content_type_is_no_reason_to_refuse(gateway: Running) -> None:
    for number, content_type in enumerate(("text/plain", "application/x-www-form-urlencoded", "", "nonsense")):
        body = json.dumps({"scanRef": f"s-{number}", "final": True}).encode()
        assert (await send(gateway, "idenfy", body, ("Content-Type", content_type))).status == 200
        assert (await newest(gateway, "idenfy"))["subject"] == f"s-{number}"


@pytest.mark.requirement("I14")
async def test_automatic_and_manual_verdict_of_one_scan_are_two_events(gateway: Running) -> None:
    for final in (False, True, True):
        body = json.dumps({"final": final, "status": {"overall": "APPROVED"}, "scanRef": "s-1"}).encode()
        assert (await send(gateway, "idenfy", body)).status == 200
    assert [event["data"]["final"] for event in await gateway.events("idenfy")] == [True, False]


# --- all ------------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("X01")
async def test_no_providers_proof_opens_another_providers_route(tmp_path: Path, issuer: Issuer) -> None:
    """Twelve cross pairs: the same body with another provider's good proof, under the same secret text."""
    secret = b"one secret for all"
    sources = [replace(source(id, id), secrets=(secret,)) for id in SECRETS]
    body = alarm(1)
    proofs: Mapping[str, list[tuple[str, str]]] = {
        **{id: hookseal.sign(id, body, secret=secret) for id in SECRETS},
        "bankid": [issuer.token("key-1", body)],
    }
    async with running(settings(tmp_path, *sources, bankid(issuer))) as gateway:
        for route, proof in itertools.permutations(proofs, 2):
            answer = await gateway.post(f"/in/{route}", body, [STRUCTURED, *proofs[proof]])
            assert answer.status == (403 if route == "idenfy" else 401), (route, proof)
        for route, proof in proofs.items():
            assert (await gateway.post(f"/in/{route}", body, [STRUCTURED, *proof])).status in (200, 202)
