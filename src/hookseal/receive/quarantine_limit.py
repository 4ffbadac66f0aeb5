"""How many refused requests go to the quarantine. Pure: the time is given.

Requests that fail the proof come from anybody. Each source and each of its peers has a rate in requests and in bytes, so
that junk does not take the writer's time from genuine requests. What exceeds it is refused all the same, and counted.
A peer is one IPv4 address, or one /64 of IPv6 (`proxies.shared_by`).
"""

from collections import OrderedDict
from dataclasses import dataclass

from hookseal.clock import Instant
from hookseal.model import SourceId
from hookseal.receive.proxies import shared_by

REQUESTS_PER_S, REQUESTS_AT_ONCE = 20.0, 200.0
BYTES_PER_S, BYTES_AT_ONCE = 2.0 * 1024 * 1024, 16.0 * 1024 * 1024
PEER_PART = 0.5
"""What one peer may take of the rates of its source: a part is left for the others."""
MAX_BUCKETS = 4096


@dataclass(slots=True)
class _Bucket:
    """requests, bytes: what may still pass at `at`. part: of the rates of a source."""

    part: float
    requests: float
    bytes: float
    at: Instant

    def has_room(self, now: Instant, size: int) -> bool:
        seconds = max(now - self.at, 0) / 1_000_000
        self.at = now
        self.requests = min(self.requests + seconds * REQUESTS_PER_S * self.part, REQUESTS_AT_ONCE * self.part)
        self.bytes = min(self.bytes + seconds * BYTES_PER_S * self.part, BYTES_AT_ONCE * self.part)
        return self.requests >= 1 and self.bytes >= size

    def take(self, size: int) -> None:
        self.requests -= 1
        self.bytes -= size


class QuarantineLimit:
    """Token buckets of sources and of their peers, those used last. A bucket that was forgotten begins full."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[tuple[SourceId, str | None], _Bucket] = OrderedDict()

    def take(self, source: SourceId, remote: str | None, size: int, now: Instant) -> bool:
        """Return whether one more request of `size` bytes may go to the quarantine; it is counted then."""
        buckets = [self._bucket((source, ""), 1.0, now), self._bucket((source, shared_by(remote)), PEER_PART, now)]
        # A list, not a generator: both buckets are refilled whatever the first one says.
        if not all([bucket.has_room(now, size) for bucket in buckets]):  # noqa: C419
            return False
        for bucket in buckets:
            bucket.take(size)
        return True

    def _bucket(self, key: tuple[SourceId, str | None], part: float, now: Instant) -> _Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(part, REQUESTS_AT_ONCE * part, BYTES_AT_ONCE * part, now)
            if len(self._buckets) > MAX_BUCKETS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return bucket
