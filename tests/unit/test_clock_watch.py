"""What one process leaves in the store about the time, and what the next one concludes from it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from hookseal.clock import Instant, SystemClock, plus
from hookseal.ids import new_event_id
from hookseal.manage.clock_watch import NAME, ClockWatch
from hookseal.manage.retention_time import NAMESPACE
from hookseal.model import SourceId
from hookseal.sealing import Keyring
from hookseal.store.port import NewEvent, NewRequest
from hookseal.store.sqlite import SqliteStore
from hookseal.time_source import Evidence, TimeSource, Trust

DAY_S = 86_400.0


class OffClock(SystemClock):
    def __init__(self, ahead_s: float = 0.0) -> None:
        self.ahead_s = ahead_s

    def now(self) -> Instant:
        return plus(super().now(), self.ahead_s)


@asynccontextmanager
async def a_process(store: SqliteStore, ahead_s: float = 0.0) -> AsyncIterator[TimeSource]:
    clock = OffClock(ahead_s)
    time = TimeSource(clock)
    watch = ClockWatch(time, store, clock)
    await watch.open()
    watch.start()
    try:
        yield time
    finally:
        await watch.stop()


async def stored_trust(store: SqliteStore) -> None:
    async with asyncio.timeout(30):
        while NAME not in await store.kept(NAMESPACE):
            await asyncio.sleep(0.01)


async def receive(store: SqliteStore, at: Instant) -> None:
    event = NewEvent(id=new_event_id(at), item=0, type="other", dedupe_key=bytes(32), content=bytes(32))
    await store.accept(NewRequest(source=SourceId("a"), received_at=at, headers=(), body=b"{}", events=(event,)))


async def test_a_clock_behind_the_time_of_the_last_trust_is_contradicted(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db", Keyring.generate())
    await store.open()
    async with a_process(store) as time:
        assert time.judgement.trust is Trust.TRUSTED
        await stored_trust(store)
    async with a_process(store, -DAY_S) as time:
        assert (time.judgement.trust, time.judgement.cause) == (Trust.CONTRADICTED, Evidence.RECEIPT)
    async with a_process(store) as time:
        assert time.judgement.trust is Trust.TRUSTED
    await store.close()


async def test_receipts_of_a_clock_that_was_ahead_are_no_evidence_once_that_is_known(tmp_path: Path) -> None:
    """Otherwise each restart would doubt the corrected clock again, until the time of those receipts has come."""
    store = SqliteStore(tmp_path / "a.db", Keyring.generate())
    await store.open()
    await receive(store, plus(SystemClock().now(), 500 * DAY_S))
    async with a_process(store) as time:
        assert time.judgement.trust is Trust.CONTRADICTED
        now = SystemClock().now()
        time.shown(Evidence.KEY_SET, "a", now, now, time.monotonic(), time.monotonic(), is_local=False)
        assert time.judgement.trust is Trust.TRUSTED
        time.doubted()  # the watch looks now, and not in 15 s
        await stored_trust(store)
    async with a_process(store) as time:
        assert time.judgement.trust is Trust.TRUSTED
    async with a_process(store, -DAY_S) as time:
        assert time.judgement.trust is Trust.CONTRADICTED, "the time of the last trust still counts"
    await store.close()
