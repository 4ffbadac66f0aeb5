"""The HTTP server: granian's embedded one, inside our own process and event loop.

We bind the socket ourselves. granian would bind with SO_REUSEPORT, and then a second hookseal on the same port starts
without a word and takes half of the connections; it also cannot tell which port it got for port 0. Its supervisor is
never used: a worker of it outlives a killed parent.
"""

import asyncio
import ctypes
import gc
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from hookseal.errors import ConfigurationError

_BACKLOG = 1024
_CONNECTIONS = 4096
_SHARE_OF_FILES = 3
"""Connections take at most this part of the files that the process may open. The rest is for the store, for deliveries
and for fetching keys: strangers who hold connections open must not stop those. Beyond the bound nothing is accepted
and connections wait in the system's queue, where a server that ran out of files would ask again and again."""
_BUFFER_BYTES = 131_072
"""Largest head of a request that is buffered; a longer one is answered 431 by the server. Least 8192."""

_M_MMAP_THRESHOLD, _LARGE_BYTES = -3, 131_072
"""glibc's own first value, which no longer moves once it has been set."""

# The server would give its loggers handlers of their own, which write to stdout whatever they are handed. Without them
# its records take the road of every other library's, where values are left out (`logs.py`).
_QUIET: dict[str, Any] = {
    "handlers": {},
    "loggers": {"_granian": {"handlers": []}, "granian.access": {"handlers": [], "propagate": True}},
}


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def parse_listen(listen: str) -> tuple[str, int]:
    """`HOST:PORT` or `[IPv6]:PORT`; port 0 takes a free one. ValueError otherwise."""
    host, colon, port = listen.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("an IPv6 address stands in brackets")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError("it must be HOST:PORT")
    return host, int(port)


class _BoundServer(Server):
    """granian on a socket that is already listening."""

    def __init__(self, app: Any, listener: socket.socket, **settings: Any) -> None:
        super().__init__(app, interface=Interfaces.ASGINL, **settings)
        self._listener = listener

    def _init_shared_socket(self) -> None:
        # The library's stubs know a SocketHolder of one argument; its compiled class takes these three.
        holder: Any = SocketHolder
        self._shd = holder(self._listener.detach(), False, _BACKLOG)  # the server closes it
        self._ssp = None


@asynccontextmanager
async def serving(
    app: Any, listen: str, *, header_timeout_s: float = 10.0, place: str = "", key: str = "[server] listen"
) -> AsyncIterator[Address]:
    """Serve an ASGI app while the context lasts; connections are accepted from the moment it is entered.

    listen  `HOST:PORT`; place and key name the setting when it cannot be used.
    On leaving, no new connection is accepted and requests in flight are finished.
    """
    try:
        host, port = parse_listen(listen)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigurationError(place, key, f"cannot listen on {listen} ({why}); choose another address") from error
    listener.setblocking(False)
    bound = listener.getsockname()
    server = _BoundServer(
        app,
        listener,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
        log_dictconfig=_QUIET,
        backlog=_BACKLOG,
        backpressure=_connections(),
        http1_settings=HTTP1Settings(header_read_timeout=round(header_timeout_s * 1000), max_buffer_size=_BUFFER_BYTES),
    )
    task = asyncio.create_task(server.serve(), name="http server")
    try:
        yield Address(bound[0], bound[1])
    finally:
        server.interrupt_signal = True
        server.main_loop_interrupt.set()
        await task


def raise_file_limit() -> None:
    """Let this process open as many files as its user allows; the default of 1024 is for programs that use select()."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def give_memory_back() -> None:
    """Let large bodies return to the system as soon as they are let go. Of glibc; others do so or do not have it.

    Left alone it learns from the first large body that is freed to keep all that come after for itself, in pieces that
    fit nothing: after a minute of bodies of 1 MB the process stayed at 600 MB, and with this at 140.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def keep_out_of_collections() -> None:
    """Leave what was made until now out of garbage collections: modules and settings, which live as long as the process.

    A full collection that looks at them too stops the event loop and the writer for 60 to 70 ms (CPU time, measured while
    a batch of 5,000 events was delivered).
    """
    gc.collect()
    gc.freeze()


def _connections() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _CONNECTIONS if files == resource.RLIM_INFINITY else max(min(_CONNECTIONS, files // _SHARE_OF_FILES), 1)
