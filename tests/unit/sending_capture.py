"""A server that keeps the bytes of every request as they lay on the wire. Nothing of an HTTP library stands between."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_DATA = Path(__file__).parents[1] / "data"
SIGNED: dict[str, Any] = {
    one["id"]: one for one in json.loads((_DATA / "vectors.json").read_text(encoding="utf-8"))["vectors"]
}
TABLES: dict[str, Any] = json.loads((_DATA / "sending.json").read_text(encoding="utf-8"))
"""Rows of handshakes, statuses and waits, as the providers' documents imply them; made beside this code, not by it."""


@dataclass(frozen=True, slots=True)
class Caught:
    """One request. head: everything up to the blank line, as it came."""

    head: bytes
    body: bytes

    @property
    def line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode()

    @property
    def headers(self) -> list[tuple[str, str]]:
        pairs = (line.partition(b":") for line in self.head.split(b"\r\n")[1:] if line)
        return [(name.decode(), value.strip().decode("latin-1")) for name, _, value in pairs]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def one(self, name: str) -> str:
        (value,) = self.all(name)
        return value


Answers = Callable[[Caught], tuple[int, Sequence[tuple[str, str]]]]


@dataclass(slots=True)
class Capture:
    """answer: status and headers for a request."""

    answer: Answers = lambda caught: (200, ())
    port: int = 0
    caught: list[Caught] = field(default_factory=list)
    arrived: asyncio.Queue[Caught] = field(default_factory=asyncio.Queue)
    before_answer: Callable[[Caught], Any] | None = None

    def url(self, path: str = "/a?b=1") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def of(self, method: str) -> list[Caught]:
        return [one for one in self.caught if one.line.startswith(method + " ")]

    async def next(self) -> Caught:
        async with asyncio.timeout(20):
            return await self.arrived.get()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                caught = Caught(head[:-4], b"")
                length = int((caught.all("content-length") or ["0"])[0])
                caught = Caught(caught.head, await reader.readexactly(length))
                self.caught.append(caught)
                if self.before_answer is not None:
                    await self.before_answer(caught)
                status, headers = self.answer(caught)
                lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in headers)]
                text = "\r\n".join([*lines, "Content-Length: 0", "", ""])
                writer.write(text.encode("utf-8"))
                await writer.drain()
                self.arrived.put_nowait(caught)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def capturing(answer: Answers = lambda caught: (200, ())) -> AsyncIterator[Capture]:
    capture = Capture(answer)
    server = await asyncio.start_server(capture.take, "127.0.0.1", 0)
    capture.port = server.sockets[0].getsockname()[1]
    try:
        yield capture
    finally:
        server.close()
