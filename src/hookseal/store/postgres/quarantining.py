"""Writes refused requests, best effort and bounded: when the quarantine is full, the source and peer with most give way.

Several nodes share one quarantine. Each node takes it for what it had when the node last counted, and what the node has
added since. When that exceeds a bound, or after many of its own, the node counts again and makes room. Between two counts
all nodes together may exceed the bound by a sixteenth for each node.

Held requests are proven, and were acknowledged. They have bounds of their own, never give way, and only retention removes
them. A request whose events are stored or held already is not held again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hookseal.clock import Instant
from hookseal.errors import NotFound, StoreBusy
from hookseal.model import RefusalId
from hookseal.store.packing import pack_uuid
from hookseal.store.postgres.connection import spell
from hookseal.store.postgres.writer import Transaction
from hookseal.store.quarantine_rows import PreparedRefusal
from hookseal.store.quarantine_shares import HELD_BYTES, HELD_ROWS, PART, Share, evictions


@dataclass(frozen=True, slots=True)
class Release:
    refusal: RefusalId
    now: Instant


class Quarantining:
    """max_rows, max_bytes: of refused requests, sealed; held_rows, held_bytes: of held ones. A larger one is not kept."""

    def __init__(
        self, max_rows: int, max_bytes: int, *, held_rows: int = HELD_ROWS, held_bytes: int = HELD_BYTES
    ) -> None:
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._held_rows = held_rows
        self._held_bytes = held_bytes
        self._rows: int | None = None
        self._bytes = 0
        self._since_count = 0

    def forget(self) -> None:
        self._rows = None

    async def apply(self, transaction: Transaction, batch: Sequence[PreparedRefusal]) -> Sequence[StoreBusy | None]:
        refused = [one for one in batch if not one.refusal.held and len(one.sealed) <= self._max_bytes]
        to_hold, results = await self._to_hold(transaction, [one for one in batch if one.refusal.held])
        if written := refused + to_hold:
            await transaction.run("insert_refusal", *zip(*map(_row, written), strict=True))
        if refused:
            await self._count(transaction, refused)
        return [results.get(one.id) for one in batch]

    async def _to_hold(
        self, transaction: Transaction, held: Sequence[PreparedRefusal]
    ) -> tuple[list[PreparedRefusal], Mapping[bytes, StoreBusy]]:
        """Return those that are to be written, and by id the errors of those for which there is no room."""
        if not held:
            return [], {}
        stored = {
            key for (key,) in await transaction.run("stored_keys", [key for one in held for key in one.dedupe_keys])
        }
        known = {key for (key,) in await transaction.run("held_keys", [one.hold_key for one in held if one.hold_key])}
        [(rows, size)] = await transaction.run("held_totals")
        to_hold: list[PreparedRefusal] = []
        errors: dict[bytes, StoreBusy] = {}
        for one in held:
            is_stored = bool(one.dedupe_keys) and stored.issuperset(one.dedupe_keys)
            if is_stored or one.hold_key in known:
                continue
            if rows >= self._held_rows or size + len(one.sealed) > self._held_bytes:
                errors[one.id] = StoreBusy("too many held requests wait for a release")
                continue
            to_hold.append(one)
            rows += 1
            size += len(one.sealed)
            if one.hold_key is not None:
                known.add(one.hold_key)
        return to_hold, errors

    async def _count(self, transaction: Transaction, added: Sequence[PreparedRefusal]) -> None:
        self._since_count += len(added)
        if self._rows is None or self._since_count > self._max_rows // PART:
            await self._make_room(transaction)
            return
        self._rows += len(added)
        self._bytes += sum(len(one.sealed) for one in added)
        if self._rows > self._max_rows or self._bytes > self._max_bytes:
            await self._make_room(transaction)

    async def _make_room(self, transaction: Transaction) -> None:
        [(is_alone,)] = await transaction.run("lock_quarantine")
        if not is_alone:
            self._rows = None  # another transaction makes room; count again with the next request
            return
        shares = [
            Share((source, peer), rows, size) for source, peer, rows, size in await transaction.run("quarantine_shares")
        ]
        dropped = evictions(shares, self._max_rows, self._max_bytes)
        for (source, peer), rows in dropped.items():
            await transaction.run("drop_share", source, peer, rows)
        if dropped:
            [(self._rows, self._bytes)] = await transaction.run("quarantine_totals")
        else:
            self._rows, self._bytes = sum(share.rows for share in shares), sum(share.bytes for share in shares)
        self._since_count = 0


def _row(one: PreparedRefusal) -> tuple[Any, ...]:
    refusal = one.refusal
    return (
        one.id,
        spell(refusal.source),
        refusal.received_at,
        spell(refusal.reason),
        refusal.released_at,
        len(one.sealed),
        one.sealed,
        refusal.held,
        one.peer,
        one.hold_key,
    )


async def mark_released(transaction: Transaction, batch: Sequence[Release]) -> Sequence[NotFound | None]:
    return [await _mark(transaction, one) for one in batch]


async def _mark(transaction: Transaction, one: Release) -> NotFound | None:
    packed = pack_uuid(one.refusal)
    if packed is not None and await transaction.run("mark_released", packed, one.now):
        return None
    return NotFound("there is no such refused request")
