"""What is logged is known before the program runs: a message written out, and fields of the allow-list."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from hookseal.logs import FIELDS, MESSAGE

ROOT = Path(__file__).parents[2] / "src" / "hookseal"
LEVELS = {"debug", "info", "warning", "warn", "error", "exception", "critical"}
LOGGERS = {"log", "_log", "logger", "_logger"}


def calls() -> Iterator[tuple[str, ast.Call]]:
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in LEVELS
                and isinstance(node.func.value, ast.Name | ast.Attribute)
                and (node.func.value.id if isinstance(node.func.value, ast.Name) else node.func.value.attr) in LOGGERS
            ):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


CALLS = list(calls())


def test_log_calls_are_found() -> None:
    assert len(CALLS) > 3


@pytest.mark.parametrize(("place", "call"), CALLS, ids=[place for place, _ in CALLS])
def test_a_log_call_has_a_written_out_message_and_listed_fields(place: str, call: ast.Call) -> None:
    assert len(call.args) == 1
    message = call.args[0]
    assert isinstance(message, ast.Constant), "a message that is put together may carry a value: use a field"
    assert isinstance(message.value, str)
    assert MESSAGE.fullmatch(message.value), "lower-case words only"
    assert {keyword.arg for keyword in call.keywords} <= {*FIELDS, "exc_info"}


def test_nothing_logs_past_the_allow_list() -> None:
    """The standard library's loggers and structlog's own are for others; ours come from `get_logger`."""
    for path in ROOT.rglob("*.py"):
        if path.name == "logs.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            named = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            named += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {"logging", "structlog"} & {name.split(".")[0] for name in named}, path
