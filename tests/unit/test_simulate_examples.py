"""What the simulators send is what the providers send, and what hookseal makes of it is what the examples promise."""

import base64
import hashlib
import hmac
import itertools
import json
import re
from dataclasses import replace

import pytest

from hookseal import catalogue
from hookseal.clock import Instant, parse_rfc3339
from hookseal.errors import ConfigurationError
from hookseal.identity import extract
from hookseal.identity.normalise import event as normalised
from hookseal.message import Request, headers_of
from hookseal.model import EventId, ProviderId, SourceId
from hookseal.schemes.verdict import Proven
from hookseal.simulate.examples import EXAMPLES, Call, Example, calls_of, examples_of
from hookseal.store.port import EventRow

NOW = parse_rfc3339("2026-11-21T10:00:00.25Z")
SEEDS = ("zignsec", "bankid_antifraud", "seal_id", "idenfy")
ALL = [(provider, example) for provider in SEEDS for example in EXAMPLES[provider]]
NAMES = [f"{provider}-{example.name}" for provider, example in ALL]


def noise() -> "Noise":
    return Noise()


class Noise:
    """Bytes that differ at each call and are the same in each run."""

    def __init__(self) -> None:
        self._count = itertools.count(1)

    def __call__(self, size: int) -> bytes:
        return hashlib.sha256(b"%d" % next(self._count)).digest()[:size]


def printed(provider: str, name: str) -> bytes:
    """The body of the document itself."""
    example = examples_of(catalogue.provider(provider))[name]
    kept = Example(name=example.name, about=example.about, drafts=example.drafts)
    return calls_of(catalogue.provider(provider), kept, NOW, noise())[0].body


def test_zignsec_example_is_the_documents_own_bytes() -> None:
    body = printed("zignsec", "success")
    digest = hmac.digest(b"12345678-e2a2-4968-b651-5352305c9fb0", body, "sha256")
    assert base64.b64encode(digest) == b"z0wip7nwBtCQm45baZjn5nnoggKiFXOapaUiNvk9ay0="


def test_zignsec_xml_example_is_the_same_tree_in_xml() -> None:
    body = printed("zignsec", "success-xml")
    digest = hmac.digest(b"12345678-e2a2-4968-b651-5352305c9fb0", body, "sha256")
    assert base64.b64encode(digest) == b"Pc1GN/b/uPmxsWXcdxdsoje3W8zaUVIk5OGMypT/ogo="


def test_idenfy_example_is_the_known_body() -> None:
    digest = hmac.digest(b"your-signing-secret", printed("idenfy", "approved"), "sha256")
    assert digest.hex() == "1e5c7a1c3fb9d10f2a4aa91cd1c28af80ae74e26aaafc82ca38b1ca3ad98c43f"


def test_seal_id_example_is_the_documents_own_419_bytes() -> None:
    body = printed("seal_id", "identification")
    digest = hmac.digest(b"seal-shared-secret-for-tests-0123456789abcdef", b"20221115T090914Z|" + body, "sha512")
    assert len(body) == 419
    assert (
        base64.b64encode(digest)
        == b"rYvy6HA8+NGoCCQoATDhbeLmCeR32w8GXckys6xVRAT1aBlrHFqEAglE42Ka8jy2tzvRElywScJzwSGUo+oSeQ=="
    )


@pytest.mark.parametrize(("provider", "example"), ALL, ids=NAMES)
def test_each_new_event_has_bytes_of_its_own_and_the_examples_length(provider: str, example: Example) -> None:
    entry = catalogue.provider(provider)
    random = noise()
    made = [calls_of(entry, example, NOW, random) for _ in range(20)]
    for number in range(len(example.drafts)):
        assert len({calls[number].body for calls in made}) == 20
        assert {len(calls[number].body) for calls in made} == {
            len(calls_of(entry, Example(name=example.name, about="", drafts=example.drafts), NOW, noise())[number].body)
        }


