"""The layout of tables for terminals: what is shortened, in which order, and that the result fits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookseal.cli.tables import GAP, fit_table

COLUMNS = ("id", "received_at", "type", "subject", "flags")
FIRST = "0199d1a4-7b3c-7e11-8a2b-0123456789ab"
SECOND = "0199d1a4-7b3c-7e12-8a2b-0123456789ab"
ROWS = [
    [FIRST, "2026-11-21T18:23:29.123456Z", "identity.authentication.completed", "scan-0", "-"],
    [SECOND, "2026-11-21T18:23:30Z", "other", "a subject that is rather long", "conflict"],
]


def printed(columns: int) -> list[str]:
    layout = fit_table(COLUMNS, ROWS, columns)
    widths = [max(len(row[i]) for row in [layout.columns, *layout.rows]) for i in range(len(layout.columns))]
    return [(" " * GAP).join(cell.ljust(widths[i]) for i, cell in enumerate(row)) for row in layout.rows]


def test_a_wide_terminal_gets_everything() -> None:
    layout = fit_table(COLUMNS, ROWS, 200)
    assert (layout.columns, [list(row) for row in layout.rows], list(layout.left_out)) == (COLUMNS, ROWS, [])


@pytest.mark.parametrize("width", [36, 60, 80, 100, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(len, printed(width))) <= width


def test_times_are_shortened_before_ids_and_ids_before_columns_are_left_out() -> None:
    layout = fit_table(COLUMNS, ROWS, 130)
    assert layout.rows[0][:2] == (FIRST, "11-21 18:23:29")
    layout = fit_table(COLUMNS, ROWS, 110)
    assert layout.rows[0][:2] == (FIRST[:18], "11-21 18:23:29")
    assert list(layout.left_out) == []
    assert list(fit_table(COLUMNS, ROWS, 50).left_out) == ["subject", "flags"]


def test_short_ids_are_unique_prefixes() -> None:
    first, second = (row[0] for row in fit_table(COLUMNS, ROWS, 80).rows)
    assert first != second
    assert FIRST.startswith(first)
    assert SECOND.startswith(second)


def test_a_table_without_rows_has_its_columns() -> None:
    layout = fit_table(COLUMNS, [], 80)
    assert (layout.columns, list(layout.rows)) == (COLUMNS, [])


@given(
    rows=st.lists(st.lists(st.text(max_size=60), min_size=5, max_size=5), max_size=5),
    width=st.integers(min_value=1, max_value=300),
)
def test_any_text_fits_or_only_the_first_column_is_left(rows: list[list[str]], width: int) -> None:
    layout = fit_table(COLUMNS, rows, width)
    assert [*layout.columns, *layout.left_out] == list(COLUMNS)
    widths = [max(len(row[i]) for row in [layout.columns, *layout.rows]) for i in range(len(layout.columns))]
    assert sum(widths) + GAP * (len(widths) - 1) <= width or len(layout.columns) == 1
