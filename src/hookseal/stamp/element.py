"""What a visual signature shows and where: a name or none, a time, an image or none; values and their rules only.

seal.ID's FAQ (Integration), "Placing a visual signature": the signer's name is optional and one of none, initial data
(the name submitted) or verified data; the time is mandatory, `dd.mm.yyyy, hh:mm:ss`; an image is optional and lies
behind the text. Its request is known from a lost picture only, so the shape of ours is our own.

Nothing here knows PDF, files or events.
"""

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from zoneinfo import ZoneInfo

from hookseal.clock import Instant, to_datetime
from hookseal.errors import Invalid

MAX_NAME_CHARS = 200
MIN_WIDTH, MIN_HEIGHT = 40.0, 12.0
"""Points. Below this no text that anybody could read would fit."""
MAX_POINTS = 14_400.0
"""The longest side that a PDF page may have (ISO 32000-1, annex C.2)."""

_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+\-]*(/[A-Za-z0-9_+\-]+){0,2}", re.ASCII)
_MAX_ZONE_CHARS = 64
_NOT_IN_NAMES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Control, formatting (text that turns direction), surrogates, private use, unassigned, line and paragraph ends."""


class SignerName(StrEnum):
    """Whose word the shown name is. `none` is a value of its own, not the absence of one."""

    NONE = "none"
    INITIAL = "initial"  # the name submitted
    VERIFIED = "verified"  # the name that verification produced


@dataclass(frozen=True, slots=True)
class Box:
    """Points (1/72 inch) from the lower left corner of the page as it is shown: cropped and turned."""

    left: float
    bottom: float
    right: float
    top: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.top - self.bottom


@dataclass(frozen=True, slots=True, kw_only=True)
class VisualSignature:
    """name: None shows none. page: 1 is the first, -1 the last. image: a PNG or JPEG file, drawn under the text."""

    at: Instant
    zone: ZoneInfo
    box: Box
    page: int = -1
    name: str | None = None
    image: bytes | None = None

    @property
    def time_text(self) -> str:
        return time_text(self.at, self.zone)


def time_text(at: Instant, zone: ZoneInfo) -> str:
    """`dd.mm.yyyy, hh:mm:ss`, 24 hours: `15.11.2022, 09:09:14`. Fractions of a second are cut, never rounded up.

    Invalid where the zone's offset leads out of the years 1 to 9999.
    """
    try:
        local = to_datetime(at).astimezone(zone)
    except OverflowError:
        raise Invalid("/timestamp", "is a time that no calendar shows") from None
    # Not strftime: its %Y has fewer than four digits for early years on some systems.
    return f"{local.day:02}.{local.month:02}.{local.year:04}, {local:%H:%M:%S}"


def zone_of(name: str) -> ZoneInfo:
    """The zone of an IANA name such as `Europe/Oslo`. Invalid for all else; what is no such name opens no file."""
    if len(name) <= _MAX_ZONE_CHARS and _ZONE.fullmatch(name):
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):  # not there; not a zone's file; a folder such as "Europe"
            pass
    raise Invalid("/time_zone", "is not the IANA name of a time zone")


def name_of(text: str) -> str:
    """A name fit to be shown: composed (NFC), single blanks, none at the ends. Invalid when nothing is left to show."""
    name = re.sub(" {2,}", " ", unicodedata.normalize("NFC", text)).strip(" ")
    if not name:
        raise Invalid("/signer/name", "is empty")
    if len(name) > MAX_NAME_CHARS:
        raise Invalid("/signer/name", f"is longer than {MAX_NAME_CHARS} characters")
    if any(unicodedata.category(one) in _NOT_IN_NAMES for one in name):
        raise Invalid("/signer/name", "holds a character that is not shown, such as a line end or a control character")
    return name


def box_of(left: float, bottom: float, right: float, top: float) -> Box:
    """Invalid for a box that cannot be: not finite, inside out, beyond any page, or too small for text."""
    if not all(isfinite(one) and abs(one) <= MAX_POINTS for one in (left, bottom, right, top)):
        raise Invalid("/box", "has a corner that lies on no page")
    if right <= left or top <= bottom:
        raise Invalid("/box", "is left, bottom, right, top: right must be more than left, and top more than bottom")
    if right - left < MIN_WIDTH or top - bottom < MIN_HEIGHT:
        raise Invalid("/box", f"is smaller than {MIN_WIDTH:g} by {MIN_HEIGHT:g} points")
    return Box(left, bottom, right, top)
