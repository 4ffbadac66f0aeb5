"""URLs keep the contract of destinations, over real sockets and the guarded client; then what a POST carries."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from destination_contract import HANG_S, NOW, ZIGNSEC_BODY, DestinationContract, Pair, Sample
from standardwebhooks.webhooks import Webhook

from hookseal import catalogue
from hookseal.clock import plus, to_unix
from hookseal.delivery.endpoint import Endpoint
from hookseal.destinations.http import HttpDestination, original_problem, signer
from hookseal.destinations.port import Answered, Failed, Parcel, Rejected
from hookseal.destinations.registry import destinations
from hookseal.egress.client import GuardedClient
from hookseal.egress.policy import EgressPolicy
from hookseal.errors import ConfigurationError
from hookseal.message import Request
from hookseal.model import DeliveryId, EndpointId, ProviderId
from hookseal.schemes.verdict import Keys, Proven
from hookseal.settings import SigningSettings

SECRET = b"whsec_" + base64.b64encode(bytes(range(32)))
OLDER = b"whsec_" + base64.b64encode(bytes(range(32, 64)))
LOOPBACK = EgressPolicy(allow=("127.0.0.0/8",), allow_http=True)


class Sink:
    """A server on 127.0.0.1 that keeps what it is sent."""

    def __init__(self) -> None:
        self.taken = 0
        self.arrived, self.left = asyncio.Event(), asyncio.Event()
        self.requests: list[tuple[web.BaseRequest, bytes]] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.url = ""
        self._behaviour = "accept"

    def will(self, behaviour: str) -> None:
        self._behaviour = behaviour

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Sink"]:
        runner = web.ServerRunner(web.Server(self._take, access_log=None))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"{site.name}/hooks?tenant=1"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _take(self, request: web.BaseRequest) -> web.StreamResponse:
        self.taken += 1
        self.requests.append((request, await request.read()))
        self.arrived.set()
        if self._behaviour == "hang":
            transport = request.transport
            while transport is not None and not transport.is_closing():
                await asyncio.sleep(0)
            self.left.set()
        return web.Response(status=500 if self._behaviour == "fail" else self.status, headers=self.headers)

    @property
    def last(self) -> tuple[dict[str, str], bytes]:
        request, body = self.requests[-1]
        return {name.lower(): value for name, value in request.headers.items()}, body


def endpoint(url: str, **changes: Any) -> Endpoint:
    signing = SigningSettings(scheme="standard_webhooks", secrets=(SECRET,))
    return Endpoint(**{"id": EndpointId("core"), "url": url, "signing": signing, **changes})


@asynccontextmanager
async def at_sink(policy: EgressPolicy = LOOPBACK, **changes: Any) -> AsyncIterator[tuple[HttpDestination, Sink]]:
    client = GuardedClient(policy)
    try:
        async with Sink().serving() as sink:
            yield HttpDestination(endpoint(sink.url, **changes), client), sink
            await client.close()
    finally:
        await client.close()


class TestHttp(DestinationContract):
    def pair(self) -> AbstractAsyncContextManager[Pair]:
        @asynccontextmanager
        async def made() -> AsyncIterator[Pair]:
            async with at_sink() as (destination, sink):
                yield Pair(destination, sink)

        return made()


# --- what a POST carries --------------------------------------------------------------------------------------------


async def test_a_post_is_whole_signed_and_named() -> None:
    async with at_sink(headers=(("X-Tenant", "nordic"),)) as (destination, sink):
        parcel = Sample().parcel()
        assert await destination.send(parcel, NOW) == Answered(status=200)
        headers, body = sink.last
        request = sink.requests[-1][0]
        assert (request.method, request.path_qs) == ("POST", "/hooks?tenant=1")
        assert headers["content-length"] == str(len(body))
        assert "transfer-encoding" not in headers
        assert headers["content-type"] == "application/cloudevents+json; charset=utf-8"
        assert headers["user-agent"].startswith("hookseal/0.")
        assert headers["x-tenant"] == "nordic"
        assert headers["webhook-id"] == parcel.delivery
        assert headers["webhook-timestamp"] == str(int(to_unix(NOW)))
        event = json.loads(body)
        assert (event["id"], event["type"]) == (parcel.event.id, "identity.verification.completed")
        assert event["data"]["payload"] == parcel.event.payload


def many(number: int) -> list[Parcel]:
    return [replace(Sample().parcel(), delivery=DeliveryId(f"msg_{one}")) for one in range(number)]


@pytest.mark.requirement("B21")
async def test_a_batch_is_signed_as_a_whole_and_named_by_what_is_in_it() -> None:
    async with at_sink(batch=5) as (destination, sink):
        names = []
        for parcels in (many(3), many(3)[::-1], many(2), many(4)):
            assert await destination.send_together(parcels, NOW) == Answered(status=200)
            headers, body = sink.last
            assert verifies(SECRET, headers, body)
            assert headers["content-type"] == "application/cloudevents-batch+json; charset=utf-8"
            assert [event["id"] for event in json.loads(body)] == [parcel.event.id for parcel in parcels]
            names.append(headers["webhook-id"])
        same, reordered, fewer, more = names
        assert same == reordered, "the same deliveries in one call are the same message"
        assert len({same, fewer, more}) == 3, "a receiver that drops repeats must not drop what came with other company"
        await destination.send(many(1)[0], NOW)
        assert (sink.last[0]["webhook-id"], len(json.loads(sink.last[1]))) == ("msg_0", 1)


def verifies(secret: bytes, headers: dict[str, str], body: bytes) -> bool:
    """By hand, as the specification has it: the time is the test's, not this machine's."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(secret.removeprefix(b"whsec_"))
    expected = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return expected in headers["webhook-signature"].split(" ")


