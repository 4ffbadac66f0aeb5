"""Seals the rows of a store that is older than schema 10, in the transaction of the migration.

It makes the store's secret. This is the only place that does: a store that has lost its secret is not opened, and gets
no other one.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw

from hookseal.sealing import Sealer
from hookseal.store.event_seal import SECRET_NAME, SECRET_SHELF, EventSealer, new_secret
from hookseal.store.old_rows import sealed_event, sealed_refusal
from hookseal.store.rows import kept_label
from hookseal.store.sql import Queries
from hookseal.store.sqlite.accepting import subject_place
from hookseal.store.sqlite.connection import fetch

QUERIES = Queries.read(Path(__file__).parent / "sealing_old_rows.sql")
_SLICE = 1000
_FEW = 16
"""Refused requests have up to 16 MiB each."""


def seal_old_rows(connection: apsw.Connection, sealer: Sealer) -> None:
    secret = new_secret()
    sealed = sealer.seal(secret, kept_label(SECRET_SHELF, SECRET_NAME))
    connection.execute(QUERIES["keep_secret"], {"shelf": SECRET_SHELF, "name": SECRET_NAME, "sealed": sealed})
    events = EventSealer()
    events.use(secret)
    for row in _rows(connection, "old_events", _SLICE):
        facts, subject_hash = sealed_event(events, row[1:])
        values = {"key": row[0], "facts": facts, "subject_hash": subject_hash}
        connection.execute(QUERIES["seal_event"], values)
    for key, id, event, endpoint in _rows(connection, "old_deliveries", _SLICE):
        connection.execute(QUERIES["seal_delivery"], {"key": key, "seal": events.delivery_seal(id, event, endpoint)})
    for key, *row in _rows(connection, "old_refusals", _FEW):
        anew = sealed_refusal(sealer, *row)
        if anew is not None:
            connection.execute(QUERIES["seal_refusal"], {"key": key, "sealed": anew, "bytes": len(anew)})
    connection.create_scalar_function("subject_place", _place, 1, deterministic=True)
    try:
        for name in ("old_subjects", "drop_subjects", "place_subjects", "drop_placed", "place_recent"):
            connection.execute(QUERIES[name])
    finally:
        connection.create_scalar_function("subject_place", None, 1)


def _place(*values: Any) -> int | None:
    [subject_hash] = values
    return None if subject_hash is None else subject_place(bytes(subject_hash))


def _rows(connection: apsw.Connection, name: str, limit: int) -> Iterator[Sequence[Any]]:
    after = 0
    while rows := fetch(connection, QUERIES[name], {"after": after, "limit": limit}):
        yield from rows
        after = rows[-1][0]
