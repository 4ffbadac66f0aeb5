"""A load balancer as people run them: it asks nodes whether they are ready, and keeps its connections to them.

It sends each request to a node that said so last, over a connection that it has or makes. Only a request that reached
nobody, because the connection was refused, is tried on another node. All else that goes wrong is lost, and counted.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from urllib.parse import urlsplit

from plug import Letter

CHECK_EVERY_S = 0.1
Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Balancer:
    """members    the URLs of all nodes that there may be.
    statuses   of all answers; lost: what happened to requests that reached a node and were not answered.
    """

    def __init__(self, members: Callable[[], Sequence[str]]) -> None:
        self._members = members
        self._ready: list[str] = []
        self._kept: dict[str, list[Wire]] = {}
        self._turn = 0
        self._checking: asyncio.Task[None] | None = None
        self.statuses: Counter[int] = Counter()
        self.lost: Counter[str] = Counter()
        self.refused = 0
        self.slowest_s = 0.0

    async def __aenter__(self) -> "Balancer":
        await self._check()
        self._checking = asyncio.create_task(self._check_always())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._checking is not None
        self._checking.cancel()
        for kept in self._kept.values():
            for _, writer in kept:
                writer.close()

    def is_ready(self, url: str) -> bool:
        return url in self._ready

    async def send(self, letter: Letter) -> int | None:
        """The status; None when the request is lost."""
        began = time.monotonic()
        while True:
            if not self._ready:
                await asyncio.sleep(0.01)
                continue
            self._turn += 1
            url = self._ready[self._turn % len(self._ready)]
            try:
                wire = await self._wire(url)
            except ConnectionRefusedError:
                self.refused += 1
                if url in self._ready:
                    self._ready.remove(url)
                continue
            try:
                status, is_kept = await exchange(wire, letter.raw)
            except (OSError, asyncio.IncompleteReadError) as error:
                self.lost[type(error).__name__] += 1
                wire[1].close()
                return None
            self.statuses[status] += 1
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            if is_kept:
                self._kept.setdefault(url, []).append(wire)
            else:
                wire[1].close()
            return status

    async def _wire(self, url: str) -> Wire:
        kept = self._kept.get(url, [])
        while kept:
            wire = kept.pop()
            if not wire[0].at_eof():
                return wire
            wire[1].close()
        parts = urlsplit(url)
        return await asyncio.open_connection(parts.hostname, parts.port)

    async def _check_always(self) -> None:
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            await self._check()

    async def _check(self) -> None:
        self._ready = [url for url in self._members() if await says_ready(url)]


async def says_ready(url: str) -> bool:
    parts = urlsplit(url)
    try:
        wire = await asyncio.open_connection(parts.hostname, parts.port)
    except OSError:
        return False
    try:
        status, _ = await exchange(wire, b"GET /readyz HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n")
    except (OSError, asyncio.IncompleteReadError):
        return False
    finally:
        wire[1].close()
    return status == 200


async def exchange(wire: Wire, raw: bytes) -> tuple[int, bool]:
    """The status, and whether the connection is to be kept."""
    reader, writer = wire
    writer.write(raw)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name == b"content-length":
            length = int(value)
    await reader.readexactly(length)
    return int(head[9:12]), b"connection: close" not in head
