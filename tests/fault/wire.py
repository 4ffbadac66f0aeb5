"""The wire between a node and its database, in the hand of a test: it can fall silent, break, or swallow one answer."""

import asyncio
import contextlib
from types import TracebackType

COMMIT = b"COMMIT;"


class Wire:
    """Passes bytes to 127.0.0.1:port and back while it is a context.

    swallow_after  once set, the next thing sent that contains it reaches the server, the server's answer is read and
                   thrown away, and the connection is broken. Then it is None again, and `swallowed` one more.
    """

    def __init__(self, port: int) -> None:
        self._there = port
        self._listening: asyncio.Server | None = None
        self._passing = asyncio.Event()
        self._passing.set()
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.swallow_after: bytes | None = None
        self.swallowed = 0

    async def __aenter__(self) -> "Wire":
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._listening is not None
        self._listening.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        assert self._listening is not None
        return f"postgresql://postgres@127.0.0.1:{self._listening.sockets[0].getsockname()[1]}/postgres"

    def hold(self) -> None:
        """From now on nothing passes, and nobody is told: no byte, no end. New connections are taken and hear nothing."""
        self._passing.clear()

    def release(self) -> None:
        self._passing.set()

    def cut(self) -> None:
        """Break all connections."""
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        try:
            await self._passing.wait()
            there_reader, there = await asyncio.open_connection("127.0.0.1", self._there)
        except OSError:
            writer.transport.abort()
        else:
            self._open.add(there)
            with contextlib.suppress(OSError):
                await self._both_ways(reader, writer, there_reader, there)
            writer.transport.abort()
            there.transport.abort()
            self._open.discard(there)
        finally:
            self._open.discard(writer)
            self._tasks.discard(task)

    async def _both_ways(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there_reader: asyncio.StreamReader,
        there: asyncio.StreamWriter,
    ) -> None:
        swallowing = False

        async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter, *, up: bool) -> None:
            nonlocal swallowing
            while data := await source.read(65536):
                await self._passing.wait()
                if up and self.swallow_after is not None and self.swallow_after in data:
                    self.swallow_after, swallowing = None, True
                elif not up and swallowing:
                    self.swallowed += 1
                    return
                target.write(data)

        ways = {
            asyncio.ensure_future(pass_on(reader, there, up=True)),
            asyncio.ensure_future(pass_on(there_reader, writer, up=False)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
