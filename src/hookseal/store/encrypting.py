"""Encryption of large values on a thread, so that compressing them does not stop the event loop."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from hookseal.sealing import Keyring, Sealer

LARGE_BYTES = 128 * 1024
"""From this size on a value is encrypted on the thread: 1 ms of compression, which leaves the interpreter lock free."""


class Encrypting:
    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        # One thread: each one keeps a compression context of several MB.
        self._thread: ThreadPoolExecutor | None = None

    @property
    def keyring(self) -> Keyring:
        return self._sealer.keyring

    async def seal(self, plain: bytes, label: str) -> bytes:
        """Encrypt a value."""
        if len(plain) < LARGE_BYTES:
            return self._sealer.seal(plain, label)
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="hookseal-store-encrypting")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._sealer.seal, plain, label)

    def close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown(wait=False)
