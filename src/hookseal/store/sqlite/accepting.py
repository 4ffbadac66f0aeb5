"""Writes accepted requests: one group of statements for all that wait, duplicates recognised before anything is written.

Everything of a request is written in the transaction that it is acknowledged by: bytes, events, dedupe keys and
deliveries. Sealing happened before, on the caller's side.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import apsw

from hookseal import probe
from hookseal.model import EventId, SourceId
from hookseal.probe import Step
from hookseal.steps import STEP_ITEMS, Steps
from hookseal.store.packing import event_id, must, pack_delivery, pack_flags, pack_uuid, storable
from hookseal.store.port import NewDelivery, NewEvent, NewRequest, Stored
from hookseal.store.sql import slices
from hookseal.store.sqlite import dedupe
from hookseal.store.sqlite.migrate import QUERIES
from hookseal.store.sqlite.peaks import Peaks
from hookseal.store.sqlite.positions import Positions
from hookseal.store.sqlite.recent import Fresh, Recent

_DAY = 86_400_000_000
_SUBJECT = 3
"""Where the subject is in `Prepared.columns`."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request ready to be written: sealed, its ids packed. `ids` and `deliveries` are in the order of the events.

    mapping  the number of its rules.
    columns  of each event, the values from `type` to `content`. What does not depend on other rows is computed before the
             transaction begins, because every other operation waits for it.
    places   of each event, the hash of its subject.
    """

    request: NewRequest
    sealed: bytes
    ids: tuple[bytes, ...]
    deliveries: tuple[tuple[bytes, ...], ...]
    mapping: int | None
    columns: tuple[tuple[Any, ...], ...]
    places: tuple[int | None, ...]


def prepare(request: NewRequest, sealed: bytes, mapping: int | None) -> Steps[Prepared]:
    """Check and pack a request, in steps. StoreError when an id or a dedupe key is not what a store can keep."""
    ids: list[bytes] = []
    deliveries: list[tuple[bytes, ...]] = []
    columns: list[tuple[Any, ...]] = []
    places: list[int | None] = []
    for event in request.events:
        must(event.dedupe_key if len(event.dedupe_key) == dedupe.KEY_BYTES else None, "a dedupe key")
        ids.append(must(pack_uuid(event.id), "an event's id"))
        deliveries.append(tuple(must(pack_delivery(one.id), "a delivery's id") for one in event.deliveries))
        subject = storable(event.subject)
        columns.append(
            (
                storable(event.type),
                storable(event.provider_type),
                storable(event.provider_id),
                subject,
                event.time,
                pack_flags(event.flags),
                event.content,
            )
        )
        places.append(None if subject is None else subject_place(subject))
        if len(ids) % STEP_ITEMS == 0:
            yield
    return Prepared(request, sealed, tuple(ids), tuple(deliveries), mapping, tuple(columns), tuple(places))


def subject_place(subject: str) -> int:
    """48 bits of a hash of a subject. Not a secret: the subject stands beside it."""
    return int.from_bytes(hashlib.blake2b(subject.encode(), digest_size=6).digest())


class _Original(NamedTuple):  # built once for each event: a frozen dataclass takes three times as long
    """The event that a dedupe key made. key 0: its row is gone, only its id is remembered."""

    id: EventId
    key: int
    sequence: int
    content: bytes | None


@dataclass(slots=True)
class _Rows:
    peaks: Peaks
    requests: list[tuple[Any, ...]] = field(default_factory=list)
    bodies: list[tuple[Any, ...]] = field(default_factory=list)
    events: list[tuple[Any, ...]] = field(default_factory=list)
    deliveries: list[tuple[Any, ...]] = field(default_factory=list)
    fresh: list[Fresh] = field(default_factory=list)
    conflicts: list[int] = field(default_factory=list)


class Accepting:
    def __init__(self, positions: Positions, recent: Recent) -> None:
        self._positions = positions
        self._recent = recent

    def apply(self, connection: apsw.Connection, batch: Sequence[Prepared]) -> Sequence[tuple[Stored, ...]]:
        made = self._recent.find(connection, {event.dedupe_key for one in batch for event in one.request.events})
        originals = _originals(connection, made)
        peaks = Peaks.find(connection, self._recent, _ordered(batch, originals))
        rows = _Rows(peaks)
        results = [self._one(one, originals, rows) for one in batch]
        _insert(connection, rows)
        if rows.fresh:
            self._recent.add(connection, rows.fresh)
        for key in rows.conflicts:
            connection.execute(QUERIES["count_conflict"], {"key": key})
        self._positions.save(connection)
        probe.reach(Step.EVENTS_WRITTEN)
        return results

    def _one(self, one: Prepared, originals: dict[bytes, _Original], rows: _Rows) -> tuple[Stored, ...]:
        key = 0
        before = len(rows.events)
        # A delivery that several events name belongs to the first of them that is new.
        placed: set[bytes] = set()
        results = []
        for index, event in enumerate(one.request.events):
            original = originals.get(event.dedupe_key)
            if original is not None:
                results.append(_duplicate(event, original, rows))
                continue
            mine: list[tuple[NewDelivery, bytes]] = []
            for planned in zip(event.deliveries, one.deliveries[index], strict=True):
                if planned[1] not in placed:
                    placed.add(planned[1])
                    mine.append(planned)
            original, is_late = self._new(one, index, key, mine, rows)
            key = key or original.key
            originals[event.dedupe_key] = original
            results.append(Stored(original.id, original.sequence, duplicate=False, superseded=is_late))
        if key:
            rows.requests.append((key, one.ids[0], len(rows.events) - before))
            rows.bodies.append((key, one.sealed))
        return tuple(results)

    def _new(
        self,
        one: Prepared,
        index: int,
        request_key: int,  # 0: this is the first one stored, and its key becomes the request's
        deliveries: Sequence[tuple[NewDelivery, bytes]],
        rows: _Rows,
    ) -> tuple[_Original, bool]:
        """The event, and whether it came too late: a later state of its subject was stored before."""
        take, request = self._positions.take, one.request
        event, packed, columns = request.events[index], one.ids[index], one.columns[index]
        key, sequence = take("event"), take("sequence", request.source)
        subject: str | None = columns[_SUBJECT]
        standing = None if subject is None else event.order
        peak = None if subject is None or standing is None else rows.peaks.raised((request.source, subject), standing)
        rows.events.append(
            (
                key,
                packed,
                request_key or key,
                event.item,
                request.source,
                sequence,
                request.received_at,
                *columns,
                standing,
                peak,
                one.mapping,
                None if event.outcome is None else event.outcome.value,
                event.final,
            )
        )
        rows.fresh.append(Fresh(key, event.dedupe_key, packed, request.received_at // _DAY, one.places[index]))
        for delivery, delivery_id in deliveries:
            due_at = delivery.due_at if delivery.lease_until is None else delivery.lease_until
            rows.deliveries.append(
                (
                    take("delivery"),
                    delivery_id,
                    key,
                    delivery.endpoint,
                    request.received_at,
                    due_at,
                    delivery.lease,
                )
            )
        return _Original(event.id, key, sequence, event.content), standing != peak


def _ordered(
    batch: Sequence[Prepared], originals: Mapping[bytes, _Original]
) -> Iterator[tuple[int, tuple[SourceId, str]]]:
    """The subjects of the new events that have an order."""
    for one in batch:
        for event, columns, place in zip(one.request.events, one.columns, one.places, strict=True):
            if event.order is None or event.dedupe_key in originals:
                continue
            if place is not None:
                yield place, (one.request.source, columns[_SUBJECT])


def _duplicate(event: NewEvent, original: _Original, rows: _Rows) -> Stored:
    conflict = original.content is not None and original.content != event.content
    if conflict:
        rows.conflicts.append(original.key)
    return Stored(original.id, original.sequence, duplicate=True, conflict=conflict)


def _originals(connection: apsw.Connection, made: Mapping[bytes, bytes]) -> dict[bytes, _Original]:
    """By dedupe key. An event that retention removed is still recognised by its key; its sequence is 0 then."""
    if not made:
        return {}
    rows: dict[bytes, _Original] = {}
    for some in slices(sorted(set(made.values()))):
        for packed, key, sequence, content in connection.execute(QUERIES.rows("find_originals", len(some)), some):
            rows[packed] = _Original(event_id(packed), key, sequence, content)
    return {
        dedupe_key: rows.get(packed) or _Original(event_id(packed), 0, 0, None) for dedupe_key, packed in made.items()
    }


def _insert(connection: apsw.Connection, rows: _Rows) -> None:
    for name, some_rows in (
        ("insert_requests", rows.requests),
        ("insert_bodies", rows.bodies),
        ("insert_events", rows.events),
        ("insert_deliveries", rows.deliveries),
    ):
        for some in slices(some_rows):
            connection.execute(QUERIES.rows(name, len(some)), list(chain.from_iterable(some)))
