"""The cases of an assessment are what they say: genuine where they are to be taken, bad where they are to be refused.

What is genuine is judged by the schemes, which the catalogue's vectors hold to the providers' documents.
"""

import hmac
import os
from collections.abc import Mapping
from dataclasses import replace

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from hookseal import catalogue
from hookseal.catalogue import Example
from hookseal.clock import Instant, from_unix
from hookseal.message import Request, headers_of
from hookseal.model import ProviderId, Reason
from hookseal.schemes.jwk import parse
from hookseal.schemes.keyed_hash import Encoding, KeyedHash
from hookseal.schemes.verdict import KeyNeeded, Keys, NotProven, Proven, SigningKeys, Verdict
from hookseal.simulate.cases import cases_of
from hookseal.simulate.cases.forging import ENCODED, digest, encoded
from hookseal.simulate.cases.sender import Sender
from hookseal.simulate.cases.vocabulary import Case, Group
from hookseal.simulate.issuer import Issuer
from hookseal.simulate.wire import Sent

NOW = from_unix(1_763_712_000)
SECRET = b"a secret of the tests, long enough"
AUDIENCE = "11111111-2222-4333-8444-555555555555"
SEEDS = ("zignsec", "seal_id", "idenfy", "bankid_antifraud")
ISSUER = Issuer()
KEYS = Keys(secrets=(SECRET,), key_set=parse(ISSUER.key_set))


def sender_of(provider: str, **options: object) -> Sender:
    entry = catalogue.provider(ProviderId(provider))
    keys = SigningKeys(secret=SECRET)
    if provider == "bankid_antifraud":
        options, keys = {"audience": AUDIENCE, **options}, ISSUER.keys
    return Sender(
        provider=entry,
        scheme=entry.bind(options),
        keys=keys,
        url="http://receiver.test/in/source",
        random_bytes=os.urandom,
    )


def verdict_on(sender: Sender, sent: Sent, now: Instant = NOW) -> Verdict:
    request = Request(method=sent.method, headers=headers_of(sent.headers), body=sent.body, url=sender.url)
    return sender.scheme.verify(request, KEYS, now)


def made(sender: Sender) -> Mapping[str, tuple[Case, tuple[Sent, ...]]]:
    return {case.id: (case, case.make(NOW)) for case in cases_of(sender)}


def signed_with_id_and_time() -> Sender:
    """A provider without examples of its own, given one: several parts are signed, in a list of versions."""
    entry = catalogue.provider(ProviderId("standard_webhooks"))
    example = Example(name="one", body=b'{"type":"user.created","timestamp":"2026-11-21T08:00:00Z","data":{"a":null}}')
    return Sender(
        provider=replace(entry, examples={"one": example}),
        scheme=entry.bind({}),
        keys=SigningKeys(secret=SECRET),
        url="http://receiver.test/in/source",
        random_bytes=os.urandom,
    )


SENDERS = {
    "standard_webhooks": signed_with_id_and_time(),
    **{provider: sender_of(provider) for provider in SEEDS},
    "seal_id raw": sender_of("seal_id", mode="raw"),
    "seal_id stripped": sender_of("seal_id", mode="stripped"),
    "bankid_antifraud checking all": sender_of(
        "bankid_antifraud",
        tenant="08a02467-3604-46e9-b818-6be676cf015b",
        authorized_party="4962773b-9cdb-44cf-a8bf-237846a00ab7",
        roles=["AzureEventGridSecureWebhookSubscriber"],
    ),
}
MADE = {name: made(sender) for name, sender in SENDERS.items()}
ALL = [pytest.param(name, id, id=f"{name}-{id}") for name, cases in MADE.items() for id in cases]


@pytest.mark.parametrize(("name", "id"), ALL)
def test_a_case_is_proven_exactly_where_it_is_to_be_taken(name: str, id: str) -> None:
    sender, (case, requests) = SENDERS[name], MADE[name][id]
    if case.group in (Group.HANDSHAKE, Group.CONNECTION):
        return
    # a body that the proof does not cover is judged behind it: those are bad in their envelope
    to_take = case.group is Group.ENVELOPE or case.expected.told.startswith("2")
    assert requests, "nothing is sent"
    for sent in requests:
        verdict = verdict_on(sender, sent)
        assert isinstance(verdict, Proven) is to_take, verdict


@pytest.mark.parametrize("name", SENDERS)
def test_ids_are_unique(name: str) -> None:
    ids = [case.id for case in cases_of(SENDERS[name])]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", SENDERS)
def test_every_case_says_why_in_one_sentence(name: str) -> None:
    for case in cases_of(SENDERS[name]):
        assert case.why.endswith("."), case.id
        assert not case.sends.endswith("."), case.id


@pytest.mark.parametrize(
    ("provider", "least"), [("zignsec", 80), ("seal_id", 95), ("idenfy", 78), ("bankid_antifraud", 85)]
)
def test_the_seeds_have_their_cases(provider: str, least: int) -> None:
    assert len(MADE[provider]) >= least


# --- the traps of the documents, each by the case that shows it


