"""How results and words leave: results to stdout, words for people to stderr, colour only for a terminal that wants it."""

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_PIPE_WIDTH = 240
"""Columns where nobody looks: wide enough that a table's row stays one line."""


def print_json(value: Any) -> None:
    """One JSON document on stdout, UTF-8 whatever the locale; escaped where the text cannot be UTF-8."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    try:
        data = text.encode()
    except UnicodeEncodeError:
        data = json.dumps(value, indent=2).encode()
    print_bytes(data + b"\n")


def print_text(text: str) -> None:
    """Lines on stdout, UTF-8 whatever the locale."""
    print_bytes(text.encode("utf-8", "backslashreplace") + b"\n")


def print_bytes(data: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def say(sentence: str) -> None:
    """One line for people on stderr."""
    print(sentence.encode("utf-8", "backslashreplace").decode(), file=sys.stderr)


def counted(number: int, one: str, many: str) -> str:
    """`1 source`, `2 sources`, `0 sources`."""
    return f"{number} {one if number == 1 else many}"


def duration(seconds: float) -> str:
    """Return `0.5 s`, `90 s`, `10 min`, or `75 h 35 min`."""
    if seconds < 10:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 2:
        return f"{hours * 60 + minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def console() -> "Console":
    """A rich console on stdout. It looks at NO_COLOR and TERM itself, and writes plain text to a pipe or a file."""
    from rich.console import Console

    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, soft_wrap=True, width=_PIPE_WIDTH)
