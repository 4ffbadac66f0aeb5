"""What Prometheus may count: a registry of our own, never the library's global one.

It decides which figures there are and which labels they may have. A label's value comes from a set that the operator
or we have closed: a configured source or endpoint, a code of ours, a status. Whatever else is handed in is counted as
`unknown` or `other`, so that no sender and no endpoint can add a series, and no id or personal data gets in here.

The counting side is called on the event loop and does no more than a look-up and an addition. Figures that the store
has to count are asked for when a page is drawn, at most every few seconds and by one caller at a time.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from hookseal.clock import Clock
from hookseal.errors import HooksealError
from hookseal.model import AttemptReason, DeliveryId, DeliveryState, EndpointId, Reason
from hookseal.store.port import Counts

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of the page: the text format that every scraper reads."""

UNKNOWN = "unknown"
OTHER = "other"

_COUNTS_FRESH_S = 5.0
_COUNTS_TIMEOUT_S = 3.0
_COMMIT_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_ATTEMPT_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0)
_STATUSES = frozenset(str(status.value) for status in HTTPStatus)
_REASONS = frozenset(reason.value for reason in Reason)
_ATTEMPT_REASONS = frozenset(reason.value for reason in AttemptReason) | {"handler_error"}
_HTTP_REASON = re.compile(r"http_([1-5])\d\d", re.ASCII)
_PART = re.compile(r"[a-z][a-z_]{0,31}", re.ASCII)
_MAX_PARTS = 32

Count = Callable[[], Awaitable[Counts]]


M = TypeVar("M", Counter, Gauge, Histogram)


class _ByLabels(dict[tuple[str, ...], M]):
    """The series of one figure by the values of its labels. `labels()` checks and locks: three times as dear as this."""

    def __init__(self, figure: M) -> None:
        self._figure: M = figure

    def __missing__(self, labels: tuple[str, ...]) -> M:
        series: M = self._figure.labels(*labels)
        self[labels] = series
        return series


