"""Delete old data, all the time and slowly: the age that each kind may reach, and how much of the writer that may take.

Theory of operation. Once a minute a sweep asks the store to delete what is too old, slice after slice until there is no
more, at the speed that `pace` allows. If the store cannot write now, the sweep ends; the next one begins at the oldest row.

A wrong clock deletes nothing. A sweep rests while the clock is doubted (`time_source`). It takes the time from the
database where there is one, so that the clock of one node does not decide for all. It counts from `retention_time`, which
moves by two days a real day at most, whatever the clock shows.

If the process is killed: a slice is one transaction, and no state is kept between two.
"""

import asyncio
from dataclasses import dataclass

from hookseal.clock import Clock, Instant, plus, seconds_between
from hookseal.errors import StoreError
from hookseal.logs import get_logger
from hookseal.manage.pace import Pace
from hookseal.manage.pending import PendingExpiry
from hookseal.manage.retention_time import RetentionTime
from hookseal.settings import StoreSettings
from hookseal.store.port import Cursor, Cutoffs, Expired, Store
from hookseal.time_source import TOLERANCE_S, TimeSource, Trust

log = get_logger(__name__)

EVERY_S = 60.0
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ages:
    """How old each kind may become, in days. metadata: at least `bodies`, because an event is kept with its bytes."""

    bodies: int = 30
    metadata: int = 90
    dedupe: int = 400

    @staticmethod
    def of(settings: StoreSettings) -> "Ages":
        return Ages(
            bodies=settings.retain_days,
            metadata=max(settings.retain_metadata_days, settings.retain_days),
            dedupe=settings.dedupe_days,
        )

    def cutoffs(self, now: Instant) -> Cutoffs:
        return Cutoffs(
            bodies=plus(now, -self.bodies * _DAY_S),
            metadata=plus(now, -self.metadata * _DAY_S),
            dedupe=plus(now, -self.dedupe * _DAY_S),
            refusals=plus(now, -self.bodies * _DAY_S),
        )


class Retention:
    """The retention of one process.

    pending  what ends deliveries that wait for an endpoint which is not called; before the cut-offs are applied.
    time     the clock with its trust; without it a step of `clock` is noticed, and nothing else.
    counted  the time that cut-offs count from; without it that time is kept in memory.
    every_s  from the end of one sweep to the begin of the next.
    loop     the task that runs from `start` to `stop`.
    """

    def __init__(
        self,
        store: Store,
        ages: Ages,
        clock: Clock,
        *,
        time: TimeSource | None = None,
        counted: RetentionTime | None = None,
        pending: PendingExpiry | None = None,
        every_s: float = EVERY_S,
    ) -> None:
        self._store = store
        self._ages = ages
        self._clock = clock
        self._time = time or TimeSource(clock, compare=False)
        self._counted = counted or RetentionTime(clock)
        self._pending = pending
        self._every_s = every_s
        self._stopping = asyncio.Event()
        self.loop: asyncio.Task[None] | None = None
        self._pace = Pace(clock)

    def start(self) -> None:
        self.loop = asyncio.get_running_loop().create_task(self._run(), name="hookseal-retention")

    async def stop(self) -> None:
        """Ends after the slice under way."""
        self._stopping.set()
        if self.loop is not None:
            await asyncio.gather(self.loop, return_exceptions=True)

    async def _run(self) -> None:
        # Not at once: a start has enough to do, and what is too old now was nearly so a minute ago.
        while not await self._clock.wait(self._stopping, self._every_s):
            try:
                await self.sweep()
            except StoreError as error:
                log.warning("retention sweep failed", code=error.code)
            except Exception as error:
                log.error("retention sweep failed", exc_info=error)

    async def sweep(self) -> Expired:
        """Delete all that is too old now; return what that was. StoreError if the store cannot write."""
        gone = Expired()
        now = await self._now()
        if now is None:
            return gone
        counted = await self._counted.follow(now)
        if self._pending is not None:
            await self._end_pending(self._pending, counted)
        before = self._ages.cutoffs(counted)
        cursor: Cursor | None = None
        while not self._stopping.is_set():
            self._pace.begin()
            one = await self._store.expire(before, self._pace.limit, cursor)
            gone = Expired(
                bodies=gone.bodies + one.bodies,
                events=gone.events + one.events,
                dedupe_keys=gone.dedupe_keys + one.dedupe_keys,
                refusals=gone.refusals + one.refusals,
                next=one.next,
            )
            cursor = one.next
            if cursor is None:
                break
            await self._pace.rest(self._stopping)
        if gone.bodies or gone.events or gone.dedupe_keys or gone.refusals:
            log.info("old data deleted", count=gone.bodies + gone.events + gone.dedupe_keys + gone.refusals)
        return gone

    async def _end_pending(self, pending: PendingExpiry, counted: Instant) -> None:
        for endpoint in await pending.look(counted):
            more = True
            while more and not self._stopping.is_set():
                self._pace.begin()
                more = await pending.end_some(endpoint, counted)
                await self._pace.rest(self._stopping)

    async def _now(self) -> Instant | None:
        """Return the time of the database, else of this machine; None while it is not certain."""
        if self._time.judgement.trust is not Trust.TRUSTED:
            log.warning("retention paused, clock doubted")
            return None
        now = self._time.now()
        database = await self._store.database_time() if self._time.compares else None
        if database is None:
            return now
        if abs(seconds_between(now, database.now)) > TOLERANCE_S:
            log.warning("retention paused, clock differs from the database")
            return None
        return database.now
