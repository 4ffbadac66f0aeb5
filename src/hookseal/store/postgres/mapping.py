"""Writes the rules that events are made by, each revision once, and gives rules to events that have none."""

from collections.abc import Sequence
from dataclasses import dataclass

from hookseal.model import MappingRevision, SourceId
from hookseal.store.mappings import MappingRow, Mappings
from hookseal.store.postgres.connection import Connection
from hookseal.store.postgres.queries import QUERIES
from hookseal.store.postgres.writer import Transaction


@dataclass(frozen=True, slots=True)
class AssignMapping:
    source: SourceId
    mapping: int
    limit: int


async def keep(transaction: Transaction, batch: Sequence[MappingRevision]) -> Sequence[Sequence[MappingRow]]:
    """The rows of all mappings, for each operation."""
    # In one order, so that no two nodes wait for each other.
    for one in sorted(batch, key=lambda mapping: (mapping.provider, mapping.revision)):
        await transaction.run("keep_mapping", one.provider, one.revision, one.rules)
    return [await transaction.run("read_mappings")] * len(batch)


async def assign(transaction: Transaction, batch: Sequence[AssignMapping]) -> Sequence[int]:
    """How many events got it, for each operation."""
    return [len(await transaction.run("assign_mapping", one.source, one.mapping, one.limit)) for one in batch]


async def load(connection: Connection, mappings: Mappings, numbers: Sequence[int | None]) -> None:
    """Make these known. Reads nothing where they are: only another node, or a start, adds some."""
    if not mappings.has_all(numbers):
        mappings.add(await connection.fetch(QUERIES["read_mappings"]))
