"""The address of the client: the peer of the socket, or what trusted proxies say of it.

`X-Forwarded-For` is read from the right, hop by hop, and only as long as the hop that wrote it is trusted. The client can
write its left-most entries itself, so they do not count. Several headers are one list (RFC 9110 section 5.3).
"""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from hookseal.message import Headers

FORWARDED_FOR = b"x-forwarded-for"

Address = IPv4Address | IPv6Address

_LONGEST_ENTRY = 80
"""Of an address with brackets, zone, port and quotes; longer entries are not parsed and not cached."""
_SITE_BITS = 64


def client_address(peer: str | None, headers: Headers, trusted: Sequence[IPv4Network | IPv6Network]) -> str | None:
    """Return the address of the client as text, or None if it is not known.

    It is not known without a peer, and if a trusted proxy names no address: no header, an empty entry, `unknown`.
    """
    if not trusted or peer is None:
        return peer
    address = _parse(peer)
    if address is None or not _within(address, trusted):
        return peer
    hops = b",".join(value for name, value in headers if name == FORWARDED_FOR)
    for hop in reversed(hops.split(b",")):
        address = parse_entry(hop)
        if address is None:
            return None
        if not _within(address, trusted):
            break
    return str(address)


def parse_entry(entry: bytes) -> Address | None:
    """Return the address of one entry of X-Forwarded-For; None for everything else.

    Some proxies append the port (Azure Application Gateway: `203.0.113.7:51234`), and then put IPv6 into brackets. Some
    quote the entry as in `Forwarded` (RFC 7239 section 6). IPv6 without brackets has no port: `2001:db8::1:443` is an
    address.
    """
    text = entry.strip(b" \t")
    return _parse_node(text) if 0 < len(text) <= _LONGEST_ENTRY else None


def shared_by(address: str | None) -> str | None:
    """Return the key of the clients that have their share in common: one IPv4 address, or one /64 of IPv6.

    A site is given a /64 at least, so that it has 2**64 addresses to call from.
    """
    return address if address is None or ":" not in address else _site(address)


@lru_cache(maxsize=4096)
def _parse_node(entry: bytes) -> Address | None:
    try:
        text = entry.decode("ascii")
    except UnicodeDecodeError:
        return None
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or not (rest == "" or _is_port(rest)):
            return None
        return _parse(host)
    host, colon, port = text.partition(":")
    if colon and "." in host:
        return _parse(host) if _is_port(colon + port) else None
    return _parse(text)


def _is_port(text: str) -> bool:
    digits = text[1:]
    return text[0] == ":" and digits.isascii() and digits.isdigit() and len(digits) <= 5 and int(digits) <= 65_535


def _parse(text: str) -> Address | None:
    """Return an address without its zone, and IPv4 for IPv6 that is mapped from it: both name the same client."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.scope_id is not None:  # an interface of the machine that wrote it
            return IPv6Address(int(address))
    return address


@lru_cache(maxsize=4096)
def _site(address: str) -> str:
    parsed = _parse(address)
    return str(IPv6Network((parsed, _SITE_BITS), strict=False)) if isinstance(parsed, IPv6Address) else str(parsed)


def _within(address: Address, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    return any(address in network for network in networks if network.version == address.version)
