"""Lets go of what is too old: one bounded slice in a transaction of the writer's, so that nobody waits long for it.

Theory of operation. Four walks, one after the other, each from the oldest row on: bytes of requests, events with their
deliveries, dedupe keys, refused requests. A walk looks at the next rows behind its cursor, takes those that may go, and
ends where a whole slice is too young and no older event stands behind it. It keeps nothing in memory; killed in between,
the next one begins at the oldest row that is left. A request's events have consecutive keys, and the first one's key is
the request's: so its events and their deliveries are found by a range, without an index of their own.

Dedupe keys leave with their partition, in slices of its range; the newest partition never does, because new keys go
there. The subjects of a partition are hashes of what its events carry: they go with it, and it goes only when those
events may have gone too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import apsw

from hookseal import probe
from hookseal.clock import Instant
from hookseal.probe import Step
from hookseal.store.packing import pack_cursor, unpack_cursor
from hookseal.store.port import Cursor, Cutoffs, Expired
from hookseal.store.sql import slices
from hookseal.store.sqlite.connection import fetch
from hookseal.store.sqlite.migrate import QUERIES
from hookseal.store.sqlite.positions import Positions
from hookseal.store.sqlite.quarantining import Quarantining

SLICE_BYTES = 4 * 1024 * 1024
"""Sealed bytes that one slice lets go, about: they are overwritten, which is a write like any other."""
_DAY = 86_400_000_000
_PLACE_BITS = 48


class Walk(IntEnum):
    BODIES = 0
    METADATA = 1
    DEDUPE = 2
    REFUSALS = 3


@dataclass(frozen=True, slots=True)
class Expire:
    """after: the key behind which the slice begins."""

    before: Cutoffs
    limit: int
    walk: Walk
    after: int


def begin(before: Cutoffs, limit: int, cursor: Cursor | None) -> Expire:
    walk, after = (0, 0) if cursor is None else unpack_cursor(cursor, "x", 2)
    return Expire(before, limit, Walk(walk), after)


class Expiring:
    def __init__(self, positions: Positions, quarantining: Quarantining) -> None:
        self._positions = positions
        self._quarantining = quarantining
        self._walks: dict[Walk, Callable[[apsw.Connection, Expire], Expired]] = {
            Walk.BODIES: _bodies,
            Walk.METADATA: _metadata,
            Walk.DEDUPE: self._dedupe,
            Walk.REFUSALS: self._refusals,
        }

    def apply(self, connection: apsw.Connection, batch: Sequence[Expire]) -> Sequence[Expired]:
        results = [self._walks[one.walk](connection, one) for one in batch]
        probe.reach(Step.EXPIRING)
        return results

    def _dedupe(self, connection: apsw.Connection, one: Expire) -> Expired:
        old = min(one.before.dedupe, one.before.metadata) // _DAY
        gone = next((part for part in self._positions.partitions[:-1] if part.last_day < old), None)
        if gone is None:
            return Expired(next=_next_walk(one))
        span = {"first": gone.number << _PLACE_BITS, "beyond": (gone.number + 1) << _PLACE_BITS}
        keys = _changes(connection, "expire_dedupe", {**span, "limit": one.limit})
        subjects = 0
        if keys < one.limit:
            subjects = _changes(connection, "expire_subjects", {**span, "limit": one.limit - keys})
        if keys + subjects < one.limit:
            connection.execute(QUERIES["drop_partition"], {"number": gone.number})
            self._positions.partitions.remove(gone)
        return Expired(dedupe_keys=keys, next=_cursor(one.walk, 0))

    def _refusals(self, connection: apsw.Connection, one: Expire) -> Expired:
        dropped = self._quarantining.expire(connection, one.before.refusals, one.limit)
        return Expired(refusals=dropped, next=_next_walk(one) if dropped < one.limit else _cursor(one.walk, 0))


def _bodies(connection: apsw.Connection, one: Expire) -> Expired:
    rows = fetch(connection, QUERIES["look_at_bodies"], {"after": one.after, "limit": one.limit})
    gone: list[int] = []
    size = 0
    for key, received_at, needed_until, length in rows:
        if _is_old(received_at, needed_until, one.before.bodies):
            gone.append(key)
            size += length
        if size > SLICE_BYTES:
            rows = rows[: [row[0] for row in rows].index(key) + 1]
            break
    _delete(connection, "expire_bodies", gone)
    return Expired(bodies=len(gone), next=_after(connection, one, rows, one.before.bodies, cut=size > SLICE_BYTES))


def _metadata(connection: apsw.Connection, one: Expire) -> Expired:
    rows = fetch(connection, QUERIES["look_at_requests"], {"after": one.after, "limit": one.limit})
    requests: list[int] = []
    events: list[int] = []
    for key, received_at, needed_until, many, has_body in rows:
        if not has_body and _is_old(received_at, needed_until, one.before.metadata):
            requests.append(key)
            events += range(key, key + many)
    _delete(connection, "expire_deliveries", events)
    _delete(connection, "expire_events", events)
    _delete(connection, "expire_requests", requests)
    return Expired(events=len(events), next=_after(connection, one, rows, one.before.metadata))


def _is_old(received_at: Instant, needed_until: Instant, before: Instant) -> bool:
    return max(received_at, needed_until) < before


def _after(
    connection: apsw.Connection, one: Expire, rows: Sequence[tuple[Any, ...]], before: Instant, *, cut: bool = False
) -> Cursor | None:
    """Return where this walk continues; the next walk if no row is left, or if this and all later rows are too young."""
    if not cut:
        if len(rows) < one.limit:
            return _next_walk(one)
        # Rows that were stored by a clock that was ahead look young, and may stand before old ones.
        if all(row[1] >= before for row in rows) and not _has_old_event(connection, before, rows[-1][0]):
            return _next_walk(one)
    return _cursor(one.walk, rows[-1][0])


def _has_old_event(connection: apsw.Connection, before: Instant, after: int) -> bool:
    """Whether the newest of the old events is behind this key; older ones are not looked at."""
    return any(key > after for (key,) in fetch(connection, QUERIES["newest_old_event"], {"before": before}))


def _next_walk(one: Expire) -> Cursor | None:
    return None if one.walk is Walk.REFUSALS else _cursor(Walk(one.walk + 1), 0)


def _cursor(walk: Walk, after: int) -> Cursor:
    return pack_cursor("x", walk, after)


def _delete(connection: apsw.Connection, name: str, keys: Sequence[int]) -> None:
    for some in slices(keys):
        connection.execute(QUERIES.rows(name, len(some)), some)


def _changes(connection: apsw.Connection, name: str, values: dict[str, int]) -> int:
    connection.execute(QUERIES[name], values)
    return connection.changes()
