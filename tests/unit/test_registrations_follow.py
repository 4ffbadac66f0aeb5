"""Registrations that follow the clock, on a real store. The clock is given, and moves at each look."""

import asyncio
from pathlib import Path

import pytest

from hookseal.clock import GivenClock, Instant, from_unix
from hookseal.manage.registrations import Registrations
from hookseal.sealing import Keyring
from hookseal.settings.table import Section
from hookseal.store.sqlite import SqliteStore

KEYRING = Keyring.generate()
OLD, NEW = "the first secret of the tests", "the second secret of the tests"


class MovingClock(GivenClock):
    """One second later at each look. is_awaited: set when a wait begins."""

    def __init__(self, now: Instant) -> None:
        super().__init__(now)
        self.is_awaited = asyncio.Event()

    def now(self) -> Instant:
        self.advance(1.0)
        return super().now()

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        if not event.is_set():
            self.is_awaited.set()
        return await super().wait(event, timeout_s)


@pytest.mark.parametrize("overlap_s", range(1, 13))
async def test_a_secret_ends_also_between_two_looks_at_the_clock(tmp_path: Path, overlap_s: int) -> None:
    """An end between the last judgement and the next wait was passed over, and the secret was accepted without end."""
    clock = MovingClock(from_unix(1_763_712_000))
    store = SqliteStore(tmp_path / "hookseal.db", KEYRING, clock=clock)
    await store.open()
    registrations = Registrations(store, sources=(), endpoints=(), clock=clock)
    try:
        await registrations.open()
        registrations.start()
        await registrations.create(Section.SOURCE, {"id": "it", "provider": "idenfy", "secrets": [OLD]})
        clock.is_awaited.clear()
        await registrations.rotate(Section.SOURCE, "it", NEW, overlap_s)
        await asyncio.wait_for(clock.is_awaited.wait(), 20)
        for _ in range(200):
            clock.advance(60.0)
            await asyncio.sleep(0.001)
            [source] = registrations.sources
            if source.secrets == (NEW.encode(),):
                break
        assert source.secrets == (NEW.encode(),)
    finally:
        await registrations.stop()
        await store.close()
