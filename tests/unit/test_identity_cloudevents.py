"""CloudEvents envelopes: the vectors, and what may and may not cost a sender its event."""

import json
from typing import Any

import pytest
from identity_cases import BATCH, CLOUDEVENTS, VECTORS, events, headers, items, vector

from hookseal.identity.cloudevents import EnvelopeInvalid, UnsupportedMedia
from hookseal.model import Flag

ALARM = "no.bankid.antifraud.alarm.dispatch.v2"
OK: dict[str, Any] = {"specversion": "1.0", "type": ALARM, "source": "/bankid/antifraud", "id": "1", "data": {"a": 1}}


def judged(body: Any, content_type: str | None = CLOUDEVENTS) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return items("bankid_antifraud", raw, headers(content_type))


EXPECTED = {
    "dispatch": ["risk.alarm.raised"],
    "ack-duplicate": ["risk.alarm.raised"],
    "dispatch-2": ["risk.alarm.raised"] * 2,
    "ack-ignore": ["other"],
}


@pytest.mark.parametrize("row", VECTORS["cloudevents"], ids=lambda row: row["id"])
def test_every_cloudevents_vector_is_judged_as_it_expects(row: dict[str, Any]) -> None:
    body, content_type = vector(row["id"])
    found = items("bankid_antifraud", body, headers(content_type))
    if row["expect"] == "reject":
        assert isinstance(found, UnsupportedMedia if row["suggested_status"] == 415 else EnvelopeInvalid)
    else:
        assert [item.type for item in found] == EXPECTED[row["expect"]]


@pytest.mark.parametrize(
    "change",
    [
        {"subject": None, "dataschema": None, "time": None},
        {"subject": ""},
        {"subject": 7},
        {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "ext": {"not": "allowed"}},
        {"time": "2025-11-21T08:00:00.1234567Z"},
        {"time": "2016-12-31T23:59:60Z"},
        {"data": None, "data_base64": "eyJhIjoxfQ=="},
        {"data_base64": None},
        {"data": "text"},
        {"data": []},
        {"id": "x" * 10_000},
        {"id": "new\nline"},
    ],
    ids=repr,
)
def test_what_may_become_valid_or_is_not_needed_is_let_through(change: dict[str, Any]) -> None:
    (item,) = judged(OK | change)
    assert item.type == "risk.alarm.raised"


@pytest.mark.parametrize(
    "change",
    [
        {"specversion": "1.1"},
        {"specversion": 1},
        {"specversion": None},
        {"type": ""},
        {"type": 5},
        {"source": None},
        {"id": ["1"]},
        {"time": "yesterday"},
        {"time": 1763712000},
        {"time": "2025-13-01T00:00:00Z"},
        {"data_base64": "eyJhIjoxfQ=="},
        {"data": None, "data_base64": "eyJhIjoxfQ"},
        {"data": None, "data_base64": "not base64!"},
        {"data": None, "data_base64": {"a": 1}},
    ],
    ids=repr,
)
def test_what_can_never_be_valid_is_refused(change: dict[str, Any]) -> None:
    assert isinstance(judged(OK | change), EnvelopeInvalid)


@pytest.mark.parametrize("body", [b"", b"{", b"[]x", b"<event/>", b"null", b"17", b'{"a":"\xff"}'], ids=repr)
def test_a_body_that_is_no_event_object_is_refused(body: bytes) -> None:
    assert isinstance(judged(body), EnvelopeInvalid)


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "application/json",
        "application/cloudevents",
        "application/cloudevents+xml",
        "application/cloudevents+jsonx",
        "application/cloudevents+json; charset=utf-16",
    ],
)
def test_other_media_types_are_not_spoken(content_type: str | None) -> None:
    assert isinstance(judged(OK, content_type), UnsupportedMedia)


@pytest.mark.parametrize(
    "content_type",
    [
        "APPLICATION/CLOUDEVENTS+JSON",
        'application/cloudevents+json ; x=y; CHARSET="utf-8"',
        "application/cloudevents+json;",
        "application/cloudevents+json; charset=us-ascii",
    ],
)
def test_parameters_and_case_of_the_media_type_do_not_matter(content_type: str) -> None:
    assert len(judged(OK, content_type)) == 1


def test_a_batch_is_all_or_nothing() -> None:
    assert [item.provider_id for item in judged([OK, OK | {"id": "2"}], BATCH)] == ["1", "2"]
    assert isinstance(judged([OK, OK | {"id": ""}], BATCH), EnvelopeInvalid)
    assert isinstance(judged(OK, BATCH), EnvelopeInvalid)
    assert isinstance(judged([[OK]], BATCH), EnvelopeInvalid)


def test_an_empty_batch_is_valid_and_holds_nothing() -> None:
    assert judged([], BATCH) == ()


@pytest.mark.parametrize(
    ("data", "flag"),
    [
        (b"[" * 5_000 + b"]" * 5_000, Flag.BODY_TOO_DEEP),
        (b'"\\ud800"', Flag.BODY_UNPARSED),
        (b"1e400", Flag.BODY_UNPARSED),
    ],
    ids=["deep", "surrogate", "number"],
)
def test_an_event_that_is_json_but_not_read_here_is_kept_and_not_refused(data: bytes, flag: Flag) -> None:
    body = json.dumps(OK).encode().replace(b'{"a": 1}', data)
    (event,) = events("bankid_antifraud", body, headers(CLOUDEVENTS))
    assert (event.type, event.flags, event.payload) == ("other", (flag,), None)
    assert event.payload_base64 is not None


def key(**change: Any) -> bytes:
    (item,) = judged(OK | change)
    return item.dedupe_key


def test_source_and_id_are_the_key_and_cannot_run_together() -> None:
    assert key() == key(data={"a": 2}, time="2025-11-21T08:00:00Z", type="another")
    assert key() != key(id="2")
    assert key() != key(source="/other")
    assert key(source="ab", id="c") != key(source="a", id="bc")
    assert key(source="1|a", id="b") != key(source="1", id="a|b")


def content(**change: Any) -> bytes:
    (item,) = judged(OK | change)
    return item.content


def test_content_is_the_event_and_not_how_it_was_carried() -> None:
    assert content() == content(time="2025-11-21T08:00:00Z", deliverycount=3, subject=None)
    assert content(data={"a": 1, "b": 2}) == content(data={"b": 2, "a": 1})
    assert content() != content(data={"a": 2})
    assert content() != content(data={"a": True})
    assert content() != content(type="another")
    assert content(data={"n": 2**64}) != content(data={"n": 2**64 + 1})
    (item,) = judged(json.dumps(OK, indent=2).encode())
    assert item.content == content()
