"""Writes the rules that events are made by, each revision once, and gives rules to events that have none."""

from collections.abc import Sequence
from dataclasses import dataclass

import apsw

from hookseal.model import MappingRevision, SourceId
from hookseal.store.mappings import MappingRow, Mappings
from hookseal.store.sqlite.connection import fetch
from hookseal.store.sqlite.migrate import QUERIES


@dataclass(frozen=True, slots=True)
class AssignMapping:
    source: SourceId
    mapping: int
    limit: int


def keep(connection: apsw.Connection, batch: Sequence[MappingRevision]) -> Sequence[Sequence[MappingRow]]:
    """The rows of all mappings, for each operation."""
    for one in batch:
        values = {"provider": one.provider, "revision": one.revision, "rules": one.rules}
        connection.execute(QUERIES["keep_mapping"], values)
    return [fetch(connection, QUERIES["read_mappings"])] * len(batch)


def assign(connection: apsw.Connection, batch: Sequence[AssignMapping]) -> Sequence[int]:
    """How many events got it, for each operation."""
    counts: list[int] = []
    for one in batch:
        values = {"source": one.source, "mapping": one.mapping, "limit": one.limit}
        connection.execute(QUERIES["assign_mapping"], values)
        counts.append(connection.changes())
    return counts


def load(connection: apsw.Connection, mappings: Mappings, numbers: Sequence[int | None]) -> None:
    """Make these known. Reads nothing where they are: only another process, or a start, adds some."""
    if not mappings.has_all(numbers):
        mappings.add(fetch(connection, QUERIES["read_mappings"]))
