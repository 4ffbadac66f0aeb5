"""The timestamps that proofs carry: strict readers, and the writers that go with them.

A reader takes the text as it was signed and says which instant it means, or that it means none. ASCII only: `int()`
and `strptime()` take signs, blanks, underscores and the digits of every script, and are not asked before a grammar is.
"""

import re
from datetime import datetime
from enum import StrEnum

from hookseal.clock import Instant, from_datetime, to_datetime


class TimestampFormat(StrEnum):
    UNIX = "unix"  # seconds, 1668503354
    UNIX_MS = "unix_ms"  # milliseconds, 1668503354000
    ISO_BASIC = "iso_basic"  # 20221115T090914Z
    RFC3339 = "rfc3339"  # 2022-11-15T09:09:14Z, fractions and offsets too


# Twelve digits of seconds reach the year 33658; more digits are another unit, and would not be an instant any more.
_UNIX = re.compile(rb"0|[1-9][0-9]{0,11}")
_UNIX_MS = re.compile(rb"0|[1-9][0-9]{0,14}")
_BASIC = str.maketrans("", "", "-:")
_ISO_BASIC = re.compile(rb"[0-9]{8}T[0-9]{6}Z")
_RFC3339 = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})")


def read_timestamp(form: TimestampFormat, text: bytes) -> Instant | None:
    """The instant that `text` names, or None when it is not exactly of this form. Never raises."""
    if form is TimestampFormat.UNIX:
        return Instant(int(text) * 1_000_000) if _UNIX.fullmatch(text) else None
    if form is TimestampFormat.UNIX_MS:
        return Instant(int(text) * 1000) if _UNIX_MS.fullmatch(text) else None
    pattern = _ISO_BASIC if form is TimestampFormat.ISO_BASIC else _RFC3339
    if not pattern.fullmatch(text):
        return None
    try:
        return from_datetime(datetime.fromisoformat(text.decode("ascii")))
    except (ValueError, OverflowError):  # no such day, hour or offset
        return None


def write_timestamp(form: TimestampFormat, now: Instant) -> bytes:
    """`now` in this form, cut to its unit."""
    if form is TimestampFormat.UNIX:
        return b"%d" % (now // 1_000_000)
    if form is TimestampFormat.UNIX_MS:
        return b"%d" % (now // 1000)
    # Not strftime: its %Y has fewer than four digits for early years.
    text = to_datetime(now).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
    return (text.translate(_BASIC) if form is TimestampFormat.ISO_BASIC else text).encode()
