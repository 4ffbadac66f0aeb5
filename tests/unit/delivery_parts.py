"""Shared by the tests of delivery: a real store, a clock that stands still, destinations that obey the test.

Nothing here sleeps. A test waits for what the engine tells its observer, or for what arrives at a destination.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from hookseal.clock import GivenClock, Instant, parse_rfc3339, plus, seconds_between
from hookseal.delivery.endpoint import Endpoint
from hookseal.delivery.engine import Engine
from hookseal.destinations.port import Answered, Parcel, Sent
from hookseal.ids import new_event_id
from hookseal.model import DeliveryId, DeliveryState, EndpointId, Event, EventId, ProviderId, SourceId
from hookseal.sealing import Keyring
from hookseal.store.port import (
    Claimed,
    DeliveryFilter,
    DeliveryRow,
    EventRow,
    NewDelivery,
    NewEvent,
    NewRequest,
    Result,
    StoredEvent,
    Suspect,
)
from hookseal.store.sqlite import SqliteStore

START = parse_rfc3339("2026-11-21T08:00:00Z")
SOURCE = SourceId("idenfy-prod")
TYPE = "identity.verification.completed"
HANG_S = 20.0
"""How long a test may wait for a signal before it is called hanging; nothing is measured by it."""

T = TypeVar("T")


async def soon(awaited: Awaitable[T]) -> T:
    async with asyncio.timeout(HANG_S):
        return await awaited


def endpoint(name: str = "core", **changes: Any) -> Endpoint:
    return Endpoint(id=EndpointId(name), **changes)


def normalise(stored: StoredEvent) -> Event:
    row = stored.row
    return Event(
        id=row.id,
        source=row.source,
        type=row.type,
        time=row.received_at,
        received_at=row.received_at,
        provider=ProviderId("idenfy"),
        sequence=row.sequence,
        payload={"n": row.sequence},
    )


class Receiver:
    """A destination. It keeps what came and when; `answer` says what it answers, `gate` when."""

    def __init__(self, answer: Callable[[Parcel], Sent] | None = None) -> None:
        self.answer = answer or (lambda parcel: Answered(status=200))
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrivals: asyncio.Queue[Parcel] = asyncio.Queue()
        self.batches: asyncio.Queue[Sequence[Parcel]] = asyncio.Queue()
        self.answer_together: Callable[[Sequence[Parcel]], Sent] = lambda parcels: Answered(status=200)
        self.came: list[tuple[Instant, Parcel]] = []
        self.inside = 0
        self.most_inside = 0

    async def send(self, parcel: Parcel, now: Instant) -> Sent:
        self.came.append((now, parcel))
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        self.arrivals.put_nowait(parcel)
        try:
            await self.gate.wait()
            return self.answer(parcel)
        finally:
            self.inside -= 1

    async def send_together(self, parcels: Sequence[Parcel], now: Instant) -> Sent:
        """What came together is in `batches`; `answer_together` says what is answered."""
        self.batches.put_nowait(parcels)
        await self.gate.wait()
        return self.answer_together(parcels)

    async def arrived(self, number: int = 1) -> list[Parcel]:
        return [await soon(self.arrivals.get()) for _ in range(number)]


@dataclass(frozen=True)
class Told:
    endpoint: EndpointId
    delivery: DeliveryId
    state: DeliveryState
    reason: str | None


class Watch:
    """An observer whose words a test can await."""

    def __init__(self) -> None:
        self.attempts: asyncio.Queue[Told] = asyncio.Queue()
        self.fences: asyncio.Queue[DeliveryId] = asyncio.Queue()
        self.endings: asyncio.Queue[Told] = asyncio.Queue()
        self.isolations: asyncio.Queue[DeliveryId] = asyncio.Queue()
        self.unwritten: asyncio.Queue[DeliveryId] = asyncio.Queue()
        self.broken: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    def attempted(
        self, endpoint: EndpointId, delivery: DeliveryId, state: DeliveryState, reason: str | None, seconds: float
    ) -> None:
        self.attempts.put_nowait(Told(endpoint, delivery, state, reason))

    def ended(self, endpoint: EndpointId, delivery: DeliveryId, state: DeliveryState, reason: str) -> None:
        self.endings.put_nowait(Told(endpoint, delivery, state, reason))

    def isolated(self, endpoint: EndpointId, delivery: DeliveryId) -> None:
        self.isolations.put_nowait(delivery)

    def fenced(self, endpoint: EndpointId, delivery: DeliveryId) -> None:
        self.fences.put_nowait(delivery)

    def unrecorded(self, endpoint: EndpointId, delivery: DeliveryId) -> None:
        self.unwritten.put_nowait(delivery)

    def broke(self, endpoint: EndpointId | None, what: str, error: str) -> None:
        self.broken.put_nowait((what, error))

    async def told(self, number: int = 1) -> list[Told]:
        return [await soon(self.attempts.get()) for _ in range(number)]


class CountingStore(SqliteStore):
    """The real store; counts what was read back for delivering, and the calls that are under way."""

    claimed = 0
    busy = 0

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1

    async def claim_due(self, *arguments: Any) -> Sequence[Claimed]:
        with self._counted():
            claimed = await super().claim_due(*arguments)
        self.claimed += len(claimed)
        return claimed

    async def next_due_at(self, *arguments: Any) -> Instant | None:
        with self._counted():
            return await super().next_due_at(*arguments)

    async def next_suspect_at(self, *arguments: Any) -> Instant | None:
        with self._counted():
            return await super().next_suspect_at(*arguments)

    async def due_suspects(self, *arguments: Any) -> Sequence[Suspect]:
        with self._counted():
            return await super().due_suspects(*arguments)

    async def claim_suspect(self, *arguments: Any) -> Claimed | None:
        with self._counted():
            return await super().claim_suspect(*arguments)

    async def record(self, result: Result) -> bool:
        with self._counted():
            return await super().record(result)

    async def renew(self, *arguments: Any) -> Sequence[DeliveryId]:
        with self._counted():
            return await super().renew(*arguments)

    async def release(self, *arguments: Any) -> None:
        with self._counted():
            await super().release(*arguments)


@dataclass
class Bench:
    clock: GivenClock
    store: CountingStore
    engine: Engine
    receivers: dict[EndpointId, Receiver]
    watch: Watch = field(default_factory=Watch)

    @property
    def receiver(self) -> Receiver:
        (only,) = self.receivers.values()
        return only

    def plan(self, type: str = TYPE) -> tuple[NewDelivery, ...]:
        return self.engine.plan(SOURCE, [type])[0]

    async def receive(self, types: Sequence[str] = (TYPE,), body: bytes = b'{"n":1}') -> list[DeliveryId]:
        """What the receiving side does with one request: plan, store, hand over. Returns the deliveries made."""
        new = self.request(types, body)
        await self.store_and_hand_over(new)
        return [delivery.id for event in new.events for delivery in event.deliveries]

    def request(self, types: Sequence[str] = (TYPE,), body: bytes = b'{"n":1}') -> NewRequest:
        now = self.clock.now()
        ids = [new_event_id(now) for _ in types]
        plans = self.engine.plan(SOURCE, types)
        return NewRequest(
            source=SOURCE,
            received_at=now,
            headers=((b"content-type", b"application/json"),),
            body=body,
            events=tuple(
                NewEvent(
                    id=id,
                    item=item,
                    type=type,
                    dedupe_key=id.encode()[:32],
                    content=bytes(32),
                    deliveries=plans[item],
                )
                for item, (id, type) in enumerate(zip(ids, types, strict=True))
            ),
        )

    async def store_and_hand_over(self, new: NewRequest) -> None:
        placed: set[DeliveryId] = set()
        for event, stored in zip(new.events, await self.store.accept(new), strict=True):
            deliveries = [one for one in event.deliveries if one.id not in placed]
            placed.update(one.id for one in deliveries)
            self.engine.stored(stored_event(new, event, stored.sequence), deliveries)

    async def row(self, delivery: DeliveryId) -> DeliveryRow:
        return (await self.store.delivery(delivery))[0]

    async def still(self) -> None:
        """Until nothing moves any more: no call of the store is under way, and the event loop has run out of work."""
        rounds = 0
        async with asyncio.timeout(HANG_S):
            while rounds < 30:
                await asyncio.sleep(0)
                rounds = 0 if self.store.busy else rounds + 1

    async def pass_time(self, until: Callable[[], bool], step_s: float) -> None:
        """Let time pass, step by step and no faster than the engine follows, until something has happened."""
        for _ in range(1000):
            await self.still()
            if until():
                return
            self.clock.advance(step_s)
        raise AssertionError("it never happened")

    async def rows(self) -> Sequence[DeliveryRow]:
        return (await self.store.deliveries(DeliveryFilter(), 1000, None)).rows

    async def run_dry(self, delivery: DeliveryId) -> list[float]:
        """Let time pass, from one due time to the next, until the delivery has ended. Seconds of each try."""
        while True:
            await self.watch.told()
            row = await self.row(delivery)
            if row.due_at is None:
                break
            await self.still()
            self.clock.advance(seconds_between(self.clock.now(), row.due_at))
        return [
            seconds_between(self.receiver.came[0][0], at)
            for at, parcel in self.receiver.came
            if parcel.delivery == delivery
        ]


def stored_event(new: NewRequest, event: NewEvent, sequence: int) -> StoredEvent:
    row = EventRow(
        id=EventId(event.id),
        source=new.source,
        sequence=sequence,
        item=event.item,
        type=event.type,
        received_at=new.received_at,
        provider_type=None,
        provider_id=None,
        subject=None,
        time=None,
        flags=(),
        conflicts=0,
    )
    return StoredEvent(row=row, headers=new.headers, body=new.body, siblings=len(new.events))


class HalfRandom(Random):
    """Jitter is always the same."""

    def __init__(self, jitter: float) -> None:
        super().__init__()
        self._jitter = jitter

    def random(self) -> float:
        return self._jitter


def make_engine(
    store: SqliteStore,
    clock: GivenClock,
    watch: Watch,
    endpoints: Iterable[Endpoint],
    receivers: dict[EndpointId, Receiver],
    *,
    jitter: float = 0.5,
    normalise: Callable[[StoredEvent], Event] = normalise,
    random: Random | None = None,
    **options: Any,
) -> Engine:
    """options: further arguments of the engine."""
    dice = random or HalfRandom(jitter)
    return Engine(store, endpoints, receivers, normalise=normalise, clock=clock, random=dice, observer=watch, **options)


@asynccontextmanager
async def bench(
    tmp_path: Path,
    *endpoints: Endpoint,
    start: bool = True,
    store_type: type[CountingStore] = CountingStore,
    **options: Any,
) -> Any:
    """An engine at work on a new store, with one receiver for each endpoint."""
    clock, watch = GivenClock(START), Watch()
    store = store_type(tmp_path / "hookseal.db", Keyring.generate(), clock=clock)
    await store.open()
    given = endpoints or (endpoint(),)
    receivers = {one.id: Receiver() for one in given}
    engine = make_engine(store, clock, watch, given, receivers, **options)
    made = Bench(clock, store, engine, receivers, watch)
    try:
        if start:
            await engine.start()
            await looked(engine)
        yield made
    finally:
        for receiver in receivers.values():
            receiver.gate.set()
        await engine.stop(0.0)
        await store.close()


async def looked(engine: Engine) -> None:
    """Until the engine has found nothing due in the store, and leases what is born."""

    async def until() -> None:
        while True:
            planned = engine.plan(SOURCE, [TYPE])[0]
            engine.abandoned(planned)
            # A queue is careful until its first claim has shown that nothing was lost before.
            if all(one.lease is not None for one in planned) and not any(one.careful for one in engine._lanes.values()):
                return
            await asyncio.sleep(0)

    await soon(until())


def later(clock: GivenClock, seconds: float) -> Instant:
    return plus(clock.now(), seconds)
