"""Retry policies: how often, how far apart, and what a status means. Data only; `schedule.py` does the reckoning.

Six have names. An endpoint may take one of them, change its tables, or bring delays of its own.

    standard           10 tries, about 75 h 35 min; the example schedule of the Standard Webhooks specification
    zignsec_3_retries  4 tries; ZignSec's page says "retry 3 times" and nothing of the spacing, which is ours
    zignsec_3_tries    3 tries; another stored version of that page says "try 3 times"
    zignsec_20_in_48h  20 tries within 48 h of the first, as ZignSec's older text promises; the spacing is ours
    event_grid         11 tries, the gaps that Microsoft documents, within a day
    bankid             the same gaps; the status tables of BankID's AntiFraud documentation
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from hookseal.catalogue import Provider
from hookseal.errors import ConfigurationError
from hookseal.settings import RetrySettings

_DAY_S = 86_400.0
_MAX_WAITS = 100
_MAX_WAIT_S = 30 * _DAY_S
_PATTERN = re.compile(r"([1-5])xx|([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """One policy.

    waits_s              seconds after the end of each failed try; with `from_first`, seconds from the begin of the first.
    success, permanent   statuses that deliver, statuses that end it at once. All else, no answer included, is retried.
    jitter               (lowest, highest) fraction of a wait by which it is changed.
    window_s             no try is planned later than this after the begin of the first; None: no end but the table's.
    honours_retry_after  whether a longer wait that the endpoint asks for is granted, up to `max_wait_s`.
    """

    name: str
    waits_s: tuple[float, ...]
    success: frozenset[int]
    permanent: frozenset[int] = frozenset()
    jitter: tuple[float, float] = (-0.2, 0.2)
    window_s: float | None = None
    from_first: bool = False
    honours_retry_after: bool = True
    max_wait_s: float = _DAY_S

    @property
    def tries(self) -> int:
        return len(self.waits_s) + 1


def statuses(patterns: Iterable[str]) -> frozenset[int]:
    """The statuses that patterns name: `2xx`, `200-204`, `410`. ValueError for any other text."""
    named: set[int] = set()
    for pattern in patterns:
        found = _PATTERN.fullmatch(pattern)
        if found is None:
            raise ValueError(pattern)
        hundred, first, last = found.groups()
        if hundred is not None:
            named.update(range(int(hundred) * 100, int(hundred) * 100 + 100))
            continue
        if last is not None and int(last) < int(first):
            raise ValueError(pattern)
        named.update(range(int(first), int(last or first) + 1))
    return frozenset(named)


_ANY_2XX = statuses(["2xx"])

# Gaps, not points in time: Microsoft's own example (a time to live of 30 minutes gives 6 tries) reads them so.
# https://learn.microsoft.com/azure/event-grid/delivery-and-retry. The next gap of 12 h would pass the day.
_EVENT_GRID_WAITS = (10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 10800.0, 21600.0, 43200.0)

# The first gap is a minute and each is about 1.46 times the one before; the last leaves half an hour of the 48.
_ZIGNSEC_OFFSETS = (
    *(60.0, 148.0, 275.0, 462.0, 733.0, 1130.0, 1709.0, 2553.0, 3785.0, 5582.0, 8204.0, 12030.0),
    *(17612.0, 25756.0, 37637.0, 54972.0, 80264.0, 117163.0, 171000.0),
)

POLICIES = {
    policy.name: policy
    for policy in (
        RetryPolicy(
            name="standard",
            waits_s=(5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0),
            success=_ANY_2XX,
            permanent=frozenset({410}),
        ),
        # A minute, ten minutes, an hour: past a restart, past a bad deployment, past a short outage.
        RetryPolicy(name="zignsec_3_retries", waits_s=(60.0, 600.0, 3600.0), success=_ANY_2XX),
        RetryPolicy(name="zignsec_3_tries", waits_s=(60.0, 600.0), success=_ANY_2XX),
        RetryPolicy(
            name="zignsec_20_in_48h",
            waits_s=_ZIGNSEC_OFFSETS,
            success=_ANY_2XX,
            jitter=(-0.1, 0.0),  # earlier only, so that the last try stays where it is planned
            window_s=2 * _DAY_S,
            from_first=True,
        ),
        RetryPolicy(
            name="event_grid",
            waits_s=_EVENT_GRID_WAITS,
            success=_ANY_2XX,
            permanent=frozenset({400, 401, 403, 413}),
            jitter=(0.0, 0.1),
            window_s=_DAY_S,
        ),
        RetryPolicy(
            name="bankid",
            waits_s=_EVENT_GRID_WAITS,
            success=frozenset(range(200, 205)),  # 205, 206 and 226 are failures, and are retried
            permanent=frozenset({400, 401, 403, 404, 413}),
            jitter=(0.0, 0.1),
            window_s=_DAY_S,
        ),
    )
}


def of_provider(provider: Provider) -> RetryPolicy:
    """The policy that a provider retries by."""
    named = POLICIES[provider.retry]
    return named if provider.permanent is None else replace(named, permanent=statuses(provider.permanent))


def parse(settings: RetrySettings, place: str = "endpoint") -> RetryPolicy:
    """The policy that an endpoint asks for: a named one, with its own delays and tables laid over it.

    Own delays count from the end of each failed try, have no window, and the jitter of `standard`. A status that the
    endpoint names itself counts before one that the named policy has. ConfigurationError (at `place`) for a table that
    cannot be.
    """
    named = POLICIES.get(settings.policy)
    if named is None:
        raise ConfigurationError(place, "retry", f"use one of {', '.join(POLICIES)}, or a table with delays_s")
    if settings == RetrySettings(policy=settings.policy):
        return named
    success = _table(settings.success, place, "retry.success")
    permanent = _table(settings.permanent, place, "retry.permanent")
    if success is not None and permanent is not None and success & permanent:
        raise ConfigurationError(place, "retry.permanent", "name no status that retry.success names too")
    if success is not None and not success:
        raise ConfigurationError(place, "retry.success", "name at least one status")
    delays = named.waits_s if settings.delays_s is None else _delays(settings.delays_s, place)
    own = settings.delays_s is not None
    return RetryPolicy(
        name="own" if own else named.name,
        waits_s=delays,
        success=named.success - (permanent or frozenset()) if success is None else success,
        permanent=named.permanent - (success or frozenset()) if permanent is None else permanent,
        jitter=POLICIES["standard"].jitter if own else named.jitter,
        window_s=None if own else named.window_s,
        from_first=False if own else named.from_first,
    )


def _table(patterns: tuple[str, ...] | None, place: str, key: str) -> frozenset[int] | None:
    if patterns is None:
        return None
    try:
        return statuses(patterns)
    except ValueError:
        raise ConfigurationError(place, key, 'write statuses as "2xx", "200-204" or 410') from None


def _delays(delays_s: tuple[float, ...], place: str) -> tuple[float, ...]:
    key = "retry.delays_s"
    if len(delays_s) > _MAX_WAITS:
        raise ConfigurationError(place, key, f"give at most {_MAX_WAITS} delays")
    if not all(math.isfinite(delay) and 0 <= delay <= _MAX_WAIT_S for delay in delays_s):
        raise ConfigurationError(place, key, "give seconds from 0 to 2592000 (30 days)")
    return tuple(float(delay) for delay in delays_s)
