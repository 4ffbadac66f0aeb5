"""Finds sealed values and writes their new beginnings. Finding runs on a reader's thread and holds nobody up; the writer
only writes, and only where a value still begins as it was found: retention may have let it go meanwhile.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import apsw

from hookseal import probe
from hookseal.errors import StoreMismatch
from hookseal.probe import Step
from hookseal.sealing import HEAD_BYTES, Keyring
from hookseal.store.migrations import check_keyring
from hookseal.store.rewrapping import Move, Sealed, Shelf
from hookseal.store.rows import kept_label, refusal_label, request_label
from hookseal.store.sqlite.connection import fetch
from hookseal.store.sqlite.migrate import QUERIES, note_keyring

_FIND: Final = {Shelf.BODIES: "seals_of_bodies", Shelf.QUARANTINE: "seals_of_quarantine"}
_REWRAP: Final = {Shelf.BODIES: "rewrap_body", Shelf.QUARANTINE: "rewrap_refusal"}


def find(connection: apsw.Connection, shelf: Shelf, after: int, limit: int) -> Sequence[Sealed]:
    """The next values of a shelf. Those that are kept by name come all at once, with their place in the order of names."""
    if shelf is Shelf.KEPT:
        rows = fetch(connection, QUERIES["seals_of_kept"], {"bytes": HEAD_BYTES})
        return [Sealed((shelf, name), kept_label(shelf, name), start, size) for shelf, name, start, size in rows]
    rows = fetch(connection, QUERIES[_FIND[shelf]], {"after": after, "limit": limit, "bytes": HEAD_BYTES})
    return [Sealed(key, _label(shelf, packed, more), start, size) for key, packed, start, size, *more in rows]


def _label(shelf: Shelf, packed: bytes, more: Sequence[Any]) -> str:
    """more: the columns that a refused request is bound to."""
    if shelf is Shelf.BODIES:
        return request_label(packed)
    source, received_at, reason, held = more
    return refusal_label(packed, source, received_at, reason, bool(held))


@dataclass(frozen=True, slots=True)
class Noting:
    """keyring: to be noted; None when `dropped` is no longer needed."""

    keyring: Keyring | None
    dropped: str = ""


def note(connection: apsw.Connection, batch: Sequence[Noting]) -> Sequence[StoreMismatch | None]:
    return [_note(connection, one) for one in batch]


def _note(connection: apsw.Connection, one: Noting) -> StoreMismatch | None:
    if one.keyring is None:
        connection.execute(QUERIES["drop_key"], {"kid": one.dropped})
        return None
    try:
        check_keyring(connection.filename, one.keyring, fetch(connection, QUERIES["read_keyring"]))
    except StoreMismatch as mismatch:
        return mismatch
    note_keyring(connection, one.keyring)
    return None


def rewrap(connection: apsw.Connection, batch: Sequence[Sequence[Move]]) -> Sequence[int]:
    """How many of each were moved."""
    counts = [sum(_move(connection, move) for move in moves) for moves in batch]
    probe.reach(Step.REWRAPPING)
    return counts


def _move(connection: apsw.Connection, move: Move) -> int:
    values: dict[str, Any] = {"old": move.old, "new": move.new, "skip": len(move.old)}
    if move.shelf is Shelf.KEPT:
        connection.execute(QUERIES["rewrap_kept"], {**values, "shelf": move.place[0], "name": move.place[1]})
    else:
        connection.execute(QUERIES[_REWRAP[move.shelf]], {**values, "key": move.place})
    return connection.changes()
