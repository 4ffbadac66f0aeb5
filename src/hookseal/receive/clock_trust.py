"""May the wall clock decide a refusal just now?

A token that looks expired, or a timestamp that looks old, may be neither: our own clock may have been set a moment ago,
to the right time or away from it. Some senders never try again after such a refusal. The monotonic clock is never set,
so when the two drift apart between two looks, the wall clock was. From then on it is not believed for a while, in which
refusals for reasons of time are doubts of ours; a step that lasts is then the new truth, since nobody here could know
better.

A clock that runs much too fast or too slow moves a little from look to look and is noticed too: each look is compared
with one that is up to ten minutes old. While it goes on, so does the doubt.

Not noticed: a clock that is wrong from the start, or that is slewed. It refuses to know requests and reasons.
"""

from hookseal.clock import Clock, Instant, to_unix

STEP_S = 5.0
"""A larger difference between the two looks is a step. Slewing moves a clock by 0.3 s in ten minutes at most."""
DOUBT_S = 60.0
COMPARED_S = 600.0


class ClockTrust:
    """step_s: what counts as a step. doubt_s: for how long the wall clock is not believed after one."""

    def __init__(self, clock: Clock, *, step_s: float = STEP_S, doubt_s: float = DOUBT_S) -> None:
        self._clock = clock
        self._step_s = step_s
        self._doubt_s = doubt_s
        self._compared_with(to_unix(clock.now()) - clock.monotonic(), clock.monotonic())
        self._doubt_until: float | None = None

    def look(self) -> Instant:
        """The wall clock's time, compared with the monotonic clock on the way."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        ahead_s = to_unix(now) - monotonic
        if abs(ahead_s - self._ahead_s) > self._step_s:
            self._doubt_until = monotonic + self._doubt_s
            self._compared_with(ahead_s, monotonic)
        elif monotonic - self._looked_at > COMPARED_S:
            self._compared_with(ahead_s, monotonic)
        return now

    def _compared_with(self, ahead_s: float, monotonic: float) -> None:
        """From now on."""
        self._ahead_s = ahead_s
        self._looked_at = monotonic

    @property
    def doubted_for_s(self) -> float:
        """For how many more seconds the wall clock is not believed; 0 while it is."""
        if self._doubt_until is None:
            return 0.0
        left_s = self._doubt_until - self._clock.monotonic()
        if left_s <= 0:
            self._doubt_until = None
            return 0.0
        return left_s
