"""Writes accepted requests: three statements for all that wait, or four where some of them are duplicates.

Everything of a request is written in the transaction that it is acknowledged by: bytes, events, dedupe keys and
deliveries. Sealing happened before. First the dedupe keys are put down: where another node is putting down the same
key, this waits until that node has committed or given up, and the index says who was first. Only then are the rows of
the sources locked, as late as can be, because they are held until the commit.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hookseal import probe
from hookseal.model import EventId, SourceId
from hookseal.probe import Step
from hookseal.store.packing import event_id, must, pack_delivery, pack_flags, pack_uuid, storable
from hookseal.store.port import NewDelivery, NewEvent, NewRequest, Stored
from hookseal.store.postgres.connection import spell
from hookseal.store.postgres.faults import Overtaken
from hookseal.store.postgres.peaks import Peaks, hash_of
from hookseal.store.postgres.writer import Transaction

_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request ready to be written: sealed, its ids packed. `ids` and `deliveries` are in the order of the events.

    mapping  the number of its rules.
    """

    request: NewRequest
    sealed: bytes
    ids: tuple[bytes, ...]
    deliveries: tuple[tuple[bytes, ...], ...]
    mapping: int | None


def prepare(request: NewRequest, sealed: bytes, mapping: int | None) -> Prepared:
    """StoreError when an id or a dedupe key is not what a store can keep."""
    for event in request.events:
        must(event.dedupe_key if len(event.dedupe_key) == _KEY_BYTES else None, "a dedupe key")
    return Prepared(
        request,
        sealed,
        tuple(must(pack_uuid(event.id), "an event's id") for event in request.events),
        tuple(
            tuple(must(pack_delivery(delivery.id), "a delivery's id") for delivery in event.deliveries)
            for event in request.events
        ),
        mapping,
    )


@dataclass(slots=True)
class _Original:
    """The event that a dedupe key made. content None: its row is gone, only its id is remembered."""

    id: EventId
    packed: bytes
    sequence: int
    content: bytes | None
    superseded: bool = False


@dataclass(slots=True)
class _New:
    """A new event of this batch and its place in its source: the first new one is number 1.

    subject  the hash of its subject, where it has a standing; peak: of the batch's events of that subject up to it.
    """

    prepared: Prepared
    event: NewEvent
    packed: bytes
    deliveries: Sequence[tuple[NewDelivery, bytes]]
    number: int
    siblings: int = 1
    subject: bytes | None = None
    standing: int | None = None
    peak: int | None = None


@dataclass(slots=True)
class _Batch:
    new: dict[bytes, _New] = field(default_factory=dict)
    by_source: Counter[SourceId] = field(default_factory=Counter)
    peaks: Peaks = field(default_factory=Peaks)


async def accept(transaction: Transaction, batch: Sequence[Prepared]) -> Sequence[tuple[Stored, ...]]:
    first: dict[bytes, tuple[bytes, int]] = {}
    for one in batch:
        for event, packed in zip(one.request.events, one.ids, strict=True):
            first.setdefault(event.dedupe_key, (packed, one.request.received_at))
    won = await transaction.run(
        "insert_dedupe", list(first), [packed for packed, _ in first.values()], [at for _, at in first.values()]
    )
    fresh = {key for (key,) in won}
    originals = await _originals(transaction, [key for key in first if key not in fresh])
    made = _new_events(batch, fresh)
    sequences, former = await _insert(transaction, made)
    for key, new in made.new.items():
        source = new.prepared.request.source
        sequence = sequences[source] - made.by_source[source] + new.number
        originals[key] = _Original(new.event.id, new.packed, sequence, new.event.content, _is_late(new, former))
    conflicts: Counter[bytes] = Counter()
    results = [
        tuple(_told(event, originals[event.dedupe_key], conflicts) for event in one.request.events) for one in batch
    ]
    if conflicts:
        await transaction.run("count_conflict", *_columns(sorted(conflicts.items()), 2))
    await probe.pause(Step.EVENTS_WRITTEN)
    return results