@pytest.mark.parametrize(
    ("provider", "ids"),
    [
        ("zignsec", "example-success example-success-xml document-type encoded-hex base64-unpadded base64-spare-bits"),
        ("zignsec", "non-ascii pretty-printed reserialised keys-sorted signature-twice signature-non-ascii"),
        ("seal_id", "only-ubiid-notification-signature only-x-ubiid-notification-signature spellings-differ"),
        ("seal_id", "timestamp-extended timestamp-no-zone timestamp-no-such-month timestamp-missing timestamps-differ"),
        ("seal_id", "separator-colon separator-blanks body-alone-signed nulls-dropped blank-in-value blanks-added"),
        ("seal_id", "encoded-hex encoded-base64-of-hex encoded-base64-of-utf8 encoded-base64url hash-sha256"),
        ("idenfy", "signature-cut signature-extended signature-full-width encoded-base64 encoded-hex-upper"),
        ("idenfy", "content-type-text bom not-utf8 newline-at-end empty names-underscored bad-signature-bad-json"),
        ("bankid_antifraud", "consent consent-bad-token origin-foreign origin-missing cors token-missing token-in-url"),
        ("bankid_antifraud", "token-alg-none token-alg-hs256 token-own-key token-own-key-set token-other-audience"),
        ("bankid_antifraud", "example-batch type-unknown no-id not-json other-media-type bad-token-bad-json"),
    ],
)
def test_a_trap_has_its_case(provider: str, ids: str) -> None:
    assert set(ids.split()) <= set(MADE[provider])


@pytest.mark.parametrize(
    ("mode", "told"), [("seal_id", "2xx"), ("seal_id raw", "401 or other 4xx"), ("seal_id stripped", "2xx")]
)
def test_white_space_is_free_where_the_provider_says_so(mode: str, told: str) -> None:
    assert {MADE[mode][id][0].expected.told for id in ("blanks-added", "tabs-added", "newline-added")} == {told}


def test_a_blank_in_a_value_counts_unless_all_are_stripped() -> None:
    assert MADE["seal_id"]["blank-in-value"][0].expected.told == "401 or other 4xx"
    assert MADE["seal_id stripped"]["blank-in-value"][0].expected.told == "2xx"


def test_only_asked_claims_are_judged() -> None:
    asked = {"token-other-tenant", "token-other-party", "token-no-role"}
    assert not asked & set(MADE["bankid_antifraud"])
    assert asked <= set(MADE["bankid_antifraud checking all"])


@pytest.mark.parametrize(
    ("id", "reason"),
    [
        ("token-expired", Reason.TOKEN_EXPIRED),
        ("token-not-yet", Reason.TOKEN_NOT_YET_VALID),
        ("token-no-expiry", Reason.TOKEN_CLAIM_MISSING),
        ("token-other-audience", Reason.TOKEN_AUDIENCE),
        ("token-issuer-slash", Reason.TOKEN_ISSUER),
        ("token-alg-hs256", Reason.TOKEN_ALGORITHM),
        ("token-alg-none", Reason.TOKEN_ALGORITHM),
        ("token-stranger-key", Reason.TOKEN_SIGNATURE),
        ("token-in-url", Reason.TOKEN_MISSING),
        ("token-twice", Reason.HEADER_MALFORMED),
    ],
)
def test_exactly_one_thing_is_wrong_with_a_token(id: str, reason: Reason) -> None:
    (sent,) = MADE["bankid_antifraud"][id][1]
    assert verdict_on(SENDERS["bankid_antifraud"], sent) == NotProven(reason)


def test_an_unknown_key_id_is_all_that_is_wrong_with_its_token() -> None:
    (sent,) = MADE["bankid_antifraud"]["token-unknown-key"][1]
    assert verdict_on(SENDERS["bankid_antifraud"], sent) == KeyNeeded("a-key-of-tomorrow")


def test_hs256_is_keyed_with_what_everybody_can_read() -> None:
    (sent,) = MADE["bankid_antifraud"]["token-alg-hs256"][1]
    token = dict(sent.headers)[b"Authorization"].decode().removeprefix("Bearer ")
    key = ISSUER.private_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # type: ignore[attr-defined]
    signed, _, signature = token.rpartition(".")
    assert jwt.utils.base64url_encode(hmac.digest(key, signed.encode(), "sha256")).decode() == signature


@pytest.mark.parametrize("provider", ["zignsec", "seal_id", "idenfy"])
def test_the_right_signature_is_known_to_the_case_but_not_sent(provider: str) -> None:
    (sent,) = MADE[provider]["wrong-secret"][1]
    secret, signature = sent.telltales
    assert secret == SECRET
    assert all(signature not in value for _, value in sent.headers)


@pytest.mark.parametrize("provider", SEEDS)
def test_two_runs_send_different_events(provider: str) -> None:
    first, second = (
        next(case for case in cases_of(SENDERS[provider]) if case.id == "duplicate").make(NOW) for _ in range(2)
    )
    assert first[0] == first[1]
    assert first[0].body != second[0].body


@pytest.mark.parametrize("encoding", Encoding)
def test_every_encoding_can_be_forged_as_the_scheme_writes_it(encoding: Encoding) -> None:
    scheme = KeyedHash(header=("x-signature",), encoding=encoding)
    signature = scheme.signature(Request(body=b"text"), SECRET)
    assert set(ENCODED) == set(Encoding)
    assert encoded(scheme, digest(scheme, SECRET, b"text")) == signature


def test_an_old_request_is_refused_only_where_a_limit_is_documented() -> None:
    assert {"timestamp-old", "timestamp-ahead", "timestamp-signed"} <= set(MADE["standard_webhooks"])
    assert "timestamp-old" not in MADE["seal_id"]
