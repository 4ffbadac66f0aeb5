"""Registrations of two nodes over one store. The clock is given."""

import asyncio
from pathlib import Path
from typing import Any

from hookseal.clock import GivenClock, from_unix
from hookseal.ids import new_delivery_id, new_event_id
from hookseal.manage.registrations import SETTLED_S, Registrations
from hookseal.model import DeliveryState, EndpointId, SourceId
from hookseal.sealing import Keyring
from hookseal.settings.table import Section
from hookseal.store.port import NewDelivery, NewEvent, NewRequest
from hookseal.store.sqlite import SqliteStore

CORE: dict[str, Any] = {"id": "core", "url": "https://core.example.com/hooks", "signing": {"scheme": "none"}}


async def test_a_node_cancels_nothing_of_an_endpoint_that_another_node_made_again(tmp_path: Path) -> None:
    """The node did not look before it ended the deliveries of a deleted endpoint, and ended those of the new one."""
    clock = GivenClock(from_unix(1_763_712_000))
    store = SqliteStore(tmp_path / "hookseal.db", Keyring.generate(), clock=clock)
    await store.open()
    here, there = (Registrations(store, sources=(), endpoints=(), clock=clock, shared=True) for _ in range(2))
    try:
        await here.create(Section.ENDPOINT, CORE)
        await here.delete(Section.ENDPOINT, "core")
        await there.open()
        there.start()
        clock.advance(SETTLED_S / 2)
        await here.create(Section.ENDPOINT, CORE)
        now = clock.now()
        delivery = NewDelivery(id=new_delivery_id(now), endpoint=EndpointId("core"), due_at=now)
        key = b"k" * 32
        event = NewEvent(
            id=new_event_id(now), item=0, type="other", dedupe_key=key, content=key, deliveries=(delivery,)
        )
        await store.accept(NewRequest(source=SourceId("a"), received_at=now, headers=(), body=b"{}", events=(event,)))
        clock.advance(SETTLED_S)
        async with asyncio.timeout(20):
            while not there.endpoints and (await store.delivery(delivery.id))[0].state is DeliveryState.PENDING:
                await asyncio.sleep(0)
        assert (await store.delivery(delivery.id))[0].state is DeliveryState.PENDING
        assert [one.id for one in there.endpoints] == ["core"]
    finally:
        await here.stop()
        await there.stop()
        await store.close()
