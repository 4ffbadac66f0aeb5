"""What holds of every schedule, whatever an endpoint answers and whenever."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from hookseal.clock import Instant, plus, seconds_between, to_datetime
from hookseal.delivery import retry_after
from hookseal.delivery.policy import POLICIES, RetryPolicy
from hookseal.delivery.schedule import next_attempt_at

FIRST = Instant(1_760_000_000_000_000)
DAY_S = 86_400.0

junk = st.text(max_size=40)
numbers = st.one_of(
    st.integers(-(10**400), 10**400).map(str),
    st.floats().map(repr),
    st.integers(0, 200_000).map(str),
    st.text("0123456789٠١٢²", min_size=1, max_size=400),
)
dates = st.integers(-200_000, 400_000).map(lambda s: to_datetime(plus(FIRST, s)).strftime("%a, %d %b %Y %H:%M:%S GMT"))
headers = st.one_of(st.none(), junk, numbers, dates)
jitters = st.floats(0.0, 1.0)
tries = st.tuples(headers, jitters, st.floats(0.0, 30.0))


def run(policy: RetryPolicy, answers: list[tuple[str | None, float, float]]) -> list[Instant]:
    """When each try begins, when all fail as given: (Retry-After, jitter, how long the try took)."""
    times = [FIRST]
    for raw, jitter, lasts_s in answers:
        ended_at = plus(times[-1], lasts_s)
        wish = retry_after.parse(raw, ended_at)
        at = next_attempt_at(policy, len(times), FIRST, ended_at, wish, jitter)
        if at is None:
            break
        assert at >= ended_at
        times.append(at)
    return times


@given(headers)
def test_reading_retry_after_is_total_and_bounded(raw: str | None) -> None:
    wish = retry_after.parse(raw, FIRST)
    assert wish is None or 0 <= wish <= retry_after.LONGEST_S


@settings(max_examples=300, deadline=None)
@given(st.lists(tries, min_size=25, max_size=25))
def test_zignsec_20_is_20_rising_tries_within_48_hours(answers: list[tuple[str | None, float, float]]) -> None:
    times = run(POLICIES["zignsec_20_in_48h"], answers)
    assert len(times) == 20
    assert all(earlier < later for earlier, later in pairwise(times))
    assert seconds_between(FIRST, times[-1]) < 2 * DAY_S


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["event_grid", "bankid"]), st.lists(tries, min_size=15, max_size=15))
def test_event_grid_never_tries_more_than_11_times_nor_past_the_day(
    name: str, answers: list[tuple[str | None, float, float]]
) -> None:
    times = run(POLICIES[name], answers)
    assert 2 <= len(times) <= 11
    assert seconds_between(FIRST, times[-1]) < DAY_S


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.none(), jitters, st.floats(0.0, 30.0)), min_size=15, max_size=15))
def test_event_grid_makes_all_11_tries_when_nobody_asks_otherwise(
    answers: list[tuple[str | None, float, float]],
) -> None:
    assert len(run(POLICIES["event_grid"], answers)) == 11


@settings(max_examples=300, deadline=None)
@given(st.lists(tries, min_size=12, max_size=12))
def test_standard_waits_at_least_what_it_promises_and_at_most_a_day_and_its_jitter(
    answers: list[tuple[str | None, float, float]],
) -> None:
    policy = POLICIES["standard"]
    times = run(policy, answers)
    assert len(times) == 10
    for number, (earlier, later) in enumerate(pairwise(times)):
        raw, _, lasts_s = answers[number]
        waited = seconds_between(earlier, later) - lasts_s
        wish = retry_after.parse(raw, plus(earlier, lasts_s)) or 0
        assert waited >= policy.waits_s[number] * 0.8 - 1e-5
        assert waited >= min(wish, DAY_S) - 1e-5
        assert waited <= max(policy.waits_s[number] * 1.2, min(wish, DAY_S)) + 1e-5


@given(
    st.sampled_from(sorted(POLICIES)),
    st.integers(1, 1000),
    st.integers(0, 400_000),
    st.one_of(st.none(), st.floats(allow_nan=False), st.integers(-(10**300), 10**300)),
    jitters,
)
def test_every_schedule_is_total_and_looks_forward(
    name: str, attempt: int, ended_s: int, wish: float | None, jitter: float
) -> None:
    ended_at = plus(FIRST, ended_s)
    at = next_attempt_at(POLICIES[name], attempt, FIRST, ended_at, wish, jitter)
    assert at is None or at >= ended_at
    if attempt >= POLICIES[name].tries:
        assert at is None
