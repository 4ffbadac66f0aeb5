"""Reads: events, deliveries and refused requests as they were stored, page by page, the newest first.

Each function is one or two statements on a connection of the readers' own; each sees what was committed before.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

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
    DatabaseTime,
    DeliveryFilter,
    DeliveryRow,
    EventFilter,
    IdKind,
    InForce,
    Page,
    Refusal,
    StoredEvent,
)
from hookseal.store.postgres import mapping
from hookseal.store.postgres.connection import Connection, Row
from hookseal.store.postgres.queries import QUERIES
from hookseal.store.postgres.replaying import SLICE, Place, Span
from hookseal.store.rows import Opening, attempt_row

_LARGE_BYTES = 256 * 1024
"""From this size on sealed bytes are opened on a thread: 2 ms of decryption and decompression."""
_LARGEST = 2**128 - 1
"""The last of all ids."""

_FIND_IDS = {
    IdKind.EVENT: "find_event_ids",
    IdKind.DELIVERY: "find_delivery_ids",
    IdKind.REFUSAL: "find_refusal_ids",
}


def _packed(number: int) -> bytes:
    return number.to_bytes(16)


class Reading:
    def __init__(self, sealer: Sealer, events: EventSealer, mappings: Mappings) -> None:
        self._opening = Opening(sealer, events, mappings)
        self._events = events
        self._mappings = mappings

    async def kept(self, connection: Connection, shelf: str) -> Mapping[str, bytes | None]:
        return self._opening.kept(shelf, await _fetch(connection, "read_kept", shelf))

    async def kv_versions(self, connection: Connection) -> Mapping[str, int]:
        return dict(await _fetch(connection, "read_kv_versions"))

    # --- events ---

    async def event(self, connection: Connection, event: EventId) -> StoredEvent:
        """SealBroken when the bytes are there and do not open."""
        packed = pack_uuid(event)
        rows = await _fetch(connection, "read_event", packed)
        if not rows:
            raise NotFound("there is no such event")
        await self._load_mappings(connection, rows)
        return self._opening.event(rows[0])

    async def events(
        self, connection: Connection, where: EventFilter, limit: int, cursor: Cursor | None
    ) -> Page[StoredEvent]:
        until = FOREVER if where.until is None else where.until
        at, key = (until, 0) if cursor is None else unpack_cursor(cursor, "e", 2, _LARGEST)
        since = -FOREVER if where.since is None else where.since
        values: list[Any] = [min(at, FOREVER), _packed(abs(key)), since, where.type, limit + 1]
        if where.subject is not None:
            subject = self._events.subject_hash(storable(where.subject) or "")
            rows = await _fetch(connection, "events_of_subject", *values, where.source, subject)
        elif where.source is not None:
            rows = await _fetch(connection, "events_of_source", *values, where.source)
        else:
            rows = await _fetch(connection, "events_newest", *values)
        await self._load_mappings(connection, rows)
        last = rows[limit - 1] if len(rows) > limit else None
        following = None if last is None else pack_cursor("e", last[6], int.from_bytes(last[0]))
        return Page([self._opening.listed_event(row) for row in rows[:limit]], following)

    async def in_force(self, connection: Connection, source: SourceId, subject: str) -> InForce:
        subject_hash = self._events.subject_hash(storable(subject) or "")
        rows = await _fetch(connection, "state_in_force", source, subject_hash)
        if not rows:
            raise NotFound("there is no such subject")
        # A state that is stored between the two statements is counted already.
        await self._load_mappings(connection, rows)
        [(events, superseded)] = await _fetch(connection, "count_states", source, subject_hash)
        return InForce(event=self._opening.listed_event(rows[0]), events=events, superseded=superseded)

    async def events_of(self, connection: Connection, ids: Sequence[bytes]) -> Mapping[bytes, ReadEvent | None]:
        """Return the events with these ids, those that come first within the bound on bytes; see `ClaimedEvents`."""
        found = await _fetch(connection, "claimed_events", sorted(set(ids)))
        await self._load_mappings(connection, found)
        rows = {row[0]: (row[13], row) for row in found}
        claimed = ClaimedEvents(self._opening, [rows[id] for id in dict.fromkeys(ids) if id in rows])
        for group in claimed.wanted():
            bodies = {row[0]: row[1] for row in await _fetch(connection, "read_bodies", group)}
            if sum(map(len, bodies.values())) < _LARGE_BYTES:
                claimed.open(group, bodies)
            else:  # decryption and decompression leave the interpreter lock to the event loop
                await asyncio.to_thread(claimed.open, group, bodies)
        return {**dict.fromkeys(id for id in ids if id not in rows), **claimed.events()}

    async def _load_mappings(self, connection: Connection, rows: Sequence[Row]) -> None:
        await mapping.load(connection, self._mappings, [row[17] for row in rows])

    # --- deliveries ---

    async def delivery(self, connection: Connection, delivery: DeliveryId) -> tuple[DeliveryRow, Sequence[AttemptRow]]:
        packed = pack_delivery(delivery)
        rows = await _fetch(connection, "read_delivery", packed)
        if not rows:
            raise NotFound("there is no such delivery")
        found = self._opening.delivery(rows[0])
        tried = map(attempt_row, await _fetch(connection, "read_attempts", packed))
        # A try that was recorded between the two statements is not in the row yet.
        return found, [attempt for attempt in tried if attempt.number <= found.attempts]

    async def deliveries(
        self, connection: Connection, where: DeliveryFilter, limit: int, cursor: Cursor | None
    ) -> Page[DeliveryRow]:
        event = None if where.event is None else pack_uuid(where.event)
        if where.event is not None and event is None:
            return Page([], None)
        values: list[Any] = [
            _before(cursor, "d"),
            where.endpoint,
            None if where.state is None else where.state.value,
            -FOREVER if where.since is None else where.since,
            FOREVER if where.until is None else where.until,
            limit + 1,
        ]
        if event is not None:
            rows = await _fetch(connection, "deliveries_of_event", *values, event)
        elif where.state not in (None, DeliveryState.DELIVERED, DeliveryState.REPLAYED):
            rows = await _fetch(connection, "deliveries_open", *values)
        else:
            rows = await _fetch(connection, "deliveries_newest", *values)
        return Page([self._opening.listed_delivery(row) for row in rows[:limit]], _following(rows, limit, "d"))

    async def next_due_at(
        self, connection: Connection, endpoints: Sequence[EndpointId], node_now: Instant | None
    ) -> Instant | None:
        """node_now: this node's clock, or None when instants count as they are given."""
        due: Instant | None = await connection.fetchval(QUERIES["next_due_at"], list(endpoints), node_now)
        return due

    # --- replays ---

    async def spans(self, connection: Connection, since: Instant, until: Instant) -> Sequence[Span]:
        """Slices of the events received between the two. What is stored from now on is not replayed."""
        bound = await _fetch(connection, "replay_bounds", since, until)
        if not bound:
            return []
        last: Place = (bound[0][0], bound[0][1])
        # No event has an id of zeros: behind that one begin those that were received at `since`.
        behind: Place = (since, bytes(16))
        spans: list[Span] = []
        while rows := await _fetch(connection, "replay_slice", *behind, *last, SLICE):
            place: Place = (rows[0][0], rows[0][1])
            spans.append(Span(behind, place))
            behind = place
        return spans

    # --- quarantine ---

    async def refusal(self, connection: Connection, refusal: RefusalId) -> Refusal:
        rows = await _fetch(connection, "read_refusal", pack_uuid(refusal))
        if not rows:
            raise NotFound("there is no such refused request")
        return self._opening.refusal(rows[0])

    async def refusals(
        self, connection: Connection, source: SourceId | None, limit: int, cursor: Cursor | None
    ) -> Page[Refusal]:
        before = _before(cursor, "q")
        if source is None:
            rows = await _fetch(connection, "refusals_newest", before, limit + 1)
        else:
            rows = await _fetch(connection, "refusals_of_source", before, limit + 1, source)
        return Page([self._opening.listed_refusal(row) for row in rows[:limit]], _following(rows, limit, "q"))

    # --- ids ---

    async def find_ids(self, connection: Connection, kind: IdKind, prefix: str, limit: int) -> Sequence[str]:
        bounds = prefix_bounds(kind, prefix)
        if bounds is None:
            return []
        return [id_text(kind, packed) for (packed,) in await _fetch(connection, _FIND_IDS[kind], *bounds, limit)]

    # --- counting ---

    async def newest_receipt(self, connection: Connection) -> Instant | None:
        newest: Instant | None = await connection.fetchval(QUERIES["newest_receipt"])
        return newest

    async def database_time(self, connection: Connection) -> DatabaseTime:
        [(now, is_local)] = await _fetch(connection, "database_time")
        return DatabaseTime(now, is_local)

    async def counts(self, connection: Connection) -> Counts:
        pending = await _fetch(connection, "count_pending")
        dead = await _fetch(connection, "count_dead")
        return Counts(
            pending=dict(pending),
            dead=dict(dead),
            quarantined=await connection.fetchval(QUERIES["count_quarantine"]),
        )


async def _fetch(connection: Connection, name: str, *values: Any) -> Sequence[Row]:
    rows: Sequence[Row] = await connection.fetch(QUERIES[name], *values)
    return rows


def _before(cursor: Cursor | None, kind: str) -> bytes:
    return _packed(_LARGEST if cursor is None else abs(unpack_cursor(cursor, kind, 1, _LARGEST)[0]))


def _following(rows: Sequence[Row], limit: int, kind: str) -> Cursor | None:
    return pack_cursor(kind, int.from_bytes(rows[limit - 1][0])) if len(rows) > limit else None
