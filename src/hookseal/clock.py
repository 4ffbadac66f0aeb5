"""The only place that asks what time it is.

Everything else is handed a `Clock`, so that a schedule of 48 hours is tested in milliseconds. Points in time are
`Instant`: whole microseconds since the Unix epoch, UTC. An integer has no time zone to get wrong, sorts in every
database and adds without rounding. Durations are seconds (`_s` in the name) unless the name says otherwise.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import NewType, Protocol

Instant = NewType("Instant", int)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    def now(self) -> Instant:
        """Wall-clock time. May jump; use it for what is stored or compared with the outside world."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start. Never jumps; use it for how long something took."""
        ...

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        """Wait until `event` is set (True) or `timeout_s` seconds have passed (False). None waits for ever."""
        ...


class SystemClock:
    def now(self) -> Instant:
        return Instant(time.time_ns() // 1000)

    def monotonic(self) -> float:
        return time.monotonic()

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        if event.is_set():
            return True
        try:
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes together with the event.
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            return False
        return True


class GivenClock:
    """A clock that stands still until told: for tests, and for judging a request as of another time.

    `advance` moves it and wakes every `wait` whose time has come.
    """

    def __init__(self, now: Instant) -> None:
        self._start = now
        self._now = now
        self._moved: set[asyncio.Event] = set()

    def now(self) -> Instant:
        return self._now

    def monotonic(self) -> float:
        return (self._now - self._start) / 1_000_000

    def advance(self, seconds: float) -> None:
        self._now = plus(self._now, seconds)
        for moved in self._moved:
            moved.set()

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        until = None if timeout_s is None else plus(self._now, timeout_s)
        moved = asyncio.Event()
        self._moved.add(moved)
        try:
            while not event.is_set():
                if until is not None and self._now >= until:
                    return False
                moved.clear()
                waiters = {asyncio.ensure_future(event.wait()), asyncio.ensure_future(moved.wait())}
                try:
                    await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for waiter in waiters:
                        waiter.cancel()
            return True
        finally:
            self._moved.discard(moved)


def plus(instant: Instant, seconds: float) -> Instant:
    return Instant(instant + round(seconds * 1_000_000))


def seconds_between(earlier: Instant, later: Instant) -> float:
    return (later - earlier) / 1_000_000


def from_datetime(moment: datetime) -> Instant:
    """`moment` must be aware."""
    return Instant((moment - _EPOCH) // timedelta(microseconds=1))


EARLIEST = from_datetime(datetime.min.replace(tzinfo=UTC))
LATEST = from_datetime(datetime.max.replace(tzinfo=UTC))
"""The instants that `to_datetime` and `rfc3339` take: the years 1 to 9999 in UTC."""


def to_datetime(instant: Instant) -> datetime:
    return _EPOCH + timedelta(microseconds=instant)


def from_unix(seconds: float) -> Instant:
    return Instant(round(seconds * 1_000_000))


def to_unix(instant: Instant) -> float:
    return instant / 1_000_000


def rfc3339(instant: Instant) -> str:
    """RFC 3339, UTC, six fraction digits: `2026-11-21T08:00:00.000000Z`. Sorts as text."""
    # Not strftime: its %Y has fewer than four digits for early years.
    return to_datetime(instant).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_rfc3339(text: str) -> Instant:
    """Any RFC 3339 time with an offset; more than six fraction digits are cut. ValueError for all else.

    The time is in `EARLIEST` to `LATEST`: an offset may lead out of the years 1 to 9999, where no text shows the time.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without an offset")
    instant = from_datetime(moment)
    if not EARLIEST <= instant <= LATEST:
        raise ValueError("a time outside of the years 1 to 9999")
    return instant
