"""What each piece of evidence weighs against the wall clock, and how a doubt ends."""

from datetime import date

import pytest

from hookseal import catalogue
from hookseal.clock import Instant, parse_rfc3339, plus, to_datetime
from hookseal.released import RELEASED
from hookseal.time_source import DOUBT_S, NOT_READY_S, SETTLE_S, EarliestClock, Evidence, TimeSource, Trust

NOW = parse_rfc3339("2027-03-01T12:00:00Z")
HOUR, DAY = 3600.0, 86_400.0


class Wall:
    """A wall clock that the test sets, and a monotonic clock that runs on."""

    def __init__(self, ahead_s: float = 0.0) -> None:
        self.ahead_s = ahead_s
        self.passed_s = 0.0

    @property
    def true(self) -> Instant:
        return plus(NOW, self.passed_s)

    def now(self) -> Instant:
        return plus(self.true, self.ahead_s)

    def monotonic(self) -> float:
        return self.passed_s

    async def wait(self, event: object, timeout_s: float | None) -> bool:
        raise NotImplementedError


def show(
    source: TimeSource, wall: Wall, kind: Evidence, host: str = "a", by_s: float = 0.0, *, local: bool = False
) -> None:
    shown = plus(wall.true, by_s)
    source.shown(kind, host, shown, plus(shown, 1), wall.monotonic(), wall.monotonic(), is_local=local)


def trust_of(source: TimeSource) -> Trust:
    return source.judgement.trust


@pytest.mark.parametrize("kind", [Evidence.DATABASE, Evidence.KEY_SET])
@pytest.mark.parametrize("by_s", [-HOUR, HOUR])
def test_one_strong_clock_contradicts(kind: Evidence, by_s: float) -> None:
    wall = Wall()
    source = TimeSource(wall)
    show(source, wall, kind, by_s=by_s)
    assert (trust_of(source), source.judgement.cause) == (Trust.CONTRADICTED, kind)
    assert abs(source.now() - plus(wall.true, by_s)) <= 1_000_000, "the best known time is the one that was shown"
    assert source.difference_s(kind) == pytest.approx(-by_s, abs=1)


@pytest.mark.parametrize("by_s", [0.0, 290.0, -290.0])
def test_a_difference_within_five_minutes_is_none(by_s: float) -> None:
    wall = Wall()
    source = TimeSource(wall)
    show(source, wall, Evidence.KEY_SET, by_s=by_s)
    assert trust_of(source) is Trust.TRUSTED
    assert source.now() == wall.now()


def test_endpoints_count_where_two_hosts_agree() -> None:
    wall = Wall()
    source = TimeSource(wall)
    show(source, wall, Evidence.ENDPOINT, "a", HOUR)
    assert trust_of(source) is Trust.TRUSTED
    show(source, wall, Evidence.ENDPOINT, "a", HOUR)
    assert trust_of(source) is Trust.TRUSTED, "the same host again"
    show(source, wall, Evidence.ENDPOINT, "b", -5 * HOUR)
    assert trust_of(source) is Trust.TRUSTED, "another wrong time"
    show(source, wall, Evidence.ENDPOINT, "c", HOUR)
    assert (trust_of(source), source.judgement.cause) == (Trust.DOUBTED, Evidence.ENDPOINT)
    show(source, wall, Evidence.ENDPOINT, "c")
    assert trust_of(source) is Trust.TRUSTED, "only the newest answer counts"


@pytest.mark.parametrize("by_s", [-30 * 365 * DAY, -HOUR, HOUR, 500 * DAY])
def test_endpoints_alone_stop_no_node_and_move_no_time_of_receipt(by_s: float) -> None:
    """The owners of endpoints choose what their hosts show, and may have many hosts."""
    wall = Wall()
    source = TimeSource(wall)
    show(source, wall, Evidence.DATABASE)
    for host in range(10):
        show(source, wall, Evidence.ENDPOINT, str(host), by_s)
    assert trust_of(source) is Trust.DOUBTED
    assert source.now() == wall.now()
    show(source, wall, Evidence.DATABASE, by_s=by_s)
    assert (trust_of(source), source.judgement.cause) == (Trust.CONTRADICTED, Evidence.DATABASE)
    assert abs(source.now() - plus(wall.true, by_s)) <= 1_000_000


def test_endpoints_replace_no_correction_that_keeps_data_from_looking_old() -> None:
    wall = Wall()
    source = TimeSource(wall)
    wall.ahead_s = -2 * DAY
    assert (trust_of(source), source.judgement.cause) == (Trust.DOUBTED, Evidence.STEP)
    for host in ("a", "b"):
        show(source, wall, Evidence.ENDPOINT, host)
    assert source.now() == wall.true
    wall.passed_s += DOUBT_S
    assert (trust_of(source), source.judgement.cause) == (Trust.DOUBTED, Evidence.ENDPOINT)


def test_many_endpoint_hosts_displace_no_strong_evidence() -> None:
    wall = Wall()
    source = TimeSource(wall)
    show(source, wall, Evidence.KEY_SET, by_s=HOUR)
    for host in range(1000):
        show(source, wall, Evidence.ENDPOINT, str(host), local=True)
    assert (trust_of(source), source.judgement.cause) == (Trust.CONTRADICTED, Evidence.KEY_SET)


def test_strong_clocks_that_disagree_are_a_doubt_and_the_node_stays_ready() -> None:
    wall = Wall()
    source = TimeSource(wall)
    show(source, wall, Evidence.KEY_SET, by_s=HOUR)
    show(source, wall, Evidence.DATABASE)
    assert trust_of(source) is Trust.DOUBTED
    assert source.doubted_for_s > 0
    show(source, wall, Evidence.KEY_SET)
    assert trust_of(source) is Trust.TRUSTED


