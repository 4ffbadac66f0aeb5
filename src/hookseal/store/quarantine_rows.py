"""From a refused request to a row: sealed on a thread of low priority, off the event loop.

Compressing and sealing 2 MB take some 15 ms. What unauthenticated clients send must not delay genuine requests by that.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hookseal.errors import StoreUnavailable
from hookseal.sealing import Sealer
from hookseal.store.packing import SealedRefusal, must, pack, pack_uuid, storable
from hookseal.store.port import Refusal
from hookseal.store.quarantine_shares import hold_key, peer_number
from hookseal.store.rows import refusal_label

_NICENESS = 10


@dataclass(frozen=True, slots=True)
class PreparedRefusal:
    """dedupe_keys, hold_key: of a request that is to be held, else empty and None."""

    refusal: Refusal
    id: bytes
    sealed: bytes
    peer: int
    dedupe_keys: tuple[bytes, ...] = ()
    hold_key: bytes | None = None


class RefusalSealer:
    """Seals refused requests one after another on a thread of its own."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="quarantine-sealer", initializer=_lower_priority)

    async def prepare(self, refusal: Refusal, dedupe_keys: Sequence[bytes] = ()) -> PreparedRefusal:
        id = must(pack_uuid(refusal.id), "a refusal's id")
        loop = asyncio.get_running_loop()
        try:
            sealed = await loop.run_in_executor(self._thread, self._seal, refusal, id)
        except RuntimeError:  # the executor was shut down
            raise StoreUnavailable("the store is closed") from None
        peer = peer_number(self._sealer.keyring, refusal.remote)
        return PreparedRefusal(refusal, id, sealed, peer, tuple(dedupe_keys), hold_key(dedupe_keys))

    def close(self) -> None:
        """Finish what was begun. Blocks."""
        self._thread.shutdown()

    def _seal(self, refusal: Refusal, id: bytes) -> bytes:
        plain = pack(SealedRefusal(refusal.method, refusal.url, refusal.remote, refusal.headers, refusal.body))
        source = storable(refusal.source) or ""
        label = refusal_label(id, source, refusal.received_at, storable(refusal.reason) or "", refusal.held)
        return self._sealer.seal(plain, label)


def _lower_priority() -> None:
    # Of this thread alone: Linux keeps the niceness of each thread.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
