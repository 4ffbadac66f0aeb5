"""Writes refused requests, best effort and bounded: the oldest give way. What strangers send must never fill the disk.

Several nodes share one quarantine. Each believes that it has what was there when it last counted, and what it has added
since; when that is over a bound, or after many of its own, it lets the oldest go and counts again. Between two counts
all nodes together may be over the bound by a sixteenth for each node.

Held requests are proven, and were acknowledged: they are outside of the bounds, and only retention removes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hookseal.clock import Instant
from hookseal.errors import NotFound
from hookseal.model import RefusalId
from hookseal.store.packing import pack_uuid
from hookseal.store.port import Refusal
from hookseal.store.postgres.connection import spell
from hookseal.store.postgres.writer import Transaction

_PART = 16
"""The quarantine is cut to its bound less one part, so that not every new refusal makes it count again."""


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
        self._rows: int | None = None
        self._bytes = 0
        self._since_count = 0

    def forget(self) -> None:
        self._rows = None

    async def apply(self, transaction: Transaction, batch: Sequence[PreparedRefusal]) -> Sequence[None]:
        kept = [one for one in batch if one.refusal.held or len(one.sealed) <= self._max_bytes]
        if kept:
            await transaction.run("insert_refusal", *zip(*map(_row, kept), strict=True))
        if bounded := [one for one in kept if not one.refusal.held]:
            await self._count(transaction, bounded)
        return [None] * len(batch)

    async def _count(self, transaction: Transaction, added: Sequence[PreparedRefusal]) -> None:
        self._since_count += len(added)
        if self._rows is None or self._since_count > self._max_rows // _PART:
            await self._count_again(transaction)
        else:
            self._rows += len(added)
            self._bytes += sum(len(one.sealed) for one in added)
        if (self._rows or 0) > self._max_rows or self._bytes > self._max_bytes:
            left_rows, left_bytes = self._max_rows - self._max_rows // _PART, self._max_bytes - self._max_bytes // _PART
            await transaction.run("drop_refusals", left_rows, left_bytes)
            await self._count_again(transaction)

    async def _count_again(self, transaction: Transaction) -> None:
        [(self._rows, self._bytes)] = await transaction.run("quarantine_totals")
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
    )


async def mark_released(transaction: Transaction, batch: Sequence[Release]) -> Sequence[NotFound | None]:
    return [await _mark(transaction, one) for one in batch]


async def _mark(transaction: Transaction, one: Release) -> NotFound | None:
    packed = pack_uuid(one.refusal)
    if packed is not None and await transaction.run("mark_released", packed, one.now):
        return None
    return NotFound("there is no such refused request")