@pytest.mark.parametrize(("provider", "example"), ALL, ids=NAMES)
def test_a_new_event_differs_from_the_example_in_ids_and_times_only(provider: str, example: Example) -> None:
    entry = catalogue.provider(provider)
    kept = Example(name=example.name, about="", drafts=example.drafts)
    for old, new in zip(calls_of(entry, kept, NOW, noise()), calls_of(entry, example, NOW, noise()), strict=True):
        fresh = re.compile("|".join(re.escape(text) for text in example.fresh).encode())
        at = 0
        for found in fresh.finditer(old.body):
            assert new.body[at : found.start()] == old.body[at : found.start()]
            assert new.body[found.start() : found.end()] != found.group()
            at = found.end()
        assert new.body[at:] == old.body[at:]


@pytest.mark.parametrize(("provider", "example"), ALL, ids=NAMES)
def test_hookseal_makes_of_each_call_what_the_example_promises(provider: str, example: Example) -> None:
    for call in calls_of(catalogue.provider(provider), example, NOW, noise()):
        events = read(provider, call)
        assert len(events) == len(call.expected)
        for made, expected in zip(events, call.expected, strict=True):
            assert made["type"] == expected.type
            assert expected.outcome is None or made["data"]["outcome"] == expected.outcome
            assert made["data"]["flags"] == []
            assert expected.mark in (made.get("providerid", ""), made.get("subject", ""))


def read(provider: str, call: Call) -> list[dict[str, object]]:
    entry = catalogue.provider(provider)
    headers = headers_of([("Content-Type", call.content_type), *call.headers])
    items = extract.items(entry, Request(headers=headers, body=call.body), Proven())
    assert isinstance(items, tuple)
    rows = [
        EventRow(
            id=EventId(f"0199-{item.index}"),
            source=SourceId("s"),
            sequence=1,
            item=item.index,
            type=item.type,
            received_at=NOW,
            provider_type=item.provider_type,
            provider_id=item.provider_id,
            subject=item.subject,
            time=item.time,
            flags=item.flags,
            conflicts=0,
        )
        for item in items
    ]
    return [normalised(entry, row, headers, call.body).as_cloudevent() for row in rows]


def test_times_move_together_so_that_the_latest_is_now() -> None:
    entry = catalogue.provider("idenfy")
    call = calls_of(entry, examples_of(entry)["approved"], NOW, noise())[0]
    body = json.loads(call.body)
    assert (body["startTime"], body["finishTime"]) == (NOW // 1_000_000 - 42, NOW // 1_000_000)


def test_a_time_keeps_its_digits_and_its_offset() -> None:
    entry = catalogue.provider("zignsec")
    call = calls_of(entry, examples_of(entry)["success"], NOW, noise())[0]
    assert json.loads(call.body)["identity"]["IdentificationDate"] == "2026-11-21T12:00:00.2500000+02:00"


def test_the_calls_of_one_event_share_its_id() -> None:
    entry = catalogue.provider("idenfy")
    auto, manual = calls_of(entry, examples_of(entry)["manual-review"], NOW, noise())
    assert json.loads(auto.body)["scanRef"] == json.loads(manual.body)["scanRef"] == auto.expected[0].mark
    assert [dict(call.headers)["Idenfy-Event-Type"] for call in (auto, manual)] == [
        "IDENTIFICATION_AUTO_FINISHED",
        "IDENTIFICATION_MANUAL_FINISHED",
    ]


def test_a_provider_without_examples_is_a_usage_error() -> None:
    with pytest.raises(ConfigurationError, match="no example"):
        examples_of(replace(catalogue.provider("standard_webhooks"), id=ProviderId("an-entry-of-an-operator")))


def test_the_clock_decides_the_times_and_nothing_else() -> None:
    entry = catalogue.provider("bankid_antifraud")
    example = examples_of(entry)["batch"]
    early, late = (calls_of(entry, example, Instant(NOW + shift), noise())[0].body for shift in (0, 1_000_000))
    assert [one["time"] for one in json.loads(early)] == ["2026-11-21T10:00:00.2500000Z"] * 2
    assert early.replace(b"10:00:00", b"10:00:01") == late
