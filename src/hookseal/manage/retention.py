"""Lets old data go, all the time and slowly: which age each kind may reach, and how much of the writer that may take.

Theory of operation. Once a minute a sweep asks the store to let go of what is too old, slice after slice until there is
no more, as slowly as `pace` says. Where the store cannot write now, the sweep ends; the next one begins at the oldest row.

Killed at any moment: a slice is one transaction, nothing is remembered between two.
"""

import asyncio
from dataclasses import dataclass

from hookseal.clock import Clock, Instant, plus
from hookseal.errors import StoreError
from hookseal.logs import get_logger
from hookseal.manage.pace import Pace
from hookseal.settings import StoreSettings
from hookseal.store.port import Cursor, Cutoffs, Expired, Store

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
    """One for a process. every_s: from the end of one sweep to the begin of the next.

    loop  the task that runs from `start` to `stop`.
    """

    def __init__(self, store: Store, ages: Ages, clock: Clock, *, every_s: float = EVERY_S) -> None:
        self._store = store
        self._ages = ages
        self._clock = clock
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
                log.warning("nothing was let go", code=error.code)
            except Exception as error:
                log.error("nothing was let go", exc_info=error)

    async def sweep(self) -> Expired:
        """Let go of all that is too old now; what that was. StoreError when the store cannot write."""
        before = self._ages.cutoffs(self._clock.now())
        gone = Expired()
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
            log.info("old data was let go", count=gone.bodies + gone.events + gone.dedupe_keys + gone.refusals)
        return gone
