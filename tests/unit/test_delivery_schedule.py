"""The schedules, try by try, without a clock."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from hookseal.clock import Instant, plus, seconds_between
from hookseal.delivery.policy import POLICIES, RetryPolicy
from hookseal.delivery.schedule import next_attempt_at

FIRST = Instant(1_760_000_000_000_000)
DAY_S = 86_400


def offsets(
    policy: RetryPolicy,
    *,
    jitter: float,
    lasts_s: float = 0.0,
    wish: Callable[[int], float | None] = lambda attempt: None,
) -> list[float]:
    """Seconds from the first try at which each try begins, when every one fails after `lasts_s`."""
    times, attempt, at = [0.0], 1, FIRST
    while True:
        following = next_attempt_at(policy, attempt, FIRST, plus(at, lasts_s), wish(attempt), jitter)
        if following is None:
            return times
        assert following > at
        at, attempt = following, attempt + 1
        times.append(seconds_between(FIRST, at))


def test_standard_waits_after_each_failure() -> None:
    assert offsets(POLICIES["standard"], jitter=0.5) == [*(0, 5, 305, 2105, 9305, 27305, 63305, 113705, 185705, 272105)]
    assert offsets(POLICIES["standard"], jitter=0.5, lasts_s=15)[:4] == [0, 20, 335, 2150]


@pytest.mark.parametrize(("jitter", "factor"), [(0.0, 0.8), (0.5, 1.0), (1.0, 1.2)])
def test_standard_jitter_is_20_percent_of_each_wait(jitter: float, factor: float) -> None:
    times = offsets(POLICIES["standard"], jitter=jitter)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == pytest.approx([wait * factor for wait in POLICIES["standard"].waits_s])


@pytest.mark.parametrize("name", ["event_grid", "bankid"])
def test_event_grid_tries_eleven_times_in_a_day(name: str) -> None:
    assert offsets(POLICIES[name], jitter=0.0) == [0, 10, 40, 100, 400, 1000, 2800, 6400, 17200, 38800, 82000]


@pytest.mark.parametrize("jitter", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("lasts_s", [0.0, 30.0])
def test_event_grid_stays_in_its_day_and_its_gaps_never_shrink(jitter: float, lasts_s: float) -> None:
    times = offsets(POLICIES["event_grid"], jitter=jitter, lasts_s=lasts_s)
    assert len(times) == 11
    assert times[-1] < DAY_S
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == sorted(gaps)


def test_event_grid_is_spent_when_a_wish_has_moved_the_rest_past_the_day() -> None:
    times = offsets(POLICIES["event_grid"], jitter=0.0, wish=lambda attempt: 50_000.0 if attempt == 1 else None)
    assert times == [0, 50_000, 50_030, 50_090, 50_390, 50_990, 52_790, 56_390, 67_190]


def test_zignsec_20_keeps_its_offsets_however_long_a_try_takes() -> None:
    policy = POLICIES["zignsec_20_in_48h"]
    assert offsets(policy, jitter=1.0) == [0, *policy.waits_s]
    assert offsets(policy, jitter=1.0, lasts_s=30) == [0, *policy.waits_s]
    assert all(early <= offset for early, offset in zip(offsets(policy, jitter=0.0), [0, *policy.waits_s], strict=True))


@pytest.mark.parametrize("moved", range(1, 20))
def test_zignsec_20_makes_all_its_tries_in_48_hours_when_one_is_put_off_for_a_day(moved: int) -> None:
    times = offsets(
        POLICIES["zignsec_20_in_48h"],
        jitter=1.0,
        lasts_s=30,
        wish=lambda attempt: float(DAY_S) if attempt == moved else None,
    )
    assert len(times) == 20
    assert times[-1] + 30 < 2 * DAY_S


def test_zignsec_20_spreads_the_tries_that_a_wish_has_overtaken() -> None:
    times = offsets(
        POLICIES["zignsec_20_in_48h"], jitter=1.0, wish=lambda attempt: float(DAY_S) if attempt == 1 else None
    )
    gaps = [later - earlier for earlier, later in pairwise(times[1:])]
    assert min(gaps) == pytest.approx((171_000 - DAY_S) / 18)
    assert times[-1] == pytest.approx(171_000)


def test_zignsec_20_is_over_when_our_own_outage_took_its_window() -> None:
    late = plus(FIRST, 2 * DAY_S)
    assert next_attempt_at(POLICIES["zignsec_20_in_48h"], 3, FIRST, late, None, 0.5) is None


@pytest.mark.parametrize(
    ("wish", "expected"),
    [(None, 5), (-120, 5), (0, 5), (4, 5), (6, 6), (120, 120), (DAY_S, DAY_S), (DAY_S + 1, DAY_S), (1e300, DAY_S)],
)
def test_retry_after_makes_a_wait_longer_never_shorter_and_a_day_at_most(wish: float | None, expected: float) -> None:
    at = next_attempt_at(POLICIES["standard"], 1, FIRST, FIRST, wish, 0.5)
    assert at == plus(FIRST, expected)


def test_a_spent_schedule_grants_no_wish() -> None:
    assert next_attempt_at(POLICIES["standard"], 10, FIRST, FIRST, 5, 0.5) is None
