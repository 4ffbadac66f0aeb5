"""Deliveries that were leased on SQLite, and whose taker has given up, are due again while the process lives.

The clock stands still: a lease that nobody gives back never ends.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest
from store_contract import CORE, KEYRING, NOW, accept, claim, new_delivery, new_event, planned

from hookseal import probe
from hookseal.clock import GivenClock, plus
from hookseal.errors import StoreUnavailable
from hookseal.model import DeliveryId
from hookseal.probe import Step
from hookseal.store.port import Lease
from hookseal.store.sqlite import SqliteStore
from hookseal.store.sqlite.reading import Reading


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "hookseal.db", KEYRING, clock=GivenClock(NOW))
    await opened.open()
    yield opened
    await opened.close()


async def given_up(asked: Awaitable[Any]) -> None:
    """Whoever asks is gone when the writer commits."""
    loop, asking = asyncio.get_running_loop(), asyncio.ensure_future(asked)

    def listener(step: Step) -> None:
        if step is Step.COMMITTING:
            loop.call_soon_threadsafe(asking.cancel)
            loop.call_soon_threadsafe(gone.set)

    gone = asyncio.Event()
    leave = probe.listen(listener)
    try:
        await gone.wait()
    finally:
        leave()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def again(store: SqliteStore) -> list[tuple[DeliveryId, int]]:
    """What is claimed once the release has been written; with its losses. Ending all leases would count one more."""
    await store.release({}, NOW)  # answered after the batch before, so that the release is in the queue by then
    await store.void_leases(NOW)
    return [(one.id, one.losses) for one in await claim(store)]


async def test_a_delivery_born_leased_is_due_again_when_whoever_stored_it_has_given_up(store: SqliteStore) -> None:
    until = plus(NOW, 60)
    delivery = new_delivery(CORE, until, lease=Lease(7), lease_until=until)
    await given_up(accept(store, new_event(1, deliveries=(delivery,))))
    assert await again(store) == [(delivery.id, 0)]


async def test_a_delivery_is_due_again_when_whoever_claimed_it_has_given_up(store: SqliteStore) -> None:
    delivery = await planned(store, 1)
    await given_up(claim(store))
    assert await again(store) == [(delivery, 0)]


async def test_a_delivery_is_due_again_when_its_event_could_not_be_read_after_the_claim(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Reading, *_: Any) -> Any:
        raise StoreUnavailable("the disk")

    delivery = await planned(store, 1)
    with monkeypatch.context() as patch:
        patch.setattr(Reading, "events_of", fails)
        with pytest.raises(StoreUnavailable):
            await claim(store)
    assert await again(store) == [(delivery, 0)]


async def test_all_of_a_claim_is_due_again_if_its_caller_gives_up_while_a_part_of_it_is_released(
    store: SqliteStore,
) -> None:
    """A claim releases what is beyond its bound on bytes, after it has read the rest."""
    body = bytes(5 * 1024 * 1024)  # small when compressed: the bound counts decrypted bytes
    deliveries = [await planned(store, number, body=body) for number in range(1, 6)]
    loop, written = asyncio.get_running_loop(), 0

    def listener(step: Step) -> None:
        nonlocal written
        written += step is Step.WRITE_BEGUN
        if step is Step.COMMITTING and written == 2:
            loop.call_soon_threadsafe(asking.cancel)

    asking = asyncio.ensure_future(claim(store))
    leave = probe.listen(listener)
    try:
        with pytest.raises(asyncio.CancelledError):
            await asking
    finally:
        leave()
    await store.release({}, NOW)
    await store.void_leases(NOW)
    due: list[tuple[DeliveryId, int]] = []
    while some := await claim(store):
        due += [(one.id, one.losses) for one in some]
    assert sorted(due) == sorted((delivery, 0) for delivery in deliveries)
