"""Reads SQL from `.sql` files: statements under a name and a sentence. Knows no dialect.

    -- claim_due --
    -- Take up to :limit due deliveries; skips rows that others hold.
    UPDATE ...;

A statement for many rows marks one row between two `/* row */`; `rows(name, n)` repeats it. The number of rows is part
of the text, and every text is prepared once, so that callers hand over rows in `slices` of few different sizes.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

R = TypeVar("R")

MAX_ROWS = 64
"""Rows of one statement, at most: beyond it a statement gets dearer to prepare and hardly cheaper to run."""

_NAME = re.compile(r"^-- ([a-z0-9_]+) --$", re.MULTILINE)
_ROW = re.compile(r"/\* row \*/(.+?)/\* row \*/", re.DOTALL)


class Queries:
    """The statements of one dialect by name. `sentences` has what each one does."""

    def __init__(self, text: str) -> None:
        parts = _NAME.split(text)
        self._statements: dict[str, str] = {}
        self.sentences: dict[str, str] = {}
        for name, part in zip(parts[1::2], parts[2::2], strict=True):
            if name in self._statements:
                raise ValueError(f"two statements are called {name}")
            lines = part.strip().splitlines()
            said = [line[2:].strip() for line in lines if line.startswith("--")]
            self.sentences[name] = " ".join(said)
            self._statements[name] = "\n".join(line for line in lines if not line.startswith("--")).strip()
        self._repeated: dict[tuple[str, int], str] = {}

    @staticmethod
    def read(file: Path) -> "Queries":
        return Queries(file.read_text(encoding="utf-8"))

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._statements)

    def __getitem__(self, name: str) -> str:
        return self._statements[name]

    def rows(self, name: str, count: int) -> str:
        """The statement for `count` rows. KeyError when there is none of that name, ValueError when it has no row."""
        text = self._repeated.get((name, count))
        if text is None:
            text, marks = _ROW.subn(lambda row: ", ".join([row[1].strip()] * count), self._statements[name])
            if marks != 1:
                raise ValueError(f"{name} does not mark one row")
            self._repeated[name, count] = text
        return text


def slices(rows: Sequence[R], longest: int = MAX_ROWS) -> Iterator[Sequence[R]]:
    """Cut rows into slices of `longest`, then of the powers of two below it: 100 is 64 + 32 + 4."""
    start, size = 0, longest
    while start < len(rows):
        while size > len(rows) - start:
            size //= 2
        yield rows[start : start + size]
        start += size
