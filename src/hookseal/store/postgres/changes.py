"""Notifications of changed values: one connection that executes LISTEN.

A trigger of the table `kept` notifies at each commit that changed a value. The listener reconnects when its connection
ends, and then reports a change, because notifications of the meantime are lost. Behind a connection pooler that does not
pass notifications on, it is silent. Callers therefore compare `kv_versions` from time to time.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

from hookseal.logs import get_logger
from hookseal.store.postgres.connection import Connection
from hookseal.store.postgres.faults import code_of

log = get_logger(__name__)

CHANNEL: Final = "hookseal_kv"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
_CLOSE_S: Final = 2.0


class ChangeListener:
    def __init__(self, connect: Callable[[], Awaitable[Connection]]) -> None:
        self._connect = connect
        self._listeners: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None

    def subscribe(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="hookseal-store-changes")

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                connection = await self._connect()
                pause_s = _FIRST_PAUSE_S
                await self._listen(connection)
            except Exception as error:  # noqa: BLE001 - without notifications the callers poll
                log.warning("the database sends no notifications now", code=code_of(error))
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def _listen(self, connection: Connection) -> None:
        """Listen until the connection ends."""
        ended = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: ended.set())
            await connection.add_listener(CHANNEL, self._notified)
            self._report()
            await ended.wait()
        finally:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_CLOSE_S):
                    await connection.close()
            connection.terminate()

    def _notified(self, *_: Any) -> None:
        self._report()

    def _report(self) -> None:
        for listener in self._listeners:
            listener()
