"""After a whole round of failures one try at a time, then twice as many with each success."""

from hookseal.delivery.slow_start import SlowStart


def noted(start: SlowStart, lives: bool, times: int, allowed: int = 16) -> None:
    for _ in range(times):
        start.note(lives=lives, allowed=allowed)


def test_all_that_is_allowed_may_run_at_first() -> None:
    assert SlowStart().width(16) == 16


def test_a_round_of_failures_narrows_to_one_and_not_before() -> None:
    start = SlowStart()
    noted(start, False, 15)
    assert start.width(16) == 16
    noted(start, False, 1)
    assert start.width(16) == 1
    noted(start, False, 100)
    assert start.width(16) == 1


def test_each_success_doubles_up_to_what_is_allowed() -> None:
    start = SlowStart()
    noted(start, False, 16)
    widths = []
    for _ in range(5):
        noted(start, True, 1)
        widths.append(start.width(16))
    assert widths == [2, 4, 8, 16, 16]


def test_failures_among_successes_change_nothing() -> None:
    start = SlowStart()
    for _ in range(50):
        noted(start, False, 15)
        noted(start, True, 1)
    assert start.width(16) == 16


def test_fewer_allowed_meanwhile_counts_at_once() -> None:
    start = SlowStart()
    noted(start, False, 16)
    noted(start, True, 2)
    assert start.width(3) == 3
    assert start.width(1) == 1


def test_an_endpoint_of_one_at_a_time_is_never_stopped() -> None:
    start = SlowStart()
    noted(start, False, 10, allowed=1)
    assert start.width(1) == 1


def test_a_try_that_asked_nobody_says_nothing() -> None:
    start = SlowStart()
    noted(start, False, 16)
    start.note(lives=None, allowed=16)
    assert start.width(16) == 1
