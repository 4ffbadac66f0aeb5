"""Follows what other nodes change in the values that the gateway keeps for itself.

Theory of operation
- The store counts the changes of each namespace. A *look* reads these few versions. It calls `update` of a subscriber
  only when a version differs from the one that the subscriber's values were read at. Nothing is decrypted otherwise.
- A look happens every `POLL_INTERVAL_S`, at each notification of the store, and before a request is refused (`refresh`).
- A refusal is certain only after a look that began after the request arrived. Requests that wait at the same time share
  the next look, and looks begin at least `LOOK_INTERVAL_S` apart. A flood of forged requests therefore costs at most 40
  short reads per second, and each request waits for that time and one read.
- A subscriber whose update fails keeps its old version. The next look calls it again, and `refresh` raises meanwhile.
- A store that only this process can write needs no look: the process applies its own changes itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

from hookseal.clock import Clock
from hookseal.errors import StoreError, StoreUnavailable
from hookseal.logs import get_logger
from hookseal.store.port import Store

log = get_logger(__name__)

POLL_INTERVAL_S = 2.0
LOOK_INTERVAL_S = 0.025

Update = Callable[[], Awaitable[None]]
"""Read the namespaces again and apply what is new. Raises when that is not possible now."""


@dataclass(slots=True, eq=False)
class _Subscriber:
    namespaces: Collection[str]
    update: Update
    seen: Mapping[str, int] | None = None


class ChangeFeed:
    """All methods belong to one event loop.

    shared  other processes may write to the store.
    """

    def __init__(self, store: Store, clock: Clock, *, shared: bool) -> None:
        self._store = store
        self._clock = clock
        self._shared = shared
        self._subscribers: list[_Subscriber] = []
        self._news = asyncio.Event()
        self._next: asyncio.Task[None] | None = None
        self._current: asyncio.Task[None] | None = None
        self._next_allowed_at = 0.0
        self.loop: asyncio.Task[None] | None = None
        """Runs until `stop`; None before the start, and where there is nothing to follow."""
        self.looked_at = clock.monotonic()
        """When the newest look began that left nothing to do, in the clock's monotonic seconds."""

    def subscribe(self, namespaces: Collection[str], update: Update) -> None:
        """Updates run in the order of the subscriptions."""
        self._subscribers.append(_Subscriber(namespaces, update))

    def start(self) -> None:
        if self._shared:
            self._store.on_kv_change(self._news.set)
            self.loop = asyncio.get_running_loop().create_task(self._follow())

    async def stop(self) -> None:
        tasks = [task for task in (self.loop, self._next, self._current) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def refresh(self) -> None:
        """Return after a look that began after this call, and after its updates. Raises when one of them failed."""
        if not self._shared:
            return
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._look_in_turn())
            self._next.add_done_callback(_retrieve)
        look = self._next
        # Not awaited directly: a caller that gives up must not end the look of the others.
        await asyncio.wait((look,))
        if look.cancelled():
            raise StoreUnavailable("the gateway stops")
        look.result()

    def view_age_s(self) -> float:
        """Return how long ago this node was certain to know what the store keeps."""
        return self._clock.monotonic() - self.looked_at if self._shared else 0.0

    async def _look_in_turn(self) -> None:
        if self._current is not None:
            await asyncio.wait((self._current,))
        loop = asyncio.get_running_loop()
        # Real time, not the given clock: this limits the load on the store.
        await asyncio.sleep(max(self._next_allowed_at - loop.time(), 0.0))
        # From here on a new caller needs another look, because this one begins now.
        self._current, self._next = asyncio.current_task(), None
        self._next_allowed_at = loop.time() + LOOK_INTERVAL_S
        await self._look()

    async def _look(self) -> None:
        began_at = self._clock.monotonic()
        versions = await self._store.kv_versions()
        failed: Exception | None = None
        for subscriber in self._subscribers:
            current = {namespace: versions.get(namespace, 0) for namespace in subscriber.namespaces}
            if current == subscriber.seen:
                continue
            try:
                await subscriber.update()
            except Exception as error:  # noqa: BLE001 - raised below; the other subscribers are updated first
                failed = failed or error
            else:
                # The versions of before the update: a change during it is found by the next look.
                subscriber.seen = current
        if failed is not None:
            raise failed
        self.looked_at = began_at

    async def _follow(self) -> None:
        while True:
            self._news.clear()  # Before the look: a notification during it asks for another one.
            try:
                await self.refresh()
            except StoreError as error:
                log.warning("changes of other nodes cannot be read", code=error.code)
            except Exception as error:
                log.error("changes of other nodes not applied", exc_info=error)
            await self._clock.wait(self._news, POLL_INTERVAL_S)


def _retrieve(task: "asyncio.Task[None]") -> None:
    """Mark the error as seen, also when every caller has given up."""
    if not task.cancelled():
        task.exception()
