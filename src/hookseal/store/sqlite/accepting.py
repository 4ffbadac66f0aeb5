"""Writes accepted requests: one group of statements for all that wait, duplicates recognised before anything is written.

Everything of a request is written in the transaction that it is acknowledged by: bytes, events, dedupe keys and
deliveries. Sealing happened before, on the caller's side.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import apsw

from hookseal import probe
from hookseal.model import EventId
from hookseal.probe import Step
from hookseal.store.packing import event_id
from hookseal.store.port import NewDelivery, NewEvent, Stored
from hookseal.store.preparing import PackedDelivery, PackedEvent, Prepared
from hookseal.store.sql import slices
from hookseal.store.sqlite.migrate import QUERIES
from hookseal.store.sqlite.peaks import Peaks, Subject
from hookseal.store.sqlite.positions import Positions
from hookseal.store.sqlite.recent import Fresh, Recent

_DAY = 86_400_000_000


def subject_place(subject_hash: bytes) -> int:
    """48 bits of a subject's keyed hash."""
    return int.from_bytes(subject_hash[:6])


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
        for event, packed in zip(one.request.events, one.events, strict=True):
            original = originals.get(event.dedupe_key)
            if original is not None:
                results.append(_duplicate(event, original, rows))
                continue
            mine: list[tuple[NewDelivery, PackedDelivery]] = []
            for planned in zip(event.deliveries, packed.deliveries, strict=True):
                if planned[1].id not in placed:
                    placed.add(planned[1].id)
                    mine.append(planned)
            original, is_late = self._new(one, key, event, packed, mine, rows)
            key = key or original.key
            originals[event.dedupe_key] = original
            results.append(Stored(original.id, original.sequence, duplicate=False, superseded=is_late))
        if key:
            rows.requests.append((key, one.id, len(rows.events) - before))
            rows.bodies.append((key, one.sealed))
        return tuple(results)

    def _new(
        self,
        one: Prepared,
        request_key: int,  # 0: this is the first one stored, and its key becomes the request's
        event: NewEvent,
        packed: PackedEvent,
        deliveries: Sequence[tuple[NewDelivery, PackedDelivery]],
        rows: _Rows,
    ) -> tuple[_Original, bool]:
        """The event, and whether it came too late: a later state of its subject was stored before."""
        take, request = self._positions.take, one.request
        key, sequence = take("event"), take("sequence", request.source)
        subject, standing = packed.subject_hash, packed.standing
        peak = None if subject is None or standing is None else rows.peaks.raised((request.source, subject), standing)
        rows.events.append(
            (
                key,
                packed.id,
                request_key or key,
                event.item,
                request.source,
                sequence,
                request.received_at,
                packed.type,
                event.time,
                packed.flags,
                event.content,
                standing,
                peak,
                one.mapping,
                packed.outcome,
                event.final,
                subject,
                packed.facts,
            )
        )
        place = None if subject is None else subject_place(subject)
        rows.fresh.append(Fresh(key, event.dedupe_key, packed.id, request.received_at // _DAY, place))
        for delivery, made in deliveries:
            due_at = delivery.due_at if delivery.lease_until is None else delivery.lease_until
            rows.deliveries.append(
                (
                    take("delivery"),
                    made.id,
                    key,
                    delivery.endpoint,
                    request.received_at,
                    due_at,
                    delivery.lease,
                    made.seal,
                )
            )
        return _Original(event.id, key, sequence, event.content), standing != peak


def _ordered(batch: Sequence[Prepared], originals: Mapping[bytes, _Original]) -> Iterator[tuple[int, Subject]]:
    """The subjects of the new events that have an order."""
    for one in batch:
        for event, packed in zip(one.request.events, one.events, strict=True):
            if packed.standing is None or packed.subject_hash is None or event.dedupe_key in originals:
                continue
            yield subject_place(packed.subject_hash), (one.request.source, packed.subject_hash)


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
