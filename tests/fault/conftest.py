"""Counts what could not be tested here, and tells the figures of the fault tests."""

import os
from collections import Counter

import pytest
import tiers
from power.loop_disk import lacking

_ran = 0
_could_not: Counter[str] = Counter()


def pytest_runtest_setup(item: pytest.Item) -> None:
    global _ran
    if item.get_closest_marker("root_only") is None:
        return
    reason = lacking()
    if reason is None:
        _ran += 1
    else:
        _could_not[reason] += 1
        pytest.skip(reason)


def pytest_sessionfinish(session: pytest.Session) -> None:
    tiers.write_figures()
    if _could_not and os.environ.get("CI") and os.geteuid() == 0 and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _ran or _could_not:
        reasons = "; ".join(_could_not) or "-"
        terminalreporter.section("power loss")
        terminalreporter.write_line(f"root-only tests: {_ran} ran, {_could_not.total()} could not ({reasons})")
    for line in tiers.figures():
        terminalreporter.write_line(line)
