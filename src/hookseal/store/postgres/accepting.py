"""Writes accepted requests: three statements for all that wait, or four where some of them are duplicates.

Everything of a request is written in the transaction that it is acknowledged by: bytes, events, dedupe keys and
deliveries. Sealing happened before. First the dedupe keys are put down: where another node is putting down the same
key, this waits until that node has committed or given up, and the index says who was first. Only then are the rows of
the sources locked, as late as can be, because they are held until the commit.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hookseal import probe
from hookseal.model import EventId, SourceId
from hookseal.probe import Step
from hookseal.store.packing import event_id
from hookseal.store.port import NewDelivery, NewEvent, Stored
from hookseal.store.postgres.connection import spell
from hookseal.store.postgres.faults import Overtaken
from hookseal.store.postgres.peaks import Peaks, hash_of
from hookseal.store.postgres.writer import Transaction
from hookseal.store.preparing import PackedDelivery, PackedEvent, Prepared

_TURN_EVENTS = 128
_INSERTED_AT_ONCE = 512
"""Events in one statement. The driver encodes its values at once: 5,000 events stopped the event loop for 100 ms."""


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
    """A new event of this batch.

    subject   the hash of its subject, where it has a standing.
    sequence  set when it is inserted, and is_late: an event of its subject with a greater standing was stored before.
    """

    prepared: Prepared
    event: NewEvent
    packed: PackedEvent
    deliveries: Sequence[tuple[NewDelivery, PackedDelivery]]
    siblings: int = 1
    subject: bytes | None = None
    standing: int | None = None
    sequence: int = 0
    is_late: bool = False


async def accept(transaction: Transaction, batch: Sequence[Prepared]) -> Sequence[tuple[Stored, ...]]:
    first: dict[bytes, tuple[bytes, int]] = {}
    for one in batch:
        for event, packed in zip(one.request.events, one.events, strict=True):
            first.setdefault(event.dedupe_key, (packed.id, one.request.received_at))
    won = await transaction.run(
        "insert_dedupe", list(first), [packed for packed, _ in first.values()], [at for _, at in first.values()]
    )
    fresh = {key for (key,) in won}
    originals = await _originals(transaction, [key for key in first if key not in fresh])
    made = await _new_events(batch, fresh)
    news = list(made.values())
    kept: set[bytes] = set()
    for start in range(0, len(news), _INSERTED_AT_ONCE):
        await _insert(transaction, news[start : start + _INSERTED_AT_ONCE], kept)
    for key, new in made.items():
        originals[key] = _Original(new.event.id, new.packed.id, new.sequence, new.event.content, new.is_late)
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


async def _new_events(batch: Sequence[Prepared], fresh: set[bytes]) -> dict[bytes, _New]:
    """Return the new events by their dedupe key. Other tasks run in between: thousands of them may be of one request."""
    made: dict[bytes, _New] = {}
    for one in batch:
        mine: list[_New] = []
        # A delivery that several events name belongs to the first of them that is new.
        placed: set[bytes] = set()
        for event, packed in zip(one.request.events, one.events, strict=True):
            if event.dedupe_key not in fresh or event.dedupe_key in made:
                continue
            planned = [
                pair for pair in zip(event.deliveries, packed.deliveries, strict=True) if pair[1].id not in placed
            ]
            placed.update(sealed.id for _, sealed in planned)
            new = _New(one, event, packed, planned)
            if packed.subject_hash is not None and packed.standing is not None:
                new.subject, new.standing = hash_of(one.request.source, packed.subject_hash), packed.standing
            made[event.dedupe_key] = new
            mine.append(new)
            if len(mine) % _TURN_EVENTS == 0:
                await asyncio.sleep(0)
        for new in mine:
            new.siblings = len(mine)
    return made


async def _insert(transaction: Transaction, news: Sequence[_New], kept: set[bytes]) -> None:
    """Insert some events of a transaction, and note the sequence of each and whether it came too late.

    kept  the requests whose bytes were inserted with earlier events.
    The rows of sources and subjects are locked in the order of one statement. Two transactions with several statements may
    wait for each other if they hold events of the same subjects; the server ends one of them, and it is repeated.
    """
    by_source: Counter[SourceId] = Counter()
    peaks = Peaks()
    bodies: dict[bytes, bytes] = {}
    events: list[tuple[Any, ...]] = []
    standings: list[tuple[Any, ...]] = []
    deliveries: list[tuple[Any, ...]] = []
    numbers = [_number(by_source, new) for new in news]
    for new, number in zip(news, numbers, strict=True):
        request, event, packed, request_id = new.prepared.request, new.event, new.packed, new.prepared.id
        if request_id not in kept:
            bodies[request_id] = new.prepared.sealed
        peak = None
        if new.subject is not None and new.standing is not None:
            peak = peaks.add(new.subject, new.standing, request.received_at)
            new.is_late = new.standing < peak
        events.append(
            (
                packed.id,
                request_id,
                event.item,
                new.siblings,
                request.source,
                number - by_source[request.source],
                request.received_at,
                spell(packed.type),
                event.time,
                spell(packed.flags),
                event.content,
                new.prepared.mapping,
                packed.outcome,
                event.final,
                packed.subject_hash,
                packed.facts,
            )
        )
        standings.append((new.standing, peak, new.subject))
        for delivery, sealed in new.deliveries:
            due_at = delivery.due_at if delivery.lease_until is None else delivery.lease_until
            planned = (delivery.endpoint, request.received_at, due_at, delivery.lease)
            deliveries.append((sealed.id, packed.id, *planned, sealed.seal))
    kept.update(bodies)
    rows = await transaction.run(
        "insert_events",
        list(bodies),
        list(bodies.values()),
        transaction.node_now,
        *_columns(deliveries, 7),
        list(by_source),
        list(by_source.values()),
        *_columns(events, 16),
        *peaks.columns(),
        *_columns(standings, 3),
    )
    sequences = {source: value for source, _, value in rows if source is not None}
    former = {subject: value for source, subject, value in rows if source is None}
    for new, number in zip(news, numbers, strict=True):
        source = new.prepared.request.source
        new.sequence = sequences[source] - by_source[source] + number
        if new.subject is not None and new.standing is not None:
            new.is_late = new.is_late or new.standing < former.get(new.subject, 0)


def _number(by_source: Counter[SourceId], new: _New) -> int:
    """Return the place of an event in its source: the first one of the statement is number 1."""
    by_source[new.prepared.request.source] += 1
    return by_source[new.prepared.request.source]


def _told(event: NewEvent, original: _Original, conflicts: Counter[bytes]) -> Stored:
    if original.id == event.id:
        return Stored(original.id, original.sequence, duplicate=False, superseded=original.superseded)
    conflict = original.content is not None and original.content != event.content
    if conflict:
        conflicts[original.packed] += 1
    return Stored(original.id, original.sequence, duplicate=True, conflict=conflict)


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> Sequence[Sequence[Any]]:
    return list(zip(*rows, strict=True)) if rows else [()] * width
