"""Whether a store, opened on what a power cut left, still knows what a `Ledger` says it must.

`Audit.of` opens an image with the store itself and looks for every fact. It tells:
- lost       acknowledged, and not there or not as it was; nothing may be gone that retention was not asked for, or that
             is not ended;
- corrupt    the store does not open, or what it holds contradicts itself;
- doubled    one dedupe key, more than one event;
- back       let go by retention, and there again.
Then it goes on with what the cut interrupted, a retention or a change of keys, and looks again.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import apsw
from power.ledger import NEVER, NOW, Accepted, Ending, Ledger

from hookseal.clock import Instant, plus
from hookseal.ids import new_event_id
from hookseal.model import DeliveryId, DeliveryState, EventId, RefusalId
from hookseal.store.port import (
    BODY_EXPIRED,
    Cursor,
    Cutoffs,
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

_SENT_AGAIN = 8
_LIMIT = 50

STRUCTURE = (
    "SELECT 'a delivery has ' || attempts || ' attempts and ' || count(number) || ' rows of them'"
    " FROM deliveries LEFT JOIN attempts ON delivery = key GROUP BY key HAVING attempts <> count(number)",
    "SELECT 'an event without its request' FROM event_rows WHERE request_id IS NULL",
    "SELECT 'a request with a part of its events' FROM requests LEFT JOIN events ON events.request = requests.key"
    " GROUP BY requests.key HAVING requests.events <> count(events.key)",
    "SELECT 'a delivery without its event' FROM deliveries LEFT JOIN events ON events.key = event"
    " WHERE events.key IS NULL",
    "SELECT 'attempts without their delivery' FROM attempts LEFT JOIN deliveries ON key = delivery WHERE key IS NULL",
    "SELECT 'bytes without their request' FROM bodies LEFT JOIN requests ON key = request WHERE key IS NULL",
    "SELECT 'a delivery is pending and its bytes are gone' FROM deliveries JOIN event_rows ON event_rows.key = event"
    " WHERE state = 'pending' AND sealed IS NULL",
)
"""Each finds what must not be."""
WHOLE = "SELECT 'an event without its bytes' FROM event_rows WHERE sealed IS NULL"
"""The same for a store that was never asked to let anything go."""


@dataclass(slots=True)
class Audit:
    """What one image was found to lack. Sentences, none when all is well."""

    lost: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    back: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not (self.lost or self.corrupt or self.doubled or self.back)

    @staticmethod
    async def of(
        folder: Path, image: Mapping[str, bytes], ledger: Ledger, dice: random.Random, also: Sequence[str] = ()
    ) -> "Audit":
        """folder: empty, and emptied again. ledger: what had been acknowledged when the power failed. also: statements
        that find nothing when all is well."""
        audit = Audit()
        for name, data in image.items():
            (folder / name).write_bytes(data)
        statements = [*STRUCTURE, *also, *(() if ledger.expiring else (WHOLE,))]
        try:
            store = SqliteStore(folder / "hookseal.db", ledger.keyring, dedupe_buffered=16)
            try:
                await store.open()
                try:
                    audit._integrity(folder, statements)
                    await audit._look(store, ledger, dice)
                finally:
                    await store.close()
                audit._integrity(folder, statements)
            except Exception as error:  # noqa: BLE001 - on a damaged file anything may fail; all of it is a finding
                audit.corrupt.append(f"{type(error).__name__}: {error}")
        finally:
            for file in folder.iterdir():
                file.unlink()
        return audit

    async def _look(self, store: SqliteStore, ledger: Ledger, dice: random.Random) -> None:
        deliveries = await self._facts(store, ledger)
        if await self._go_on(store, ledger):
            after = await self._facts(store, ledger)
            pending = {one.id for one in deliveries.values() if one.state is DeliveryState.PENDING}
            self.lost += [f"pending delivery {one}, by retention" for one in pending - after.keys()]
            deliveries = after
        await self._sent_again(store, ledger, dice)
        await self._claimable(store)

    async def _facts(self, store: SqliteStore, ledger: Ledger) -> Mapping[DeliveryId, DeliveryRow]:
        events = await all_events(store)
        deliveries = await _all_deliveries(store)
        rights = Rights.of(ledger)
        self._accepted(ledger, rights, events, deliveries)
        self._moved(ledger, rights, deliveries)
        made = Counter(row.endpoint for row in deliveries.values())
        planned = Counter(one.endpoint for sent in ledger.accepted for one in _planned(sent))
        for one in ledger.replayed:
            if not ledger.expiring and made[one.endpoint] < planned[one.endpoint] + one.made:
                self.lost.append(f"of {one.made} replayed deliveries some are gone")
        refusals = await all_refusals(store)
        self._refused(ledger, refusals)
        for gone in ledger.gone:
            self.back += [f"event {one}" for one in gone.events & events.keys()]
            self.back += [f"refusal {one}" for one in gone.refusals & refusals.keys()]
            self.back += [f"bytes of {one}" for one in gone.bodies & events.keys() if not _is_bare(events[one])]
        return deliveries

    def _integrity(self, folder: Path, statements: Sequence[str]) -> None:
        connection = apsw.Connection(str(folder / "hookseal.db"), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            told = [row[0] for row in connection.execute("PRAGMA integrity_check")]
            told += [str(row) for row in connection.execute("PRAGMA foreign_key_check")]
            for statement in statements:
                told += [row[0] for row in connection.execute(statement)][:3]
        finally:
            connection.close()
        self.corrupt += [one for one in told if one != "ok"]

    def _accepted(
        self,
        ledger: Ledger,
        rights: "Rights",
        events: Mapping[EventId, StoredEvent],
        deliveries: Mapping[DeliveryId, DeliveryRow],
    ) -> None:
        for one in ledger.accepted:
            for item, stored_as in zip(one.request.events, one.events, strict=True):
                event = events.get(stored_as)
                if event is None:
                    if not rights.may_go(stored_as, one, rights.before.metadata):
                        self.lost.append(f"event {stored_as}")
                    continue
                bare = _is_bare(event) and rights.may_go(stored_as, one, rights.before.bodies)
                whole = (event.body, event.headers) == (one.request.body, one.request.headers)
                if stored_as in one.new and not (whole or bare):
                    self.lost.append(f"the bytes of event {stored_as}")
                if stored_as in one.new and {plan.id for plan in item.deliveries} - deliveries.keys():
                    self.lost.append(f"a delivery of event {stored_as}")
        bodies = {request.body for request in ledger.sent}
        for event in events.values():
            if event.body not in bodies and not _is_bare(event):
                self.corrupt.append(f"nobody sent event {event.row.id}")
        for key, count in Counter(event.row.provider_id for event in events.values()).items():
            if count > 1 and key not in rights.forgotten:
                self.doubled.append(f"{key}: {count} events")

    def _moved(self, ledger: Ledger, rights: "Rights", deliveries: Mapping[DeliveryId, DeliveryRow]) -> None:
        for one in ledger.moved:
            row = deliveries.get(one.delivery)
            if row is None:
                if not rights.may_lose(one.delivery):
                    self.lost.append(f"delivery {one.delivery}")
                continue
            ended = one.state is not DeliveryState.PENDING
            if one.state is DeliveryState.DEAD and row.state is DeliveryState.REPLAYED:
                continue
            if row.attempts < one.attempts or (ended and row.state is not one.state):
                self.lost.append(f"what was recorded of delivery {one.delivery}")

    def _refused(self, ledger: Ledger, refusals: Mapping[RefusalId, Refusal]) -> None:
        before = ledger.cutoffs.refusals
        for one in ledger.refused:
            found = refusals.get(one.refusal.id)
            if found != one.refusal and not (found is None and one.refusal.received_at < before):
                self.lost.append(f"refusal {one.refusal.id}")

    async def _go_on(self, store: SqliteStore, ledger: Ledger) -> bool:
        """What a start goes on with, to its end; False when there is nothing."""
        if ledger.expiring:
            await sweep(store, ledger.cutoffs)
        if len(ledger.keyring.keys) > 1:
            await rewrap_all(store)
            if (left := await seals(store)) - {store.keyring.active}:
                self.lost.append(f"values that stay sealed under {left}")
        return bool(ledger.expiring) or len(ledger.keyring.keys) > 1

    async def _sent_again(self, store: SqliteStore, ledger: Ledger, dice: random.Random) -> None:
        """What senders do after an outage: acknowledged requests and unanswered ones come again."""
        before = ledger.cutoffs.dedupe
        remembered = [one for one in ledger.accepted if one.request.received_at >= before]
        known = dice.sample(remembered, min(_SENT_AGAIN, len(remembered)))
        for one, stored in zip(known, await _accepted_again(store, [one.request for one in known]), strict=True):
            if tuple(again.event for again in stored) != one.events or not all(again.duplicate for again in stored):
                self.doubled.append(f"sent again: {one.events}")
        asked = dice.sample(ledger.sent, min(_SENT_AGAIN, len(ledger.sent)))
        for first, second in zip(*[await _accepted_again(store, asked) for _ in range(2)], strict=True):
            if [one.event for one in first] != [one.event for one in second]:
                self.doubled.append(f"sent twice: {[one.event for one in first]}")

    async def _claimable(self, store: SqliteStore) -> None:
        deliveries = await _all_deliveries(store)
        pending = sum(row.state is DeliveryState.PENDING for row in deliveries.values())
        await store.void_leases(NOW)
        free = {row.endpoint: 10_000 for row in deliveries.values()}
        late = plus(NOW, 10**9)
        claimed = await store.claim_due(free, late, plus(late, 60))
        # Crash suspects are claimed one by one.
        suspects = await store.due_suspects(list(free), late, 10_000)
        if len(claimed) + len(suspects) < pending:
            self.lost.append(f"of {pending} pending deliveries {len(claimed)} can be claimed")


@dataclass(frozen=True, slots=True)
class Rights:
    """What retention may take, judged by what was asked of the store, not by what the store says.

    ended      when each delivery ended whose end was asked for, acknowledged or not.
    made_by    the request that made an event, and the one that made a delivery.
    forgotten  provider ids whose dedupe keys may be gone.
    """

    before: Cutoffs
    ended: Mapping[DeliveryId, Instant]
    made_by: Mapping[EventId, Accepted]
    planned_by: Mapping[DeliveryId, Accepted]
    forgotten: frozenset[str | None]

    @staticmethod
    def of(ledger: Ledger) -> "Rights":
        before = ledger.cutoffs
        return Rights(
            before,
            _earliest(ledger.ending),
            {event: one for one in ledger.accepted for event in one.new},
            {plan.id: one for one in ledger.accepted for plan in _planned(one)},
            frozenset(
                event.provider_id
                for request in ledger.sent
                if request.received_at < before.dedupe
                for event in request.events
            ),
        )

    def may_go(self, event: EventId, told_by: Accepted, before: Instant) -> bool:
        """told_by: an answer that named the event, where that of its maker is not known."""
        return self._is_over(self.made_by.get(event, told_by), before)

    def may_lose(self, delivery: DeliveryId) -> bool:
        maker = self.planned_by.get(delivery)
        return self.before != NEVER and (maker is None or self._is_over(maker, self.before.metadata))

    def _is_over(self, maker: Accepted, before: Instant) -> bool:
        """All that the request made has ended before, as far as was asked."""
        never = before  # not asked to end: it has not
        return maker.request.received_at < before and all(
            self.ended.get(plan.id, never) < before for plan in _planned(maker)
        )


def _earliest(ending: Sequence[Ending]) -> Mapping[DeliveryId, Instant]:
    ended: dict[DeliveryId, Instant] = {}
    for one in ending:
        ended[one.delivery] = min(one.ended_at, ended.get(one.delivery, one.ended_at))
    return ended


def _is_bare(event: StoredEvent) -> bool:
    return BODY_EXPIRED in event.row.flags


def _planned(one: Accepted) -> list[NewDelivery]:
    return [plan for event in one.request.events if event.id in one.new for plan in event.deliveries]


def _fresh(request: NewRequest) -> NewRequest:
    """The same request arriving again: the gateway gives its events other ids."""
    events = tuple(replace(event, id=new_event_id(NOW), deliveries=()) for event in request.events)
    return replace(request, events=events)


async def _accepted_again(store: SqliteStore, requests: Sequence[NewRequest]) -> list[tuple[Stored, ...]]:
    return await asyncio.gather(*(store.accept(_fresh(request)) for request in requests))


# --- walks over all of a store ----------------------------------------------------------------------------------------


async def sweep(store: SqliteStore, before: Cutoffs) -> None:
    cursor: Cursor | None = None
    while True:
        cursor = (await store.expire(before, _LIMIT, cursor)).next
        if cursor is None:
            return


async def rewrap_all(store: SqliteStore) -> None:
    cursor: Cursor | None = None
    while True:
        cursor = (await store.rewrap(_LIMIT, cursor)).next
        if cursor is None:
            return


async def seals(store: SqliteStore) -> set[str]:
    """Under which keys there are values."""
    found: set[str] = set()
    cursor: Cursor | None = None
    while True:
        one = await store.seals(1000, cursor)
        found |= {kid for kid, count in one.by_key.items() if count}
        cursor = one.next
        if cursor is None:
            return found


async def all_events(store: SqliteStore) -> dict[EventId, StoredEvent]:
    found: dict[EventId, StoredEvent] = {}
    cursor = None
    while True:
        page = await store.events(EventFilter(), 1000, cursor)
        found |= {one.row.id: one for one in page.rows}
        cursor = page.next
        if cursor is None:
            return found


async def all_refusals(store: SqliteStore) -> dict[RefusalId, Refusal]:
    return {one.id: one for one in (await store.refusals(None, 1000, None)).rows}


async def _all_deliveries(store: SqliteStore) -> dict[DeliveryId, DeliveryRow]:
    found: dict[DeliveryId, DeliveryRow] = {}
    cursor = None
    while True:
        page = await store.deliveries(DeliveryFilter(), 1000, cursor)
        found |= {one.id: one for one in page.rows}
        cursor = page.next
        if cursor is None:
            return found