def test_a_clock_of_this_machine_confirms_nothing() -> None:
    wall = Wall(ahead_s=-DAY)
    source = TimeSource(wall)
    source.stored(wall.true)
    show(source, wall, Evidence.DATABASE, by_s=-DAY, local=True)
    assert trust_of(source) is Trust.CONTRADICTED
    show(source, wall, Evidence.KEY_SET, by_s=-DAY)
    assert trust_of(source) is Trust.TRUSTED, "then the store was wrong"


def test_a_clock_before_the_release_is_wrong_whatever_confirms_it() -> None:
    wall = Wall(ahead_s=-20 * 365 * DAY)
    source = TimeSource(wall)
    show(source, wall, Evidence.DATABASE, by_s=wall.ahead_s)
    assert (trust_of(source), source.judgement.cause) == (Trust.CONTRADICTED, Evidence.RELEASE)
    assert source.now() >= plus(parse_rfc3339(f"{RELEASED}T00:00:00Z"), -DAY)
    wall.passed_s += 100 * DAY
    assert trust_of(source) is Trust.CONTRADICTED, "it does not pass with time"


def test_no_evidence_corrects_the_time_to_one_before_the_release() -> None:
    wall = Wall(ahead_s=-20 * 365 * DAY)
    source = TimeSource(wall)
    show(source, wall, Evidence.KEY_SET, by_s=-10 * 365 * DAY)
    assert trust_of(source) is Trust.CONTRADICTED
    assert source.now() >= plus(parse_rfc3339(f"{RELEASED}T00:00:00Z"), -DAY)


def test_a_receipt_from_the_future_is_a_contradiction_then_a_doubt_then_nothing() -> None:
    wall = Wall()
    source = TimeSource(wall)
    source.stored(plus(wall.true, 500 * DAY))
    assert trust_of(source) is Trust.CONTRADICTED
    assert source.now() >= plus(wall.true, 500 * DAY), "what is stored now looks older only if that is certain"
    wall.passed_s += NOT_READY_S
    assert trust_of(source) is Trust.DOUBTED
    wall.passed_s += DOUBT_S
    assert trust_of(source) is Trust.TRUSTED
    assert source.now() == wall.now()


def test_a_step_that_others_confirm_is_believed_after_a_minute() -> None:
    wall = Wall(ahead_s=-HOUR)
    source = TimeSource(wall)
    wall.ahead_s = 0.0
    assert trust_of(source) is Trust.DOUBTED
    show(source, wall, Evidence.KEY_SET)
    assert trust_of(source) is Trust.DOUBTED
    wall.passed_s += SETTLE_S
    assert trust_of(source) is Trust.TRUSTED


def test_evidence_from_before_a_sleep_of_the_machine_is_not_held_against_the_clock() -> None:
    """The monotonic clock stood still for an hour, so that the wall clock seems to have jumped ahead."""
    wall = Wall()
    source = TimeSource(wall)
    show(source, wall, Evidence.KEY_SET)
    wall.ahead_s = HOUR
    assert source.judgement.cause is Evidence.STEP
    show(source, wall, Evidence.KEY_SET, by_s=HOUR)
    wall.passed_s += SETTLE_S
    assert trust_of(source) is Trust.TRUSTED


def test_a_step_without_evidence_is_a_doubt_for_a_day() -> None:
    wall = Wall()
    source = TimeSource(wall)
    wall.ahead_s = HOUR
    source.look()
    for _ in range(23):
        wall.passed_s += HOUR
        assert trust_of(source) is Trust.DOUBTED
    wall.passed_s += HOUR
    assert trust_of(source) is Trust.TRUSTED


def test_without_comparison_a_step_is_a_doubt_for_a_minute() -> None:
    wall = Wall()
    source = TimeSource(wall, compare=False)
    show(source, wall, Evidence.DATABASE, by_s=HOUR)
    source.stored(plus(wall.true, DAY))
    assert trust_of(source) is Trust.TRUSTED
    wall.ahead_s = HOUR
    assert trust_of(source) is Trust.DOUBTED
    wall.passed_s += SETTLE_S
    assert trust_of(source) is Trust.TRUSTED


def test_secrets_end_by_the_earliest_time_that_it_can_be() -> None:
    wall = Wall()
    source = TimeSource(wall)
    ends = EarliestClock(source)
    wall.ahead_s = 2 * HOUR
    assert ends.now() == wall.true, "the clock was set ahead, rightly or not"
    show(source, wall, Evidence.KEY_SET, by_s=2 * HOUR)
    assert ends.now() == wall.now()
    show(source, wall, Evidence.KEY_SET)
    assert abs(ends.now() - wall.true) <= 1_000_000
    assert abs(source.now() - wall.true) <= 1_000_000


def test_nothing_is_refused_before_the_first_evidence_has_come() -> None:
    wall = Wall(ahead_s=2 * DAY)
    source = TimeSource(wall)
    source.stored(wall.true)
    source.await_evidence(10)
    assert (trust_of(source), source.judgement.cause) == (Trust.DOUBTED, Evidence.STARTING)
    assert EarliestClock(source).now() == wall.true, "the store was in use at that time"
    wall.passed_s += 10
    assert trust_of(source) is Trust.TRUSTED
    source.await_evidence(10)
    source.await_evidence(0)
    assert trust_of(source) is Trust.TRUSTED, "none will come"


def test_the_release_date_is_not_older_than_the_catalog() -> None:
    """Otherwise a clock could be taken for right that shows a time before the providers' documents were read."""
    newest = max(provider.checked for provider in catalogue.providers())
    assert newest <= RELEASED
    assert to_datetime(NOW).date() > date.fromisoformat(RELEASED)
