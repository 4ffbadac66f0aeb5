"""Bounds on the requests that are read and judged at one time, with shares for clients and sources.

Theory of operation. A request is first *read*: its body arrives at the pace of the client. Then it is *judged*: verified
and stored at the pace of the gateway. Each phase has its own bound, so that clients that send slowly cannot take the
places of requests that are complete. A request is in at most one of the two sets. No method waits.

- Reading. At the bound a new request takes the place of a reader of the client, then of the source, that has a much
  greater share than its own. If none has, it takes the place of a slow reader. If there is none, it is refused. The
  same rule holds for the bytes of all bodies.
- Judging. One client or source may have all places. Beyond them there is a quarter more, for clients and sources that
  have less than a quarter. A judged request is never ended for another one: its transaction may commit.

Shares are counted when a bound is reached, so that a request below the bounds costs two insertions into a dictionary.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from hookseal.model import SourceId


@dataclass(eq=False, slots=True)
class Place:
    """One admitted request.

    client    The group of addresses that shares are counted for; None if the client is not known.
    size      Bytes of the body that are counted for it.
    deadline  Of the reading. Rescheduling it to the past ends the reading with TimeoutError.
    mark_*    When it was last seen to bring bytes fast enough, and how many it had then.
    """

    client: str | None
    source: SourceId
    mark_at: float
    mark_size: int = 0
    size: int = 0
    deadline: asyncio.Timeout | None = None
    is_evicted: bool = False


Weight = Callable[[Place], int]
K = TypeVar("K")

_SLOW_BYTES_PER_S = 8192
"""A reader that brought less per second is slow. 1024 slow readers that bring more send 8 MB per second together."""
_FEW = 16
"""So many readers are a usual share of one client or source, also where the bounds are small."""


class Admission:
    """The requests that are read and judged at the moment.

    max_reading   Requests whose body is arriving.
    max_judging   Requests that are verified and stored. A quarter more where they have different clients and sources.
    max_bytes     Of all bodies, arriving or complete.
    slow_after_s  A reader that brought few bytes for so long may lose its place to a request of an equal share.
    """

    def __init__(self, *, max_reading: int, max_judging: int, max_bytes: int, slow_after_s: float) -> None:
        self.bytes_held = 0
        self._max_reading = max_reading
        self._max_judging = max_judging
        # Not a part of `max_judging`: most gateways have one busy provider, and it would be refused for places that
        # nobody else uses.
        self._reserved = max_judging // 4
        self._max_bytes = max_bytes
        self._slow_after_s = slow_after_s
        self._reading: dict[Place, None] = {}  # the oldest first
        self._judging: dict[Place, None] = {}

    def has_room(self, client: str | None, source: SourceId) -> bool:
        """Return whether a request of this client for this source can be judged now."""
        beyond = len(self._judging) - self._max_judging
        return beyond < 0 or (beyond < self._reserved and not self._has_share(client, source, self._reserved))

    def read(self, client: str | None, source: SourceId, now: float) -> Place | None:
        """Admit a request to be read; None if it has to be refused. now: monotonic seconds."""
        place = Place(client, source, now)
        self._reading[place] = None
        if len(self._reading) > self._max_reading and not self._evict_for(place, _one, self._max_reading, now):
            del self._reading[place]
            return None
        return place

    def hold(self, place: Place, size: int, now: float) -> bool:
        """Count bytes of a body that is being read. False if the request has to be refused."""
        if place.is_evicted:  # before it had a deadline, or its task has not run since
            return False
        place.size += size
        self.bytes_held += size
        if now - place.mark_at >= self._slow_after_s and not self._is_slow(place, now):
            place.mark_at, place.mark_size = now, place.size
        # Several readers may have to go: each holds what it has sent so far.
        while self.bytes_held > self._max_bytes:
            if not self._evict_for(place, _size, self._max_bytes, now):
                return False
        return True

    def judge(self, place: Place) -> bool:
        """Move a request whose body is complete on to be judged. False if it has to be refused."""
        self._reading.pop(place, None)
        if not self.has_room(place.client, place.source):
            return False
        self._judging[place] = None
        return True

    def leave(self, place: Place) -> None:
        """Free what a request holds. The last call for each place."""
        self._reading.pop(place, None)
        self._judging.pop(place, None)
        self.bytes_held -= place.size
        place.size = 0

    def _has_share(self, client: str | None, source: SourceId, share: int) -> bool:
        """Return whether the client or the source has `share` requests in judging already."""
        of_source = sum(other.source == source for other in self._judging)
        # Behind a proxy that names no client all clients look the same. They have no share in common.
        of_client = 0 if client is None else sum(other.client == client for other in self._judging)
        return max(of_source, of_client) >= share

    def _evict_for(self, place: Place, weight: Weight, most: int, now: float) -> bool:
        # Not 503 for the new request: a client that holds the places with one byte each would stop every other sender for
        # `body_timeout_s`, again and again. The reader that is ended gets 408, after which every sender tries again.
        # Not the oldest reader of all either: in an overload of genuine requests each new one would end one that is
        # nearly complete, and none would arrive.
        victim = self._of_greater_share(place, weight, most) or self._slow(place, weight, now)
        if victim is None:
            return False
        self._end(victim)
        return True

    def _of_greater_share(self, place: Place, weight: Weight, most: int) -> Place | None:
        """The oldest reader of the heaviest client; else of the heaviest client at the heaviest source."""
        readers = [reader for reader in self._reading if weight(reader)]
        client, total, own = _heaviest(readers, place, _client, weight)
        if _is_greater(total, own, most):
            return next(reader for reader in readers if reader.client == client)
        source, total, own = _heaviest(readers, place, _source, weight)
        if not _is_greater(total, own, most):
            return None
        at_source = [reader for reader in readers if reader.source == source]
        client, _, _ = _heaviest(at_source, place, _client, weight)
        return next(reader for reader in at_source if reader.client == client)

    def _slow(self, place: Place, weight: Weight, now: float) -> Place | None:
        """The oldest reader that is slow."""
        slow = (reader for reader in self._reading if weight(reader) and self._is_slow(reader, now))
        return next((reader for reader in slow if reader is not place), None)

    def _is_slow(self, reader: Place, now: float) -> bool:
        since_s = now - reader.mark_at
        # The time alone is not enough: in an overload large bodies take seconds, and the gateway is to blame.
        return since_s >= self._slow_after_s and reader.size - reader.mark_size < _SLOW_BYTES_PER_S * since_s

    def _end(self, reader: Place) -> None:
        del self._reading[reader]
        reader.is_evicted = True
        # Counted as free now, though its task frees them in the next turn of the event loop.
        self.bytes_held -= reader.size
        reader.size = 0
        if reader.deadline is not None and not reader.deadline.expired():
            reader.deadline.reschedule(0)


def _heaviest(readers: list[Place], place: Place, key: Callable[[Place], K], weight: Weight) -> tuple[K, int, int]:
    """Return the key with the greatest total, this total, and the total of the key of `place`."""
    totals: dict[K, int] = {}
    for reader in readers:
        totals[key(reader)] = totals.get(key(reader), 0) + weight(reader)
    heaviest = max(totals, key=totals.__getitem__)
    return heaviest, totals[heaviest], totals.get(key(place), 0)


def _is_greater(total: int, own: int, most: int) -> bool:
    # Twice as much, and an eighth of all: among genuine clients that are about equal, shares differ at every moment, and
    # each difference would end a reader (seen with 8 places, 3 sources and bodies of 1 MB).
    return total > 2 * own and total * 8 > most and total > _FEW


def _client(place: Place) -> str | None:
    return place.client


def _source(place: Place) -> SourceId:
    return place.source


def _one(place: Place) -> int:
    return 1


def _size(place: Place) -> int:
    return place.size
