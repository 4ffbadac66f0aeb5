"""A gateway in this process, on a real socket, and a client that sends exactly the bytes and headers it is given."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from aiohttp import ClientSession

from hookseal.clock import Clock
from hookseal.settings import Settings
from hookseal.web.app import Gateway
from hookseal.web.server import serving

API_KEY = "a management key of the tests"
Headers = Sequence[tuple[str | bytes, str | bytes]]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json"
        problem = json.loads(self.body)
        assert isinstance(problem, dict)
        assert problem["type"].startswith("/problems/")
        return problem


@dataclass(slots=True)
class Running:
    gateway: Gateway
    url: str

    async def post(self, path: str, body: bytes, headers: Headers) -> Answer:
        """One POST on a connection of its own. Text that is not Latin-1 goes out as UTF-8, as a careless sender does."""
        lines = [b"POST " + path.encode() + b" HTTP/1.1", b"Host: gateway.test", b"Connection: close"]
        lines += [wire(name) + b": " + wire(value) for name, value in headers]
        lines.append(b"Content-Length: %d" % len(body))
        return await self.send(b"\r\n".join(lines) + b"\r\n\r\n" + body)

    async def send(self, raw: bytes) -> Answer:
        parts = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            writer.write(raw)
            return await read_answer(reader)
        finally:
            writer.close()

    async def get(self, path: str) -> Any:
        key = {"Authorization": f"Bearer {API_KEY}"}
        async with ClientSession(headers=key) as session, session.get(self.url + path) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def events(self, source: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = (await self.get(f"/api/v1/events?source={source}&limit=1000"))["data"]
        return rows

    async def count_events(self, source: str) -> int:
        return len(await self.events(source))


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head[:-4].split(b"\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers[name.decode().lower()] = value.strip().decode("latin-1")
    length = int(headers.get("content-length", "0"))
    return Answer(int(first.split()[1]), headers, await reader.readexactly(length))


def wire(text: str | bytes) -> bytes:
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


@asynccontextmanager
async def running(
    settings: Settings, *, clock: Clock | None = None, gateway: Gateway | None = None, listen: str = "127.0.0.1:0"
) -> AsyncIterator[Running]:
    made = gateway or Gateway(settings, clock=clock)
    async with made, serving(made, listen, header_timeout_s=settings.server.head_timeout_s) as address:
        yield Running(made, address.url)
