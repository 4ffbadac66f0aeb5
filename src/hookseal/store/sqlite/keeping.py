"""Writes what the gateway keeps for itself. A few small values; what they mean is not known here."""

from collections.abc import Sequence
from dataclasses import dataclass

import apsw

from hookseal.store.sqlite.migrate import QUERIES


@dataclass(frozen=True, slots=True)
class Keep:
    """sealed: None drops the value. replace: whether a value that is there already gives way."""

    shelf: str
    name: str
    sealed: bytes | None
    replace: bool = True


def apply(connection: apsw.Connection, batch: Sequence[Keep]) -> Sequence[None]:
    for one in batch:
        if one.sealed is None:
            connection.execute(QUERIES["forget"], {"shelf": one.shelf, "name": one.name})
            continue
        values = {"shelf": one.shelf, "name": one.name, "sealed": one.sealed}
        connection.execute(QUERIES["keep" if one.replace else "keep_new"], values)
    return [None] * len(batch)


def probe(connection: apsw.Connection, batch: Sequence[Keep]) -> Sequence[None]:
    """Write each value and drop it again. The pages are dirty all the same, so that the commit writes and syncs."""
    apply(connection, batch)
    return apply(connection, [Keep(value.shelf, value.name, None) for value in batch])
