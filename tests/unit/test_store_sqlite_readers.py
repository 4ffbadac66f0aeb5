"""Who reads with what: reads for people hold up no delivery."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from delivery_parts import bench, soon

from hookseal.errors import StoreUnavailable
from hookseal.store.port import EventFilter
from hookseal.store.sqlite import SqliteStore
from hookseal.store.sqlite.reading import Reading


async def test_deliveries_go_on_while_every_listing_walks_through_millions_of_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, walking = threading.Event(), threading.Semaphore(0)
    listed = Reading.events

    def walks(self: Reading, *arguments: Any) -> Any:
        walking.release()
        release.wait()
        return listed(self, *arguments)

    monkeypatch.setattr(Reading, "events", walks)
    async with bench(tmp_path, start=False) as b:
        await b.receive()
        listings = [asyncio.create_task(b.store.events(EventFilter(), 50, None)) for _ in range(8)]
        try:
            for _ in range(2):
                await asyncio.to_thread(walking.acquire)
            await b.engine.start()
            await b.watch.told()
        finally:
            release.set()
        assert [len(page.rows) for page in await soon(asyncio.gather(*listings))] == [1] * 8


async def test_a_store_that_is_closed_says_so_to_those_who_read(tmp_path: Path) -> None:
    async with bench(tmp_path, start=False) as b:
        store: SqliteStore = b.store
        await store.close()
        with pytest.raises(StoreUnavailable):
            await store.counts()
        await store.open()
