"""How many requests a source may send in a minute, where the operator set a rate. Pure: the time is given."""

from hookseal.clock import Instant

_MINUTE = 60_000_000


class RateLimit:
    """Allows `per_minute` requests in each minute, evenly refilled, with one minute's worth at once at most."""

    def __init__(self, per_minute: int) -> None:
        self._cost = _MINUTE // per_minute
        self._full = self._cost * per_minute
        self._credit = self._full
        self._at: Instant | None = None

    def take(self, now: Instant) -> float:
        """0.0 when one more request may pass (it is counted), else the seconds until the next one may."""
        if self._at is not None and now > self._at:
            self._credit = min(self._full, self._credit + (now - self._at))
        self._at = now
        if self._credit >= self._cost:
            self._credit -= self._cost
            return 0.0
        return (self._cost - self._credit) / 1_000_000
