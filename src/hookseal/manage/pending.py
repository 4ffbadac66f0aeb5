"""End deliveries that wait for an endpoint which this gateway does not call, so that their data does not stay for ever.

An endpoint is not called if it is not configured any more, if it has not consented, or if this version cannot read its
registration. Its deliveries stay pending, and retention keeps what they need. `pending_days` after they were due they are
dead, reason `pending_expired`, and retention applies to them. Each retry of an endpoint that is called ends by its
schedule, so those are left alone.

Before that the operator is warned: a log line once a day for each such endpoint, and a figure. No delivery ends before
its endpoint has been on that list of this process for `NOTICE_S` (an hour): a node that has just started, or whose
configuration was changed by mistake, ends nothing at once. The caller gives a time that a wrong clock does not move.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from hookseal.clock import Clock, Instant, plus, seconds_between
from hookseal.logs import get_logger
from hookseal.model import AttemptReason, DeliveryId, DeliveryState, EndpointId
from hookseal.store.port import Store

log = get_logger(__name__)

NOTICE_S = 3600.0
WARN_EVERY_S = 86_400.0
_DAY_S = 86_400.0
_SLICE = 500


class Observer(Protocol):
    def ended(self, endpoint: EndpointId, delivery: DeliveryId, state: DeliveryState, reason: str) -> None: ...

    def waiting_uncalled(self, oldest_s: Mapping[EndpointId, float]) -> None:
        """Report for each endpoint that is not called how many seconds its oldest pending delivery has been due."""
        ...


class PendingExpiry:
    """called: returns the endpoints that are called now. days: how long a delivery may wait for another one."""

    def __init__(
        self, store: Store, called: Callable[[], Collection[EndpointId]], days: int, clock: Clock, observer: Observer
    ) -> None:
        self._store = store
        self._called = called
        self._days = days
        self._clock = clock
        self._observer = observer
        self._noticed_at: dict[EndpointId, float] = {}
        self._warned_at: dict[EndpointId, float] = {}

    async def look(self, now: Instant) -> Collection[EndpointId]:
        """Warn of endpoints that are not called. Return those of which deliveries are to end now."""
        called = self._called()
        waiting = await self._store.pending_since()
        oldest = {endpoint: due for endpoint, due in waiting.items() if endpoint not in called and due < now}
        self._observer.waiting_uncalled({endpoint: seconds_between(due, now) for endpoint, due in oldest.items()})
        monotonic = self._clock.monotonic()
        self._noticed_at = {endpoint: self._noticed_at.get(endpoint, monotonic) for endpoint in oldest}
        self._warned_at = {endpoint: at for endpoint, at in self._warned_at.items() if endpoint in oldest}
        for endpoint, due in oldest.items():
            if seconds_between(due, now) >= min(_DAY_S, self._days * _DAY_S / 2):
                self._warn(endpoint, monotonic)
        before = self._before(now)
        return [
            endpoint
            for endpoint, due in oldest.items()
            if due < before and monotonic >= self._noticed_at[endpoint] + NOTICE_S
        ]

    async def end_some(self, endpoint: EndpointId, now: Instant) -> bool:
        """End one slice of an endpoint's deliveries. False if none is left, or if the endpoint is called again."""
        if endpoint in self._called():
            return False
        ended = await self._store.expire_pending(endpoint, self._before(now), now, _SLICE)
        for delivery in ended:
            self._observer.ended(endpoint, delivery, DeliveryState.DEAD, AttemptReason.PENDING_EXPIRED.value)
        if ended:
            log.warning("deliveries ended dead, endpoint not called", endpoint=endpoint, count=len(ended))
        return len(ended) == _SLICE

    def _before(self, now: Instant) -> Instant:
        return plus(now, -self._days * _DAY_S)

    def _warn(self, endpoint: EndpointId, monotonic: float) -> None:
        warned_at = self._warned_at.get(endpoint)
        if warned_at is not None and monotonic < warned_at + WARN_EVERY_S:
            return
        self._warned_at[endpoint] = monotonic
        log.warning("deliveries wait for an endpoint that is not called, and will end dead", endpoint=endpoint)
