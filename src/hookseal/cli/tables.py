"""Layout of a table for a terminal of a given width. Pure; it does not print.

A table that is too wide is made narrower in steps, each only if the steps before did not suffice: times lose the year,
fractions and the zone; ids are cut to a prefix that is unique among the rows, which the commands accept; the last
columns are left out; long texts are cut.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

GAP = 2
MIN_ID_CHARS = 13
"""The first 13 characters of a UUIDv7 are its time in milliseconds."""
MIN_TEXT_CHARS = 12
CUT = "…"
_TIME = re.compile(r"\d{4}-(\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?Z")
_ID = re.compile(r"(?:msg_[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns and cells to print, and the names of the columns that did not fit."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left_out: Sequence[str] = ()


def fit_table(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Layout:
    """Return the layout of a table that fits `width` characters. The first column always stays."""
    by_column = [[row[number] for row in rows] for number in range(len(columns))]
    is_text = [not any(_TIME.fullmatch(cell) or _ID.fullmatch(cell) for cell in cells) for cells in by_column]
    for shorten in (_short_times, _short_ids):
        if _total(_widths(columns, by_column)) <= width:
            break
        by_column = [shorten(cells) for cells in by_column]
    natural = _widths(columns, by_column)
    least = [
        min(chars, max(MIN_TEXT_CHARS, len(name))) if text else chars
        for name, chars, text in zip(columns, natural, is_text, strict=True)
    ]
    count = len(columns)
    while count > 1 and _total(least[:count]) > width:
        count -= 1
    spare = max(width - _total(least[:count]), 0)
    for number in range(count):
        more = min(spare, natural[number] - least[number])
        spare -= more
        by_column[number] = [_cut(cell, least[number] + more) for cell in by_column[number]]
    return Layout(columns[:count], list(zip(*by_column[:count], strict=True)), columns[count:])


def unique_prefix_chars(ids: Sequence[str]) -> int:
    """Return how many characters tell these ids apart, at least `MIN_ID_CHARS`."""
    distinct = sorted(set(ids))
    chars = MIN_ID_CHARS
    for first, second in pairwise(distinct):
        while first[:chars] == second[:chars]:
            chars += 1
    return chars


def _short_times(cells: list[str]) -> list[str]:
    return [_TIME.sub(r"\1 \2", cell) if _TIME.fullmatch(cell) else cell for cell in cells]


def _short_ids(cells: list[str]) -> list[str]:
    ids = [cell for cell in cells if _ID.fullmatch(cell)]
    chars = unique_prefix_chars(ids)
    return [cell[:chars] if _ID.fullmatch(cell) else cell for cell in cells]


def _cut(cell: str, chars: int) -> str:
    return cell if len(cell) <= chars else cell[: chars - 1] + CUT


def _widths(columns: Sequence[str], by_column: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(name), *map(len, cells), 0) for name, cells in zip(columns, by_column, strict=True)]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * max(len(widths) - 1, 0)
