"""Reads: events, deliveries and refused requests as they were stored, page by page, the newest first.

Runs on threads of its own beside the writer; each call sees what was committed before it began. A list never fails for
one row: an event whose bytes do not open, or are gone, is listed without them and carries the flag UNREADABLE.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import apsw
import msgspec

from hookseal.clock import Instant
from hookseal.errors import NotFound, SealBroken
from hookseal.message import Headers
from hookseal.model import DeliveryId, DeliveryState, EndpointId, EventId, Flag, RefusalId, SourceId
from hookseal.sealing import Sealer
from hookseal.store.port import (
    UNREADABLE,
    AttemptRow,
    Counts,
    Cursor,
    DeliveryFilter,
    DeliveryRow,
    EventFilter,
    EventRow,
    Page,
    Refusal,
    StoredEvent,
)
from hookseal.store.sql import slices
from hookseal.store.sqlite.accepting import subject_place
from hookseal.store.sqlite.connection import Row, fetch
from hookseal.store.sqlite.migrate import QUERIES
from hookseal.store.sqlite.packing import (
    FOREVER,
    delivery_id,
    event_id,
    pack_cursor,
    pack_delivery,
    pack_uuid,
    refusal_id,
    storable,
    unpack_cursor,
    unpack_flags,
    unpack_refusal,
    unpack_request,
)


def request_label(packed: bytes) -> str:
    return f"request|{packed.hex()}"


def refusal_label(packed: bytes) -> str:
    return f"refusal|{packed.hex()}"


class Reading:
    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    # --- events ---

    def event(self, connection: apsw.Connection, event: EventId) -> StoredEvent:
        """SealBroken when the bytes are there and do not open."""
        packed = pack_uuid(event)
        rows = fetch(connection, QUERIES["read_event"], {"id": packed})
        if not rows:
            raise NotFound("there is no such event")
        row = rows[0]
        return self._stored_event(row) if row[15] is not None else _unreadable(row)

    def events(
        self, connection: apsw.Connection, where: EventFilter, limit: int, cursor: Cursor | None
    ) -> Page[StoredEvent]:
        until = FOREVER if where.until is None else where.until
        at, key = (until, 0) if cursor is None else unpack_cursor(cursor, "e", 2)
        values: dict[str, Any] = {
            "at": at,
            "key": key,
            "since": -FOREVER if where.since is None else where.since,
            "type": storable(where.type),
            "source": storable(where.source),
            "subject": storable(where.subject),
            "limit": limit + 1,
        }
        name = "events_newest" if where.source is None else "events_of_source"
        if where.subject is not None:
            name = "events_of_subject"
            place = subject_place(str(values["subject"]))
            values |= {"place": place, "slots": _slots(connection, place)}
        rows = fetch(connection, QUERIES[name], values)
        following = pack_cursor("e", rows[limit - 1][6], rows[limit - 1][0]) if len(rows) > limit else None
        return Page([self._listed_event(row) for row in rows[:limit]], following)

    def events_of(self, connection: apsw.Connection, keys: Sequence[int]) -> Mapping[int, StoredEvent | None]:
        """The events with these keys; None for one whose bytes do not open, or are gone."""
        found: dict[int, StoredEvent | None] = {}
        for some in slices(sorted(set(keys))):
            for row in connection.execute(QUERIES.rows("claimed_events", len(some)), some):
                try:
                    found[row[0]] = None if row[15] is None else self._stored_event(row)
                except SealBroken:
                    found[row[0]] = None
        return found

    def _listed_event(self, row: Row) -> StoredEvent:
        try:
            return _unreadable(row) if row[15] is None else self._stored_event(row)
        except SealBroken:
            return _unreadable(row)

    def _stored_event(self, row: Row) -> StoredEvent:
        request = unpack_request(self._sealer.unseal(row[15], request_label(row[13])))
        return StoredEvent(row=_event_row(row), headers=request.headers, body=request.body, siblings=row[14])

    # --- deliveries ---

    def delivery(self, connection: apsw.Connection, delivery: DeliveryId) -> tuple[DeliveryRow, Sequence[AttemptRow]]:
        packed = pack_delivery(delivery)
        with connection:  # one view of both tables
            rows = fetch(connection, QUERIES["read_delivery"], {"id": packed})
            if not rows:
                raise NotFound("there is no such delivery")
            tried = fetch(connection, QUERIES["read_attempts"], {"delivery": rows[0][0]})
        attempts = [
            AttemptRow(number=number, started_at=started_at, duration_ms=duration_ms, status=status, reason=reason)
            for number, started_at, duration_ms, status, reason in tried
        ]
        return _delivery_row(rows[0]), attempts

    def deliveries(
        self, connection: apsw.Connection, where: DeliveryFilter, limit: int, cursor: Cursor | None
    ) -> Page[DeliveryRow]:
        event = None if where.event is None else pack_uuid(where.event)
        if where.event is not None and event is None:
            return Page([], None)
        values = {
            "key": FOREVER if cursor is None else unpack_cursor(cursor, "d", 1)[0],
            "endpoint": where.endpoint,
            "state": None if where.state is None else where.state.value,
            "event": event,
            "since": -FOREVER if where.since is None else where.since,
            "until": FOREVER if where.until is None else where.until,
            "limit": limit + 1,
        }
        name = "deliveries_newest"
        if event is not None:
            name = "deliveries_of_event"
        elif where.state not in (None, DeliveryState.DELIVERED):
            name = "deliveries_open"
        rows = fetch(connection, QUERIES[name], values)
        following = pack_cursor("d", rows[limit - 1][0]) if len(rows) > limit else None
        return Page([_delivery_row(row) for row in rows[:limit]], following)

    def next_due_at(self, connection: apsw.Connection, endpoints: Sequence[EndpointId]) -> Instant | None:
        dues = [fetch(connection, QUERIES["next_due_at"], {"endpoint": endpoint})[0][0] for endpoint in endpoints]
        return min((due for due in dues if due is not None), default=None)

    # --- quarantine ---

    def refusal(self, connection: apsw.Connection, refusal: RefusalId) -> Refusal:
        packed = pack_uuid(refusal)
        rows = fetch(connection, QUERIES["read_refusal"], {"id": packed})
        if not rows:
            raise NotFound("there is no such refused request")
        return self._refusal(rows[0])

    def refusals(
        self, connection: apsw.Connection, source: SourceId | None, limit: int, cursor: Cursor | None
    ) -> Page[Refusal]:
        key = FOREVER if cursor is None else unpack_cursor(cursor, "q", 1)[0]
        name = "refusals_newest" if source is None else "refusals_of_source"
        rows = fetch(connection, QUERIES[name], {"source": storable(source), "key": key, "limit": limit + 1})
        following = pack_cursor("q", rows[limit - 1][0]) if len(rows) > limit else None
        return Page([self._listed_refusal(row) for row in rows[:limit]], following)

    def _listed_refusal(self, row: Row) -> Refusal:
        try:
            return self._refusal(row)
        except SealBroken:
            return _refusal(row, "", None, None)

    def _refusal(self, row: Row) -> Refusal:
        request = unpack_refusal(self._sealer.unseal(row[6], refusal_label(row[1])))
        return _refusal(row, request.method, request.url, request.remote, request.headers, request.body)

    # --- counting ---

    def counts(self, connection: apsw.Connection) -> Counts:
        return Counts(
            pending=dict(connection.execute(QUERIES["count_pending"])),
            dead=dict(connection.execute(QUERIES["count_dead"])),
            quarantined=connection.execute(QUERIES["count_quarantine"]).get,
        )


def _slots(connection: apsw.Connection, place: int) -> str:
    """A subject's slots in all partitions, as a JSON array."""
    return msgspec.json.encode(
        [number << 48 | place for number, _, _ in connection.execute(QUERIES["read_partitions"])]
    ).decode()


