"""One HTTP request as it came, before anyone has believed a byte of it.

Header names and values are bytes: what a stranger sends need not be text. Names are lower case (the rim does that
once), order and repeats are kept, and blank space around a value is gone, as RFC 9110 §5.5 asks of a parser.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Headers = tuple[tuple[bytes, bytes], ...]

_BLANK = b" \t"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request to judge.

    method   as sent, upper case for every method that we know.
    headers  see the module head.
    body     the exact bytes; no decoding, no decompression.
    url      what the provider called, as the operator published it; None when unknown (schemes that sign it then refuse).
    remote   the client's address as text, after trusted proxies; None when unknown.
    """

    method: str = "POST"
    headers: Headers = ()
    body: bytes = b""
    url: str | None = None
    remote: str | None = None

    def values(self, name: bytes) -> list[bytes]:
        """All values of one header, in order. `name` is lower case."""
        return [value for key, value in self.headers if key == name]

    def value(self, name: bytes) -> bytes | None:
        """The first value, or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


class RawRequest:
    """Headers and body of one stored request, shared by its events in memory.

    parts  what was derived from the body, kept so that it is derived once. Only `identity.batch` reads and sets it.
    """

    __slots__ = ("__weakref__", "body", "headers", "parts")

    def __init__(self, headers: Headers, body: bytes) -> None:
        self.headers = headers
        self.body = body
        self.parts: object | None = None


def headers_of(
    given: Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]],
) -> Headers:
    """Headers from what Python callers have at hand. Text is encoded as UTF-8 where it does not fit Latin-1."""
    pairs: Iterable[tuple[str | bytes, str | bytes]] = given.items() if isinstance(given, Mapping) else given
    return tuple((_bytes(name).lower(), _bytes(value).strip(_BLANK)) for name, value in pairs)


def _bytes(text: str | bytes) -> bytes:
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8")


def media_type(content_type: bytes | None) -> str:
    """The bare media type in lower case: `application/json; charset=utf-8` → `application/json`; "" when absent."""
    if content_type is None:
        return ""
    return content_type.split(b";", 1)[0].strip().lower().decode("latin-1")