class Metrics:
    """One set of figures for one process. Satisfies the observers of receiving and of delivering."""

    def __init__(self, sources: Iterable[str], endpoints: Iterable[str], clock: Clock) -> None:
        """sources, endpoints: the ids that may stand as labels."""
        self._sources = frozenset(sources)
        self._endpoints = frozenset(endpoints)
        self._clock = clock
        self._counting = asyncio.Lock()
        self._counted_at: float | None = None
        self._parts: set[str] = set()
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def counter(name: str, words: str, *labels: str) -> _ByLabels[Counter]:
            return _ByLabels(Counter(f"hookseal_{name}", words, labels, registry=registry))

        def gauge(name: str, words: str, *labels: str) -> Gauge:
            return Gauge(f"hookseal_{name}", words, labels, registry=registry)

        self._answered = counter("received", "Requests received, by what they were answered.", "source", "status")
        self._refused = counter("refused", "Requests refused, by why.", "source", "reason")
        self._stored = counter("stored_events", "Events stored.", "source")
        self._duplicates = counter("duplicate_events", "Events that had been stored before.", "source")
        self._conflicts = counter("conflicting_events", "Duplicates that came with other data.", "source")
        self._attempted = counter(
            "delivery_attempts", "Tries to deliver, by where they left the delivery.", "endpoint", "outcome", "reason"
        )
        self._ended = counter(
            "deliveries_ended_unattempted", "Deliveries that ended without an attempt.", "endpoint", "reason"
        )
        self._isolated = counter("delivery_isolated_attempts", "Attempts of crash suspects.", "endpoint")
        self._fenced = counter("delivery_results_fenced", "Results of tries whose lease another held.", "endpoint")
        self._unrecorded = counter("delivery_results_unrecorded", "Results that could not be written down.", "endpoint")
        self._broke = counter("faults", "Faults of our own, by the part that had them.", "part")
        self._fetched = counter("key_set_fetches", "Fetches of an issuer's keys.", "source", "outcome")
        self._commit = Histogram(
            "hookseal_commit_seconds", "Transactions of the store.", buckets=_COMMIT_BUCKETS_S, registry=registry
        )
        self._attempt = _ByLabels(
            Histogram(
                "hookseal_delivery_attempt_seconds",
                "Tries to deliver.",
                ["endpoint"],
                buckets=_ATTEMPT_BUCKETS_S,
                registry=registry,
            )
        )
        self._in_flight = gauge("in_flight_requests", "Requests that are being received.")
        self._clock_doubted = gauge("clock_doubted", "1 while this machine's clock is not trusted, else 0.")
        self._clock_difference = gauge(
            "clock_difference_seconds", "How far this machine's clock is ahead of other clocks.", "evidence"
        )
        self._retention_behind = gauge(
            "retention_behind_seconds", "How far the time that retention counts from is behind the clock."
        )
        self._pending = gauge("deliveries_pending", "Deliveries that have not ended.", "endpoint")
        self._dead = gauge("deliveries_dead", "Dead letters.", "endpoint")
        self._uncalled = gauge(
            "deliveries_uncalled_oldest_seconds",
            "How long the oldest delivery has been due whose endpoint is not configured or has not consented.",
            "endpoint",
        )
        self._quarantined = gauge("quarantined_requests", "Refused requests that are kept.")
        self._store_counted = gauge("store_counted", "1 when the figures of the store are fresh, 0 when it cannot say.")

    def know_sources(self, sources: Iterable[str]) -> None:
        """More ids that may stand as labels: of sources that were made through the API."""
        self._sources |= frozenset(sources)

    def know_endpoints(self, endpoints: Iterable[str]) -> None:
        """More ids that may stand as labels: handlers, and what was made through the API."""
        self._endpoints |= frozenset(endpoints)

    # --- receiving --------------------------------------------------------------------------------------------------

    def answered(self, source: str, status: int) -> None:
        self._answered[self._source(source), _known(str(status), _STATUSES)].inc()

    def refused(self, source: str, reason: str) -> None:
        self._refused[self._source(source), _known(reason, _REASONS)].inc()

    def stored(self, source: str, new: int, duplicates: int, conflicts: int) -> None:
        label = self._source(source)
        for figure, count in ((self._stored, new), (self._duplicates, duplicates), (self._conflicts, conflicts)):
            if count:
                figure[label,].inc(count)

    def in_flight(self, requests: Callable[[], int]) -> None:
        """requests: asked whenever a page is drawn."""
        self._in_flight.set_function(requests)

    # --- the clock --------------------------------------------------------------------------------------------------

    def clock(
        self,
        doubted: Callable[[], float],
        differences: Mapping[str, Callable[[], float]],
        retention_behind: Callable[[], float],
    ) -> None:
        """Add figures that are asked for whenever a page is drawn. differences: by kind of evidence; NaN for none."""
        self._clock_doubted.set_function(doubted)
        for evidence, difference in differences.items():
            self._clock_difference.labels(evidence).set_function(difference)
        self._retention_behind.set_function(retention_behind)

    def key_set_fetched(self, source: str, succeeded: bool) -> None:
        self._fetched[self._source(source), "succeeded" if succeeded else "failed"].inc()

    # --- storing ----------------------------------------------------------------------------------------------------

    def committed(self, seconds: float) -> None:
        """Safe to call from the writer's thread."""
        self._commit.observe(seconds)

    # --- delivering -------------------------------------------------------------------------------------------------

    def attempted(
        self, endpoint: EndpointId, delivery: DeliveryId, state: DeliveryState, reason: str | None, seconds: float
    ) -> None:
        label = self._endpoint(endpoint)
        self._attempted[label, state.value, _attempt_reason(reason)].inc()
        self._attempt[label,].observe(seconds)

    def ended(self, endpoint: EndpointId, delivery: DeliveryId, state: DeliveryState, reason: str) -> None:
        self._ended[self._endpoint(endpoint), _attempt_reason(reason)].inc()

    def isolated(self, endpoint: EndpointId, delivery: DeliveryId) -> None:
        self._isolated[self._endpoint(endpoint),].inc()

    def waiting_uncalled(self, oldest_s: Mapping[EndpointId, float]) -> None:
        ages: dict[str, float] = dict.fromkeys((*self._endpoints, UNKNOWN), 0.0)
        for endpoint, seconds in oldest_s.items():
            label = self._endpoint(endpoint)
            ages[label] = max(ages[label], seconds)
        for label, seconds in ages.items():
            self._uncalled.labels(label).set(seconds)

    def fenced(self, endpoint: EndpointId, delivery: DeliveryId) -> None:
        self._fenced[self._endpoint(endpoint),].inc()

    def unrecorded(self, endpoint: EndpointId, delivery: DeliveryId) -> None:
        self._unrecorded[self._endpoint(endpoint),].inc()

    def broke(self, endpoint: EndpointId | None, what: str, error: str) -> None:
        part = what.replace(" ", "_").replace("-", "_")
        if part not in self._parts:
            if len(self._parts) >= _MAX_PARTS or not _PART.fullmatch(part):
                part = OTHER
            self._parts.add(part)
        self._broke[part,].inc()

    # --- telling ----------------------------------------------------------------------------------------------------

    async def page(self, count: Count) -> bytes:
        """The figures as text. The store's own are left as they were when it cannot count now, and said to be so."""
        async with self._counting:
            now = self._clock.monotonic()
            if self._counted_at is None or now - self._counted_at >= _COUNTS_FRESH_S:
                await self._refresh(count)
                self._counted_at = now
        return generate_latest(self.registry)

    async def _refresh(self, count: Count) -> None:
        try:
            async with asyncio.timeout(_COUNTS_TIMEOUT_S):
                counts = await count()
        except (HooksealError, TimeoutError):
            self._store_counted.set(0)
            return
        self._store_counted.set(1)
        self._quarantined.set(counts.quarantined)
        for gauge, by_endpoint in ((self._pending, counts.pending), (self._dead, counts.dead)):
            totals: dict[str, int] = dict.fromkeys(self._endpoints, 0)
            for endpoint, number in by_endpoint.items():
                label = self._endpoint(endpoint)
                totals[label] = totals.get(label, 0) + number
            for label, number in totals.items():
                gauge.labels(label).set(number)

    def _source(self, source: str) -> str:
        return _known(source, self._sources, UNKNOWN)

    def _endpoint(self, endpoint: str) -> str:
        """An endpoint that was taken out of the file still has deliveries; they are counted together."""
        return _known(endpoint, self._endpoints, UNKNOWN)


def _known(value: str, known: frozenset[str], instead: str = OTHER) -> str:
    return value if value in known else instead


def _attempt_reason(reason: str | None) -> str:
    """`http_503` → `http_5xx`: statuses are the endpoint's to choose, so they are counted by class."""
    if reason is None:
        return "none"
    status = _HTTP_REASON.fullmatch(reason)
    if status:
        return f"http_{status[1]}xx"
    return _known(reason, _ATTEMPT_REASONS)
