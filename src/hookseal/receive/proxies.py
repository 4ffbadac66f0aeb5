"""Who called: the socket's peer, or what trusted proxies say of it.

`X-Forwarded-For` is read from the right, hop by hop, and only as long as the hop that wrote it is trusted. Its left-most
entry is whatever the client wrote, so it counts for nothing. Several headers are one list (RFC 9110 §5.3).
"""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from hookseal.message import Headers

FORWARDED_FOR = b"x-forwarded-for"


def client_address(peer: str | None, headers: Headers, trusted: Sequence[IPv4Network | IPv6Network]) -> str | None:
    """The client's address as text; None when it cannot be told (a junk entry from a trusted proxy, no peer)."""
    if not trusted or peer is None or not _within(peer, trusted):
        return peer
    hops = b",".join(value for name, value in headers if name == FORWARDED_FOR)
    client = peer
    for hop in reversed(hops.split(b",")):
        if not hop.strip():
            break
        try:
            client = str(ip_address(hop.strip().decode("ascii")))
        except ValueError:
            return None
        if not _within(client, trusted):
            break
    return client


def _within(address: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    judged = mapped if mapped is not None else parsed
    return any(judged in network for network in networks if network.version == judged.version)
