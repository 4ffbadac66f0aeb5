"""What makes a request ambiguous to a chain of servers, though the HTTP parser lets it through: Host and coding.

Decides on headers and HTTP version only, the same for the receiving and the management side. RFC 9112 §3.2: 400 for an
HTTP/1.1 request without Host, and for any request with two of them or with one that is no host. §6.1: a body whose
last coding is unclear may end elsewhere for a proxy in front of us, and what it smuggles is the next request; the
parser takes `gzip, chunked` and the header said twice, we take one `chunked`.
"""

import re

from hookseal.message import Headers

_MOST_DIGITS = 18
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")


def declared_length(value: bytes) -> int:
    """Return the number of a Content-Length, at most 10**18; 0 for what is no number.

    The text may have any number of digits, and Python converts no more than 4300.
    """
    if not value.isdigit():
        return 0
    digits = value.lstrip(b"0")
    return int(digits or b"0") if len(digits) <= _MOST_DIGITS else 10**_MOST_DIGITS


def is_ambiguous(headers: Headers, http_version: str) -> bool:
    """headers: names in lower case. http_version: as ASGI has it; "1" and "1.0" are the version without Host.

    The server puts an empty Host where there was none, so that empty and absent are one.
    """
    hosts = codings = 0
    for name, value in headers:
        if name == b"host":
            if value:
                hosts += 1
                if not _HOST.fullmatch(value):
                    return True
            elif http_version == "1.1":
                return True
        elif name == b"transfer-encoding":
            codings += 1
            if value.lower() != b"chunked":
                return True
    return hosts > 1 or codings > 1 or (hosts == 0 and http_version == "1.1")
