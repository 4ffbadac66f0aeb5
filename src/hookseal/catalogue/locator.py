"""Where a field stands in a request: `body:/json/pointer` (or `json:`, of a provider that sends nothing else), `header:name`.

A locator reads and judges nothing: what it finds may be of any type, and what it does not find is `MISSING`. The body is
the parsed tree of one event, JSON or XML alike. A pointer is RFC 6901 with two additions: `*` stands for every item of
a list or every value of an object, and a last `**` for the place itself and everything below it.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from hookseal.errors import CatalogueError
from hookseal.message import Headers
from hookseal.model import Json

MAX_VISITED = 10_000
"""How many values one locator with a wildcard looks at in one body; a body has no say in how long we search."""

_HEADER = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)
_MAX_HEADER_VALUE = 4096


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()
"""Nothing stands there. Not None: JSON's null is a value that a provider may send."""


@dataclass(frozen=True, slots=True)
class Locator:
    """header: lower-case name, None for a place in the body; path: the pointer's segments, unescaped."""

    text: str
    header: bytes | None
    path: tuple[str, ...]
    spread: bool

    @staticmethod
    def read(text: object, place: str, key: str) -> "Locator":
        """From a provider file; CatalogueError when it is no locator."""
        if not isinstance(text, str) or not is_locator(text):
            raise CatalogueError(place, key, "write body:/json/pointer or header:name")
        kind, _, rest = text.partition(":")
        if kind == "header":
            if not _HEADER.fullmatch(rest):
                raise CatalogueError(place, key, "write the header's name in lower case")
            return Locator(text, rest.encode(), (), False)
        if rest and not rest.startswith("/"):
            raise CatalogueError(place, key, "a JSON pointer starts with /")
        path = tuple(part.replace("~1", "/").replace("~0", "~") for part in rest.split("/")[1:])
        if "**" in path[:-1]:
            raise CatalogueError(place, key, "** stands only at the end")
        return Locator(text, None, path, "*" in path or "**" in path)

    def first(self, tree: Json, headers: Headers) -> Json:
        """The first value found, or MISSING."""
        if self.header is not None:
            return _header(headers, self.header)
        if self.spread:
            return next(self._search(tree), MISSING)
        node = tree
        for part in self.path:
            if isinstance(node, dict):
                node = node.get(part, MISSING)
            elif isinstance(node, list):
                node = _at(node, part)
            else:
                return MISSING
        return node

    def every(self, tree: Json, headers: Headers) -> Iterable[Json]:
        """All values found, in the body's order; at most `MAX_VISITED` of them."""
        if self.spread:
            return self._search(tree)
        found = self.first(tree, headers)
        return () if found is MISSING else (found,)

    def _search(self, tree: Json) -> Iterator[Json]:
        visited = 0
        waiting = [(tree, self.path)]
        while waiting and visited < MAX_VISITED:
            visited += 1
            node, path = waiting.pop()
            if not path:
                yield node
                continue
            part, rest = path[0], path[1:]
            if part == "**":
                yield node
                waiting.extend((child, path) for child in reversed(_children(node)[:MAX_VISITED]))
            elif part == "*":
                waiting.extend((child, rest) for child in reversed(_children(node)[:MAX_VISITED]))
            elif isinstance(node, dict) and part in node:
                waiting.append((node[part], rest))
            elif isinstance(node, list) and (found := _at(node, part)) is not MISSING:
                waiting.append((found, rest))


def is_locator(text: str) -> bool:
    return text.startswith(("body:", "json:", "header:"))


def _at(items: list[Json], part: str) -> Json:
    if part.isdecimal() and part.isascii() and len(part) < 7 and int(part) < len(items):
        return items[int(part)]
    return MISSING


def _children(node: Json) -> list[Json]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []


def _header(headers: Headers, name: bytes) -> Json:
    for key, value in headers:
        if key == name:
            if len(value) > _MAX_HEADER_VALUE:
                return MISSING
            return value.decode("latin-1")
    return MISSING
