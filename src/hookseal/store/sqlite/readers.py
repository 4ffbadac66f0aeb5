"""Threads that read, each with a connection of its own at hand.

Reads that the gateway lives by and reads for people have readers of their own (`store.py`): a listing whose filter fits
few of ten million rows may walk for seconds, and two of those would otherwise stop all claims.
"""

import asyncio
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import apsw

from hookseal.errors import StoreUnavailable
from hookseal.store.sqlite.faults import fault_of

T = TypeVar("T")


class Readers:
    def __init__(self, number: int) -> None:
        self._number = number
        self._connections: queue.SimpleQueue[apsw.Connection] = queue.SimpleQueue()
        self._threads: ThreadPoolExecutor | None = None

    def connect(self, connect: Callable[[], apsw.Connection]) -> None:
        """Open the connections. What was opened before a failure is closed by `close`."""
        for _ in range(self._number):
            self._connections.put(connect())

    def start(self) -> None:
        self._threads = ThreadPoolExecutor(self._number, thread_name_prefix="hookseal-store-reader")

    def close(self) -> None:
        """Blocks until the reads under way have ended."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown()
        while not self._connections.empty():
            self._connections.get().close(True)

    async def read(self, read: Callable[..., T], *arguments: Any) -> T:
        """Call `read` with a connection and the arguments. StoreUnavailable when the store is not open."""
        threads = self._threads
        if threads is None:
            raise StoreUnavailable("the store is not open")
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, self._read_now, read, arguments)
        except RuntimeError as error:
            raise StoreUnavailable("the store is closed") from error

    def _read_now(self, read: Callable[..., T], arguments: Sequence[Any]) -> T:
        connection = self._connections.get()
        try:
            return read(connection, *arguments)
        except (apsw.Error, UnicodeError, OverflowError) as error:
            raise fault_of(error, read.__name__) from error
        finally:
            self._connections.put(connection)
