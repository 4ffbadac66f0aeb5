"""XML as a JSON tree and back: what `format = "xml"` writes and what a provider may send instead of JSON.

Theory of operation. An element is a key, its children are an object, its text is a string. Children that are all called
`item` are a list, and so are siblings of one name. XML has no other types, so `type="number|boolean|null"` says where a
value is not text. Three rules make every JSON tree survive the way there and back:
- `type="object"` and `type="array"` where the children do not show it: empty ones, and an object whose only key is `item`;
- a key that is no plain XML name becomes `<_ key="...">`, the key written as inside a JSON string;
- text that XML cannot carry (control characters) is written as a JSON string under `encoding="json"`.

Reading takes any root. Attributes of others become keys `@name`, with the element's text under `#text`; namespaces are
dropped, `xsi:nil` is null. A document type is refused before it is read, so that no entity is ever expanded and nothing
is fetched; depth is bounded, because expat's own recursion is not (a document 200,000 deep passes defusedxml).
"""

import json
import re
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from hookseal.model import Json

MAX_DEPTH = 64

_XSI_NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
_NAME = re.compile(r"(?!(?i:xml))[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ITEM = "item"


class Fault(Enum):
    DTD = auto()
    TOO_DEEP = auto()
    MALFORMED = auto()


@dataclass(frozen=True, slots=True)
class Tree:
    """`value` is what stands inside the root element."""

    value: Json


def read(body: bytes) -> Tree | Fault:
    """Never raises, whatever the bytes."""
    builder = _Builder()
    try:
        parser = DefusedXMLParser(target=builder, forbid_dtd=True)
        parser.feed(body)
        parser.close()
    except DefusedXmlException:
        return Fault.DTD
    except _TooDeep:
        return Fault.TOO_DEEP
    except (ParseError, ValueError, LookupError):
        # LookupError: an encoding that nobody knows. ValueError: one that expat cannot use, such as UTF-7.
        return Fault.MALFORMED
    return Fault.MALFORMED if builder.root is None else builder.root


def write(tree: Json, root: str) -> bytes:
    """A whole document in UTF-8, declared as such. `root` must be a plain XML name."""
    parts = ['<?xml version="1.0" encoding="utf-8"?>']
    _write(tree, root, "", parts)
    return "".join(parts).encode()


def number(text: str) -> int | float | None:
    """A JSON number, exact where it is an integer; None for anything else and for what a float cannot hold."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    try:
        value = float(text) if found[1] or found[2] else int(text)
    except ValueError:  # more digits than Python converts
        return None
    return None if value in (float("inf"), float("-inf")) else value


# --- reading --------------------------------------------------------------------------------------------------------


class _TooDeep(Exception):
    pass


@dataclass(slots=True)
class _Element:
    name: str
    attributes: dict[str, str]
    children: list[tuple[str, Json]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)


class _Builder:
    """What the parser talks to; builds each element's value when it ends."""

    def __init__(self) -> None:
        self.root: Tree | None = None
        self._open: list[_Element] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise _TooDeep
        self._open.append(_Element(tag.rpartition("}")[2], attributes))

    def data(self, text: str) -> None:
        if self._open:
            self._open[-1].text.append(text)

    def end(self, _tag: str) -> None:
        element = self._open.pop()
        name, value = _value(element)
        if self._open:
            self._open[-1].children.append((name, value))
        else:
            self.root = Tree(value)

    def close(self) -> None:
        pass


def _value(element: _Element) -> tuple[str, Json]:
    attributes = element.attributes
    text = "".join(element.text)
    if not attributes:
        return element.name, _content(element.children, text)
    name = _key(element.name, attributes)
    if attributes.pop(_XSI_NIL, "") in ("true", "1"):
        return name, None
    value = _typed(element.children, text, attributes)
    others = {f"@{key}": value for key, value in attributes.items() if not key.startswith("{")}
    if not others:
        return name, value
    return name, {**others, **value} if isinstance(value, dict) else {**others, "#text": value}


def _key(name: str, attributes: dict[str, str]) -> str:
    if name != "_" or "key" not in attributes:
        return name
    key = _json_text(f'"{attributes["key"]}"')
    if key is None:
        return name
    del attributes["key"]
    return key


def _typed(children: list[tuple[str, Json]], text: str, attributes: dict[str, str]) -> Json:
    """The value that `type` and `encoding` say; both are taken from `attributes` only where they are understood."""
    kind = attributes.get("type")
    value: Any = _content(children, text)
    understood = True
    if kind == "object" and (children or not text.strip()):
        value = _merged(children)
    elif kind == "array" and all(name == _ITEM for name, _ in children):
        value = [child for _, child in children]
    elif kind == "number" and not children and (found := number(text)) is not None:
        value = found
    elif kind == "boolean" and not children and text in ("true", "false"):
        value = text == "true"
    elif kind == "null" and not children:
        value = None
    else:
        understood = kind == "string"
    if understood:
        del attributes["type"]
    if attributes.get("encoding") == "json" and not children and (decoded := _json_text(text)) is not None:
        del attributes["encoding"]
        return decoded
    return value


def _content(children: list[tuple[str, Json]], text: str) -> Json:
    if not children:
        return text
    if all(name == _ITEM for name, _ in children):
        return [value for _, value in children]
    merged = _merged(children)
    if text.strip():
        merged["#text"] = text
    return merged


def _merged(children: list[tuple[str, Json]]) -> dict[str, Json]:
    """Siblings of one name become a list, in their order."""
    merged: dict[str, list[Json]] = {}
    for name, value in children:
        merged.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in merged.items()}


def _json_text(literal: str) -> str | None:
    try:
        value = json.loads(literal)
    except (ValueError, RecursionError):
        return None
    # Lone surrogates are JSON, but nothing that follows could write them.
    return value if isinstance(value, str) and not re.search("[\ud800-\udfff]", value) else None


# --- writing --------------------------------------------------------------------------------------------------------


def _write(value: Json, name: str, attributes: str, parts: list[str]) -> None:
    match value:
        case dict():
            shape = ' type="object"' if value.keys() <= {_ITEM} else ""
            parts.append(f"<{name}{attributes}{shape}>")
            for key, child in value.items():
                if _NAME.fullmatch(key):
                    _write(child, key, "", parts)
                else:
                    _write(child, "_", f' key="{_escaped(json.dumps(key)[1:-1])}"', parts)
        case list():
            shape = "" if value else ' type="array"'
            parts.append(f"<{name}{attributes}{shape}>")
            for child in value:
                _write(child, _ITEM, "", parts)
        case str() if _UNWRITABLE.search(value):
            parts.append(f'<{name}{attributes} encoding="json">{_escaped(json.dumps(value))}')
        case str():
            parts.append(f"<{name}{attributes}>{_escaped(value)}")
        case None:
            parts.append(f'<{name}{attributes} type="null">')
        case bool():
            parts.append(f'<{name}{attributes} type="boolean">{"true" if value else "false"}')
        case _:
            parts.append(f'<{name}{attributes} type="number">{value!r}')
    parts.append(f"</{name}>")


def _escaped(text: str) -> str:
    # A reader turns a bare carriage return into a line feed (XML 1.0 §2.11).
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace('"', "&quot;").replace("\r", "&#13;")
