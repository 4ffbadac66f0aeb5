"""The time that retention counts from: it follows the clock, but never by more than two days a real day.

It knows no ages and deletes nothing. The real time is the monotonic clock of the running process. The time between two
processes does not count, because only a wall clock could tell how long it was. After a restart the value therefore
continues where it was stored, and gains on the clock by one day a day.

Theory of operation. The value moves towards the clock in both directions, at most `RATE` times as fast as real time. So
a clock that is wrong for a day moves it by two days at most, and a clock that is set back for a day lets it return within
a day. The caller gets the value, or the clock's time if that is earlier. The value is stored after each move. If storing
fails, or the process is killed before, a later process continues at an earlier value, and deletes less.

Several nodes share the stored value. Each moves from what it read at its own start and from its own moves only, so their
moves do not add up.
"""

from typing import Final

import msgspec

from hookseal.clock import Clock, Instant, plus, seconds_between
from hookseal.errors import StoreError
from hookseal.logs import get_logger
from hookseal.store.port import Store

log = get_logger(__name__)

NAMESPACE: Final = "clock"
NAME: Final = "retention"
RATE: Final = 2.0


class RetentionTime:
    """store: where the value is stored. None: it is kept in memory, and begins at the clock's time."""

    def __init__(self, clock: Clock, store: Store | None = None) -> None:
        self._clock = clock
        self._store = store
        self._at: Instant | None = clock.now() if store is None else None
        self._moved_at = clock.monotonic()
        self._target: Instant | None = None
        self._is_open = store is None

    async def open(self) -> None:
        """Read the stored value, before anything is received. A store of an earlier version has its newest event's time."""
        if self._store is None or self._is_open:
            return
        stored = (await self._store.kept(NAMESPACE)).get(NAME)
        self._moved_at = self._clock.monotonic()
        if stored is not None:
            self._at = Instant(msgspec.json.decode(stored, type=int))
        else:
            # The process that wrote the newest event ran at that time. What came after it is not known.
            self._at = await self._store.newest_receipt()
        self._is_open = True

    async def follow(self, target: Instant) -> Instant:
        """Move towards `target`, the present time; return the time that cut-offs count from. StoreError if unknown."""
        await self.open()  # in case that the store could not be read at the start
        monotonic = self._clock.monotonic()
        most_s = RATE * (monotonic - self._moved_at)
        at = target if self._at is None else max(plus(self._at, -most_s), min(target, plus(self._at, most_s)))
        self._at, self._moved_at, self._target = at, monotonic, target
        if self._store is not None:
            try:
                await self._store.keep(NAMESPACE, NAME, msgspec.json.encode(at))
            except StoreError as error:
                log.warning("retention time not stored", code=error.code)
        return min(at, target)

    @property
    def behind_s(self) -> float:
        """By how many seconds the value is behind the clock, as of the last move."""
        if self._at is None or self._target is None:
            return 0.0
        return max(seconds_between(self._at, self._target), 0.0)
