"""Writes the rules that events are made by, each revision once, and gives rules to events that have none."""

from collections.abc import Sequence
from dataclasses import dataclass

from hookseal.model import MappingRevision, SourceId
from hookseal.store.event_seal import EventSealer
from hookseal.store.mappings import MappingRow, Mappings
from hookseal.store.postgres.connection import Connection
from hookseal.store.postgres.queries import QUERIES
from hookseal.store.postgres.writer import Transaction
from hookseal.store.rows import with_mapping


@dataclass(frozen=True, slots=True)
class AssignMapping:
    source: SourceId
    number: int
    mapping: MappingRevision
    limit: int


async def keep(transaction: Transaction, batch: Sequence[MappingRevision]) -> Sequence[Sequence[MappingRow]]:
    """The rows of all mappings, for each operation."""
    # In one order, so that no two nodes wait for each other.
    for one in sorted(batch, key=lambda mapping: (mapping.provider, mapping.revision)):
        await transaction.run("keep_mapping", one.provider, one.revision, one.rules)
    return [await transaction.run("read_mappings")] * len(batch)


class Assigning:
    """Facts are bound to the rules, so that they are sealed anew with them."""

    def __init__(self, sealer: EventSealer) -> None:
        self._sealer = sealer

    async def apply(self, transaction: Transaction, batch: Sequence[AssignMapping]) -> Sequence[int]:
        """How many events got it, for each operation. One that was altered is left as it is."""
        return [await self._one(transaction, one) for one in batch]

    async def _one(self, transaction: Transaction, one: AssignMapping) -> int:
        rows = await transaction.run("find_unmapped", one.source, one.limit)
        sealed = [(row[0], facts) for row in rows if (facts := with_mapping(self._sealer, row, one.mapping))]
        if sealed:
            await transaction.run("assign_mapping", one.number, *zip(*sealed, strict=True))
        return len(sealed)


async def load(connection: Connection, mappings: Mappings, numbers: Sequence[int | None]) -> None:
    """Make these known. Reads nothing where they are: only another node, or a start, adds some."""
    if not mappings.has_all(numbers):
        mappings.add(await connection.fetch(QUERIES["read_mappings"]))
