"""How often calls may begin: at most so many in any minute, whichever minute one looks at. Pure: the time is given.

A bucket that refills evenly would let nearly twice the rate through in its first minute, and the receiver counts.
"""

from collections import deque

from hookseal.clock import Instant, plus

MINUTE_S = 60.0


class Pace:
    """per_minute may change while it is used; None is no bound. Retries are starts like any other."""

    def __init__(self, per_minute: int | None = None) -> None:
        self.per_minute = per_minute
        self._starts: deque[Instant] = deque()

    def free_at(self, now: Instant) -> Instant:
        """When the next call may begin: `now`, or a later moment."""
        if self.per_minute is None:
            return now
        if self._starts and self._starts[-1] > now:  # the clock was set back: without this, until it has caught up
            self._starts = deque(min(start, now) for start in self._starts)
        while len(self._starts) > self.per_minute:
            self._starts.popleft()
        if len(self._starts) < self.per_minute:
            return now
        return max(now, plus(self._starts[0], MINUTE_S))

    def note(self, start: Instant) -> None:
        """A call begins at `start`."""
        if self.per_minute is not None:
            self._starts.append(start)
