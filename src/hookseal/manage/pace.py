"""How slowly work in slices goes on beside receiving: large slices while the writer is idle, small ones while it is not.

A slice is made larger or smaller so that it takes about `SLICE_S`, waiting for the writer included. Between two slices
the work rests twice as long as the last one took: so it never has more than a third of the writer, and less the busier
the writer is. It is never so slow that it falls behind what comes in: a slice has at least 128 rows, and each one that
waits for the writer waits for a commit in which hardly more is stored.
"""

import asyncio

from hookseal.clock import Clock

SLICE_S = 0.01
REST = 2
_LEAST, _FIRST, _MOST = 128, 256, 512


class Pace:
    """limit: rows of the next slice."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = 0.0
        self.limit = _FIRST

    def begin(self) -> None:
        self._began = self._clock.monotonic()

    async def rest(self, stopping: asyncio.Event) -> None:
        """After a slice. Ends at once when `stopping` is set."""
        took_s = self._clock.monotonic() - self._began
        if took_s > SLICE_S:
            self.limit = max(_LEAST, self.limit // 2)
        elif took_s < SLICE_S / 2:
            self.limit = min(_MOST, self.limit * 2)
        await self._clock.wait(stopping, took_s * REST)
