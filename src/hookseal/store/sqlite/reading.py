"""Reads: events, deliveries and refused requests as they were stored, page by page, the newest first.

Runs on threads of its own beside the writer; each call sees what was committed before it began.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import apsw
import msgspec

from hookseal.clock import Instant
from hookseal.errors import NotFound
from hookseal.model import DeliveryId, DeliveryState, EndpointId, EventId, RefusalId, SourceId
from hookseal.sealing import Sealer
from hookseal.store.claimed import ReadEvent
from hookseal.store.claiming import ClaimedEvents
from hookseal.store.event_seal import EventSealer
from hookseal.store.mappings import Mappings
from hookseal.store.packing import (
    FOREVER,
    id_text,
    pack_cursor,
    pack_delivery,
    pack_uuid,
    prefix_bounds,
    storable,
    unpack_cursor,
)
from hookseal.store.port import (
    AttemptRow,
    Counts,
    Cursor,
    DeliveryFilter,
    DeliveryRow,
    EventFilter,
    IdKind,
    InForce,
    Page,
    Refusal,
    StoredEvent,
)
from hookseal.store.rows import Opening, Row, attempt_row
from hookseal.store.sql import slices
from hookseal.store.sqlite import mapping
from hookseal.store.sqlite.accepting import subject_place
from hookseal.store.sqlite.connection import fetch
from hookseal.store.sqlite.migrate import QUERIES

_FIND_IDS = {
    IdKind.EVENT: "find_event_ids",
    IdKind.DELIVERY: "find_delivery_ids",
    IdKind.REFUSAL: "find_refusal_ids",
}


class Reading:
    def __init__(self, sealer: Sealer, events: EventSealer, mappings: Mappings) -> None:
        self._opening = Opening(sealer, events, mappings)
        self._events = events
        self._mappings = mappings

    def kept(self, connection: apsw.Connection, shelf: str) -> Mapping[str, bytes | None]:
        return self._opening.kept(shelf, fetch(connection, QUERIES["read_kept"], {"shelf": shelf}))

    def kv_versions(self, connection: apsw.Connection) -> Mapping[str, int]:
        return dict(fetch(connection, QUERIES["read_kv_versions"], {}))

    # --- events ---

    def event(self, connection: apsw.Connection, event: EventId) -> StoredEvent:
        """SealBroken when the bytes are there and do not open."""
        packed = pack_uuid(event)
        rows = fetch(connection, QUERIES["read_event"], {"id": packed})
        if not rows:
            raise NotFound("there is no such event")
        self._load_mappings(connection, rows)
        return self._opening.event(rows[0])

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
            "limit": limit + 1,
        }
        name = "events_newest" if where.source is None else "events_of_source"
        if where.subject is not None:
            name = "events_of_subject"
            subject = self._events.subject_hash(storable(where.subject) or "")
            place = subject_place(subject)
            values |= {"subject": subject, "place": place, "slots": _slots(connection, place)}
        rows = fetch(connection, QUERIES[name], values)
        self._load_mappings(connection, rows)
        following = pack_cursor("e", rows[limit - 1][6], rows[limit - 1][0]) if len(rows) > limit else None
        return Page([self._opening.listed_event(row) for row in rows[:limit]], following)

    def in_force(self, connection: apsw.Connection, source: SourceId, subject: str) -> InForce:
        subject_hash = self._events.subject_hash(storable(subject) or "")
        place = subject_place(subject_hash)
        with connection:  # one view for both statements
            values = {
                "place": place,
                "slots": _slots(connection, place),
                "source": storable(source),
                "subject": subject_hash,
            }
            rows = fetch(connection, QUERIES["state_in_force"], values)
            if not rows:
                raise NotFound("there is no such subject")
            [(events, superseded)] = fetch(connection, QUERIES["count_states"], values)
        self._load_mappings(connection, rows)
        return InForce(event=self._opening.listed_event(rows[0]), events=events, superseded=superseded)

    def events_of(self, connection: apsw.Connection, keys: Sequence[int]) -> Mapping[int, ReadEvent | None]:
        """Return the events with these keys, those that come first within the bound on bytes; see `ClaimedEvents`."""
        rows: dict[int, tuple[int, Row]] = {}
        for some in slices(sorted(set(keys))):
            found = fetch(connection, QUERIES.rows("claimed_events", len(some)), some)
            self._load_mappings(connection, found)
            rows.update((row[0], (row[-1], row)) for row in found)
        claimed = ClaimedEvents(self._opening, [rows[key] for key in dict.fromkeys(keys) if key in rows])
        for group in claimed.wanted():
            bodies: dict[int, bytes] = {}
            for few in slices(group):
                bodies.update(connection.execute(QUERIES.rows("read_bodies", len(few)), few))
            claimed.open(group, bodies)
        return {**dict.fromkeys(key for key in keys if key not in rows), **claimed.events()}

    def _load_mappings(self, connection: apsw.Connection, rows: Sequence[Row]) -> None:
        mapping.load(connection, self._mappings, [row[17] for row in rows])

    # --- deliveries ---

    def delivery(self, connection: apsw.Connection, delivery: DeliveryId) -> tuple[DeliveryRow, Sequence[AttemptRow]]:
        packed = pack_delivery(delivery)
        with connection:  # one view of both tables
            rows = fetch(connection, QUERIES["read_delivery"], {"id": packed})
            if not rows:
                raise NotFound("there is no such delivery")
            tried = fetch(connection, QUERIES["read_attempts"], {"delivery": rows[0][0]})
        return self._opening.delivery(rows[0]), [attempt_row(row) for row in tried]

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
        elif where.state not in (None, DeliveryState.DELIVERED, DeliveryState.REPLAYED):
            name = "deliveries_open"
        rows = fetch(connection, QUERIES[name], values)
        following = pack_cursor("d", rows[limit - 1][0]) if len(rows) > limit else None
        return Page([self._opening.listed_delivery(row) for row in rows[:limit]], following)

    def next_due_at(self, connection: apsw.Connection, endpoints: Sequence[EndpointId]) -> Instant | None:
        dues = [fetch(connection, QUERIES["next_due_at"], {"endpoint": endpoint})[0][0] for endpoint in endpoints]
        return min((due for due in dues if due is not None), default=None)

    # --- quarantine ---

    def refusal(self, connection: apsw.Connection, refusal: RefusalId) -> Refusal:
        packed = pack_uuid(refusal)
        rows = fetch(connection, QUERIES["read_refusal"], {"id": packed})
        if not rows:
            raise NotFound("there is no such refused request")
        return self._opening.refusal(rows[0])

    def refusals(
        self, connection: apsw.Connection, source: SourceId | None, limit: int, cursor: Cursor | None
    ) -> Page[Refusal]:
        key = FOREVER if cursor is None else unpack_cursor(cursor, "q", 1)[0]
        name = "refusals_newest" if source is None else "refusals_of_source"
        rows = fetch(connection, QUERIES[name], {"source": storable(source), "key": key, "limit": limit + 1})
        following = pack_cursor("q", rows[limit - 1][0]) if len(rows) > limit else None
        return Page([self._opening.listed_refusal(row) for row in rows[:limit]], following)

    # --- ids ---

    def find_ids(self, connection: apsw.Connection, kind: IdKind, prefix: str, limit: int) -> Sequence[str]:
        bounds = prefix_bounds(kind, prefix)
        if bounds is None:
            return []
        values = {"first": bounds[0], "last": bounds[1], "limit": limit}
        return [id_text(kind, packed) for (packed,) in fetch(connection, QUERIES[_FIND_IDS[kind]], values)]

    # --- counting ---

    def newest_receipt(self, connection: apsw.Connection) -> Instant | None:
        newest: Instant | None = fetch(connection, QUERIES["newest_receipt"])[0][0]
        return newest

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
