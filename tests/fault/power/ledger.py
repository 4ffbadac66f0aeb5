"""What a store was asked, what it acknowledged and when, and whether another store still knows it.

*When* is a position in the log of a `CrashDisk`: the one at which the last commit before the acknowledgement had
returned. Whatever fails at that position or later must not take the fact away.

`Audit.of` opens an image with the store itself and looks for every fact. It tells:
- lost       acknowledged, and not there or not as it was;
- corrupt    the store does not open, or what it holds contradicts itself;
- doubled    one dedupe key, more than one event.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import apsw

from hookseal.clock import Instant, plus
from hookseal.ids import new_event_id
from hookseal.model import DeliveryId, DeliveryState, EndpointId, EventId, RefusalId
from hookseal.sealing import Keyring
from hookseal.store.port import (
    DeliveryFilter,
    DeliveryRow,
    EventFilter,
    NewDelivery,
    NewRequest,
    Refusal,
    Stored,
    StoredEvent,
)
from hookseal.store.sqlite import SqliteStore

NOW = Instant(1_763_700_000_000_000)
KEYRING = Keyring((("k1", bytes(range(32))),))
_SENT_AGAIN = 8


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request that was answered 2xx, and the ids of the events that stand for its items."""

    at: int
    request: NewRequest
    events: tuple[EventId, ...]
    new: frozenset[EventId]


@dataclass(frozen=True, slots=True)
class Moved:
    """A delivery that was recorded or cancelled. attempts: at least so many tries are written down."""

    at: int
    delivery: DeliveryId
    state: DeliveryState
    attempts: int


@dataclass(frozen=True, slots=True)
class Refused:
    at: int
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Replayed:
    """So many deliveries were made for the endpoint by replays up to here, at least."""

    at: int
    endpoint: EndpointId
    made: int


@dataclass(slots=True)
class Ledger:
    """sent: every request that was ever handed to the store, answered or not."""

    sent: list[NewRequest] = field(default_factory=list)
    accepted: list[Accepted] = field(default_factory=list)
    moved: list[Moved] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    replayed: list[Replayed] = field(default_factory=list)

    @property
    def facts(self) -> int:
        return len(self.accepted) + len(self.moved) + len(self.refused) + len(self.replayed)

    def known_at(self, position: int) -> "Ledger":
        """What was acknowledged when the log was this long."""
        return Ledger(
            self.sent,
            [one for one in self.accepted if one.at <= position],
            [one for one in self.moved if one.at <= position],
            [one for one in self.refused if one.at <= position],
            [one for one in self.replayed if one.at <= position],
        )

    def from_before(self) -> "Ledger":
        """The same facts, for a disk that begins with them."""
        return Ledger(
            list(self.sent),
            [replace(one, at=0) for one in self.accepted],
            [replace(one, at=0) for one in self.moved],
            [replace(one, at=0) for one in self.refused],
            [replace(one, at=0) for one in self.replayed],
        )


