"""Where the numbers stand, in the writer's memory: keys, sequences, and the dedupe partitions.

Only the writer's thread uses this. Numbers that a transaction took and did not commit are read back by `recover`.
"""

from dataclasses import dataclass, field
from itertools import chain

import apsw

from hookseal.store.sql import slices
from hookseal.store.sqlite.migrate import QUERIES

MAX_PARTITIONS = 32767


@dataclass(slots=True)
class Partition:
    number: int
    first_day: int
    last_day: int


@dataclass(slots=True)
class Positions:
    """capacity, max_days: when a new dedupe partition begins."""

    capacity: int
    max_days: int
    numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    moved: set[tuple[str, str]] = field(default_factory=set)
    partitions: list[Partition] = field(default_factory=list)

    def recover(self, connection: apsw.Connection) -> None:
        self.numbers = {(kind, name): value for kind, name, value in connection.execute(QUERIES["read_counters"])}
        self.moved = set()
        self.partitions = [Partition(*row) for row in connection.execute(QUERIES["read_partitions"])]

    def take(self, kind: str, name: str = "") -> int:
        """The next number of its kind, from 1."""
        number = self.numbers.get((kind, name), 0) + 1
        self.numbers[kind, name] = number
        self.moved.add((kind, name))
        return number

    def partition(self, connection: apsw.Connection, day: int) -> int:
        """The partition for a key of that day, begun or widened as needed. Counts the key."""
        newest = self.partitions[-1] if self.partitions else None
        if newest is None or self._is_spent(newest, day):
            newest = Partition(newest.number + 1 if newest else 1, day, day)
            self.partitions.append(newest)
            self.numbers["partition", ""] = 0
            self._write(connection, newest)
        elif not newest.first_day <= day <= newest.last_day:
            newest.first_day, newest.last_day = min(newest.first_day, day), max(newest.last_day, day)
            self._write(connection, newest)
        self.take("partition")
        return newest.number

    def newest(self, connection: apsw.Connection, day: int) -> int:
        """The newest partition, begun with that day when there is none."""
        if not self.partitions:
            self.partitions.append(Partition(1, day, day))
            self._write(connection, self.partitions[0])
        return self.partitions[-1].number

    def _is_spent(self, newest: Partition, day: int) -> bool:
        if newest.number >= MAX_PARTITIONS:
            return False
        return self.numbers.get(("partition", ""), 0) >= self.capacity or day - newest.first_day >= self.max_days

    def _write(self, connection: apsw.Connection, partition: Partition) -> None:
        connection.execute(
            QUERIES["write_partition"],
            {"number": partition.number, "first_day": partition.first_day, "last_day": partition.last_day},
        )

    def save(self, connection: apsw.Connection) -> None:
        """Write what moved, within the transaction that moved it."""
        rows = [(kind, name, self.numbers[kind, name]) for kind, name in sorted(self.moved)]
        for some in slices(rows):
            connection.execute(QUERIES.rows("write_counters", len(some)), list(chain.from_iterable(some)))
        self.moved.clear()
