"""Seals the rows of a store that is older than schema 11, in the transaction of the migration.

It makes the store's secret. This is the only place that does: a store that has lost its secret is not opened, and gets
no other one.
"""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from hookseal.sealing import Sealer
from hookseal.store.event_seal import SECRET_NAME, SECRET_SHELF, EventSealer, new_secret
from hookseal.store.old_rows import sealed_event, sealed_refusal
from hookseal.store.postgres.connection import Connection
from hookseal.store.postgres.peaks import hash_of
from hookseal.store.rows import kept_label
from hookseal.store.sql import Queries

QUERIES = Queries.read(Path(__file__).parent / "sealing_old_rows.sql")
_FIRST = bytes(16)
_SLICE = 1000
_FEW = 16
"""Refused requests have up to 16 MiB each."""


async def seal_old_rows(connection: Connection, sealer: Sealer) -> None:
    secret = new_secret()
    sealed = sealer.seal(secret, kept_label(SECRET_SHELF, SECRET_NAME))
    await connection.execute(QUERIES["keep_secret"], SECRET_SHELF, SECRET_NAME, sealed)
    events = EventSealer()
    events.use(secret)
    async for rows in _slices(connection, "old_events", _SLICE):
        made = [(row[0], *sealed_event(events, row)) for row in rows]
        await connection.execute(QUERIES["seal_events"], *zip(*made, strict=True))
    async for rows in _slices(connection, "old_deliveries", _SLICE):
        seals = [(id, events.delivery_seal(id, event, endpoint)) for id, event, endpoint in rows]
        await connection.execute(QUERIES["seal_deliveries"], *zip(*seals, strict=True))
    async for rows in _slices(connection, "old_refusals", _FEW):
        for row in rows:
            anew = sealed_refusal(sealer, *row)
            if anew is not None:
                await connection.execute(QUERIES["seal_refusal"], row[0], anew, len(anew))
    await _raise_peaks(connection)


async def _raise_peaks(connection: Connection) -> None:
    await connection.execute(QUERIES["drop_peaks"])
    after: tuple[bytes, str] = _FIRST, ""
    while rows := await connection.fetch(QUERIES["old_peaks"], *after, _SLICE):
        made = [(hash_of(source, subject), peak, newest) for subject, source, peak, newest in rows]
        await connection.execute(QUERIES["keep_peaks"], *zip(*made, strict=True))
        after = rows[-1][0], rows[-1][1]


async def _slices(connection: Connection, name: str, limit: int) -> AsyncIterator[Sequence[Any]]:
    after = _FIRST
    while rows := await connection.fetch(QUERIES[name], after, limit):
        yield rows
        after = rows[-1][0]
