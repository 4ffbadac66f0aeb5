"""The SQLite store beside a model of twenty lines a verb: whatever is done in whatever order, they agree.

The store runs in small pieces (partitions of five keys, three keys in memory, the log moved all the time), so that short
histories pass every path. Claims are checked and then adopted, because the order of deliveries that are due at the same
instant is not promised.
"""

import asyncio
import hashlib
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hookseal.clock import Instant, plus
from hookseal.ids import new_delivery_id, new_event_id
from hookseal.model import DeliveryId, DeliveryState, EndpointId, EventId, SourceId
from hookseal.sealing import Keyring
from hookseal.store.port import (
    AttemptRow,
    DeliveryFilter,
    EventFilter,
    Lease,
    NewDelivery,
    NewEvent,
    NewRequest,
    Replay,
    Result,
)
from hookseal.store.sqlite import SqliteStore

NOW = Instant(1_763_700_000_000_000)
KEYRING = Keyring((("k1", bytes(range(32))),))
ENDPOINTS = (EndpointId("core"), EndpointId("audit"))
SOURCES = (SourceId("a"), SourceId("b"))


@dataclass
class Stored:
    id: EventId
    source: SourceId
    sequence: int
    content: int
    received_at: Instant
    subject: str | None
    conflicts: int = 0


@dataclass
class Planned:
    id: DeliveryId
    event: Stored
    endpoint: EndpointId
    due_at: Instant | None
    state: DeliveryState = DeliveryState.PENDING
    lease: Lease | None = None
    attempts: int = 0
    losses: int = 0
    unexplained: int = 0


@dataclass
class World:
    """The model, and the leases that were ever given out."""

    now: Instant = NOW
    events: dict[int, Stored] = field(default_factory=dict)
    deliveries: list[Planned] = field(default_factory=list)
    given: list[tuple[Planned, Lease]] = field(default_factory=list)

    def held(self, delivery: Planned, lease: Lease) -> bool:
        return delivery.state is DeliveryState.PENDING and delivery.lease == lease

    def latest(self, event: Stored, endpoint: EndpointId) -> Planned | None:
        return next((one for one in reversed(self.deliveries) if one.event is event and one.endpoint == endpoint), None)


KEYS = st.integers(0, 11)
ITEM = st.tuples(KEYS, st.integers(0, 1), st.sets(st.sampled_from(ENDPOINTS)), st.sampled_from([None, "s1", "s2"]))
PICK = st.integers(0, 10_000)
STEPS = st.one_of(
    st.tuples(st.just("accept"), st.sampled_from(SOURCES), st.lists(ITEM, min_size=1, max_size=3)),
    st.tuples(st.just("accept_many"), st.sampled_from(SOURCES), st.lists(ITEM, min_size=2, max_size=8)),
    st.tuples(st.just("claim"), st.sampled_from(ENDPOINTS), st.integers(0, 4)),
    st.tuples(
        st.just("record"), PICK, st.sampled_from([one for one in DeliveryState if one not in ("cancelled", "replayed")])
    ),
    st.tuples(st.just("renew"), PICK, PICK),
    st.tuples(st.just("release"), PICK, PICK),
    st.tuples(st.just("cancel"), PICK, PICK),
    st.tuples(st.just("replay"), st.sampled_from(ENDPOINTS), st.sampled_from([None, *DeliveryState])),
    st.tuples(st.just("later"), st.integers(0, 90), st.none()),
    st.tuples(st.just("restart"), st.booleans(), st.none()),
)


def new_request(world: World, source: SourceId, items: list[Any]) -> NewRequest:
    """Equal keys are the same key: content and subject tell items apart, the key does not depend on the source."""
    events = tuple(
        NewEvent(
            id=new_event_id(world.now),
            item=number,
            type="other",
            # Few beginnings, so that slots collide.
            dedupe_key=bytes([key % 3]) + bytes(7) + hashlib.sha256(bytes([key])).digest()[:24],
            content=bytes([content]) * 32,
            subject=subject,
            deliveries=tuple(
                NewDelivery(id=new_delivery_id(world.now), endpoint=endpoint, due_at=world.now)
                for endpoint in sorted(endpoints)
            ),
        )
        for number, (key, content, endpoints, subject) in enumerate(items)
    )
    return NewRequest(source=source, received_at=world.now, headers=(), body=b"{}", events=events)


