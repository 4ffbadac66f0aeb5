"""Writes refused requests, best effort and bounded: the oldest give way. What strangers send must never fill the disk.

Held requests are proven, and were acknowledged: they are outside of the bounds, and only retention removes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import apsw

from hookseal.clock import Instant
from hookseal.errors import NotFound
from hookseal.model import RefusalId
from hookseal.store.packing import pack_uuid, storable
from hookseal.store.port import Refusal
from hookseal.store.sqlite.connection import fetch
from hookseal.store.sqlite.migrate import QUERIES


@dataclass(frozen=True, slots=True)
class PreparedRefusal:
    refusal: Refusal
    id: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Release:
    refusal: RefusalId
    now: Instant


class Quarantining:
    """max_rows, max_bytes: of sealed requests. A single larger one is not kept."""

    def __init__(self, max_rows: int, max_bytes: int) -> None:
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._rows = 0
        self._bytes = 0
        self._key = 0

    def recover(self, connection: apsw.Connection) -> None:
        self._rows, self._bytes, self._key = connection.execute(QUERIES["quarantine_totals"]).get

    def apply(self, connection: apsw.Connection, batch: Sequence[PreparedRefusal]) -> Sequence[None]:
        for one in batch:
            if one.refusal.held or len(one.sealed) <= self._max_bytes:
                self._insert(connection, one)
        self._make_room(connection)
        return [None] * len(batch)

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
        }
        connection.execute(QUERIES["insert_refusal"], values)
        if refusal.held:
            return
        self._rows += 1
        self._bytes += len(one.sealed)

    def _make_room(self, connection: apsw.Connection) -> None:
        excess = self._rows - self._max_rows
        while excess > 0 or self._bytes > self._max_bytes:
            last = 0
            for key, size, _ in fetch(connection, QUERIES["oldest_refusals"], {"limit": max(excess, 16)}):
                if self._rows <= self._max_rows and self._bytes <= self._max_bytes:
                    break
                last = key
                self._rows -= 1
                self._bytes -= size
            if not last:
                return
            connection.execute(QUERIES["drop_refusals"], {"key": last})
            excess = self._rows - self._max_rows

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
