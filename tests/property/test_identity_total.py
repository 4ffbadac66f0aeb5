"""Whatever a stranger sends, reading it gives a value: nothing raises, and what comes out can be written as JSON."""

import json
import tomllib
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from number_texts import EDGES, PLACES, SPELLED, body_with

from hookseal import catalogue
from hookseal.clock import Instant, rfc3339
from hookseal.identity import extract, normalise, values
from hookseal.identity.body import MAX_DEPTH, is_json, names_a_key_twice, parse
from hookseal.identity.cloudevents import EnvelopeInvalid, UnsupportedMedia
from hookseal.message import Headers, Request
from hookseal.model import EventId, SourceId
from hookseal.schemes.verdict import Proven
from hookseal.store.port import EventRow

PROVIDERS = catalogue.providers()
CONTENT_TYPES = st.sampled_from(
    [
        None,
        b"",
        b"application/json",
        b"text/xml",
        b"application/cloudevents+json",
        b"application/cloudevents-batch+json",
        b"application/cloudevents+json;charset=\xff",
        b";;=",
    ]
) | st.binary(max_size=40)

# The words that the rules look for, so that arbitrary trees meet them.
WORDS = sorted(
    {
        part
        for path in catalogue.reader.FOLDER.glob("*.toml")
        for text in json.dumps(tomllib.loads(path.read_text()), default=str).split('"')
        for part in (text.split(":/")[-1].split("/") if ":/" in text else [text])
        if 0 < len(part) < 60
    }
    | {"specversion", "1.0", "type", "source", "id", "time", "data", "data_base64", "IDX1_TEST"}
)
TEXTS = st.sampled_from(WORDS) | st.text(max_size=20)
NUMBERS = st.integers(-(2**1400), 2**1400) | st.integers(0, 400).map(lambda digits: 10**digits)
LEAVES = st.none() | st.booleans() | st.integers() | NUMBERS | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=8),
    max_leaves=40,
)


def spelled(tree: Any) -> bytes:
    return json.dumps(tree).encode("utf-8", "surrogatepass")


PIECES = (
    *("<a>", "</a>", "<item>", "</item>", "<_ key='\\u0061'>", "</_>", "<a type='number'>", "1", "&amp;", " "),
    *("<!DOCTYPE a>", "<![CDATA[", "]]>", "<?xml version='1.0' encoding='utf-16'?>"),
)
BODIES = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(str.encode),
    TREES.map(spelled),
    TREES.map(lambda tree: spelled({"specversion": "1.0", "type": "t", "source": "s", "id": "i", "data": tree})),
    st.lists(st.sampled_from(PIECES), max_size=20).map(lambda parts: "".join(parts).encode()),
    st.tuples(st.sampled_from([b"[", b'{"a":', b"<a>"]), st.integers(0, 3000)).map(lambda pair: pair[0] * pair[1]),
)
HEADERS = st.lists(
    st.tuples(st.sampled_from([b"idenfy-event-type", b"x-other"]), st.binary(max_size=30)), max_size=3
).map(tuple)


def depth(tree: Any) -> int:
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else None
    return 0 if children is None else 1 + max(map(depth, children), default=0)


@given(body=BODIES, content_type=CONTENT_TYPES)
def test_parse_is_total_and_its_trees_can_be_written_again(body: bytes, content_type: bytes | None) -> None:
    found = parse(body, content_type)
    names_a_key_twice(body)
    is_json(body)
    if not found.parsed:
        assert found.tree is None
        assert found.flags
        return
    assert depth(found.tree) <= MAX_DEPTH
    assert msgspec.json.decode(msgspec.json.encode(found.tree)) == found.tree


@settings(max_examples=300)
@given(body=BODIES, content_type=CONTENT_TYPES, more=HEADERS, at=st.integers(0, len(PROVIDERS) - 1))
def test_extracting_and_normalising_are_total(body: bytes, content_type: bytes | None, more: Headers, at: int) -> None:
    provider = PROVIDERS[at]
    headers = (() if content_type is None else ((b"content-type", content_type),)) + more
    assert_reads(provider, headers, body)


@settings(max_examples=600)
@given(place=st.sampled_from(PLACES), text=SPELLED)
def test_an_example_with_any_number_in_it_is_read(place: Any, text: str) -> None:
    """A genuine body that raised would be answered 503 at every try, for ever."""
    provider, tree, headers, path = place
    assert_reads(provider, headers, body_with(tree, path, text))


@pytest.mark.parametrize("text", EDGES, ids=range(len(EDGES)))
def test_an_example_with_an_edge_of_numbers_in_place_of_one_value_is_read(text: str) -> None:
    for provider, tree, headers, path in PLACES:
        for spelled_as in (text, f'"{text}"'):
            assert_reads(provider, headers, body_with(tree, path, spelled_as))


def assert_reads(provider: catalogue.Provider, headers: Headers, body: bytes) -> None:
    found = extract.items(provider, Request(headers=headers, body=body), Proven())
    if isinstance(found, EnvelopeInvalid | UnsupportedMedia):
        assert provider.envelope == "cloudevents"
        return
    assert len(found) == 1 or provider.envelope == "cloudevents"
    assert [item.index for item in found] == list(range(len(found)))
    for item in found:
        assert len(item.dedupe_key) == len(item.content) == 32
        row = EventRow(
            id=EventId("e"),
            source=SourceId("s"),
            sequence=1,
            item=item.index,
            type=item.type,
            received_at=Instant(0),
            provider_type=item.provider_type,
            provider_id=item.provider_id,
            subject=item.subject,
            time=item.time,
            flags=item.flags,
            conflicts=0,
        )
        event = normalise.event(provider, row, headers, body)
        written = msgspec.json.decode(msgspec.json.encode(event.as_cloudevent()))
        assert ("payload" in written["data"]) != ("payload_base64" in written["data"])
        assert event.claims is None or event.verified_claims is None
        # The row's index is the store's; an index that the body does not have must not break reading either.
        normalise.event(provider, replace(row, item=9), headers, body)


@given(value=TREES | st.floats() | st.text(), form=st.sampled_from(list(values.Form)))
def test_one_value_is_read_or_absent(value: Any, form: values.Form) -> None:
    values.attribute(value)
    values.claim(value, form)
    found = values.instant(value, form)
    if found is not None:
        assert len(rfc3339(found)) == 27


@given(
    text=st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})")
)
def test_every_time_that_we_hold_is_a_valid_one(text: str) -> None:
    if values.instant(text, values.Form.RFC3339) is not None:
        assert values.is_rfc3339(text)
