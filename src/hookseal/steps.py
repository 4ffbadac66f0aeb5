"""Long computations in short steps, so that one large request does not stop the event loop.

A computation is a generator that yields between two steps and returns its result. It does not know who runs it: `finish`
runs it at once, `finish_in_turns` lets other tasks of the event loop run between two steps. A thread would not do the
same: it holds the interpreter lock for 5 ms at a time, and each turn of the event loop would wait for that.
"""

import asyncio
from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

Steps = Generator[None, None, T]

STEP_ITEMS = 16
"""Items of a request that one step handles: up to 2 ms of CPU time (measured with items of 350 bytes)."""


def finish(steps: Steps[T]) -> T:
    """Run a computation to its end and return its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


async def finish_in_turns(steps: Steps[T]) -> T:
    """Run a computation to its end and return its result. Other tasks run between two steps."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        await asyncio.sleep(0)
