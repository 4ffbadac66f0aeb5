"""Connects the time source of a gateway to its evidence, to its health check and to its metrics."""

import math
from collections.abc import Callable, Iterable

from hookseal.api.health import CheckState
from hookseal.api.metrics import Metrics
from hookseal.clock import Clock, Instant
from hookseal.egress.dated import DatedEgress
from hookseal.egress.port import Egress
from hookseal.errors import StoreError
from hookseal.logs import get_logger
from hookseal.manage.clock_watch import ClockWatch
from hookseal.manage.retention_time import RetentionTime
from hookseal.store.port import Store
from hookseal.time_source import AWAITED_S, Evidence, TimeSource, Trust

log = get_logger(__name__)

ENDPOINT_EVERY_S = 10.0
"""How often the time that one endpoint shows is read."""


class Timing:
    """The time of one start of a gateway. refresh: has the key sets fetched again."""

    def __init__(self, source: TimeSource, store: Store, clock: Clock, refresh: Callable[[], None]) -> None:
        self.source = source
        self.watch = ClockWatch(source, store, clock, refresh=refresh)
        self.counted = RetentionTime(clock, store)
        self._clock = clock
        self._first_fetches: set[str] = set()

    async def open(self) -> None:
        """Read the evidence of the store, before anything is received."""
        for part in (self.watch, self.counted):
            try:
                await part.open()
            except StoreError as error:
                # The watch asks the database again. Retention reads its time again before it deletes anything.
                log.warning("clock evidence not available", code=error.code)
        self.source.await_evidence()  # until `expect_key_sets` knows whether there will be more

    def expect_key_sets(self, urls: Iterable[str]) -> None:
        """Refuse nothing for its time before the first fetch of these sets has shown the time of their hosts."""
        self._first_fetches = set(urls)
        self.source.await_evidence(AWAITED_S if self._first_fetches else 0.0)

    def key_set_fetched(self, url: str) -> None:
        if url in self._first_fetches:
            self._first_fetches.discard(url)
            if not self._first_fetches:
                self.source.await_evidence(0.0)

    def dated(self, egress: Egress, kind: Evidence) -> Egress:
        """Return an egress whose answers are evidence of this kind."""
        if not self.source.compares:
            return egress

        def seen(host: str, earliest: Instant, latest: Instant, asked: float, answered: float, is_local: bool) -> None:
            self.source.shown(kind, host, earliest, latest, asked, answered, is_local=is_local)

        return DatedEgress(egress, self._clock, seen, every_s=ENDPOINT_EVERY_S if kind is Evidence.ENDPOINT else 0.0)

    def state(self) -> CheckState:
        """The check `clock` of `/readyz`: `trusted`, or what the doubt comes from."""
        judgement = self.source.judgement
        cause = Trust.TRUSTED if judgement.cause is None else judgement.cause
        return CheckState(judgement.trust is not Trust.CONTRADICTED, cause.value)

    def measured_by(self, metrics: Metrics) -> None:
        source = self.source

        def difference_of(kind: Evidence) -> Callable[[], float]:
            def difference() -> float:
                seconds = source.difference_s(kind)
                return math.nan if seconds is None else seconds

            return difference

        compared = [kind for kind in Evidence if kind not in (Evidence.STEP, Evidence.STARTING)]
        metrics.clock(
            lambda: float(source.judgement.trust is not Trust.TRUSTED),
            {kind.value: difference_of(kind) for kind in compared},
            lambda: self.counted.behind_s,
        )
