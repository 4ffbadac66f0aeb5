"""Finds sealed values and writes their new beginnings. Finding takes a reader's connection and no lock; a writer writes
only where a value still begins as it was found: another node may have moved it, or retention let it go.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from hookseal import probe
from hookseal.errors import StoreMismatch
from hookseal.probe import Step
from hookseal.sealing import HEAD_BYTES, Keyring
from hookseal.store.migrations import check_keyring
from hookseal.store.postgres.connection import Connection
from hookseal.store.postgres.queries import QUERIES
from hookseal.store.postgres.writer import Transaction
from hookseal.store.rewrapping import Move, Sealed, Shelf
from hookseal.store.rows import kept_label, refusal_label, request_label

_FIND: Final = {Shelf.BODIES: "seals_of_bodies", Shelf.QUARANTINE: "seals_of_quarantine"}
_REWRAP: Final = {Shelf.BODIES: "rewrap_body", Shelf.QUARANTINE: "rewrap_refusal"}


async def find(connection: Connection, shelf: Shelf, after: int, limit: int) -> Sequence[Sealed]:
    """The next values of a shelf. Those that are kept by name come all at once."""
    if shelf is Shelf.KEPT:
        rows = await connection.fetch(QUERIES["seals_of_kept"], HEAD_BYTES)
        return [Sealed((shelf, name), kept_label(shelf, name), start, size) for shelf, name, start, size in rows]
    rows = await connection.fetch(QUERIES[_FIND[shelf]], after.to_bytes(16), limit, HEAD_BYTES)
    return [Sealed(packed, _label(shelf, packed, more), start, size) for packed, start, size, *more in rows]


def _label(shelf: Shelf, packed: bytes, more: Sequence[Any]) -> str:
    """more: the columns that a refused request is bound to."""
    if shelf is Shelf.BODIES:
        return request_label(packed)
    source, received_at, reason, held = more
    return refusal_label(packed, source, received_at, reason, bool(held))


@dataclass(frozen=True, slots=True)
class Noting:
    """place: the database, for people. keyring: to be noted; None when `dropped` is no longer needed."""

    place: str
    keyring: Keyring | None
    dropped: str = ""


async def note(transaction: Transaction, batch: Sequence[Noting]) -> Sequence[StoreMismatch | None]:
    return [await _note(transaction, one) for one in batch]


async def _note(transaction: Transaction, one: Noting) -> StoreMismatch | None:
    await transaction.run("lock_schema")
    if one.keyring is None:
        await transaction.run("drop_key", one.dropped)
        return None
    noted = [(kid, fingerprint) for kid, fingerprint in await transaction.run("read_keyring")]
    try:
        check_keyring(one.place, one.keyring, noted)
    except StoreMismatch as mismatch:
        return mismatch
    for kid in one.keyring.kids:
        await transaction.run("write_keyring", kid, one.keyring.fingerprint(kid))
    return None


async def rewrap(transaction: Transaction, batch: Sequence[Sequence[Move]]) -> Sequence[int]:
    """How many of each were moved."""
    counts = [await _moved(transaction, moves) for moves in batch]
    await probe.pause(Step.REWRAPPING)
    return counts


async def _moved(transaction: Transaction, moves: Sequence[Move]) -> int:
    count = 0
    for shelf, name in _REWRAP.items():
        mine = sorted((move.place, move.old, move.new) for move in moves if move.shelf is shelf)
        if mine:
            count += len(await transaction.run(name, *zip(*mine, strict=True)))
    for move in moves:
        if move.shelf is Shelf.KEPT:
            count += len(await transaction.run("rewrap_kept", *move.place, move.old, move.new))
    return count