@dataclass(slots=True)
class Audit:
    """What one image was found to lack. Sentences, none when all is well."""

    lost: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not (self.lost or self.corrupt or self.doubled)

    @staticmethod
    async def of(folder: Path, image: Mapping[str, bytes], ledger: Ledger, dice: random.Random) -> "Audit":
        """folder: empty, and emptied again. ledger: what had been acknowledged when the power failed."""
        audit = Audit()
        for file, data in image.items():
            (folder / file).write_bytes(data)
        try:
            store = SqliteStore(folder / "hookseal.db", KEYRING, dedupe_buffered=16)
            try:
                await store.open()
                try:
                    await audit._look(store, folder, ledger, dice)
                finally:
                    await store.close()
                audit._integrity(folder)
            except Exception as error:  # noqa: BLE001 - on a damaged file anything may fail; all of it is a finding
                audit.corrupt.append(f"{type(error).__name__}: {error}")
        finally:
            for file in folder.iterdir():
                file.unlink()
        return audit

    async def _look(self, store: SqliteStore, folder: Path, ledger: Ledger, dice: random.Random) -> None:
        self._integrity(folder)
        events = await _all_events(store)
        deliveries = await _all_deliveries(store)
        self._accepted(ledger, events, deliveries)
        self._moved(ledger, deliveries)
        made = Counter(row.endpoint for row in deliveries.values())
        planned = Counter(one.endpoint for sent in ledger.accepted for one in _planned(sent))
        for one in ledger.replayed:
            if made[one.endpoint] < planned[one.endpoint] + one.made:
                self.lost.append(f"of {one.made} replayed deliveries some are gone")
        refusals = {one.id: one for one in (await store.refusals(None, 1000, None)).rows}
        self._refused(ledger, refusals)
        await self._sent_again(store, ledger, dice)
        await self._claimable(store, deliveries)

    def _integrity(self, folder: Path) -> None:
        connection = apsw.Connection(str(folder / "hookseal.db"), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            told = [row[0] for row in connection.execute("PRAGMA integrity_check")]
            told += [str(row) for row in connection.execute("PRAGMA foreign_key_check")]
            told += [
                f"a delivery has {tries} attempts and {rows} rows of them"
                for tries, rows in connection.execute(
                    "SELECT attempts, count(number) FROM deliveries LEFT JOIN attempts ON delivery = key"
                    " GROUP BY key HAVING attempts <> count(number)"
                )
            ]
            told += [
                "an event without its request or its bytes"
                for _ in connection.execute(
                    "SELECT 1 FROM event_rows WHERE request_id IS NULL OR sealed IS NULL LIMIT 1"
                )
            ]
        finally:
            connection.close()
        self.corrupt += [one for one in told if one != "ok"]

    def _accepted(
        self, ledger: Ledger, events: Mapping[EventId, StoredEvent], deliveries: Mapping[DeliveryId, DeliveryRow]
    ) -> None:
        for one in ledger.accepted:
            for item, stored_as in zip(one.request.events, one.events, strict=True):
                event = events.get(stored_as)
                if event is None:
                    self.lost.append(f"event {stored_as}")
                    continue
                if stored_as in one.new and (event.body, event.headers) != (one.request.body, one.request.headers):
                    self.lost.append(f"the bytes of event {stored_as}")
                if stored_as in one.new and {plan.id for plan in item.deliveries} - deliveries.keys():
                    self.lost.append(f"a delivery of event {stored_as}")
        bodies = {request.body for request in ledger.sent}
        for event in events.values():
            if event.body not in bodies:
                self.corrupt.append(f"nobody sent event {event.row.id}")
        for key, count in Counter(event.row.provider_id for event in events.values()).items():
            if count > 1:
                self.doubled.append(f"{key}: {count} events")

    def _moved(self, ledger: Ledger, deliveries: Mapping[DeliveryId, DeliveryRow]) -> None:
        for one in ledger.moved:
            row = deliveries.get(one.delivery)
            ended = one.state is not DeliveryState.PENDING
            if row is None or row.attempts < one.attempts or (ended and row.state is not one.state):
                self.lost.append(f"what was recorded of delivery {one.delivery}")

    def _refused(self, ledger: Ledger, refusals: Mapping[RefusalId, Refusal]) -> None:
        for one in ledger.refused:
            if refusals.get(one.refusal.id) != one.refusal:
                self.lost.append(f"refusal {one.refusal.id}")

    async def _sent_again(self, store: SqliteStore, ledger: Ledger, dice: random.Random) -> None:
        """What senders do after an outage: acknowledged requests and unanswered ones come again."""
        known = dice.sample(ledger.accepted, min(_SENT_AGAIN, len(ledger.accepted)))
        for one, stored in zip(known, await _accepted_again(store, [one.request for one in known]), strict=True):
            if tuple(again.event for again in stored) != one.events or not all(again.duplicate for again in stored):
                self.doubled.append(f"sent again: {one.events}")
        asked = dice.sample(ledger.sent, min(_SENT_AGAIN, len(ledger.sent)))
        for first, second in zip(*[await _accepted_again(store, asked) for _ in range(2)], strict=True):
            if [one.event for one in first] != [one.event for one in second]:
                self.doubled.append(f"sent twice: {[one.event for one in first]}")

    async def _claimable(self, store: SqliteStore, deliveries: Mapping[DeliveryId, DeliveryRow]) -> None:
        pending = sum(row.state is DeliveryState.PENDING for row in deliveries.values())
        await store.void_leases(NOW)
        free = {row.endpoint: 10_000 for row in deliveries.values()}
        late = plus(NOW, 10**9)
        claimed = await store.claim_due(free, late, plus(late, 60))
        if len(claimed) < pending:
            self.lost.append(f"of {pending} pending deliveries {len(claimed)} can be claimed")


def _planned(one: Accepted) -> list[NewDelivery]:
    return [plan for event in one.request.events if event.id in one.new for plan in event.deliveries]


def _fresh(request: NewRequest) -> NewRequest:
    """The same request arriving again: the gateway gives its events other ids."""
    events = tuple(replace(event, id=new_event_id(NOW), deliveries=()) for event in request.events)
    return replace(request, events=events)


async def _accepted_again(store: SqliteStore, requests: Sequence[NewRequest]) -> list[tuple[Stored, ...]]:
    return await asyncio.gather(*(store.accept(_fresh(request)) for request in requests))


async def _all_events(store: SqliteStore) -> dict[EventId, StoredEvent]:
    found: dict[EventId, StoredEvent] = {}
    cursor = None
    while True:
        page = await store.events(EventFilter(), 1000, cursor)
        found |= {one.row.id: one for one in page.rows}
        cursor = page.next
        if cursor is None:
            return found


async def _all_deliveries(store: SqliteStore) -> dict[DeliveryId, DeliveryRow]:
    found: dict[DeliveryId, DeliveryRow] = {}
    cursor = None
    while True:
        page = await store.deliveries(DeliveryFilter(), 1000, cursor)
        found |= {one.id: one for one in page.rows}
        cursor = page.next
        if cursor is None:
            return found
