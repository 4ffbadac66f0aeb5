"""Select the refused requests to delete when the quarantine is full. Pure.

The source that has most gives way, and of its requests those of the peer that has most. A sender of junk therefore evicts
its own requests: not those of another source, and not those of another peer of the same source.
"""

import hashlib
import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from hookseal.sealing import Keyring

PART = 16
"""A full quarantine is cut to its bound less one part, so that not every new request makes it count again."""
HELD_ROWS = 10_000
HELD_BYTES = 256 * 1024 * 1024
"""Bounds of held requests that wait for a release. They are acknowledged, so they never give way: beyond it 503."""

Group = tuple[str, int]
"""A source, and the number of a peer."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one peer of one source has in the quarantine. bytes: of sealed requests."""

    group: Group
    rows: int
    bytes: int


def evictions(shares: Iterable[Share], max_rows: int, max_bytes: int) -> Mapping[Group, int]:
    """Return how many requests of each group give way, its oldest first. The sizes are taken for equal in a group."""
    by_source: dict[str, list[Share]] = {}
    rows = total = 0
    for share in shares:
        by_source.setdefault(share.group[0], []).append(share)
        rows += share.rows
        total += share.bytes
    if rows <= max_rows and total <= max_bytes:
        return {}
    left_rows, left_bytes = max_rows - max_rows // PART, max_bytes - max_bytes // PART
    dropped: dict[Group, int] = {}
    # Bytes first: dropping them lowers the rows too. Small requests do not give way for the bytes of large ones.
    for measured, bound in (("bytes", left_bytes), ("rows", left_rows)):
        rows, total = _cut(by_source, dropped, measured, bound, rows, total)
    return dropped


def _cut(
    by_source: Mapping[str, list[Share]], dropped: dict[Group, int], measured: str, bound: int, rows: int, total: int
) -> tuple[int, int]:
    """Drop until the measure is within its bound; return the rows and bytes that are left."""
    peers: dict[str, list[tuple[float, Group, float]]] = {}
    for source, shares in by_source.items():
        heap = []
        for share in shares:
            left = share.rows - dropped.get(share.group, 0)
            size = share.bytes / share.rows if share.rows else 0.0
            heap.append((-left * size if measured == "bytes" else -float(left), share.group, size))
        heapq.heapify(heap)
        peers[source] = heap
    sources = [(sum(amount for amount, _, _ in heap), source) for source, heap in peers.items()]
    heapq.heapify(sources)
    while (total if measured == "bytes" else rows) > bound and sources and sources[0][0] < 0:
        amount, source = sources[0]
        peer_amount, group, size = peers[source][0]
        step = min(size if measured == "bytes" else 1.0, -peer_amount) or 1.0
        heapq.heapreplace(peers[source], (min(peer_amount + step, 0.0), group, size))
        heapq.heapreplace(sources, (min(amount + step, 0.0), source))
        dropped[group] = dropped.get(group, 0) + 1
        rows -= 1
        total -= round(size)
    return rows, total


def hold_key(dedupe_keys: Iterable[bytes]) -> bytes | None:
    """Return one key for a held request of these events: equal for the same events in the same order."""
    digest = hashlib.sha256()
    count = 0
    for key in dedupe_keys:
        digest.update(key)
        count += 1
    return digest.digest() if count else None


def peer_number(keyring: Keyring, remote: str | None) -> int:
    """Return a number of 63 bits for a client address, the same for an IPv6 network of 64 bits; 0 if there is none.

    Keyed, since an address is personal data and plain hashes of addresses are reversed by trying all of them. A
    rotation of the keyring changes the numbers; requests of one peer then count as those of two.
    """
    if remote is None:
        return 0
    try:
        address = ip_address(remote)
    except ValueError:
        return 0
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        address = ip_network((address.packed, 64), strict=False).network_address
    _, key = keyring.keys[0]
    digest = hashlib.blake2b(address.packed, digest_size=8, key=key, person=b"quarantine-peer")
    return int.from_bytes(digest.digest()) >> 1
