"""How many cases of the corpus ran, told by category at the end of the test run."""

from collections import Counter
from typing import Any

import pytest

_NAME = "hookseal-corpus-tally"


class Tally:
    """A plugin that counts; it registers itself when the first test asks for it."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    def add(self, category: str, kind: str, number: int = 1) -> None:
        self.counts[category, kind] += number

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.section("bad-input corpus")
        kinds = sorted({kind for _, kind in self.counts})
        for category in sorted({category for category, _ in self.counts}, key=lambda name: int(name.split("-")[1])):
            ran = ", ".join(
                f"{self.counts[category, kind]} {kind}" for kind in kinds if (category, kind) in self.counts
            )
            terminalreporter.write_line(f"{category}: {ran}")
        for kind in kinds:
            total = sum(number for (_, one), number in self.counts.items() if one == kind)
            terminalreporter.write_line(f"sum: {total} {kind}")


def tally(config: pytest.Config) -> Tally:
    known = config.pluginmanager.get_plugin(_NAME)
    if not isinstance(known, Tally):
        known = Tally()
        config.pluginmanager.register(known, _NAME)
    return known
