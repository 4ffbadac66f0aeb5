"""Which header lines may leave: the grammar for all of them, and the names that an operator may not set.

The HTTP library sends what it is given: a wrong Content-Length, a second Host, a name with a colon in it. So the line
is judged here, when the configuration is read (`check_header`) and once more before it is sent (`is_sendable`).
"""

import re
from collections.abc import Mapping, Sequence

MAX_HEADERS = 32
"""Headers that an operator configures for one endpoint."""
MAX_VALUE = 1024
"""Characters of a header value that an operator configures."""
MAX_SENT_VALUE = 8192
"""Characters of any header value that is sent; tokens and signatures are long."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_VALUE = re.compile(r"(?! )[\x20-\x7e]*(?<! )")

# They frame the message or belong to the connection: the client's own to write, or nobody's.
FRAMING = frozenset(
    (
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
# They are what a receiver trusts hookseal to have written, or what a cookie jar or a proxy would.
_NOT_THE_OPERATORS = frozenset(
    ("authorization", "content-encoding", "content-type", "cookie", "cookie2", "date", "set-cookie")
)
_NOT_THE_OPERATORS_PREFIXES = ("ce-", "proxy-", "sec-", "webhook-")


def check_header(name: str, value: str) -> str | None:
    """What is wrong with a header that an operator configures for an endpoint, as a sentence; None when nothing is.

    `Authorization` is refused with them: configured headers are shown in the clear, and schemes that sign with a token
    write it themselves.
    """
    lower = name.lower()
    if not _NAME.fullmatch(name):
        return "a header's name has letters, digits and hyphens, starts with a letter and is at most 64 long"
    if lower in FRAMING or lower in _NOT_THE_OPERATORS or lower.startswith(_NOT_THE_OPERATORS_PREFIXES):
        return f"the header {name} is hookseal's own to set"
    if len(value) > MAX_VALUE:
        return f"the value of the header {name} is longer than {MAX_VALUE} characters"
    if not _VALUE.fullmatch(value):
        return f"the value of the header {name} is not printable ASCII, or has blank space at an end"
    return None


def check_headers(headers: Mapping[str, str]) -> str | None:
    """`check_header` over all headers of one endpoint, their number, and names that differ in case only."""
    if len(headers) > MAX_HEADERS:
        return f"an endpoint has at most {MAX_HEADERS} headers of its own"
    if len({name.lower() for name in headers}) < len(headers):
        return "a header is set twice, in different case"
    return next((fault for name, value in headers.items() if (fault := check_header(name, value))), None)


def is_sendable(headers: Sequence[tuple[str, str]]) -> bool:
    """Whether these lines may be put on the wire as they are."""
    return all(
        _NAME.fullmatch(name)
        and name.lower() not in FRAMING
        and not name.lower().startswith("proxy-")
        and len(value) <= MAX_SENT_VALUE
        and _VALUE.fullmatch(value)
        for name, value in headers
    )
