"""A rate whose clock is set: nobody waits until a clock that was set back has caught up."""

from hookseal.clock import Instant, plus
from hookseal.delivery.pace import Pace

NOW = Instant(1_763_700_000_000_000)


def spent(per_minute: int) -> Pace:
    pace = Pace(per_minute)
    for _ in range(per_minute):
        pace.note(NOW)
    return pace


def test_a_clock_set_back_an_hour_costs_a_minute_at_most() -> None:
    pace, earlier = spent(3), plus(NOW, -3600)
    assert pace.free_at(earlier) == plus(earlier, 60)
    assert pace.free_at(plus(earlier, 60)) == plus(earlier, 60)


def test_a_clock_set_back_lets_no_more_through_in_the_minute_that_follows() -> None:
    pace, earlier = spent(3), plus(NOW, -3600)
    for second in range(60):
        assert pace.free_at(plus(earlier, second)) > plus(earlier, second)
