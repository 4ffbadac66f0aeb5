"""What lies on the wire when an endpoint sends as a provider: compared byte for byte with what the documents show.

The capturing server is a socket and nothing else; signatures are computed here from the documents' recipes, and compared
with published and precomputed values.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import jwt
import pytest
from sending_capture import SIGNED, Capture, Caught, capturing

from hookseal import catalogue
from hookseal.clock import Instant, parse_rfc3339, plus, to_unix
from hookseal.delivery.endpoint import build
from hookseal.delivery.policy import POLICIES
from hookseal.delivery.schedule import next_attempt_at
from hookseal.destinations.http import HttpDestination
from hookseal.destinations.issuer import Issuer
from hookseal.destinations.port import Answered, Failed, Parcel, Rejected
from hookseal.egress.client import GuardedClient
from hookseal.egress.policy import EgressPolicy
from hookseal.identity import normalise, xml_tree
from hookseal.message import Headers, Request
from hookseal.model import DeliveryId, EndpointId, Event, EventId, ProviderId, SourceId
from hookseal.schemes.jwk import parse
from hookseal.schemes.verdict import Keys, NotProven, Proven
from hookseal.settings import EndpointSettings, SigningSettings
from hookseal.store.port import EventRow, StoredEvent

NOW = parse_rfc3339("2022-11-15T09:09:14Z")
LOOPBACK = EgressPolicy(allow=("127.0.0.0/8",), allow_http=True)
JSON = ((b"content-type", b"application/json"),)
AUDIENCE = "11111111-2222-4333-8444-555555555555"
TENANT = "08a02467-3604-46e9-b818-6be676cf015b"
ALARM = (
    b'{"specversion":"1.0","type":"no.bankid.antifraud.alarm.dispatch.v2","source":"/antifraud","id":"a-1",'
    b'"time":"2026-11-21T08:00:00.1234567Z","data":{"code":"ID01","score":1.0}}'
)


def body_of(vector: str) -> bytes:
    return base64.b64decode(SIGNED[vector]["body_b64"])


def parcel(provider: str, body: bytes, headers: Headers = JSON, provider_type: str | None = None) -> Parcel:
    """One event that came from a provider, as the engine hands it over."""
    row = EventRow(
        id=EventId("0199aaaa-0000-7000-8000-000000000001"),
        source=SourceId("in"),
        sequence=17,
        item=0,
        type="identity.verification.completed",
        received_at=NOW,
        provider_type=provider_type,
        provider_id=None,
        subject=None,
        time=None,
        flags=(),
        conflicts=0,
    )
    stored = StoredEvent(row=row, headers=headers, body=body, siblings=1)
    return _parcel(normalise.event(catalogue.provider(provider), row, headers, body), stored)


def published(type: str, payload: Any) -> Parcel:
    """One event of our own, that came from nobody."""
    event = Event(
        id=EventId("0199aaaa-0000-7000-8000-000000000001"),
        source=SourceId("own"),
        type=type,
        time=NOW,
        received_at=NOW,
        provider=ProviderId("nobody"),
        payload=payload,
    )
    row = EventRow(
        id=event.id,
        source=event.source,
        sequence=1,
        item=0,
        type=type,
        received_at=NOW,
        provider_type=None,
        provider_id=None,
        subject=None,
        time=None,
        flags=(),
        conflicts=0,
    )
    return _parcel(
        event, StoredEvent(row=row, headers=JSON, body=json.dumps(payload, ensure_ascii=False).encode(), siblings=1)
    )


def _parcel(event: Event, stored: StoredEvent) -> Parcel:
    return Parcel(
        delivery=DeliveryId("msg_0199aaaa000070008000000000000002"),
        endpoint=EndpointId("core"),
        attempt=1,
        event=event,
        stored=stored,
    )


ISSUER = Issuer()
UNSAID = SigningSettings(scheme="")


@asynccontextmanager
async def sending(
    provider: str,
    secret: bytes | None = None,
    given: str = "",
    path: str = "/a?b=1",
    signing: SigningSettings = UNSAID,
    **changes: Any,
) -> AsyncIterator[tuple[HttpDestination, Capture]]:
    signing = SigningSettings(scheme="", secrets=(secret,)) if secret else signing
    client = GuardedClient(LOOPBACK)
    async with capturing() as capture:
        row = EndpointSettings(
            id=EndpointId("core"),
            url=capture.url(path),
            acting_as=ProviderId(provider),
            signing=signing,
            given=frozenset(given.split()),
            **changes,
        )
        try:
            yield HttpDestination(build(row), client, issuer=lambda: ISSUER.keys), capture
        finally:
            await client.close()


async def caught(destination: HttpDestination, capture: Capture, given: Parcel, now: Instant = NOW) -> Caught:
    assert await destination.send(given, now) == Answered(status=200)
    return await capture.next()


def b64(secret: bytes, body: bytes) -> str:
    return base64.b64encode(hmac.digest(secret, body, hashlib.sha256)).decode()


# --- all ------------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("Z04")
@pytest.mark.parametrize("path", ["/a?b=1", "/", "/hooks/%7Ea%2Fb?x=%20&y=+&&z", "/a//b/../c?d=e?f"])
async def test_one_event_is_one_post_to_exactly_the_registered_url(path: str) -> None:
    async with sending("zignsec", b"key", path=path) as (destination, capture):
        one = await caught(destination, capture, parcel("zignsec", body_of("ZS-1")))
        assert one.line == f"POST {path} HTTP/1.1"
        assert one.one("content-length") == str(len(one.body))
        assert one.all("transfer-encoding") == []
        assert len(capture.caught) == 1


@pytest.mark.requirement("Z04", "B13")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_failure_and_is_not_followed(status: int) -> None:
    async with sending("zignsec", b"key") as (destination, capture):
        capture.answer = lambda one: (status, [("Location", capture.url("/other"))])
        assert await destination.send(parcel("zignsec", body_of("ZS-1")), NOW) == Failed(
            reason="redirect_refused", status=status
        )
        assert [one.line for one in capture.caught] == ["POST /a?b=1 HTTP/1.1"]


@pytest.mark.parametrize("provider", ["zignsec", "idenfy", "seal_id", "bankid_antifraud"])
async def test_no_header_of_ours_goes_along_but_our_name(provider: str) -> None:
    signing = SigningSettings(scheme="", options={"audience": AUDIENCE} if provider == "bankid_antifraud" else {})
    secret = None if provider == "bankid_antifraud" else b"a secret"
    async with sending(provider, secret, "signing", signing=signing) as (destination, capture):
        one = await caught(destination, capture, published("alarm", {"a": 1}))
        assert [name for name, _ in one.headers if name.lower().startswith("webhook-")] == []
        theirs = {
            "zignsec": {"x-zignsec-hmac-sha256"},
            "idenfy": {"idenfy-signature", "idenfy-event-type"},
            "seal_id": {
                *("ubiid-notification-signature", "ubiid-notification-timestamp", "accept"),
                *("x-ubiid-notification-signature", "x-ubiid-notification-timestamp"),
            },
            "bankid_antifraud": {"authorization"},
        }[provider]
        names = [name.lower() for name, _ in one.headers]
        assert set(names) - {"accept"} == (
            theirs | {"host", "content-type", "content-length", "user-agent", "accept-encoding"}
        ) - {"accept"}
        assert len(names) == len(set(names))


# --- ZignSec --------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("Z02", "Z05", "Z17", "Z21")
async def test_zignsec_posts_the_documents_example_with_its_signature() -> None:
    vector = SIGNED["ZS-1"]
    async with sending("zignsec", vector["secret"].encode(), "signing") as (destination, capture):
        one = await caught(destination, capture, parcel("zignsec", body_of("ZS-1")))
        assert one.body == body_of("ZS-1")
        assert one.one("X-ZignSec-Hmac-SHA256") == vector["expected"] == "z0wip7nwBtCQm45baZjn5nnoggKiFXOapaUiNvk9ay0="
        assert "X-ZignSec-Hmac-SHA256" in dict(one.headers)
        assert one.one("content-type") == "application/json; charset=utf-8"


@pytest.mark.requirement("Z02", "Z17")
async def test_zignsec_xml_has_the_same_values_and_is_signed_as_posted() -> None:
    secret = SIGNED["ZS-1"]["secret"].encode()
    given = parcel("zignsec", body_of("ZS-1"))
    async with sending("zignsec", secret, "signing format", format="xml") as (destination, capture):
        one = await caught(destination, capture, given)
        assert one.one("content-type") == "application/xml; charset=utf-8"
        assert one.body.lower().startswith(b'<?xml version="1.0" encoding="utf-8"?>')
        assert b"<result>" in one.body
        assert one.one("X-ZignSec-Hmac-SHA256") == b64(secret, one.body)
        tree = xml_tree.read(one.body)
        assert isinstance(tree, xml_tree.Tree)
        read: Any = tree.value
        assert read == given.event.payload
        assert read["identity"]["PersonalNumber"] == "191212121212"
        assert read["identity"]["Age"] == 107


async def test_zignsec_xml_gives_our_receiver_the_event_that_the_json_gives() -> None:
    row_of = parcel("zignsec", body_of("ZS-1"))
    async with sending("zignsec", b"key", "signing format", format="xml") as (destination, capture):
        one = await caught(destination, capture, row_of)
    headers = ((b"content-type", one.one("content-type").encode()),)
    again = normalise.event(catalogue.provider("zignsec"), row_of.stored.row, headers, one.body)
    assert again == row_of.event


@pytest.mark.requirement("Z13", "X04")
@pytest.mark.parametrize("format", ["json", "xml"])
@pytest.mark.parametrize(("provider", "vector"), [("zignsec", "ZS-1"), ("idenfy", "ID-1")])
async def test_every_retry_is_the_same_bytes_with_the_same_headers(provider: str, vector: str, format: str) -> None:
    async with sending(provider, b"key", "signing format", format=format) as (destination, capture):
        tries = []
        now: Instant | None = NOW
        policy = POLICIES["zignsec_20_in_48h"]
        for attempt in range(1, 21):
            assert now is not None
            tries.append(await caught(destination, capture, parcel(provider, body_of(vector)), now))
            now = next_attempt_at(policy, attempt, NOW, now, None, 0.5)
        assert len({(one.head, one.body) for one in tries}) == 1


@pytest.mark.requirement("Z22")
async def test_an_unsigned_zignsec_registration_sends_no_signature() -> None:
    async with sending("zignsec") as (destination, capture):
        one = await caught(destination, capture, published("sms", {"id": "1", "status": "delivered"}))
        assert one.all("X-ZignSec-Hmac-SHA256") == []
        assert one.body == b'{"id":"1","status":"delivered"}'


@pytest.mark.requirement("Z08")
async def test_each_status_of_one_message_is_a_post_of_its_own() -> None:
    async with sending("zignsec") as (destination, capture):
        for status in ("queued", "sent", "delivered"):
            await caught(destination, capture, published("sms", {"id": "1", "status": status}))
        assert [json.loads(one.body) for one in capture.caught] == [
            {"id": "1", "status": status} for status in ("queued", "sent", "delivered")
        ]


@pytest.mark.requirement("Z21")
@pytest.mark.parametrize("other", ["upper", "newline"])
async def test_the_key_is_the_text_as_it_is(other: str) -> None:
    text = SIGNED["ZS-1"]["secret"]
    secret = {"upper": text.upper(), "newline": text + "\n"}[other].encode()
    async with sending("zignsec", secret) as (destination, capture):
        one = await caught(destination, capture, parcel("zignsec", body_of("ZS-1")))
        assert one.one("X-ZignSec-Hmac-SHA256") == b64(secret, one.body) != SIGNED["ZS-1"]["expected"]


# --- iDenfy ---------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("I01")
async def test_idenfy_signs_the_posted_bytes_in_lower_case_hex() -> None:
    vector = SIGNED["ID-1"]
    async with sending("idenfy", vector["secret"].encode()) as (destination, capture):
        one = await caught(destination, capture, parcel("idenfy", body_of("ID-1")))
        assert one.body == body_of("ID-1")
        assert one.one("Idenfy-Signature") == vector["expected"]
        assert re.fullmatch("[0-9a-f]{64}", one.one("Idenfy-Signature"))


@pytest.mark.requirement("I02")
async def test_the_key_is_the_web_hooks_own_and_without_one_there_is_no_signature() -> None:
    signatures = []
    for secret in (b"key of the first", b"key of the second", None):
        async with sending("idenfy", secret) as (destination, capture):
            one = await caught(destination, capture, parcel("idenfy", body_of("ID-1")))
            signatures.append(one.all("Idenfy-Signature"))
    expected = [
        hmac.new(key, body_of("ID-1"), "sha256").hexdigest() for key in (b"key of the first", b"key of the second")
    ]
    assert signatures == [[expected[0]], [expected[1]], []]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (parcel("idenfy", b"{}", provider_type="IDENTIFICATION_AUTO_FINISHED"), "IDENTIFICATION_AUTO_FINISHED"),
        (parcel("idenfy", b"{}"), "IDENTIFICATION"),
        (published("COMPANY_REVIEW", {}), "COMPANY_REVIEW"),
        (published("identity.verification.completed", {}), "IDENTIFICATION"),
        (published("X\r\nEvil: 1", {}), "IDENTIFICATION"),
    ],
)
async def test_idenfy_names_the_event_in_its_own_words(given: Parcel, name: str) -> None:
    async with sending("idenfy") as (destination, capture):
        assert (await caught(destination, capture, given)).one("Idenfy-Event-Type") == name


# --- seal.ID --------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("L01", "L03", "L04", "L05", "L07", "L08", "L14", "L16")
async def test_seal_id_looks_like_the_faqs_capture() -> None:
    vector = SIGNED["SL-1"]
    async with sending("seal_id", vector["secret"].encode()) as (destination, capture):
        one = await caught(destination, capture, parcel("seal_id", body_of("SL-1")))
        assert one.body == body_of("SL-1")
        assert (one.one("content-length"), one.one("content-type"), one.one("accept")) == (
            "419",
            "application/json",
            "*/*",
        )
        for prefix in ("", "x-"):
            assert one.one(f"{prefix}ubiid-notification-timestamp") == "20221115T090914Z"
            assert one.one(f"{prefix}ubiid-notification-signature") == vector["expected"]
        digest = hmac.digest(vector["secret"].encode(), b"20221115T090914Z|" + one.body, hashlib.sha512)
        assert base64.b64encode(digest).decode() == vector["expected"]
        assert digest.hex() == vector["hex_step"]


@pytest.mark.requirement("L07", "L08", "L16")
async def test_seal_id_minifies_what_came_with_white_space_and_keeps_nulls_and_order() -> None:
    printed = json.dumps(json.loads(body_of("SL-1")), indent=2, ensure_ascii=False).encode()
    async with sending("seal_id", b"key") as (destination, capture):
        one = await caught(destination, capture, parcel("seal_id", printed))
        assert one.body == body_of("SL-1")
        assert one.body.count(b":null") == 4


@pytest.mark.requirement("L03", "L12", "X04")
async def test_each_try_of_seal_id_is_signed_with_its_own_time_and_not_the_bodys() -> None:
    async with sending("seal_id", b"key") as (destination, capture):
        for seconds in (0, 6, 3600):
            one = await caught(destination, capture, parcel("seal_id", body_of("SL-1")), plus(NOW, seconds))
            stamp = one.one("ubiid-notification-timestamp")
            assert stamp == {0: "20221115T090914Z", 6: "20221115T090920Z", 3600: "20221115T100914Z"}[seconds]
            signed = hmac.digest(b"key", stamp.encode() + b"|" + one.body, hashlib.sha512)
            assert one.one("x-ubiid-notification-signature") == base64.b64encode(signed).decode()


# --- BankID ---------------------------------------------------------------------------------------------------------

BANKID = SigningSettings(scheme="", options={"audience": AUDIENCE})


@pytest.mark.requirement("B16", "B23")
async def test_bankid_posts_a_structured_cloudevent_with_a_bearer_token() -> None:
    async with sending("bankid_antifraud", None, "signing", signing=BANKID) as (destination, capture):
        payload = {"code": "ID01", "note": "blåbær", "empty": None}
        one = await caught(destination, capture, published("no.bankid.antifraud.alarm.dispatch.v2", payload))
        assert one.one("content-type") == "application/cloudevents+json; charset=utf-8"
        assert int(one.one("content-length")) == len(one.body) > len(one.body.decode())
        event = json.loads(one.body)
        assert (event["specversion"], event["type"], event["data"]) == (
            "1.0",
            "no.bankid.antifraud.alarm.dispatch.v2",
            payload,
        )
        assert event["source"]
        assert event["id"]
        assert one.one("authorization").startswith("Bearer ")


def three() -> list[Parcel]:
    given = [published("no.bankid.antifraud.alarm.dispatch.v2", {"code": f"ID0{number}"}) for number in range(3)]
    return [replace(one, delivery=DeliveryId(f"msg_{number}")) for number, one in enumerate(given)]


@pytest.mark.requirement("B21", "B23")
async def test_a_batch_is_an_array_of_the_same_events_under_one_fresh_token() -> None:
    async with sending("bankid_antifraud", None, "signing", signing=BANKID) as (single, capture):
        alone = [json.loads((await caught(single, capture, one)).body) for one in three()]
    async with sending("bankid_antifraud", None, "signing", signing=BANKID, batch=10) as (destination, capture):
        assert await destination.send_together(three(), NOW) == Answered(status=200)
        one = await capture.next()
        assert one.one("content-type") == "application/cloudevents-batch+json; charset=utf-8"
        assert one.one("authorization").startswith("Bearer ")
        assert json.loads(one.body) == alone
        first = await caught(destination, capture, three()[0])
        assert first.one("content-type") == "application/cloudevents-batch+json; charset=utf-8"
        assert json.loads(first.body) == alone[:1]


@pytest.mark.requirement("B16")
async def test_a_cloudevent_that_came_goes_on_as_it_is_with_its_own_source_and_id() -> None:
    came = ((b"content-type", b"application/cloudevents+json"),)
    async with sending("bankid_antifraud", None, "signing", signing=BANKID) as (destination, capture):
        one = await caught(destination, capture, parcel("bankid_antifraud", ALARM.replace(b",", b", "), came))
        assert one.body == ALARM


async def test_a_body_that_did_not_parse_goes_as_data_base64() -> None:
    async with sending("bankid_antifraud", None, "signing", signing=BANKID) as (destination, capture):
        one = await caught(destination, capture, parcel("idenfy", b"\xff not JSON"))
        event = json.loads(one.body)
        assert base64.b64decode(event["data_base64"]) == b"\xff not JSON"
        assert "data" not in event
    async with sending("idenfy") as (destination, capture):
        assert await destination.send(parcel("idenfy", b"\xff not JSON"), NOW) == Rejected(reason="payload_unparsable")


@pytest.mark.requirement("B33")
async def test_the_token_says_what_entras_says_and_the_key_set_has_no_private_half() -> None:
    async with sending("bankid_antifraud", None, "signing", signing=BANKID) as (destination, capture):
        one = await caught(destination, capture, published("alarm", {}))
    token = one.one("authorization").removeprefix("Bearer ")
    (key,) = json.loads(ISSUER.key_set)["keys"]
    assert jwt.get_unverified_header(token) == {"typ": "JWT", "alg": "RS256", "kid": key["kid"]}
    claims = jwt.decode(
        token, jwt.PyJWK({**key, "alg": "RS256"}).key, ["RS256"], audience=AUDIENCE, options={"verify_exp": False}
    )
    issued = int(to_unix(NOW))
    assert claims == {
        "aud": AUDIENCE,
        "iss": f"https://login.microsoftonline.com/{TENANT}/v2.0",
        "iat": issued,
        "nbf": issued,
        "exp": issued + 3600,
        "azp": "4962773b-9cdb-44cf-a8bf-237846a00ab7",
        "oid": claims["sub"],
        "sub": claims["sub"],
        "tid": TENANT,
        "roles": ["AzureEventGridSecureWebhookSubscriber"],
        "ver": "2.0",
    }
    assert key.keys() == {"kty", "use", "kid", "n", "e"}
    assert key["e"] == "AQAB"
    assert len(base64.urlsafe_b64decode(key["n"] + "==")) == 256
    assert "=" not in key["n"]


@pytest.mark.requirement("B33")
@pytest.mark.parametrize(
    ("options", "issuer", "tid"),
    [
        ({"tenant": "our-tenant"}, "https://login.microsoftonline.com/our-tenant/v2.0", "our-tenant"),
        ({"issuer": "https://hooks.example.com/issuer/t/v2.0"}, "https://hooks.example.com/issuer/t/v2.0", TENANT),
        ({"issuer": "https://a.example", "tenant": "t"}, "https://a.example", "t"),
    ],
)
async def test_issuer_and_tenant_may_be_ones_own(options: dict[str, str], issuer: str, tid: str) -> None:
    signing = SigningSettings(scheme="bankid_antifraud", options={"audience": "one", **options})
    async with sending("bankid_antifraud", None, "signing", signing=signing) as (destination, capture):
        one = await caught(destination, capture, published("alarm", {}))
    claims = jwt.decode(one.one("authorization").split()[1], options={"verify_signature": False})
    assert (claims["iss"], claims["tid"], claims["aud"]) == (issuer, tid, "one")


@pytest.mark.requirement("B23", "X04")
async def test_over_a_day_of_retries_the_token_changes_and_each_is_valid_when_it_is_sent() -> None:
    scheme = catalogue.provider("bankid_antifraud").bind({"audience": AUDIENCE})
    keys = Keys(key_set=parse(ISSUER.key_set))
    async with sending("bankid_antifraud", None, "signing", signing=BANKID) as (destination, capture):
        tokens, now = [], NOW
        policy = POLICIES["bankid"]
        for attempt in range(1, 12):
            one = await caught(destination, capture, published("alarm", {}), now)
            tokens.append(one.one("authorization"))
            request = Request(headers=((b"authorization", tokens[-1].encode()),))
            assert isinstance(scheme.verify(request, keys, now), Proven)
            following = next_attempt_at(policy, attempt, NOW, now, None, 0.0)
            now = now if following is None else following
        assert len(set(tokens)) == 11
        first = Request(headers=((b"authorization", tokens[0].encode()),))
        assert isinstance(scheme.verify(first, keys, now), NotProven), "a token of the first try would be refused now"
