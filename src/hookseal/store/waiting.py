"""The operations that wait for a writer, and which of them share its next transaction. Both stores share it."""

from collections import deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

LARGE_EVENTS = 256
"""From this number of events on a request is written in a transaction of its own."""


class _Operation(Protocol):
    weight: int
    is_large: bool


Op = TypeVar("Op", bound=_Operation)


class Waiting(Generic[Op]):
    """First in, first out. A large operation is taken alone, and in turns with all others.

    What arrives while a large one is written waits for that one only, and never shares its transaction. Nothing is promised
    about the order of operations that wait at the same time.
    """

    def __init__(self) -> None:
        self._others: deque[Op] = deque()
        self._large: deque[Op] = deque()
        self._large_is_next = False

    def __len__(self) -> int:
        return len(self._others) + len(self._large)

    def __iter__(self) -> Iterator[Op]:
        yield from self._others
        yield from self._large

    def append(self, operation: Op) -> None:
        (self._large if operation.is_large else self._others).append(operation)

    def clear(self) -> None:
        self._others.clear()
        self._large.clear()

    def take(self, most: int, most_bytes: int) -> list[Op]:
        """Return the operations of the next transaction, at least one if any waits."""
        if self._large and (self._large_is_next or not self._others):
            self._large_is_next = False
            return [self._large.popleft()]
        self._large_is_next = True
        batch: list[Op] = []
        size = 0
        while self._others and len(batch) < most and (not batch or size + self._others[0].weight <= most_bytes):
            size += self._others[0].weight
            batch.append(self._others.popleft())
        return batch
