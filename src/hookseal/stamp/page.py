"""The page that is marked: which one it is, how it lies, and where a box of the page as it is shown is on it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter

from hookseal.errors import Invalid
from hookseal.stamp.element import Box

_MAX_DEPTH = 64
"""Of the page tree. A balanced one of a million pages has fewer than ten."""
_LETTER = (0, 0, 612, 792)
"""A page must say its size; readers take US letter for one that does not."""
_TOLERANCE = 1.0
"""Points that a box may stand over, since page sizes are rounded in many places."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """index: from 0. turned: clockwise degrees. rectangle: left, bottom, right, top in the page's own axes."""

    index: int
    turned: int
    rectangle: tuple[float, float, float, float]


def spot(writer: IncrementalPdfFileWriter, page: int, box: Box) -> Spot:
    """Invalid when there is no such page, or the box leaves it. page: 1 is the first, -1 the last."""
    count = int(writer.root["/Pages"]["/Count"])
    index = page - 1 if page > 0 else count + page
    if page == 0 or not 0 <= index < count:
        raise Invalid("/page", "there is no such page; 1 is the first, -1 the last")
    reference, _ = writer.find_page_for_modification(index)
    found = reference.get_object()
    turned = int(_inherited(found, "/Rotate", 0)) % 360
    if turned % 90:
        turned = 0  # not allowed, and shown as if it were not there
    x0, y0, x1, y1 = _shown_area(found)
    width, height = x1 - x0, y1 - y0
    seen_width, seen_height = (height, width) if turned in (90, 270) else (width, height)
    if (
        min(box.left, box.bottom) < -_TOLERANCE
        or box.right > seen_width + _TOLERANCE
        or box.top > seen_height + _TOLERANCE
    ):
        raise Invalid("/box", "leaves the page")
    left, bottom, right, top = {
        0: (box.left, box.bottom, box.right, box.top),
        90: (width - box.top, box.left, width - box.bottom, box.right),
        180: (width - box.right, height - box.top, width - box.left, height - box.bottom),
        270: (box.bottom, height - box.right, box.top, height - box.left),
    }[turned]
    return Spot(index=index, turned=turned, rectangle=(x0 + left, y0 + bottom, x0 + right, y0 + top))


def _shown_area(page: generic.DictionaryObject) -> tuple[float, float, float, float]:
    """What of the page is shown: its crop box within its media box."""
    x0, y0, x1, y1 = _corners(_inherited(page, "/MediaBox", _LETTER))
    crop = _inherited(page, "/CropBox", None)
    if crop is not None:
        c0, d0, c1, d1 = _corners(crop)
        within = max(x0, c0), max(y0, d0), min(x1, c1), min(y1, d1)
        if within[0] < within[2] and within[1] < within[3]:
            return within
    return x0, y0, x1, y1


def _corners(box: Iterable[Any]) -> tuple[float, float, float, float]:
    """PDF allows any two opposite corners."""
    x0, y0, x1, y1 = (float(one) for one in box)
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def _inherited(page: generic.DictionaryObject, key: str, default: Any) -> Any:
    """Any, because a file says what it likes; what does not fit raises where it is used."""
    node: Any = page
    for _ in range(_MAX_DEPTH):
        if key in node:
            return node[key]
        if "/Parent" not in node:
            return default
        node = node["/Parent"]
    raise Invalid("/document", "has a page tree that is too deep")