async def test_two_live_secrets_make_two_signatures_and_either_verifies() -> None:
    signing = SigningSettings(scheme="standard_webhooks", secrets=(SECRET, OLDER))
    async with at_sink(signing=signing) as (destination, sink):
        await destination.send(Sample().parcel(), NOW)
        headers, body = sink.last
        assert len(headers["webhook-signature"].split(" ")) == 2
        assert verifies(SECRET, headers, body)
        assert verifies(OLDER, headers, body)
        assert not verifies(b"whsec_" + base64.b64encode(bytes(32)), headers, body)


async def test_the_reference_library_verifies_our_signature() -> None:
    from hookseal.clock import SystemClock

    async with at_sink() as (destination, sink):
        await destination.send(Sample().parcel(), SystemClock().now())
        headers, body = sink.last
        verified = Webhook(SECRET.decode()).verify(body.decode(), headers)
        assert verified["id"] == Sample().parcel().event.id


async def test_a_retry_has_the_same_id_and_its_own_time_and_signature() -> None:
    async with at_sink() as (destination, sink):
        await destination.send(Sample().parcel(), NOW)
        first, body = sink.last
        await destination.send(Sample().parcel(attempt=2), plus(NOW, 300))
        second, again = sink.last
        assert body == again
        assert first["webhook-id"] == second["webhook-id"]
        assert int(second["webhook-timestamp"]) == int(first["webhook-timestamp"]) + 300
        assert first["webhook-signature"] != second["webhook-signature"]
        assert verifies(SECRET, second, again)


async def test_an_unsigned_post_has_an_id_and_a_time_and_no_signature() -> None:
    async with at_sink(signing=SigningSettings(scheme="none")) as (destination, sink):
        await destination.send(Sample().parcel(), NOW)
        headers, _ = sink.last
        assert headers["webhook-id"] == Sample().parcel().delivery
        assert headers["webhook-timestamp"] == str(int(to_unix(NOW)))
        assert "webhook-signature" not in headers


@pytest.mark.parametrize("scheme", ["idenfy", "zignsec", "seal_id"])
async def test_any_shared_secret_scheme_of_the_catalogue_may_sign(scheme: str) -> None:
    signing = SigningSettings(scheme=scheme, secrets=(b"a shared secret of ours",))
    async with at_sink(signing=signing, format="json") as (destination, sink):
        await destination.send(Sample().parcel(), NOW)
        request, body = sink.requests[-1]
        judged = Request(
            headers=tuple((name.lower(), value) for name, value in request.raw_headers), body=body, url=sink.url
        )
        bound = catalogue.provider(ProviderId(scheme)).bind({})
        assert isinstance(bound.verify(judged, Keys(secrets=(b"a shared secret of ours",)), NOW), Proven)
        assert sink.last[0]["webhook-id"] == Sample().parcel().delivery


# --- original -------------------------------------------------------------------------------------------------------


async def test_original_is_the_providers_bytes_with_its_proof_and_content_type() -> None:
    sample = Sample(
        headers=(
            (b"content-type", b"text/weird; charset=latin-1"),
            (b"x-zignsec-hmac-sha256", b"c2ln"),
            (b"x-other", b"1"),
        )
    )
    proof = catalogue.provider(ProviderId("zignsec")).proof_headers[0]
    sample = replace(sample, headers=(*sample.headers, (proof, b"the-proof")))
    async with at_sink(signing=SigningSettings(scheme="none"), format="original") as (destination, sink):
        await destination.send(sample.parcel(), NOW)
        headers, body = sink.last
        assert body == ZIGNSEC_BODY
        assert headers["content-type"] == "text/weird; charset=latin-1"
        assert headers[proof.decode()].endswith("the-proof")
        assert "x-other" not in headers


