"""The `Retry-After` header: when the other side asks to be called again. Decides nothing about whether we comply.

RFC 9110 §10.2.3 allows whole seconds or an HTTP date; §5.6.7 has three forms of date, and a recipient reads all three.
Whatever else comes (fractions, signs, other alphabets' digits, words) is no wish at all.
"""

import re
from datetime import UTC, datetime

from hookseal.clock import Instant, from_datetime, to_datetime

LONGEST_S = 999_999_999
"""What any longer wish is cut to, about 31 years; the policy has a cap of its own, far below."""

_MAX_CHARS = 1024
_SECONDS = re.compile(r"[0-9]+", re.ASCII)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = "|".join(_MONTHS)
_TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_DATES = (
    # Sun, 06 Nov 1994 08:49:37 GMT
    re.compile(
        rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (?P<day>[0-9]{{2}}) (?P<month>{_MONTH}) (?P<year>[0-9]{{4}}) {_TIME} GMT"
    ),
    # Sunday, 06-Nov-94 08:49:37 GMT
    re.compile(rf"[A-Z][a-z]{{5,8}}, (?P<day>[0-9]{{2}})-(?P<month>{_MONTH})-(?P<year>[0-9]{{2}}) {_TIME} GMT"),
    # Sun Nov  6 08:49:37 1994
    re.compile(
        rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) (?P<month>{_MONTH}) (?P<day>[0-9 ][0-9]) {_TIME} (?P<year>[0-9]{{4}})"
    ),
)


def parse(raw: str | None, now: Instant) -> int | None:
    """Seconds from `now`, 0 or more, at most `LONGEST_S`; None when there is no wish that we can read.

    A date is rounded up to the whole second, so that we never come early; one in the past is 0.
    """
    if raw is None or len(raw) > _MAX_CHARS:
        return None
    text = raw.strip(" \t")
    if _SECONDS.fullmatch(text):
        digits = text.lstrip("0")
        return min(int(digits or "0"), LONGEST_S) if len(digits) <= 9 else LONGEST_S
    moment = _date(text, now)
    if moment is None:
        return None
    return min(max(-((now - moment) // 1_000_000), 0), LONGEST_S)


def _date(text: str, now: Instant) -> Instant | None:
    for form in _DATES:
        found = form.fullmatch(text)
        if found is None:
            continue
        year = int(found["year"])
        if len(found["year"]) == 2:
            year = _century(year, to_datetime(now).year)
        try:
            return from_datetime(
                datetime(
                    year,
                    _MONTHS.index(found["month"]) + 1,
                    int(found["day"]),
                    int(found["hour"]),
                    int(found["minute"]),
                    min(int(found["second"]), 59),  # a leap second, 60, is one that Python has no time for
                    tzinfo=UTC,
                )
            )
        except ValueError:
            return None
    return None


def _century(two_digits: int, this_year: int) -> int:
    """RFC 9110 §5.6.7: a year that seems more than 50 years ahead is the last one that ended so."""
    year = this_year - this_year % 100 + two_digits
    return year - 100 if year > this_year + 50 else year
