"""Keeps the evidence of the time source fresh, and stores what a later process needs.

Once a minute it asks the database for its time. While the clock is doubted it asks every 15 s, and has the key sets fetched
again, because their answers show the time of other machines: at once, after each step of the clock, and every 5 min. Two
fetches are at least 5 s apart, so that a clock that is set all the time makes no flood of them.

Theory of operation. It stores the time once a minute while the clock is trusted. A later process whose clock is behind
that has a wrong clock, or the former one had. `time_source` doubts it for a bounded time. If the clock is trusted again
while events of a later time are stored, those events were stored by a wrong clock: their time is stored too, and is no
evidence from then on.
"""

import asyncio
import math
from collections.abc import Callable

import msgspec

from hookseal.clock import Clock, Instant, plus
from hookseal.errors import StoreError
from hookseal.logs import get_logger
from hookseal.manage.retention_time import NAMESPACE
from hookseal.store.port import Store
from hookseal.time_source import TOLERANCE_S, Evidence, TimeSource, Trust

log = get_logger(__name__)

NAME = "trusted"
EVERY_S = 60.0
DOUBTED_EVERY_S = 15.0
REFRESH_S = 300.0
LEAST_REFRESH_S = 5.0


class TrustedTime(msgspec.Struct, frozen=True):
    """at: when the clock was trusted last. ignored: receipts up to this time are no evidence; 0 for none."""

    at: Instant
    ignored: Instant = Instant(0)


class ClockWatch:
    """loop: the task that runs from `start` to `stop`. refresh: has the key sets fetched again; returns at once."""

    def __init__(
        self, time: TimeSource, store: Store, clock: Clock, *, refresh: Callable[[], None] = lambda: None
    ) -> None:
        self._time = time
        self._store = store
        self._clock = clock
        self._refresh = refresh
        self._refreshed_at = -math.inf
        self._wants_refresh = False
        self._wake = asyncio.Event()
        self._stopping = False
        self._newest: Instant | None = None
        self._ignored = Instant(0)
        self._trust = Trust.TRUSTED
        self.loop: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Read the evidence of the store, before anything is received."""
        if not self._time.compares:
            return
        self._newest = await self._store.newest_receipt()
        stored = (await self._store.kept(NAMESPACE)).get(NAME)  # None as well if it does not open under the keyring
        trusted = None if stored is None else msgspec.json.decode(stored, type=TrustedTime)
        bounds = [] if trusted is None else [trusted.at]
        if trusted is not None:
            self._ignored = trusted.ignored
        if self._newest is not None and self._newest > self._ignored:
            bounds.append(self._newest)
        if bounds:
            self._time.stored(max(bounds))
        await self._ask_database()
        self._tell()

    def start(self) -> None:
        self._time.doubted = self._want_refresh
        self.loop = asyncio.get_running_loop().create_task(self._run(), name="hookseal-clock-watch")

    async def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        if self.loop is not None:
            await asyncio.gather(self.loop, return_exceptions=True)

    def _want_refresh(self) -> None:
        self._wants_refresh = True
        self._wake.set()

    async def _run(self) -> None:
        while not self._stopping:
            try:
                await self._look()
            except StoreError as error:
                log.warning("clock evidence not available", code=error.code)
            except Exception as error:
                log.error("clock watch failed", exc_info=error)
            wait_s = EVERY_S if self._trust is Trust.TRUSTED else DOUBTED_EVERY_S
            if self._wants_refresh:
                wait_s = min(wait_s, LEAST_REFRESH_S)
            await self._clock.wait(self._wake, wait_s)
            self._wake.clear()

    async def _look(self) -> None:
        if self._time.compares:
            await self._ask_database()
        self._tell()
        if self._trust is Trust.TRUSTED and self._time.compares:
            await self._store_time()
        since_s = self._clock.monotonic() - self._refreshed_at
        is_due = self._wants_refresh or (self._trust is not Trust.TRUSTED and since_s >= REFRESH_S)
        if is_due and since_s >= LEAST_REFRESH_S:
            self._refreshed_at, self._wants_refresh = self._clock.monotonic(), False
            self._refresh()

    async def _ask_database(self) -> None:
        asked = self._clock.monotonic()
        shown = await self._store.database_time()
        if shown is not None:
            answered = self._clock.monotonic()
            self._time.shown(Evidence.DATABASE, "", shown.now, shown.now, asked, answered, is_local=shown.is_local)

    async def _store_time(self) -> None:
        now = self._time.now()
        if self._newest is not None and self._newest > plus(now, TOLERANCE_S):
            self._ignored = max(self._ignored, self._newest)
        record = TrustedTime(at=now, ignored=self._ignored)
        await self._store.keep(NAMESPACE, NAME, msgspec.json.encode(record))

    def _tell(self) -> None:
        """Log a change of the judgement."""
        judgement = self._time.judgement
        if judgement.trust is self._trust:
            return
        self._trust = judgement.trust
        if judgement.cause is Evidence.STARTING:
            return
        if judgement.trust is Trust.TRUSTED:
            log.info("clock trusted")
        else:
            cause = "" if judgement.cause is None else judgement.cause.value
            log.warning("clock doubted, check the time of this machine", state=judgement.trust.value, reason=cause)
