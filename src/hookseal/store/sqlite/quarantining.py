"""Writes refused requests, best effort and bounded: when the quarantine is full, the source and peer with most give way.

Held requests are proven, and were acknowledged. They have bounds of their own, never give way, and only retention removes
them. A request whose events are stored or held already is not held again.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

import apsw

from hookseal.clock import Instant
from hookseal.errors import NotFound, StoreBusy
from hookseal.model import RefusalId
from hookseal.store.packing import pack_uuid, storable
from hookseal.store.quarantine_rows import PreparedRefusal
from hookseal.store.quarantine_shares import HELD_BYTES, HELD_ROWS, Share, evictions
from hookseal.store.sqlite.connection import fetch
from hookseal.store.sqlite.migrate import QUERIES

FindStored = Callable[[apsw.Connection, Iterable[bytes]], Mapping[bytes, bytes]]
"""Of these dedupe keys those that made an event."""


@dataclass(frozen=True, slots=True)
class Release:
    refusal: RefusalId
    now: Instant


class Quarantining:
    """max_rows, max_bytes: of refused requests, sealed; held_rows, held_bytes: of held ones. A larger one is not kept."""

    def __init__(
        self,
        max_rows: int,
        max_bytes: int,
        find_stored: FindStored,
        *,
        held_rows: int = HELD_ROWS,
        held_bytes: int = HELD_BYTES,
    ) -> None:
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._held_rows = held_rows
        self._held_bytes = held_bytes
        self._find_stored = find_stored
        self._rows = 0
        self._bytes = 0
        self._key = 0

    def recover(self, connection: apsw.Connection) -> None:
        self._rows, self._bytes, self._key = connection.execute(QUERIES["quarantine_totals"]).get

    def apply(self, connection: apsw.Connection, batch: Sequence[PreparedRefusal]) -> Sequence[StoreBusy | None]:
        results = [self._write(connection, one) for one in batch]
        if self._rows > self._max_rows or self._bytes > self._max_bytes:
            self._make_room(connection)
        return results

    def _write(self, connection: apsw.Connection, one: PreparedRefusal) -> StoreBusy | None:
        if one.refusal.held:
            return self._hold(connection, one)
        if len(one.sealed) <= self._max_bytes:
            self._insert(connection, one)
            self._rows += 1
            self._bytes += len(one.sealed)
        return None

    def _hold(self, connection: apsw.Connection, one: PreparedRefusal) -> StoreBusy | None:
        keys = set(one.dedupe_keys)
        if keys and len(self._find_stored(connection, keys)) == len(keys):
            return None
        if one.hold_key is not None and fetch(connection, QUERIES["is_held"], {"hold_key": one.hold_key}):
            return None
        rows, size = connection.execute(QUERIES["held_totals"]).get
        if rows >= self._held_rows or size + len(one.sealed) > self._held_bytes:
            return StoreBusy("too many held requests wait for a release")
        self._insert(connection, one)
        return None

    def _insert(self, connection: apsw.Connection, one: PreparedRefusal) -> None:
        refusal = one.refusal
        self._key += 1
        values = {
            "key": self._key,
            "id": one.id,
            "source": storable(refusal.source),
            "received_at": refusal.received_at,
            "reason": storable(refusal.reason),
            "released_at": refusal.released_at,
            "bytes": len(one.sealed),
            "sealed": one.sealed,
            "held": refusal.held,
            "peer": one.peer,
            "hold_key": one.hold_key,
        }
        connection.execute(QUERIES["insert_refusal"], values)

    def _make_room(self, connection: apsw.Connection) -> None:
        shares = [
            Share((source, peer), rows, size)
            for source, peer, rows, size in fetch(connection, QUERIES["quarantine_shares"], {})
        ]
        for (source, peer), rows in evictions(shares, self._max_rows, self._max_bytes).items():
            connection.execute(QUERIES["drop_share"], {"source": source, "peer": peer, "rows": rows})
        self._rows, self._bytes, _ = connection.execute(QUERIES["quarantine_totals"]).get

    def expire(self, connection: apsw.Connection, before: Instant, limit: int) -> int:
        """Let up to `limit` of the oldest go, as long as they were received before; how many that was."""
        last = dropped = 0
        for key, size, received_at in fetch(connection, QUERIES["oldest_refusals"], {"limit": limit}):
            if received_at >= before:
                break
            last = key
            dropped += 1
            self._rows -= 1
            self._bytes -= size
        if dropped:
            connection.execute(QUERIES["drop_refusals"], {"key": last})
        return dropped + _expire_held(connection, before, limit - dropped)


def _expire_held(connection: apsw.Connection, before: Instant, limit: int) -> int:
    if limit <= 0:
        return 0
    oldest = fetch(connection, QUERIES["oldest_held"], {"limit": limit})
    gone = [key for key, _ in takewhile(lambda row: row[1] < before, oldest)]
    if gone:
        connection.execute(QUERIES["drop_held"], {"key": gone[-1]})
    return len(gone)


def mark_released(connection: apsw.Connection, batch: Sequence[Release]) -> Sequence[NotFound | None]:
    return [_mark(connection, one) for one in batch]


def _mark(connection: apsw.Connection, one: Release) -> NotFound | None:
    packed = pack_uuid(one.refusal)
    if packed is not None and fetch(connection, QUERIES["mark_released"], {"id": packed, "now": one.now}):
        return None
    return NotFound("there is no such refused request")
