"""A request's body as a tree, whatever a stranger put into it.

It decides what we read as JSON and as XML, and refuses to know what the fields mean. `parse` is total. What it does not
read keeps its bytes and is told by a flag; a tree that it gives can always be written again as JSON: no lone
surrogates, no infinities, no integer turned into a float, nothing nested deeper than `MAX_DEPTH`.
"""

import json
from dataclasses import dataclass
from typing import Any

import msgspec

from hookseal.catalogue.locator import MISSING, Locator
from hookseal.identity import xml_tree
from hookseal.message import media_type
from hookseal.model import Flag, Json

MAX_DEPTH = 256
"""Nested objects and lists in JSON. XML has its own, lower bound, see `xml_tree`."""

_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n"
_XML_TYPES = ("application/xml", "text/xml")

_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Body:
    """tree: None when not parsed (and when the body is JSON's null).

    is_json    the tree came from JSON, so that `json_bytes` are its own text.
    """

    parsed: bool
    tree: Json = None
    flags: tuple[Flag, ...] = ()
    is_json: bool = False


_UNPARSED = Body(False, flags=(Flag.BODY_UNPARSED,))
_TOO_DEEP = Body(False, flags=(Flag.BODY_TOO_DEEP,))
_WITH_DTD = Body(False, flags=(Flag.BODY_DTD,))


def parse(body: bytes, content_type: bytes | None, numbers: tuple[Locator, ...] = ()) -> Body:
    """Read a body as JSON or XML; what it says of itself in `content_type` decides only where its bytes do not.

    numbers  places whose text is a number when the body is XML, which has no types of its own.
    """
    plain = json_bytes(body)
    start = plain.lstrip(_BLANK)[:1]
    if start == b"<" or (start not in (b"{", b"[", b'"') and _says_xml(content_type)):
        return _parse_xml(body, numbers)
    return parse_json(plain)


def json_bytes(body: bytes) -> bytes:
    """The body without a byte order mark, which RFC 8259 §8.1 lets a reader ignore."""
    return body[3:] if body.startswith(_BOM) else body


def is_json(body: bytes) -> bool:
    """Whether the bytes keep to JSON's grammar, also where `parse` does not read them: lone surrogates, huge numbers.

    True when it cannot be told (nested too deep to look).
    """
    try:
        json.loads(json_bytes(body).decode(), parse_int=str, parse_float=str, parse_constant=_refuse)
    except RecursionError:
        return True
    except ValueError:
        return False
    return True


def names_a_key_twice(body: bytes) -> bool:
    """Return whether any object of a body that `parse` read as JSON names a key twice. Costs more than parsing it."""
    try:
        _look_for_twins(json_bytes(body).decode())
    except _NamedTwice:
        return True
    except (ValueError, RecursionError):
        return False
    return False


class _NamedTwice(Exception):
    """Ends the search at the first object that names a key twice."""


def _refuse_twins(pairs: list[tuple[str, Any]]) -> None:
    # Values are dropped at once, so that nothing is built up. Equal keys may be written with different escapes.
    if len(pairs) > 1 and len({key for key, _ in pairs}) < len(pairs):
        raise _NamedTwice


# Made once: to make a decoder costs 3 µs.
_look_for_twins = json.JSONDecoder(object_pairs_hook=_refuse_twins).decode


def parse_json(body: bytes, max_depth: int = MAX_DEPTH) -> Body:
    """Parse bytes as JSON, without a byte order mark."""
    try:
        tree = _decode(body)
    except RecursionError:
        return _TOO_DEEP
    except (msgspec.DecodeError, ValueError):
        return _UNPARSED
    # Counting brackets costs a microsecond and nearly always settles it; brackets inside strings only make us look.
    if (
        body.count(b"{") + body.count(b"[") > max_depth
        and isinstance(tree, dict | list)
        and _depth_exceeds(tree, max_depth)
    ):
        return _TOO_DEEP
    return Body(True, tree, (), True)


def _depth_exceeds(tree: Json, limit: int) -> bool:
    level = [tree]
    for _ in range(limit):
        children = (child for node in level for child in (node.values() if isinstance(node, dict) else node))
        level = [child for child in children if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def _says_xml(content_type: bytes | None) -> bool:
    media = media_type(content_type)
    return media in _XML_TYPES or media.endswith("+xml")


def _parse_xml(body: bytes, numbers: tuple[Locator, ...]) -> Body:
    match xml_tree.read(body):
        case xml_tree.Tree(tree):
            for number in numbers:
                _make_number(tree, number.path)
            return Body(True, tree)
        case xml_tree.Fault.DTD:
            return _WITH_DTD
        case xml_tree.Fault.TOO_DEEP:
            return _TOO_DEEP
    return _UNPARSED


def _make_number(tree: Json, path: tuple[str, ...]) -> None:
    node = tree
    for part in path[:-1]:
        node = node.get(part) if isinstance(node, dict) else None
    if not isinstance(node, dict) or not path:
        return
    text = node.get(path[-1], MISSING)
    if isinstance(text, str) and (number := xml_tree.number(text)) is not None:
        node[path[-1]] = number


def _refuse(constant: str) -> None:
    raise ValueError(constant)
