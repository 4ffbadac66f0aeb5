"""Lets go of what is too old: one bounded slice in a transaction of a writer's, so that nobody waits long for it.

Theory of operation. Four walks, one after the other, each from the oldest row on: bytes of requests, events with their
deliveries, dedupe keys, refused requests. A walk looks at the next rows behind its cursor, takes those that may go, and
ends where a whole slice is too young and no older event stands behind it. It keeps nothing in memory; killed in between,
the next one begins at the oldest row that is left.

One node at a time: the others find the advisory lock taken and are told that there is no more. A replay takes the same
lock, shared, before it looks at events: so it never plans a delivery of an event whose bytes are being let go. What
both look at was committed before they had the lock, because each statement sees what was committed before it began.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from hookseal import probe
from hookseal.clock import Instant
from hookseal.probe import Step
from hookseal.store.packing import pack_cursor, unpack_cursor
from hookseal.store.port import Cursor, Cutoffs, Expired
from hookseal.store.postgres.peaks import hash_of
from hookseal.store.postgres.quarantining import Quarantining
from hookseal.store.postgres.writer import Transaction

SLICE_BYTES = 4 * 1024 * 1024
"""Sealed bytes that one slice lets go, about."""
_LARGEST = 2**128 - 1


class Walk(IntEnum):
    BODIES = 0
    METADATA = 1
    DEDUPE = 2
    REFUSALS = 3


@dataclass(frozen=True, slots=True)
class Expire:
    """after: the id behind which the slice begins."""

    before: Cutoffs
    limit: int
    walk: Walk
    after: bytes


def begin(before: Cutoffs, limit: int, cursor: Cursor | None) -> Expire:
    walk, after = (0, 0) if cursor is None else unpack_cursor(cursor, "x", 2, _LARGEST)
    return Expire(before, limit, Walk(walk), abs(after).to_bytes(16))


class Expiring:
    def __init__(self, quarantining: Quarantining) -> None:
        self._quarantining = quarantining

    async def apply(self, transaction: Transaction, batch: Sequence[Expire]) -> Sequence[Expired]:
        [(is_ours,)] = await transaction.run("lock_retention")
        if not is_ours:
            return [Expired() for _ in batch]
        results = [await self._one(transaction, one) for one in batch]
        await probe.pause(Step.EXPIRING)
        return results

    async def _one(self, transaction: Transaction, one: Expire) -> Expired:
        match one.walk:
            case Walk.BODIES:
                return await _bodies(transaction, one)
            case Walk.METADATA:
                return await _metadata(transaction, one)
            case Walk.DEDUPE:
                keys = len(await transaction.run("expire_dedupe", one.before.dedupe, one.limit))
                return Expired(dedupe_keys=keys, next=_again(one, keys))
            case Walk.REFUSALS:
                dropped = len(await transaction.run("expire_refusals", one.before.refusals, one.limit))
                if dropped:
                    self._quarantining.forget()
                return Expired(refusals=dropped, next=_again(one, dropped))


async def _bodies(transaction: Transaction, one: Expire) -> Expired:
    rows = await transaction.run("look_at_bodies", one.after, one.limit)
    gone: list[bytes] = []
    size = 0
    for number, (request, received_at, needed_until, length) in enumerate(rows, 1):
        if max(received_at, needed_until) < one.before.bodies:
            gone.append(request)
            size += length
        if size > SLICE_BYTES:
            rows = rows[:number]
            break
    if gone:
        await transaction.run("expire_bodies", gone)
    return Expired(
        bodies=len(gone), next=await _after(transaction, one, rows, one.before.bodies, cut=size > SLICE_BYTES)
    )


async def _metadata(transaction: Transaction, one: Expire) -> Expired:
    rows = await transaction.run("look_at_events", one.after, one.limit)
    gone = [
        event
        for event, received_at, needed_until, has_body in rows
        if not has_body and max(received_at, needed_until) < one.before.metadata
    ]
    if gone:
        rested = await transaction.run("expire_events", gone)
        subjects = {hash_of(source, subject) for source, subject in rested if subject is not None}
        if subjects:
            await transaction.run("expire_peaks", sorted(subjects), one.before.metadata)
    return Expired(events=len(gone), next=await _after(transaction, one, rows, one.before.metadata))


async def _after(
    transaction: Transaction, one: Expire, rows: Sequence[Any], before: Instant, *, cut: bool = False
) -> Cursor | None:
    """Return where this walk continues; the next walk if no row is left, or if this and all later rows are too young."""
    if not cut:
        if len(rows) < one.limit:
            return _next_walk(one)
        # Rows that were stored by a clock that was ahead look young, and may stand before old ones.
        if all(row[1] >= before for row in rows) and not await _has_old_event(transaction, before, rows[-1][0]):
            return _next_walk(one)
    return pack_cursor("x", one.walk, int.from_bytes(rows[-1][0]))


async def _has_old_event(transaction: Transaction, before: Instant, after: bytes) -> bool:
    """Whether the newest of the old events is behind this id; older ones are not looked at."""
    return any(event > after for (event,) in await transaction.run("newest_old_event", before))


def _again(one: Expire, many: int) -> Cursor | None:
    """The same walk once more, from the oldest row, while slices are full."""
    return pack_cursor("x", one.walk, 0) if many >= one.limit else _next_walk(one)


def _next_walk(one: Expire) -> Cursor | None:
    return None if one.walk is Walk.REFUSALS else pack_cursor("x", one.walk + 1, 0)
