"""The reading connections: a few, opened when needed, each used by one reader at a time.

A connection that was lost while it lay idle is noticed when it is used: then the read is done once more on a new one,
because a read can be. No read takes longer than 5 s, waiting for a connection included.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Concatenate, Final, ParamSpec, TypeVar

from hookseal.errors import Invalid, NotFound, SealBroken, StoreUnavailable
from hookseal.store.postgres.connection import Connection
from hookseal.store.postgres.faults import breaks_connection, fault_of

T = TypeVar("T")
P = ParamSpec("P")

READ_S: Final = 5.0
_CLOSE_S: Final = 2.0


@dataclass(slots=True, eq=False)
class _Chair:
    connection: Connection | None = None

    def leave(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.terminate()


class Readers:
    def __init__(self, connect: Callable[[], Awaitable[Connection]], connections: int) -> None:
        self._connect = connect
        self._chairs = [_Chair() for _ in range(connections)]
        self._free: asyncio.LifoQueue[_Chair] | None = None

    def start(self) -> None:
        self._free = asyncio.LifoQueue()
        for chair in self._chairs:
            self._free.put_nowait(chair)

    async def stop(self) -> None:
        self._free = None
        for chair in self._chairs:
            if chair.connection is not None:
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(_CLOSE_S):
                        await chair.connection.close()
            chair.leave()

    async def read(
        self, work: Callable[Concatenate[Connection, P], Awaitable[T]], *given: P.args, **named: P.kwargs
    ) -> T:
        free = self._free
        if free is None:
            raise StoreUnavailable("the store is not open")
        name = getattr(work, "__name__", "read")
        try:
            async with asyncio.timeout(READ_S):
                chair = await free.get()
                try:
                    return await self._sit(chair, work, *given, **named)
                except BaseException:
                    # Also when the caller gave up: what the server still sends must not reach the next reader.
                    if chair.connection is not None and chair.connection.is_closed():
                        chair.leave()
                    raise
                finally:
                    free.put_nowait(chair)
        except (NotFound, Invalid, SealBroken):
            raise
        except Exception as error:  # noqa: BLE001 - the driver's errors are mapped to ours
            raise fault_of(error, name) from None

    async def _sit(
        self, chair: _Chair, work: Callable[Concatenate[Connection, P], Awaitable[T]], *given: P.args, **named: P.kwargs
    ) -> T:
        was_used = chair.connection is not None
        try:
            return await self._once(chair, work, *given, **named)
        except Exception as error:
            if not was_used or not breaks_connection(error) or isinstance(error, TimeoutError):
                raise
        return await self._once(chair, work, *given, **named)

    async def _once(
        self, chair: _Chair, work: Callable[Concatenate[Connection, P], Awaitable[T]], *given: P.args, **named: P.kwargs
    ) -> T:
        if chair.connection is None or chair.connection.is_closed():
            chair.connection = await self._connect()
        try:
            return await work(chair.connection, *given, **named)
        except (NotFound, Invalid, SealBroken):
            raise
        except asyncio.CancelledError:
            chair.leave()
            raise
        except Exception as error:
            if breaks_connection(error):
                chair.leave()
            raise
