"""Deliveries that were leased on PostgreSQL, and whose holder was never told, are due again while the node lives.

The clock stands still: a lease that nobody gives back never ends.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
from postgres_databases import Server, any_server
from store_contract import CORE, KEYRING, NOW, accept, claim, new_delivery, new_event, planned
from wire import COMMIT, Wire

from hookseal import probe
from hookseal.clock import GivenClock, plus
from hookseal.errors import StoreUnavailable
from hookseal.model import DeliveryId
from hookseal.probe import Step
from hookseal.store.port import Claimed, Lease, NewDelivery
from hookseal.store.postgres import PostgresStore
from hookseal.store.postgres.queries import QUERIES

pytestmark = pytest.mark.fault

LOST_S = 120
"""Against hanging, also on a machine with other work."""


@pytest.fixture
async def database() -> AsyncIterator[tuple[Server, str]]:
    server = any_server()
    name = await server.new_database()
    yield server, name
    await server.give_back(name)


@pytest.fixture
async def wire(database: tuple[Server, str]) -> AsyncIterator[Wire]:
    async with Wire(urlsplit(database[0].url).port or 0) as made:
        yield made


@pytest.fixture
async def store(wire: Wire, database: tuple[Server, str]) -> AsyncIterator[PostgresStore]:
    url = urlunsplit(urlsplit(wire.url)._replace(path="/" + database[1]))
    opened = PostgresStore(url, KEYRING, clock=GivenClock(NOW), database_time=False, writers=1)
    await opened.open()
    yield opened
    await opened.close()


def born_leased() -> NewDelivery:
    until = plus(NOW, 60)
    return new_delivery(CORE, until, lease=Lease(7), lease_until=until)


async def claimed_again(store: PostgresStore) -> Sequence[Claimed]:
    async with asyncio.timeout(LOST_S):
        while True:
            with contextlib.suppress(StoreUnavailable):
                if claimed := await claim(store):
                    return claimed
            await asyncio.sleep(0.02)


def untouched(delivery: DeliveryId, claimed: Sequence[Claimed]) -> bool:
    """Claimed, and not as one whose holder died with it."""
    return [(one.id, one.losses) for one in claimed] == [(delivery, 0)]


async def test_a_delivery_born_leased_is_due_again_when_the_answer_to_its_commit_is_lost(
    store: PostgresStore, wire: Wire
) -> None:
    delivery = born_leased()
    wire.swallow_after = COMMIT
    with pytest.raises(StoreUnavailable):
        await accept(store, new_event(1, deliveries=(delivery,)))
    assert untouched(delivery.id, await claimed_again(store))


async def test_a_delivery_is_due_again_when_the_answer_to_its_claim_is_lost(store: PostgresStore, wire: Wire) -> None:
    delivery = await planned(store, 1)
    wire.swallow_after = COMMIT
    with pytest.raises(StoreUnavailable):
        await claim(store)
    assert untouched(delivery, await claimed_again(store))


async def test_a_delivery_is_due_again_when_its_event_could_not_be_read_after_the_claim(
    store: PostgresStore, wire: Wire
) -> None:
    delivery = await planned(store, 1)
    wire.swallow_after = QUERIES["claimed_events"].encode()
    with pytest.raises(StoreUnavailable):
        await claim(store)
    assert wire.swallowed == 1
    assert untouched(delivery, await claimed_again(store))


async def test_a_delivery_born_leased_is_due_again_when_whoever_stored_it_has_given_up(store: PostgresStore) -> None:
    delivery = born_leased()
    committing = asyncio.Event()

    def listener(step: Step) -> None:
        if step is Step.COMMITTING:
            committing.set()
            asking.cancel()

    asking = asyncio.ensure_future(accept(store, new_event(1, deliveries=(delivery,))))
    leave = probe.listen(listener)
    try:
        await committing.wait()
    finally:
        leave()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert untouched(delivery.id, await claimed_again(store))


async def test_all_of_a_claim_is_due_again_if_its_caller_gives_up_while_a_part_of_it_is_released(
    store: PostgresStore,
) -> None:
    """A claim releases what is beyond its bound on bytes, after it has read the rest."""
    body = bytes(5 * 1024 * 1024)  # small when compressed: the bound counts decrypted bytes
    deliveries = [await planned(store, number, body=body) for number in range(1, 6)]
    written = 0

    def listener(step: Step) -> None:
        nonlocal written
        written += step is Step.WRITE_BEGUN
        if step is Step.COMMITTING and written == 2:
            asking.cancel()

    asking = asyncio.ensure_future(claim(store))
    leave = probe.listen(listener)
    try:
        with pytest.raises(asyncio.CancelledError):
            await asking
    finally:
        leave()
    due: dict[DeliveryId, int] = {}
    async with asyncio.timeout(LOST_S):
        while len(due) < len(deliveries):
            due |= {one.id: one.losses for one in await claim(store)}
            await asyncio.sleep(0.02)
    assert due == dict.fromkeys(deliveries, 0)


async def test_a_lease_that_is_held_is_not_given_back_for_one_that_was_lost(store: PostgresStore, wire: Wire) -> None:
    """Two deliveries, one of them lost with its answer; the other stays with its holder."""
    kept = born_leased()
    await accept(store, new_event(1, deliveries=(kept,)))
    lost = born_leased()
    wire.swallow_after = COMMIT
    with pytest.raises(StoreUnavailable):
        await accept(store, new_event(2, deliveries=(lost,)))
    assert untouched(lost.id, await claimed_again(store))
    assert await claim(store) == []