async def _originals(transaction: Transaction, keys: Sequence[bytes]) -> dict[bytes, _Original]:
    """By dedupe key. An event that retention removed is still recognised by its key; its sequence is 0 then."""
    if not keys:
        return {}
    rows = await transaction.run("find_originals", keys)
    if len(rows) != len(keys):
        raise Overtaken
    return {key: _Original(event_id(packed), packed, sequence or 0, content) for key, packed, sequence, content in rows}


def _new_events(batch: Sequence[Prepared], fresh: set[bytes]) -> _Batch:
    made = _Batch()
    for one in batch:
        mine: list[_New] = []
        # A delivery that several events name belongs to the first of them that is new.
        placed: set[bytes] = set()
        for event, packed, deliveries in zip(one.request.events, one.ids, one.deliveries, strict=True):
            if event.dedupe_key not in fresh or event.dedupe_key in made.new:
                continue
            made.by_source[one.request.source] += 1
            planned = [
                (delivery, id) for delivery, id in zip(event.deliveries, deliveries, strict=True) if id not in placed
            ]
            placed.update(id for _, id in planned)
            new = _New(one, event, packed, planned, made.by_source[one.request.source])
            subject = storable(event.subject)
            if subject is not None and event.order is not None:
                new.subject, new.standing = hash_of(one.request.source, subject), event.order
                new.peak = made.peaks.add(new.subject, new.standing, one.request.received_at)
            made.new[event.dedupe_key] = new
            mine.append(new)
        for new in mine:
            new.siblings = len(mine)
    return made


def _is_late(new: _New, former: Mapping[bytes, int]) -> bool:
    if new.subject is None or new.standing is None or new.peak is None:
        return False
    return new.standing < max(new.peak, former.get(new.subject, 0))


async def _insert(transaction: Transaction, made: _Batch) -> tuple[dict[SourceId, int], dict[bytes, int]]:
    """The last sequence of each source that has new events, and the former peak of each subject that had one."""
    if not made.new:
        return {}, {}
    bodies: dict[bytes, bytes] = {}
    events: list[tuple[Any, ...]] = []
    standings: list[tuple[Any, ...]] = []
    decided: list[tuple[Any, ...]] = []
    deliveries: list[tuple[Any, ...]] = []
    for new in made.new.values():
        request, event = new.prepared.request, new.event
        bodies[new.prepared.ids[0]] = new.prepared.sealed
        events.append(
            (
                new.packed,
                new.prepared.ids[0],
                event.item,
                new.siblings,
                request.source,
                new.number - made.by_source[request.source],
                request.received_at,
                spell(event.type),
                spell(event.provider_type),
                spell(event.provider_id),
                spell(event.subject),
                event.time,
                spell(pack_flags(event.flags)),
                event.content,
            )
        )
        standings.append((new.standing, new.peak, new.subject))
        decided.append((new.prepared.mapping, None if event.outcome is None else event.outcome.value, event.final))
        for delivery, packed in new.deliveries:
            due_at = delivery.due_at if delivery.lease_until is None else delivery.lease_until
            deliveries.append((packed, new.packed, delivery.endpoint, request.received_at, due_at, delivery.lease))
    rows = await transaction.run(
        "insert_events",
        list(bodies),
        list(bodies.values()),
        transaction.node_now,
        *_columns(deliveries, 6),
        list(made.by_source),
        list(made.by_source.values()),
        *_columns(events, 14),
        *made.peaks.columns(),
        *_columns(standings, 3),
        *_columns(decided, 3),
    )
    sequences = {source: value for source, _, value in rows if source is not None}
    return sequences, {subject: value for source, subject, value in rows if source is None}


def _told(event: NewEvent, original: _Original, conflicts: Counter[bytes]) -> Stored:
    if original.id == event.id:
        return Stored(original.id, original.sequence, duplicate=False, superseded=original.superseded)
    conflict = original.content is not None and original.content != event.content
    if conflict:
        conflicts[original.packed] += 1
    return Stored(original.id, original.sequence, duplicate=True, conflict=conflict)


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> Sequence[Sequence[Any]]:
    return list(zip(*rows, strict=True)) if rows else [()] * width
