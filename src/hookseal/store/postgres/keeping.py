"""Writes what the gateway keeps for itself. A few small values; what they mean is not known here."""

from collections.abc import Sequence
from dataclasses import dataclass

from hookseal.store.postgres.writer import Transaction


@dataclass(frozen=True, slots=True)
class Keep:
    """sealed: None drops the value. replace: whether a value that is there already gives way."""

    shelf: str
    name: str
    sealed: bytes | None
    replace: bool = True


async def apply(transaction: Transaction, batch: Sequence[Keep]) -> Sequence[None]:
    # Each write locks the version row of its namespace. One order for all nodes, or two batches could wait for each other.
    # The sort is stable: two writes of one value keep their order.
    for one in sorted(batch, key=lambda write: write.shelf):
        if one.sealed is None:
            await transaction.run("forget", one.shelf, one.name)
        else:
            await transaction.run("keep" if one.replace else "keep_new", one.shelf, one.name, one.sealed)
    return [None] * len(batch)


async def probe(transaction: Transaction, batch: Sequence[Keep]) -> Sequence[None]:
    """Write each value and drop it again. Names differ, so that nodes never wait for each other's row."""
    await apply(transaction, batch)
    return await apply(transaction, [Keep(value.shelf, value.name, None) for value in batch])
