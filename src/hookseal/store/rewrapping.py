"""Moves sealed values from one key to another, whichever the store: which values of a slice, and what each begins with
then. Only the wrapped data key is replaced; the body behind it is neither opened nor handed around.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from hookseal.errors import SealBroken
from hookseal.sealing import Sealer, kid_of
from hookseal.store.packing import pack_cursor, unpack_cursor
from hookseal.store.port import Cursor

SLICE_BYTES = 4 * 1024 * 1024
"""Sealed bytes that one slice writes anew, about: a database writes the whole row where only its beginning changes."""
_LARGEST = 2**128 - 1


class Shelf(IntEnum):
    """Where sealed values stand; walked in this order."""

    BODIES = 0
    QUARANTINE = 1
    KEPT = 2


@dataclass(frozen=True, slots=True)
class Sealed:
    """place: the row's key. start: the first `HEAD_BYTES` of the value; length: of all of it."""

    place: Any
    label: str
    start: bytes
    length: int


@dataclass(frozen=True, slots=True)
class Move:
    """The value at this place, where it still begins with `old`, is to begin with `new` instead."""

    shelf: Shelf
    place: Any
    old: bytes
    new: bytes


@dataclass(slots=True)
class Looked:
    """looked: how many values of the slice these are; fewer than all where `SLICE_BYTES` cut it."""

    by_key: Counter[str] = field(default_factory=Counter)
    moves: list[Move] = field(default_factory=list)
    broken: int = 0
    looked: int = 0


def look(shelf: Shelf, values: Sequence[Sealed]) -> Looked:
    """Count only."""
    return Looked(by_key=Counter(kid_of(one.start) for one in values), looked=len(values))


def plan(sealer: Sealer, shelf: Shelf, values: Sequence[Sealed]) -> Looked:
    """What to move to the sealer's active key."""
    found = Looked()
    size = 0
    for one in values:
        found.looked += 1
        found.by_key[kid_of(one.start)] += 1
        try:
            heads = sealer.rewrap(one.start, one.label)
        except SealBroken:
            found.broken += 1
            continue
        if heads is not None:
            found.moves.append(Move(shelf, one.place, *heads))
            size += one.length
        if size > SLICE_BYTES:
            break
    return found


def begin(cursor: Cursor | None) -> tuple[Shelf, int]:
    shelf, after = (0, 0) if cursor is None else unpack_cursor(cursor, "s", 2, _LARGEST)
    return Shelf(shelf), abs(after)


def follow(shelf: Shelf, values: Sequence[Sealed], found: Looked, limit: int, last: int) -> Cursor | None:
    """Where the walk goes on. last: the number of the place that was looked at last."""
    if found.looked == len(values) and (len(values) < limit or shelf is Shelf.KEPT):
        return None if shelf is Shelf.KEPT else pack_cursor("s", shelf + 1, 0)
    return pack_cursor("s", shelf, last)
