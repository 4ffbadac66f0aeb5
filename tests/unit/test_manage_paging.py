"""Cursors belong to one listing with one set of filters; whatever else is handed in is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookseal.api.paging import unwrap, wrap
from hookseal.store.port import Cursor

FILTERS = {"source": "idenfy", "since": "2026-11-21T08:00:00Z"}


@given(st.text(min_size=1, max_size=200, alphabet=st.characters(codec="utf-8")))
def test_a_cursor_comes_back_as_the_store_gave_it(text: str) -> None:
    assert unwrap(wrap(Cursor(text), "listEvents", FILTERS), "listEvents", FILTERS) == text


@given(st.text(max_size=200))
def test_junk_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not|too long"):
        unwrap(text, "listEvents", FILTERS)


def test_every_changed_character_is_noticed() -> None:
    good = wrap(Cursor("0199-abc"), "listEvents", {})
    for position in range(len(good) - 1):  # the last one has bits that base64 does not use
        changed = good[:position] + ("A" if good[position] != "A" else "B") + good[position + 1 :]
        with pytest.raises(ValueError, match="not"):
            unwrap(changed, "listEvents", {})


@pytest.mark.parametrize(
    ("listing", "filters"),
    [("listDeliveries", FILTERS), ("listEvents", {}), ("listEvents", {**FILTERS, "source": "zignsec"})],
)
def test_a_cursor_of_another_listing_is_refused(listing: str, filters: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="not"):
        unwrap(wrap(Cursor("5"), "listEvents", FILTERS), listing, filters)


def test_an_overlong_cursor_is_refused_unread() -> None:
    with pytest.raises(ValueError, match="too long"):
        unwrap(wrap(Cursor("x" * 2000), "listEvents", {}), "listEvents", {})
