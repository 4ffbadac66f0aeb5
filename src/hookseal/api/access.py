"""Who may use the management API: holders of a key, or, where it was opened for development, this machine alone.

It decides on the headers and the client's address only, before any route is looked for, so that a stranger learns
neither which routes there are nor which ids. It refuses to know where keys come from.
"""

import hmac
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import urlsplit

from hookseal.api.problem import Problem, ProblemCode, problem

_LOOPBACK_NAMES = frozenset({"localhost", "ip6-localhost"})


@dataclass(frozen=True, slots=True)
class Access:
    """keys: bearer keys, exact bytes; open_access: no key is asked for, on loopback with --dev."""

    keys: tuple[bytes, ...] = field(default=(), repr=False)
    open_access: bool = False

    def __post_init__(self) -> None:
        if not all(self.keys):
            raise ValueError("an API key is not empty")

    def judge(self, headers: Iterable[tuple[bytes, bytes]], client: str | None) -> Problem | None:
        """None when the caller may go on. headers: names in lower case; client: the peer's address."""
        given: Mapping[bytes, list[bytes]] = _collected(headers)
        if self.keys and self._holds_key(given.get(b"authorization", [])):
            return None
        if self.open_access:
            return None if _is_this_machine(given, client) else problem(ProblemCode.FOREIGN_ORIGIN)
        if not self.keys:
            return problem(ProblemCode.API_OFF, detail="Set keys in the section [api] of the configuration file.")
        return problem(ProblemCode.KEY_REQUIRED)

    def _holds_key(self, authorization: list[bytes]) -> bool:
        """In constant time over all keys. Digests are compared, because compare_digest tells unequal lengths apart."""
        if len(authorization) != 1:
            return False
        scheme, _, given = authorization[0].partition(b" ")
        digest = sha256(given.strip(b" ")).digest()
        matches = [hmac.compare_digest(digest, sha256(key).digest()) for key in self.keys]
        return scheme.lower() == b"bearer" and any(matches)


def _collected(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, list[bytes]]:
    collected: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        collected.setdefault(name, []).append(value)
    return collected


def _is_this_machine(headers: Mapping[bytes, list[bytes]], client: str | None) -> bool:
    """Whether a program of this machine asks, and not a web page that a browser of this machine shows.

    A page can reach loopback by a name that it rebinds (then Host names it) or by a form (then Origin or
    Sec-Fetch-Site names it); https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Sec-Fetch-Site
    """
    if client is None or not _is_loopback(client):
        return False
    if any(value not in (b"same-origin", b"none") for value in headers.get(b"sec-fetch-site", [])):
        return False
    hosts = headers.get(b"host", [])
    if len(hosts) != 1 or not _is_loopback(_host_of("//" + hosts[0].decode("latin-1"))):
        return False
    return all(_is_loopback(_host_of(origin.decode("latin-1"))) for origin in headers.get(b"origin", []))


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    if host in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
