"""Which event a dedupe key made: an index that stays flat as it grows.

Theory of operation. A unique index over random keys touches a random page of all of history for each insert; at
5 million rows that halved the ingest measured. Here a key's place (`slot`) is partition << 48 plus its first 48 bits.
New keys go to the newest partition only, about a million rows whose pages stay in memory; all partitions are asked.
A partition carries its first and last day, so that retention can let it go whole, in slices of its range.

48 bits are not the key: the other 208 stand beside (`rest`), and when they differ the newcomer is kept under its full
256 bits in `dedupe_collisions`. So no two keys are ever taken for one another. A key is only there when some slot of
it was another's, so that the table is asked only when that is seen.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import apsw

from hookseal.store.sql import slices
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


class Known(NamedTuple):
    """made: the packed event ids that keys made, for those that made one. taken: slots that other keys have."""

    made: Mapping[bytes, bytes]
    taken: frozenset[int]


def find(connection: apsw.Connection, partitions: Sequence[Partition], keys: Iterable[bytes]) -> Known:
    places: dict[int, list[bytes]] = {}
    for key in keys:
        places.setdefault(int.from_bytes(key[:_PLACE_BYTES]), []).append(key)
    slots = [partition.number << _SHIFT | place for partition in partitions for place in sorted(places)]
    made: dict[bytes, bytes] = {}
    displaced: set[bytes] = set()
    taken: set[int] = set()
    for some in slices(slots, FIND_ROWS):
        for slot, rest, event in connection.execute(QUERIES.rows("find_dedupe", len(some)), some):
            taken.add(slot)
            for key in places[slot & _PLACES]:
                if key[_PLACE_BYTES:] == rest:
                    made[key] = event
                else:
                    displaced.add(key)
    for few in slices(sorted(displaced - made.keys())):
        made.update(connection.execute(QUERIES.rows("find_collisions", len(few)), few))
    return Known(made, frozenset(taken))


def insert(connection: apsw.Connection, fresh: Sequence[tuple[int, bytes, bytes]], taken: frozenset[int]) -> None:
    """Remember keys that `find` did not find: partition, key, packed event id; no key twice."""
    rows: dict[int, tuple[int, bytes, bytes]] = {}
    collisions: list[tuple[bytes, int, bytes]] = []
    for partition, key, event in fresh:
        slot = slot_of(partition, key)
        if slot in rows or slot in taken:
            collisions.append((key, partition, event))
        else:
            rows[slot] = (slot, key[_PLACE_BYTES:], event)
    # In the order of the tree: neighbours find their page at hand.
    for few in slices([rows[slot] for slot in sorted(rows)]):
        connection.execute(QUERIES.rows("insert_dedupe", len(few)), [value for row in few for value in row])
    for several in slices(collisions):
        connection.execute(QUERIES.rows("insert_collisions", len(several)), [value for row in several for value in row])
