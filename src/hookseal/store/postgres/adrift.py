"""Gives back the leases of deliveries that stand in the database and are held by nobody, though this node lives.

That happens when the answer to a commit is lost (the server has stopped, the wire is cut), when whoever asked has given
up meanwhile, and when the events of claimed deliveries cannot be read. Each delivery would wait for the end of its
lease, a minute, and be counted as lost by its holder.

Theory of operation. A lease is a token, so that giving it back twice, or one that was never committed, changes nothing.
It is given back at once, and again at growing intervals until it would have ended: a server that was slow may commit what
it was asked to after the connection was cut. Rows that others have locked are passed over, for this is not worth
waiting. What is left when the node ends, or was too much, lapses as the leases of dead nodes do.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from hookseal.errors import StoreError
from hookseal.model import DeliveryId
from hookseal.store.port import Lease

_FIRST_PAUSE_S, _GROWTH = 0.25, 4
_LONGEST_PAUSE_S = 5.0
"""Between two rounds while the database takes nothing."""
_UNTIL_S: Final = 60.0
_AT_ONCE, _MOST = 1024, 16_384


@dataclass(slots=True)
class _Left:
    """again_at, until: by the event loop's clock. pause_s: between the last time and the next."""

    lease: Lease
    again_at: float
    until: float
    pause_s: float = _FIRST_PAUSE_S


class Adrift:
    """give_back  releases these leases in the database; raises StoreError when it cannot."""

    def __init__(self, give_back: Callable[[Mapping[DeliveryId, Lease]], Awaitable[None]]) -> None:
        self._give_back = give_back
        self._left: dict[DeliveryId, _Left] = {}
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    def note(self, leases: Mapping[DeliveryId, Lease]) -> None:
        """Nobody holds these, or nobody will know that they do."""
        if self._stopped:
            return
        loop = asyncio.get_running_loop()
        for delivery, lease in islice(leases.items(), max(_MOST - len(self._left), 0)):
            self._left[delivery] = _Left(lease, loop.time(), loop.time() + _UNTIL_S)
        if self._left and (self._task is None or self._task.done()):
            self._task = loop.create_task(self._run(), name="hookseal-store-adrift")

    async def stop(self) -> None:
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while self._left:
            succeeded = await self._round(asyncio.get_running_loop().time())
            pause_s = _FIRST_PAUSE_S if succeeded else min(pause_s * 2, _LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)

    async def _round(self, now: float) -> bool:
        """Give back once what is to be given back by now. False: the database did not take it, so that it comes again."""
        for delivery in [delivery for delivery, one in self._left.items() if one.until <= now]:
            del self._left[delivery]
        again = [(delivery, one) for delivery, one in self._left.items() if one.again_at <= now]
        for start in range(0, len(again), _AT_ONCE):
            some = again[start : start + _AT_ONCE]
            try:
                await self._give_back({delivery: one.lease for delivery, one in some})
            except StoreError:
                return False
            for _, one in some:
                one.again_at = now + one.pause_s
                one.pause_s *= _GROWTH
        return True
