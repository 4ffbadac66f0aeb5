"""Every JSON tree survives XML, and no format loses what the provider wrote."""

import json
from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from hookseal.identity.xml_tree import Tree, read, write

ODD_KEYS = (
    "item",
    "_",
    "key",
    "type",
    "encoding",
    "xml",
    "XmlNs",
    "a:b",
    "@id",
    "#text",
    "",
    "-",
    "å",
    "a b",
    "\x00",
    "\r\n",
)
KEYS = st.sampled_from(ODD_KEYS) | st.text(max_size=10) | st.from_regex(r"[a-zA-Z_][a-zA-Z0-9._-]{0,8}", fullmatch=True)
TEXTS = st.text(max_size=30) | st.sampled_from(
    ["", " ", "\n", "\r\n", "]]>", "<a>", "&lt;", "\x00", "\x85", "￾", "\t x", '"', "😀"]
)
NUMBERS = (
    st.integers() | st.integers(min_value=2**64, max_value=2**80) | st.floats(allow_nan=False, allow_infinity=False)
)
TREES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=30,
)


def same(one: Any, other: Any) -> bool:
    """Equal in JSON's eyes: 1, 1.0 and true are three values, and so are 0.0 and -0.0."""
    return json.dumps(one) == json.dumps(other)


@given(tree=TREES, root=st.sampled_from(["event", "result"]))
@example(tree={"item": "x"}, root="event")
@example(tree={"item": ["x"]}, root="event")
@example(tree=[[]], root="event")
@example(tree=[{}], root="event")
@example(tree={"a": {"item": {}}}, root="event")
@example(tree=-0.0, root="event")
def test_every_tree_survives_the_way_through_xml(tree: Any, root: str) -> None:
    document = write(tree, root)
    found = read(document)
    assert isinstance(found, Tree)
    assert same(found.value, tree)
    assert document.startswith(b'<?xml version="1.0" encoding="utf-8"?><' + root.encode())


@given(tree=TREES)
def test_what_is_read_from_xml_can_be_written_as_json(tree: Any) -> None:
    found = read(write(tree, "event"))
    assert isinstance(found, Tree)
    assert same(msgspec.json.decode(msgspec.json.encode(found.value)), tree)