def accepted(world: World, request: NewRequest, items: list[Any], outcomes: Any) -> None:
    for (key, content, _, subject), event, outcome in zip(items, request.events, outcomes, strict=True):
        first = world.events.get(key)
        if first is None:
            before = [one.sequence for one in world.events.values() if one.source == request.source]
            first = Stored(event.id, request.source, outcome.sequence, content, request.received_at, subject)
            assert not outcome.duplicate
            assert outcome.sequence > max(before, default=0)
            world.events[key] = first
            world.deliveries += [Planned(one.id, first, one.endpoint, one.due_at) for one in event.deliveries]
        else:
            assert outcome.duplicate
            assert outcome.conflict == (content != first.content)
            first.conflicts += outcome.conflict
        assert (outcome.event, outcome.sequence) == (first.id, first.sequence)


async def claim(world: World, store: SqliteStore, endpoint: EndpointId, free: int) -> None:
    due = [
        one
        for one in world.deliveries
        if one.endpoint == endpoint and one.due_at is not None and one.due_at <= world.now and one.unexplained < 2
    ]
    until = plus(world.now, 60)
    claimed = await store.claim_due({endpoint: free}, world.now, until)
    assert len(claimed) == min(free, len(due))
    by_id = {one.id: one for one in due}
    waits = [by_id[one.id].due_at or NOW for one in claimed]
    assert waits == sorted(one.due_at or NOW for one in due)[: len(claimed)]
    for one in claimed:
        model = by_id[one.id]
        model.losses += model.lease is not None
        model.unexplained += model.lease is not None
        model.lease, model.due_at = one.lease, until
        assert (one.attempts, one.losses, one.event.row.id) == (model.attempts, model.losses, model.event.id)
        world.given.append((model, one.lease))


async def record(world: World, store: SqliteStore, pick: int, state: DeliveryState) -> None:
    if not world.given:
        return
    delivery, lease = world.given[pick % len(world.given)]
    due_at = plus(world.now, 5) if state is DeliveryState.PENDING else None
    tried = AttemptRow(number=delivery.attempts + 1, started_at=world.now, duration_ms=1, status=200, reason=None)
    held = world.held(delivery, lease)
    result = Result(delivery=delivery.id, lease=lease, attempt=tried, state=state, due_at=due_at)
    assert await store.record(result) is held
    if held:
        delivery.state, delivery.due_at, delivery.lease = state, due_at, None
        delivery.attempts += 1
        delivery.unexplained = 0


async def hold(world: World, store: SqliteStore, verb: str, picks: tuple[int, int]) -> None:
    if not world.given:
        return
    some = {world.given[pick % len(world.given)][0].id: world.given[pick % len(world.given)] for pick in picks}
    leases = {one: lease for one, (_, lease) in some.items()}
    held = [one for one, (delivery, lease) in some.items() if world.held(delivery, lease)]
    at = plus(world.now, 30)
    if verb == "renew":
        assert sorted(await store.renew(leases, at)) == sorted(held)
    else:
        await store.release(leases, at)
    for one in held:
        delivery, _ = some[one]
        delivery.due_at = at
        if verb == "release":
            delivery.lease = None


async def cancel(world: World, store: SqliteStore, pick: int) -> None:
    if not world.deliveries:
        return
    delivery = world.deliveries[pick % len(world.deliveries)]
    pending = delivery.state is DeliveryState.PENDING
    assert await store.cancel(delivery.id, world.now) is pending
    if pending:
        delivery.state, delivery.due_at, delivery.lease = DeliveryState.CANCELLED, None, None


