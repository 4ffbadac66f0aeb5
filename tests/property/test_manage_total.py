"""Whatever is asked of the management API is read or refused; reading never fails.

Oracles: a value or faults, never an exception; what is refused is told by pointers of ours, not by what was sent.
"""

import contextlib
from typing import Any
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from hookseal.api import replays
from hookseal.api.access import Access
from hookseal.api.operation import Faulty
from hookseal.api.values import CURSOR, DELIVERY, ENDPOINT, EVENT, LIMIT, REFUSAL, SOURCE, STATE, TEXT, TIME
from hookseal.cli.remote import plain, segment
from hookseal.manage.registered import without_secrets
from hookseal.store.port import Replay

ANY_TEXT = st.text(alphabet=st.characters())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-(2**1400), 2**1400) | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)
MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "endpoint": st.just("core") | JSON,
        "since": st.datetimes().map(lambda one: one.isoformat() + "Z") | JSON,
        "until": st.datetimes().map(lambda one: one.isoformat() + "-09:30") | JSON,
        "state": st.sampled_from(["dead", "pending"]) | JSON,
        "events": st.lists(st.uuids().map(str) | JSON, max_size=4) | JSON,
    },
)
OUR_POINTERS = ("", "/endpoint", "/since", "/until", "/state", "/events")


@given(JSON | MEMBERS)
def test_every_body_of_a_replay_is_read_or_refused(body: Any) -> None:
    read = replays.read(body)
    if isinstance(read, Faulty):
        assert read.faults
        assert all(fault.pointer.rstrip("0123456789").rstrip("/") in OUR_POINTERS for fault in read.faults)
    else:
        assert isinstance(read, Replay)
        assert read.endpoint


@given(ANY_TEXT, st.sampled_from([TEXT, TIME, LIMIT, CURSOR, STATE, EVENT, DELIVERY, REFUSAL, SOURCE, ENDPOINT]))
def test_every_text_is_of_a_kind_or_a_value_error(text: str, kind: Any) -> None:
    with contextlib.suppress(ValueError):
        kind.read(text)


@given(
    st.lists(
        st.tuples(st.sampled_from([b"authorization", b"host", b"origin", b"sec-fetch-site"]), st.binary(max_size=40)),
        max_size=4,
    ),
    st.none() | ANY_TEXT,
    st.booleans(),
)
def test_no_headers_open_the_door_without_the_key(
    headers: list[tuple[bytes, bytes]], client: str | None, is_open: bool
) -> None:
    refused = Access((b"the-one-key",), is_open).judge(headers, client)
    if not is_open:
        assert refused is not None
        assert refused.status == 401


@given(ANY_TEXT)
def test_every_url_is_shown_without_what_may_be_secret(url: str) -> None:
    assert isinstance(without_secrets(url), str)
    query = quote(url.encode("utf-8", "surrogatepass"))
    assert "canary" not in without_secrets(f"https://u:canary@h/p?{query}=canary")


@given(ANY_TEXT)
def test_text_for_a_terminal_is_one_printable_line(text: str) -> None:
    shown = plain(text)
    assert shown == "" or shown.isprintable()
    assert plain(shown) == shown


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_what_is_typed_stays_one_part_of_a_path(text: str) -> None:
    part = segment(text)
    assert part.isascii()
    assert not set(part) & set("/?#\\ ")
