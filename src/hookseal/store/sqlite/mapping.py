"""Writes the rules that events are made by, each revision once, and gives rules to events that have none."""

from collections.abc import Sequence
from dataclasses import dataclass

import apsw

from hookseal.model import MappingRevision, SourceId
from hookseal.store.event_seal import EventSealer
from hookseal.store.mappings import MappingRow, Mappings
from hookseal.store.rows import with_mapping
from hookseal.store.sqlite.connection import fetch
from hookseal.store.sqlite.migrate import QUERIES


@dataclass(frozen=True, slots=True)
class AssignMapping:
    source: SourceId
    number: int
    mapping: MappingRevision
    limit: int


def keep(connection: apsw.Connection, batch: Sequence[MappingRevision]) -> Sequence[Sequence[MappingRow]]:
    """The rows of all mappings, for each operation."""
    for one in batch:
        values = {"provider": one.provider, "revision": one.revision, "rules": one.rules}
        connection.execute(QUERIES["keep_mapping"], values)
    return [fetch(connection, QUERIES["read_mappings"])] * len(batch)


class Assigning:
    """Facts are bound to the rules, so that they are sealed anew with them."""

    def __init__(self, sealer: EventSealer) -> None:
        self._sealer = sealer

    def apply(self, connection: apsw.Connection, batch: Sequence[AssignMapping]) -> Sequence[int]:
        """How many events got it, for each operation. One that was altered is left as it is."""
        return [self._one(connection, one) for one in batch]

    def _one(self, connection: apsw.Connection, one: AssignMapping) -> int:
        count = 0
        for row in fetch(connection, QUERIES["find_unmapped"], {"source": one.source, "limit": one.limit}):
            facts = with_mapping(self._sealer, row, one.mapping)
            if facts is not None:
                values = {"key": row[0], "mapping": one.number, "facts": facts}
                connection.execute(QUERIES["assign_mapping"], values)
                count += 1
        return count


def load(connection: apsw.Connection, mappings: Mappings, numbers: Sequence[int | None]) -> None:
    """Make these known. Reads nothing where they are: only another process, or a start, adds some."""
    if not mappings.has_all(numbers):
        mappings.add(fetch(connection, QUERIES["read_mappings"]))
