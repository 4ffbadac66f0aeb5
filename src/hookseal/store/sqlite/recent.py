"""The newest dedupe keys and subjects, in memory until it is their turn to be put in order.

Theory of operation. Inserting one random key makes one page of its tree dirty, and every dirty page is written to the
log. So new keys are noted in the order of storing (`recent_keys`: one page for many) and held in memory, in 1024 buckets
by their first bits. When more than `buffered` are held, the next bucket goes, sorted, into `dedupe`, the next bucket
of subjects into `subjects`; the buckets take turns. About 32 keys that lie near one another then share their pages.

Notes older than everything that is still held are dropped, a few at a time; there are about twice as many notes as
keys held. What a former process left noted is read at the open, keys that it had put in order among them: putting them
in order again changes nothing.

Nothing here is changed before the transaction has committed: `keep` makes its changes, `drop` forgets them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import apsw

from hookseal.store.sql import slices
from hookseal.store.sqlite import dedupe
from hookseal.store.sqlite.migrate import QUERIES
from hookseal.store.sqlite.positions import Positions

BUCKETS = 1024
_BUCKET_BITS = 10
_PLACE_BITS = 48
_LOOK_EVERY = 32
"""Turns between two looks at what is the oldest key held; a look costs about 0.1 ms."""


class Fresh(NamedTuple):
    """A key that made an event. event: the packed id; day: of its receipt; subject: 48 bits of a hash, or None."""

    event_key: int
    dedupe_key: bytes
    event: bytes
    day: int
    subject: int | None


@dataclass(slots=True)
class _Change:
    """What the open transaction did: the keys that it added, the turns of buckets that it took, the notes it dropped."""

    added: Sequence[Fresh]
    turns: int
    dropped: int


class Recent:
    """buffered: how many keys are held in memory; about 350 bytes each."""

    def __init__(self, positions: Positions, buffered: int) -> None:
        self._positions = positions
        self._buffered = buffered
        self._change: _Change | None = None
        self._clear()

    def _clear(self) -> None:
        self._made: dict[bytes, bytes] = {}
        self._keys: list[list[Fresh]] = [[] for _ in range(BUCKETS)]
        self._subjects: list[dict[int, list[int]]] = [{} for _ in range(BUCKETS)]
        self._turn = 0
        self._newest = 0
        self._in_order = 0
        self._dropped = 0

    def recover(self, connection: apsw.Connection) -> None:
        self._clear()
        self._change = None
        for row in connection.execute(QUERIES["read_recent"]):
            fresh = Fresh(*row)
            self._dropped = self._dropped or fresh.event_key - 1
            self._hold(fresh)

    def find(self, connection: apsw.Connection, keys: Iterable[bytes]) -> Mapping[bytes, bytes]:
        """The packed event ids that these keys made, for those that made one."""
        wanted = set(keys)
        made = {key: self._made[key] for key in wanted if key in self._made}
        return {**dedupe.find(connection, self._positions.partitions, wanted - made.keys()), **made}

    def of_subject(self, place: int) -> Sequence[int]:
        """The event keys held for one subject, the oldest first; all of them are newer than those in order."""
        return self._subjects[_bucket_of(place)].get(place, ())

    def add(self, connection: apsw.Connection, added: Sequence[Fresh]) -> None:
        """Note keys that `find` did not find, and put others in order in their stead. Once in a transaction."""
        for some in slices(added):
            connection.execute(QUERIES.rows("insert_recent", len(some)), list(chain.from_iterable(some)))
        # Twice as many as come, so that what a former process left melts down, and no transaction is held up by it.
        allowed = 2 * len(added) + _BUCKET_BITS
        excess = min(len(self._made) + len(added) - self._buffered, allowed)
        turns = 0
        while excess > 0 and turns < BUCKETS:
            excess -= self._put_in_order(connection, (self._turn + turns) % BUCKETS, added[0].day)
            turns += 1
        dropped = max(self._dropped, min(self._in_order, self._dropped + 2 * allowed))
        if dropped > self._dropped:
            connection.execute(QUERIES["drop_recent"], {"last": dropped})
        self._change = _Change(added, turns, dropped)

    def keep(self) -> None:
        change, self._change = self._change, None
        if change is None:
            return
        for _ in range(change.turns):
            for fresh in self._keys[self._turn]:
                del self._made[fresh.dedupe_key]
            self._keys[self._turn] = []
            self._subjects[self._turn] = {}
            self._turn = (self._turn + 1) % BUCKETS
            if self._turn % _LOOK_EVERY == 0:
                self._in_order = self._older_than_held()
        self._dropped = change.dropped
        for added in change.added:
            self._hold(added)

    def drop(self) -> None:
        self._change = None

    def _hold(self, fresh: Fresh) -> None:
        self._newest = max(self._newest, fresh.event_key)
        self._made[fresh.dedupe_key] = fresh.event
        bucket = int.from_bytes(fresh.dedupe_key[:2]) >> (16 - _BUCKET_BITS)
        self._keys[bucket].append(fresh)
        if fresh.subject is not None:
            self._subjects[_bucket_of(fresh.subject)].setdefault(fresh.subject, []).append(fresh.event_key)

    def _older_than_held(self) -> int:
        """The newest event key below all that are held. Each bucket has its oldest first."""
        held = [bucket[0].event_key for bucket in self._keys if bucket]
        held += [next(iter(bucket.values()))[0] for bucket in self._subjects if bucket]
        return min(held, default=self._newest + 1) - 1

    def _put_in_order(self, connection: apsw.Connection, bucket: int, today: int) -> int:
        """Returns how many keys the bucket had."""
        keys = [
            (self._positions.partition(connection, fresh.day), fresh.dedupe_key, fresh.event)
            for fresh in self._keys[bucket]
        ]
        if keys:
            dedupe.insert(connection, keys)
        if self._subjects[bucket]:
            newest = self._positions.newest(connection, today)
            rows: list[tuple[Any, ...]] = [
                (newest << _PLACE_BITS | place, key)
                for place, keys_there in sorted(self._subjects[bucket].items())
                for key in keys_there
            ]
            for some in slices(rows):
                connection.execute(QUERIES.rows("insert_subjects", len(some)), list(chain.from_iterable(some)))
        return len(keys)


def _bucket_of(place: int) -> int:
    return place >> (_PLACE_BITS - _BUCKET_BITS)
