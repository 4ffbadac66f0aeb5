"""The readiness check of the store: can it commit now?

A probe is one small write through the store's writer. It shares a transaction with whatever waits. Polls within `every_s`
share one probe, and there is never more than one under way: a store that hangs gets no queue of probes.
"""

import asyncio

from hookseal.api.health import CheckState
from hookseal.clock import Clock
from hookseal.errors import StoreError
from hookseal.logs import get_logger
from hookseal.store.port import Store

log = get_logger(__name__)

EVERY_S = 2.0
TIMEOUT_S = 2.0


class StoreProbe:
    """every_s: how long a result is used. timeout_s: how long a poll waits for one."""

    def __init__(self, store: Store, clock: Clock, *, every_s: float = EVERY_S, timeout_s: float = TIMEOUT_S) -> None:
        self._store = store
        self._clock = clock
        self._every_s = every_s
        self._timeout_s = timeout_s
        self._task: asyncio.Task[None] | None = None
        self._done = asyncio.Event()
        self._started_at = 0.0
        self._state = CheckState(False, "unknown")

    async def check(self) -> CheckState:
        """`writable`, or why not: the code of the store's error, or `timeout`."""
        now = self._clock.monotonic()
        if self._task is None or (self._task.done() and now - self._started_at >= self._every_s):
            self._started_at = now
            self._done.clear()
            self._task = asyncio.get_running_loop().create_task(self._probe(), name="hookseal-store-probe")
        remaining_s = self._timeout_s - (now - self._started_at)
        if not self._done.is_set() and (remaining_s <= 0 or not await self._clock.wait(self._done, remaining_s)):
            return CheckState(False, "timeout")
        return self._state

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _probe(self) -> None:
        try:
            await self._store.probe()
            self._state = CheckState(True, "writable")
        except StoreError as error:
            self._state = CheckState(False, error.code)
        except Exception as error:
            log.error("store probe failed", exc_info=error)
            self._state = CheckState(False, "internal")
        finally:
            self._done.set()
