"""Reading `Retry-After`: whole seconds, three forms of date, and nothing else."""

import pytest

from hookseal.clock import Instant, parse_rfc3339
from hookseal.delivery.retry_after import LONGEST_S, parse

NOW = parse_rfc3339("1994-11-06T08:49:37Z")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("0", 0),
        ("120", 120),
        (" 120\t", 120),
        ("000000000000120", 120),
        ("999999999", LONGEST_S),
        ("1" + "0" * 9, LONGEST_S),
        ("9" * 400, LONGEST_S),
        ("Sun, 06 Nov 1994 08:51:37 GMT", 120),
        ("Sunday, 06-Nov-94 08:51:37 GMT", 120),
        ("Sun Nov  6 08:51:37 1994", 120),
        ("Sun, 06 Nov 1994 08:49:36 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_S),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Sun, 06 Nov 1994 08:50:60 GMT", 82),
    ],
)
def test_seconds_and_dates_are_read(raw: str, expected: int) -> None:
    assert parse(raw, NOW) == expected


def test_a_date_is_rounded_up_so_that_we_never_come_early() -> None:
    assert parse("Sun, 06 Nov 1994 08:49:39 GMT", Instant(NOW + 1)) == 2


def test_a_two_digit_year_is_the_nearest_that_is_not_more_than_50_years_ahead() -> None:
    assert parse("Sunday, 06-Nov-93 08:49:37 GMT", NOW) == 0
    now = parse_rfc3339("2026-11-06T08:49:37Z")
    assert parse("Friday, 06-Nov-26 08:49:38 GMT", now) == 1
    assert parse("Friday, 06-Nov-94 08:49:38 GMT", now) == 0


@pytest.mark.parametrize(
    "raw",
    [
        None,
        "",
        " ",
        "-1",
        "+1",
        "1.5",
        "1e3",
        "١٢٠",
        "１２０",
        "²",
        "0x10",
        "12 0",
        "120s",
        "soon",
        "1" * 1025,
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 CET",
        "Sun, 06 Nov 1994 08:49:37 +0100",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun Nov 06  8:51:37 1994",
        "1994-11-06T08:51:37Z",
    ],
)
def test_anything_else_is_no_wish(raw: str | None) -> None:
    assert parse(raw, NOW) is None