async def replay(world: World, store: SqliteStore, endpoint: EndpointId, state: DeliveryState | None) -> None:
    chosen: list[Stored] = []
    for event in world.events.values():
        latest = world.latest(event, endpoint)
        pending = any(
            one.state is DeliveryState.PENDING
            for one in world.deliveries
            if one.event is event and one.endpoint == endpoint
        )
        if not pending and (state is None or (latest is not None and latest.state is state)):
            chosen.append(event)
    assert await store.replay(Replay(endpoint=endpoint, state=state), world.now) == len(chosen)
    known = {one.id for one in world.deliveries}
    for event in chosen:
        rows = (await store.deliveries(DeliveryFilter(event=event.id, endpoint=endpoint), 1000, None)).rows
        [fresh] = [row for row in rows if row.id not in known]
        for one in world.deliveries:
            if one.event is event and one.endpoint == endpoint and one.state is DeliveryState.DEAD:
                one.state = DeliveryState.REPLAYED
        world.deliveries.append(Planned(fresh.id, event, endpoint, world.now))


async def agree(world: World, store: SqliteStore) -> None:
    page = await store.events(EventFilter(), 1000, None)
    assert {(one.row.id, one.row.source, one.row.sequence, one.row.conflicts) for one in page.rows} == {
        (one.id, one.source, one.sequence, one.conflicts) for one in world.events.values()
    }
    for subject in ("s1", "s2"):
        found = await store.events(EventFilter(subject=subject), 1000, None)
        assert {one.row.id for one in found.rows} == {one.id for one in world.events.values() if one.subject == subject}
    listed = (await store.deliveries(DeliveryFilter(), 1000, None)).rows
    assert sorted(
        (row.id, row.event, row.state, row.attempts, row.losses, row.due_at or 0) for row in listed
    ) == sorted(
        (one.id, one.event.id, one.state, one.attempts, one.losses, one.due_at or 0) for one in world.deliveries
    )
    counts = await store.counts()
    for state, told in ((DeliveryState.PENDING, counts.pending), (DeliveryState.DEAD, counts.dead)):
        for endpoint in ENDPOINTS:
            count = sum(one.endpoint == endpoint and one.state is state for one in world.deliveries)
            assert told.get(endpoint, 0) == count


async def live(folder: Path, steps: list[Any]) -> None:
    def fresh() -> SqliteStore:
        return SqliteStore(
            folder / "a.db", KEYRING, dedupe_capacity=5, dedupe_buffered=3, log_start_pages=1, log_bound_pages=2
        )

    world, store = World(), fresh()
    await store.open()
    for verb, one, two in steps:
        if verb == "accept":
            request = new_request(world, one, two)
            accepted(world, request, two, await store.accept(request))
        elif verb == "accept_many":
            requests = [new_request(world, one, [item]) for item in two]
            outcomes = await asyncio.gather(*map(store.accept, requests))
            for request, item, outcome in zip(requests, two, outcomes, strict=True):
                accepted(world, request, [item], outcome)
        elif verb == "claim":
            await claim(world, store, one, two)
        elif verb == "record":
            await record(world, store, one, two)
        elif verb in ("renew", "release"):
            await hold(world, store, verb, (one, two))
        elif verb == "cancel":
            await cancel(world, store, one)
        elif verb == "replay":
            await replay(world, store, one, two)
        elif verb == "later":
            world.now = plus(world.now, one)
        elif verb == "restart":
            await store.close()
            store = fresh()
            await store.open()
            if one:
                leased = [delivery for delivery in world.deliveries if delivery.lease is not None]
                assert await store.void_leases(world.now) == len(leased)
                for delivery in leased:
                    delivery.lease, delivery.due_at = None, world.now
                    delivery.losses += 1
                    delivery.unexplained += 1
        for get_next, is_suspect in ((store.next_due_at, False), (store.next_suspect_at, True)):
            listed = [one for one in world.deliveries if (one.unexplained > 1) is is_suspect]
            due = [one.due_at for one in listed if one.due_at is not None]
            assert await get_next(ENDPOINTS) == min(due, default=None)
    await agree(world, store)
    await store.close()
    store = fresh()
    await store.open()
    await agree(world, store)
    await store.close()


@settings(max_examples=80, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=40))
def test_the_store_and_the_model_agree(steps: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(live(Path(folder), steps))
