"""The fonts of the two lines, as pyHanko can embed them.

pyHanko 0.38 writes the widths of glyphs in the font's own units, where PDF counts thousandths of an em (ISO 32000-1,
9.7.3). A font of 2048 units to the em, as most TrueType fonts are, comes out with its letters twice as far apart. So
every font is brought to 1000 units first. Its hints, which know the old size only, go.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from io import BytesIO

from fontTools.ttLib import TTFont
from fontTools.ttLib.scaleUpem import scale_upem

from hookseal.errors import HooksealError, Invalid

MAX_BYTES = 32 * 1024 * 1024

_UNITS = 1000
_HINTS = ("fpgm", "prep", "cvt ", "hdmx", "VDMX", "LTSH", "gasp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fonts:
    """Font files of 1000 units to the em."""

    name: bytes
    time: bytes


@cache
def open_sans() -> Fonts:
    """Open Sans (Apache License 2.0): Latin with all its accents, Greek and Cyrillic."""
    folder = files("ttf_opensans") / "ttf"
    return Fonts(
        name=in_thousandths((folder / "OpenSans-SemiBold.ttf").read_bytes()),
        time=in_thousandths((folder / "OpenSans-Regular.ttf").read_bytes()),
    )


def of_file(file: bytes) -> Fonts:
    """One font for both lines. Invalid at `/font` when it is none."""
    try:
        if len(file) > MAX_BYTES:
            raise Invalid("/font", f"is larger than {MAX_BYTES} bytes")
        made = in_thousandths(file)
    except (HooksealError, MemoryError):
        raise
    except Exception as error:  # fontTools raises whatever a broken table leads it to
        raise Invalid("/font", "is not a TrueType or OpenType font that can be used") from error
    return Fonts(name=made, time=made)


def in_thousandths(file: bytes) -> bytes:
    font = TTFont(BytesIO(file))
    for table in _HINTS:
        if table in font:
            del font[table]
    if "glyf" in font:
        for name in font["glyf"].keys():  # noqa: SIM118  not a mapping: iterating it counts
            font["glyf"][name].removeHinting()
    if font["head"].unitsPerEm != _UNITS:
        scale_upem(font, _UNITS)
    made = BytesIO()
    font.save(made)
    return made.getvalue()
