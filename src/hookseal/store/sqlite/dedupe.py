"""Where dedupe keys lie in order: an index that stays flat as it grows. What waits to come here is in `recent`.

A unique index over random keys touches a random page of all of history for each insert; at 5 million rows that halved
the ingest measured. Here a key's place (`slot`) is partition << 48 plus its first 48 bits. New keys go to the newest
partition only, about a million rows; all partitions are asked. A partition carries its first and last day, so that
retention can let it go whole, in slices of its range.

48 bits are not the key: the other 208 stand beside (`rest`), and when they differ the newcomer is kept under its full
256 bits in `dedupe_collisions`. So no two keys are ever taken for one another. A key is only there when a slot of it
was another's, so that the table is asked only when that is seen.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import apsw

from hookseal.store.sql import slices
from hookseal.store.sqlite.connection import fetch
from hookseal.store.sqlite.migrate import QUERIES
from hookseal.store.sqlite.positions import Partition

KEY_BYTES = 32
_PLACE_BYTES = 6
_SHIFT = 48
_PLACES = (1 << _SHIFT) - 1
FIND_ROWS = 512
"""Slots asked for in one statement; more than rows elsewhere, for every key is asked for in every partition."""


def slot_of(partition: int, key: bytes) -> int:
    return partition << _SHIFT | int.from_bytes(key[:_PLACE_BYTES])


def find(connection: apsw.Connection, partitions: Sequence[Partition], keys: Iterable[bytes]) -> Mapping[bytes, bytes]:
    """The packed event ids that these keys made, for those that made one."""
    places: dict[int, list[bytes]] = {}
    for key in keys:
        places.setdefault(int.from_bytes(key[:_PLACE_BYTES]), []).append(key)
    slots = [partition.number << _SHIFT | place for partition in partitions for place in sorted(places)]
    made: dict[bytes, bytes] = {}
    displaced: set[bytes] = set()
    for some in slices(slots, FIND_ROWS):
        for slot, rest, event in connection.execute(QUERIES.rows("find_dedupe", len(some)), some):
            for key in places[slot & _PLACES]:
                if key[_PLACE_BYTES:] == rest:
                    made[key] = event
                else:
                    displaced.add(key)
    for few in slices(sorted(displaced - made.keys())):
        made.update(connection.execute(QUERIES.rows("find_collisions", len(few)), few))
    return made


def insert(connection: apsw.Connection, keys: Sequence[tuple[int, bytes, bytes]]) -> None:
    """Put keys in order: partition, key, packed event id. One that is there already is left as it is."""
    rows: dict[int, tuple[int, bytes, bytes]] = {}
    displaced: list[tuple[bytes, int, bytes]] = []
    for partition, key, event in keys:
        slot = slot_of(partition, key)
        if slot in rows:
            displaced.append((key, partition, event))
        else:
            rows[slot] = (partition, key, event)
    for some in slices(sorted(rows)):
        for slot, rest, _ in fetch(connection, QUERIES.rows("find_dedupe", len(some)), some):
            partition, key, event = rows.pop(slot)
            if key[_PLACE_BYTES:] != rest:
                displaced.append((key, partition, event))
    # In the order of the tree: neighbours find their page at hand.
    ordered = [(slot, rows[slot][1][_PLACE_BYTES:], rows[slot][2]) for slot in sorted(rows)]
    _insert(connection, "insert_dedupe", ordered)
    _insert(connection, "insert_collisions", displaced)


def _insert(connection: apsw.Connection, name: str, rows: Sequence[tuple[Any, ...]]) -> None:
    for some in slices(rows):
        connection.execute(QUERIES.rows(name, len(some)), list(chain.from_iterable(some)))
