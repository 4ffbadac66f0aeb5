"""One value of a provider, read as what its rule says it is: a text attribute, a point in time, a claim.

All functions are total: a value of another type, or one that is not well formed, is None, which is absent. The raw
value stays in the event's payload either way.
"""

import re
from datetime import UTC, date, datetime

from hookseal.catalogue.event_rules import TIME_FORMS, Form
from hookseal.clock import LATEST, Instant, from_datetime, parse_rfc3339, rfc3339
from hookseal.model import Json

MAX_ATTRIBUTE = 512
"""Characters of a subject, a provider's id or type. They are indexed, listed and shown."""

MAX_CLAIM = 1024

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:)(\d\d)(?:\.(\d{1,6})\d*)?(?:[Zz]|([+-]\d\d:\d\d))",
    re.ASCII,
)
_ISO_BASIC = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_DATE = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)(?:[Tt ].{1,40})?", re.ASCII)
_COUNTRY = re.compile(r"[A-Za-z]{2,3}", re.ASCII)
_DIGITS = re.compile(r"-?\d{1,15}", re.ASCII)

# Earlier years are placeholders such as `0001-01-01`, not times.
_EARLIEST = from_datetime(datetime(1000, 1, 1, tzinfo=UTC))


def attribute(value: Json) -> str | None:
    """Text for a subject, an id or a type: 1 to `MAX_ATTRIBUTE` characters, no control characters, not blank."""
    return _text(value, MAX_ATTRIBUTE)


def instant(value: Json, form: Form) -> Instant | None:
    """A time in one of `TIME_FORMS`, from the year 1000 on."""
    match form:
        case Form.RFC3339:
            found = _rfc3339(value)
        case Form.UNIX:
            found = _unix(value, 1_000_000)
        case Form.UNIX_MS:
            found = _unix(value, 1_000)
        case Form.ISO_BASIC:
            found = _iso_basic(value)
        case _:
            found = None
    return found if found is not None and _EARLIEST <= found <= LATEST else None


def is_rfc3339(text: str) -> bool:
    """Whether the text is an RFC 3339 time, one that we cannot represent (a leap second, the year 0) included."""
    found = _RFC3339.fullmatch(text)
    if found is None:
        return False
    day, minutes, seconds, _, offset = found.groups()
    try:
        date.fromisoformat(day.replace("0000", "2000", 1) if day.startswith("0000") else day)
        hours, _, rest = (offset or "+00:00")[1:].partition(":")
        return (
            int(minutes[:2]) < 24
            and int(minutes[3:5]) < 60
            and int(seconds) < 61
            and int(hours) < 24
            and int(rest) < 60
        )
    except ValueError:
        return False


def claim(value: Json, form: Form) -> Json:
    """What goes into a claim; None when there is nothing fit for it."""
    if form in TIME_FORMS:
        moment = instant(value, form)
        return None if moment is None else rfc3339(moment)
    text = _text(value, MAX_CLAIM)
    if text is None:
        return None
    match form:
        case Form.UPPER:
            return text.upper()
        case Form.LOWER:
            return text.lower()
        case Form.DATE:
            return _date(text)
        case Form.COUNTRY:
            return _country(text)
        case Form.COUNTRIES:
            country = _country(text)
            return None if country is None else [country]
        case _:
            return text


def _text(value: Json, limit: int) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
        return str(value)
    if not isinstance(value, str) or not value or len(value) > limit or value.isspace():
        return None
    # `isprintable` is much faster than the search, and false for every character that the search looks for.
    return value if value.isprintable() or not _CONTROL.search(value) else None


def _rfc3339(value: Json) -> Instant | None:
    found = _RFC3339.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    day, minutes, seconds, fraction, offset = found.groups()
    # A leap second is no time to Python; the last second before it is the nearest that is.
    seconds = "59" if seconds == "60" else seconds
    try:
        return parse_rfc3339(f"{day}T{minutes}{seconds}.{fraction or 0:0<6}{offset or '+00:00'}")
    except ValueError:
        return None


def _unix(value: Json, microseconds: int) -> Instant | None:
    """Numbers, and whole numbers as text: XML has no others."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Compared before it is converted: `1e308` becomes infinity here, and an integer of 400 digits fits no float.
    scaled = value * microseconds
    return Instant(round(scaled)) if _EARLIEST <= scaled <= LATEST else None


def _iso_basic(value: Json) -> Instant | None:
    if not isinstance(value, str) or not _ISO_BASIC.fullmatch(value):
        return None
    try:
        return from_datetime(datetime.strptime(value, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC))
    except ValueError:
        return None


def _date(text: str) -> str | None:
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    try:
        return date(int(found[1]), int(found[2]), int(found[3])).isoformat()
    except ValueError:
        return None


def _country(text: str) -> str | None:
    return text.upper() if _COUNTRY.fullmatch(text) else None