def _event_row(row: Row, *more_flags: str) -> EventRow:
    flags = unpack_flags(row[11])
    conflict = (Flag.CONFLICT.value,) if row[12] and Flag.CONFLICT.value not in flags else ()
    return EventRow(
        id=event_id(row[1]),
        source=row[2],
        sequence=row[3],
        item=row[4],
        type=row[5],
        received_at=row[6],
        provider_type=row[7],
        provider_id=row[8],
        subject=row[9],
        time=row[10],
        flags=(*flags, *conflict, *more_flags),
        conflicts=row[12],
    )


def _unreadable(row: Row) -> StoredEvent:
    return StoredEvent(row=_event_row(row, UNREADABLE), headers=(), body=b"", siblings=row[14] or 1)


def _delivery_row(row: Row) -> DeliveryRow:
    return DeliveryRow(
        id=delivery_id(row[1]),
        event=event_id(row[2]),
        source=row[4],
        type=row[5],
        endpoint=row[7],
        state=DeliveryState(row[8]),
        attempts=row[9],
        losses=row[10],
        created_at=row[11],
        due_at=row[12],
        ended_at=row[13],
        last_status=row[14],
        last_reason=row[15],
    )


def _refusal(
    row: Row, method: str, url: str | None, remote: str | None, headers: Headers = (), body: bytes = b""
) -> Refusal:
    return Refusal(
        id=refusal_id(row[1]),
        source=row[2],
        received_at=row[3],
        reason=row[4],
        released_at=row[5],
        method=method,
        url=url,
        remote=remote,
        headers=headers,
        body=body,
    )
