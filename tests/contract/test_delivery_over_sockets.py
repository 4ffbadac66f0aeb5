"""Engine, store, client and sockets together, at the speed of this machine's clock.

Oracles: what arrived at each server, by `webhook-id`, and the states in the store.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

from destination_contract import HANG_S, Sample
from test_destination_http import LOOPBACK, SECRET, Sink, endpoint, verifies

from hookseal.clock import SystemClock
from hookseal.delivery.endpoint import Endpoint
from hookseal.delivery.engine import Engine
from hookseal.delivery.policy import parse
from hookseal.destinations.registry import destinations
from hookseal.egress.client import GuardedClient
from hookseal.ids import new_event_id
from hookseal.model import DeliveryState, EndpointId, Event, SourceId
from hookseal.sealing import Keyring
from hookseal.settings import RetrySettings
from hookseal.store.port import DeliveryFilter, NewEvent, NewRequest, StoredEvent
from hookseal.store.sqlite import SqliteStore

SOURCE = SourceId("zs")


class Counted:
    """An observer that knows when enough has ended."""

    def __init__(self) -> None:
        self.ended: Counter[tuple[str, str]] = Counter()

    def attempted(self, endpoint: str, delivery: str, state: DeliveryState, reason: str | None, seconds: float) -> None:
        if state is not DeliveryState.PENDING:
            self.ended[endpoint, state] += 1

    def ended(self, endpoint: str, delivery: str, state: str, reason: str) -> None:
        pass

    def isolated(self, endpoint: str, delivery: str) -> None:
        pass

    def fenced(self, endpoint: str, delivery: str) -> None:
        raise AssertionError("nobody else holds a lease here")

    def unrecorded(self, endpoint: str, delivery: str) -> None:
        raise AssertionError("the store is well")

    def broke(self, endpoint: str | None, what: str, error: str) -> None:
        raise AssertionError(f"{what}: {error}")

    async def until(self, endpoint: str, state: DeliveryState, number: int) -> None:
        async with asyncio.timeout(HANG_S):
            while self.ended[endpoint, state] < number:
                await asyncio.sleep(0)


def normalise(stored: StoredEvent) -> Event:
    event = Sample().parcel().event
    return replace(event, id=stored.row.id, sequence=stored.row.sequence)


@asynccontextmanager
async def gateway(tmp_path: Path, *endpoints: Endpoint) -> AsyncIterator[tuple[Engine, SqliteStore, Counted]]:
    clock, counted = SystemClock(), Counted()
    store = SqliteStore(tmp_path / "hookseal.db", Keyring.generate())
    await store.open()
    client = GuardedClient(LOOPBACK)
    engine = Engine(
        store,
        endpoints,
        destinations(endpoints, client),
        normalise=normalise,
        clock=clock,
        random=Random(),
        observer=counted,
    )
    await engine.start()
    try:
        yield engine, store, counted
    finally:
        await engine.stop(0.0)
        await client.close()
        await store.close()


async def receive(engine: Engine, store: SqliteStore) -> None:
    now = SystemClock().now()
    id, sample = new_event_id(now), Sample()
    (deliveries,) = engine.plan(SOURCE, ["other"])
    event = NewEvent(id=id, item=0, type="other", dedupe_key=id.encode()[:32], content=bytes(32), deliveries=deliveries)
    request = NewRequest(source=SOURCE, received_at=now, headers=sample.headers, body=sample.body, events=(event,))
    (stored,) = await store.accept(request)
    row = replace(sample.parcel().stored.row, id=id, source=SOURCE, sequence=stored.sequence, type="other")
    kept = StoredEvent(row=row, headers=request.headers, body=request.body, siblings=1)
    engine.stored(kept, deliveries)


async def test_every_event_arrives_once_signed_while_another_endpoint_hangs(tmp_path: Path) -> None:
    async with Sink().serving() as well, Sink().serving() as ill:
        ill.will("hang")
        given = (endpoint(well.url), endpoint(ill.url, id=EndpointId("ill"), concurrency=2))
        async with gateway(tmp_path, *given) as (engine, store, counted):
            await asyncio.gather(*(receive(engine, store) for _ in range(300)))
            await counted.until("core", DeliveryState.DELIVERED, 300)
            assert ill.taken == 2
        ids = Counter(request.headers["webhook-id"] for request, _ in well.requests)
        assert len(ids) == 300
        assert set(ids.values()) == {1}
        for request, body in well.requests:
            assert verifies(SECRET, {name.lower(): value for name, value in request.headers.items()}, body)


async def test_a_failed_delivery_is_sent_again_under_the_same_id_and_then_lies_with_the_dead(tmp_path: Path) -> None:
    async with Sink().serving() as sink:
        sink.will("fail")
        at_once = parse(RetrySettings(delays_s=(0.0, 0.0)))
        async with gateway(tmp_path, endpoint(sink.url, policy=at_once)) as (engine, store, counted):
            await receive(engine, store)
            await counted.until("core", DeliveryState.DEAD, 1)
            (row,) = (await store.deliveries(DeliveryFilter(), 10, None)).rows
            assert (row.state, row.attempts, row.last_status) == (DeliveryState.DEAD, 3, 500)
        assert {request.headers["webhook-id"] for request, _ in sink.requests} == {row.id}
        assert len(sink.requests) == 3


async def test_a_receiver_that_comes_back_gets_what_it_missed(tmp_path: Path) -> None:
    async with Sink().serving() as sink:
        sink.will("fail")
        soon = parse(RetrySettings(delays_s=(0.2,) * 20))
        async with gateway(tmp_path, endpoint(sink.url, policy=soon)) as (engine, store, counted):
            await asyncio.gather(*(receive(engine, store) for _ in range(50)))
            async with asyncio.timeout(HANG_S):
                while sink.taken < 50:
                    await asyncio.sleep(0)
            sink.will("accept")
            await counted.until("core", DeliveryState.DELIVERED, 50)
        assert len({request.headers["webhook-id"] for request, _ in sink.requests}) == 50