async def test_original_of_a_source_proven_by_credentials_is_sent_only_signed() -> None:
    sample = Sample(
        provider="bankid_antifraud",
        headers=((b"content-type", b"application/json"), (b"authorization", b"Bearer x.y.z")),
    )
    async with at_sink(signing=SigningSettings(scheme="none"), format="original") as (destination, sink):
        assert await destination.send(sample.parcel(), NOW) == Rejected(reason="config_error")
        assert sink.taken == 0
    async with at_sink(format="original") as (destination, sink):
        assert await destination.send(sample.parcel(), NOW) == Answered(status=200)
        headers, body = sink.last
        assert "authorization" not in headers
        assert verifies(SECRET, headers, body)


def test_original_and_credentials_are_told_beforehand() -> None:
    bankid, zignsec = (catalogue.provider(ProviderId(id)) for id in ("bankid_antifraud", "zignsec"))
    unsigned = endpoint("https://x.example", format="original", signing=SigningSettings(scheme="none"))
    problem = original_problem(unsigned, bankid)
    assert problem is not None
    assert "bankid_antifraud" in problem
    assert original_problem(unsigned, zignsec) is None
    assert original_problem(replace(unsigned, format="json"), bankid) is None
    assert original_problem(endpoint("https://x.example", format="original"), bankid) is None


# --- what cannot be -------------------------------------------------------------------------------------------------


async def test_an_event_without_a_parsed_body_cannot_go_as_json() -> None:
    parcel = Sample(body=b"\xff\x00").parcel()
    parcel = replace(parcel, event=replace(parcel.event, payload=None, payload_base64="/wA="))
    async with at_sink(format="json") as (destination, sink):
        assert await destination.send(parcel, NOW) == Rejected(reason="payload_unparsable")
        assert sink.taken == 0


async def test_an_event_of_ones_own_needs_no_provider() -> None:
    async with at_sink() as (destination, _):
        assert await destination.send(Sample(provider="hookseal").parcel(), NOW) == Answered(status=200)


async def test_a_denied_address_is_a_failed_try_and_no_connection() -> None:
    async with at_sink(EgressPolicy(allow_http=True)) as (destination, sink):
        assert await destination.send(Sample().parcel(), NOW) == Failed(reason="denied_address")
        assert sink.taken == 0


async def test_a_refused_connection_is_a_failed_try() -> None:
    async with Sink().serving() as gone:
        url = gone.url
    client = GuardedClient(LOOPBACK)
    try:
        destination = HttpDestination(endpoint(url), client)
        assert await destination.send(Sample().parcel(), NOW) == Failed(reason="connect_refused")
    finally:
        await client.close()


async def test_silence_ends_with_the_endpoints_timeout() -> None:
    async with at_sink(timeout_s=0.05) as (destination, sink), asyncio.timeout(HANG_S):
        sink.will("hang")
        assert await destination.send(Sample().parcel(), NOW) == Failed(reason="response_timeout")


async def test_retry_after_is_passed_on_as_it_came() -> None:
    async with at_sink() as (destination, sink):
        sink.status, sink.headers = 429, {"Retry-After": "120"}
        assert await destination.send(Sample().parcel(), NOW) == Answered(status=429, retry_after="120")


@pytest.mark.parametrize("status", [301, 302, 307])
async def test_a_redirect_is_refused_and_not_followed(status: int) -> None:
    async with at_sink() as (destination, sink):
        sink.status, sink.headers = status, {"Location": sink.url}
        assert await destination.send(Sample().parcel(), NOW) == Failed(reason="redirect_refused", status=status)
        assert sink.taken == 1


@pytest.mark.parametrize(
    ("signing", "key"),
    [
        (SigningSettings(scheme="nobody", secrets=(SECRET,)), "signing.scheme"),
        (SigningSettings(scheme="standard_webhooks"), "signing.secret"),
        (SigningSettings(scheme="standard_webhooks", secrets=(SECRET, b"")), "signing.secret"),
        (SigningSettings(scheme="standard_webhooks", secrets=(b"whsec_***",)), "signing.secret"),
        (SigningSettings(scheme="bankid_antifraud", secrets=(SECRET,)), "signing.secret"),
        (SigningSettings(scheme="bankid_antifraud"), "signing.audience"),
        (SigningSettings(scheme="idenfy", secrets=(SECRET,), options={"audience": "a"}), "signing.audience"),
        (SigningSettings(scheme="none", secrets=(SECRET,)), "signing.secret"),
    ],
)
def test_signing_that_cannot_be_is_refused_by_place_and_key(signing: SigningSettings, key: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        signer(signing, "endpoint core")
    assert (refused.value.place, refused.value.key) == ("endpoint core", key)
    assert SECRET.decode() not in str(refused.value)


async def test_each_endpoint_gets_the_kind_that_its_id_says() -> None:
    async def opened(event: Any) -> None: ...

    client = GuardedClient(LOOPBACK)
    handler = Endpoint(id=EndpointId("handler:app.opened"))
    made = destinations([endpoint("https://x.example"), handler], client, {handler.id: opened})
    assert {id: type(one).__name__ for id, one in made.items()} == {
        "core": "HttpDestination",
        "handler:app.opened": "HandlerDestination",
    }
    await client.close()
