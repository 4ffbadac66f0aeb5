"""The mapping revisions of one store by the numbers of their rows, in memory, whichever the dialect.

Rows are only ever added, so that what was read once stays right. They are few: one for each set of rules of a provider
that events were stored by.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from hookseal.errors import SealBroken
from hookseal.model import MappingRevision, ProviderId

MappingRow = Sequence[Any]
"""number, provider, revision, rules"""


class Mappings:
    """Safe to share between threads: entries are added, and never changed or removed."""

    def __init__(self) -> None:
        self._by_number: dict[int, MappingRevision] = {}
        self._numbers: dict[MappingRevision, int] = {}

    def number(self, mapping: MappingRevision) -> int | None:
        """None when the store is not known to have it."""
        return self._numbers.get(mapping)

    def has_all(self, numbers: Iterable[int | None]) -> bool:
        return all(number is None or number in self._by_number for number in numbers)

    def get(self, number: int | None) -> MappingRevision | None:
        """SealBroken when the store has no such row, or its rules are not those of the revision."""
        if number is None:
            return None
        mapping = self._by_number.get(number)
        if mapping is None:
            raise SealBroken("the rules of this event are missing, or were altered")
        return mapping

    def add(self, rows: Iterable[MappingRow]) -> None:
        for number, provider, revision, rules in rows:
            mapping = MappingRevision.of(ProviderId(provider), rules)
            if mapping.revision == revision:
                self._by_number[number] = mapping
                self._numbers[mapping] = number
