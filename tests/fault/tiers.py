"""How much of each fault test is done, and what it came to.

The short tier runs with the suite; `HOOKSEAL_FAULTS=full` selects the long one (`make faults`). Figures are printed at
the end of the run, one JSON line each, and written to `.faults/`, from where the documentation takes them. No test
reads them.
"""

import json
import os
from pathlib import Path

FULL = os.environ.get("HOOKSEAL_FAULTS") == "full"
NAME = "full" if FULL else "ci"
FOLDER = Path(__file__).parents[2] / ".faults"

_figures: dict[str, dict[str, object]] = {}


def tier(*, ci: int, full: int) -> int:
    return full if FULL else ci


def note(test: str, **figures: object) -> None:
    """Keep the figures of one test for the end of the run."""
    _figures[test] = {"tier": NAME, "test": test, **figures}


def figures() -> list[str]:
    return [json.dumps(one) for one in _figures.values()]


def write_figures() -> None:
    """Replace the figures of this run's tests and keep those of others."""
    if not _figures:
        return
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / f"{NAME}.jsonl"
    kept = {}
    if file.exists():
        kept = {str(one["test"]): one for one in map(json.loads, file.read_text().splitlines())}
    file.write_text("".join(json.dumps(one) + "\n" for one in {**kept, **_figures}.values()))
