"""How a connection comes about: resolve, judge every address, dial what was judged, shake hands. And what a
connection may do to us while it answers.

Theory of operation. The HTTP library's pool asks `JudgingConnector` for a connection when it has none to reuse. The
connector resolves the name itself, refuses the whole attempt when one address of the answer is denied (a mixed answer
is how rebinding begins), and dials only addresses of that answer, as numbers, so that nothing between judging and
connecting resolves again. `_socket` judges once more at the place where the socket is made: that judgement is final,
whatever the code above it becomes. Each step has its own deadline and leaves its mark in the call's `Journey`, so that
the reason for a failure is known by how far the call had come.

`Exchange` is the library's protocol with the bounds that it lacks: the bytes of all heads together, the number of
interim answers, and the raw bytes of a body (chunk extensions and trailers included). It hands the head and the body to
the parser separately, so that a body that breaks the grammar cannot take a head down with it that came in the same
segment. A byte that comes when no answer is due ends the connection: in the pool it would be the next call's answer.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohappyeyeballs
import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from hookseal.egress.names import Names
from hookseal.egress.policy import EgressPolicy, Target
from hookseal.egress.reasons import CallFailed, Phase, reason_of, reason_of_connect
from hookseal.model import AttemptReason

MAX_HEAD_BYTES = 65_536
MAX_INTERIM = 8
MAX_ADDRESSES = 16
HEAD_START_S = 0.25
"""Before the next address is tried beside one that does not answer (RFC 8305 §8)."""

_RAW_FACTOR = 8  # a body in chunks of one byte is six times as long on the wire
_RAW_SLACK = 65_536

_END_OF_HEAD = re.compile(rb"\n\r?\n")


@dataclass(slots=True, kw_only=True)
class Journey:
    """How one call is getting on.

    max_bytes  of the answer's body that are wanted.
    denied     what the operator is told when an address was refused; "" when none was.
    broken     why TLS ended the connection after the handshake, as over TLS 1.3 when our certificate is asked for.
    """

    target: Target
    max_bytes: int
    phase: Phase = Phase.WAITING
    denied: str = ""
    broken: ssl.SSLError | None = None
    exchange: "Exchange | None" = None

    async def end(self) -> None:
        """Wait until the loop has told the connection why it was closed: a turn or two after a write has noticed."""
        if self.exchange is not None and (closed := self.exchange.closed) is not None:
            await asyncio.wait((closed,), timeout=1.0)
            if closed.done() and not closed.cancelled():
                closed.exception()  # or asyncio would report that nobody asked


journey_of_call: ContextVar[Journey] = ContextVar("journey_of_call")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Deadlines of the steps of one connection, in seconds, and how many connections there may be.

    connections_per_host  0 is no bound of its own. Each endpoint is bounded by its concurrency already; a bound by host
                          would let one that hangs hold up the others that live on the same host.
    """

    name_s: float = 3.0
    connect_s: float = 5.0
    tls_s: float = 5.0
    idle_s: float = 4.0  # below the 5 s after which common servers close an idle connection, so that we close first
    connections: int = 512
    connections_per_host: int = 0


class Exchange(ResponseHandler):
    """One connection. `begin` starts an exchange on it; see the module head for what it bounds."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._journey: Journey | None = None
        self._head_bytes = 0
        self._interim = 0
        self._body_bytes = 0
        self._headed = False
        self._last = b""

    def begin(self, journey: Journey) -> None:
        journey.phase = Phase.SENT
        journey.exchange = self
        self._journey = journey
        self._head_bytes = self._interim = self._body_bytes = 0
        self._headed = False
        self._last = b""

    def close(self) -> None:
        # The library's close waits until the peer has read what we wrote. One that never reads would keep it for ever.
        self.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._journey is not None and isinstance(exc, ssl.SSLError):
            self._journey.broken = exc
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._headed:
            self._body_received(data)
            return
        while data:
            if self._journey is not None and self._journey.phase is Phase.SENT:
                self._journey.phase = Phase.ANSWERING
            head, data = self._cut(data)
            self._head_bytes += len(head)
            if self._parse(head):
                if data:
                    self._body_received(data)
                return
            if self._exception is not None:
                return
            if self._head_bytes > MAX_HEAD_BYTES:
                self._break_off()
                return

    def feed_data(self, message: Any, size: int = 0) -> None:
        """The parser has a head. `message` is the library's pair of head and body stream."""
        status = message[0].code
        if self._headed:  # a second answer to one request
            self.abort()
            return
        if 100 <= status < 200 and status != 101:
            self._interim += 1
            if self._interim > MAX_INTERIM:
                self._break_off()
                return
        else:
            self._headed = True
        super().feed_data(message, size)

    def _cut(self, data: bytes) -> tuple[bytes, bytes]:
        """Split after the end of a head, also where the segments meet inside it."""
        before = len(self._last)
        joined = self._last + data
        found = _END_OF_HEAD.search(joined)
        end = max(found.end() - before, 0) if found else len(data)
        self._last = b"" if found else joined[-3:]
        return data[:end], data[end:]

    def _body_received(self, data: bytes) -> None:
        if data and (self._payload is None or self._payload.is_eof()):
            self.abort()
            return
        self._body_bytes += len(data)
        body = self._payload
        self._parse(data)
        if self._journey is None or body is None or body.is_eof() or self._exception is not None:
            return
        if body.total_bytes > self._journey.max_bytes:
            self._pause_transport_reading()  # more than is wanted is there; its reader will hang up
        elif self._body_bytes > _RAW_FACTOR * self._journey.max_bytes + _RAW_SLACK:
            self._break_off()

    def _parse(self, data: bytes) -> bool:
        """True when the head is complete."""
        super().data_received(data)
        if self._exception is not None:
            # Without this a reader of the body would wait for its deadline: the library tells only the head's reader.
            if self._headed and self._payload is not None and self._payload.exception() is None:
                self._payload.set_exception(aiohttp.ClientPayloadError())
            if self.transport is not None:
                self.transport.abort()
        return self._headed

    def _break_off(self) -> None:
        failed = CallFailed(AttemptReason.RESPONSE_HEADERS_INVALID)
        if self._payload is not None and self._headed:
            self._payload.set_exception(aiohttp.ClientPayloadError())
        self.set_exception(failed)
        if self.transport is not None:
            self.transport.abort()


class JudgingConnector(aiohttp.BaseConnector):
    """A pool of connections, each made under one policy. Another policy takes another pool."""

    def __init__(self, policy: EgressPolicy, names: Names, tls: Callable[[], ssl.SSLContext], limits: Limits) -> None:
        super().__init__(
            keepalive_timeout=limits.idle_s, limit=limits.connections, limit_per_host=limits.connections_per_host
        )
        self._policy = policy
        self._names = names
        self._tls = tls
        self._limits = limits

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 — the library's signature; unused
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        exchange = connection.protocol
        assert isinstance(exchange, Exchange)
        exchange.begin(journey_of_call.get())
        return connection

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 — the library's signature; unused
    ) -> Exchange:
        journey = journey_of_call.get()
        target = journey.target
        journey.phase = Phase.RESOLVING
        addresses = await self._judged(target)
        journey.phase = Phase.CONNECTING
        connected = await self._dial(addresses, journey)
        journey.phase = Phase.SHAKING_HANDS
        return await self._converse(connected, target)

    async def _judged(self, target: Target) -> list[str]:
        if target.address is not None:
            found = [str(target.address)]
        else:
            found = list(await self._names.addresses(target.host))
        for address in found:
            if refusal := self._policy.judge_address(address, target.port):
                raise CallFailed(refusal.reason, refusal.message)
        return found[:MAX_ADDRESSES]

    async def _dial(self, addresses: list[str], journey: Journey) -> socket.socket:
        infos = [_as_info(address, journey.target.port) for address in addresses]
        try:
            async with asyncio.timeout(self._limits.connect_s):
                return await aiohappyeyeballs.start_connection(
                    infos,
                    happy_eyeballs_delay=HEAD_START_S,
                    interleave=1,
                    loop=self._loop,
                    socket_factory=partial(self._socket, journey),
                )
        except (OSError, RuntimeError) as error:
            if journey.denied:
                raise CallFailed(AttemptReason.DENIED_ADDRESS, journey.denied) from error
            raise CallFailed(reason_of_connect(error)) from error

    def _socket(self, journey: Journey, info: aiohappyeyeballs.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        if refusal := self._policy.judge_address(str(address[0]), int(address[1])):
            journey.denied = refusal.message
            raise PermissionError
        return socket.socket(family, kind, protocol)

    async def _converse(self, connected: socket.socket, target: Target) -> Exchange:
        tls: dict[str, Any] = {}
        if target.scheme == "https":
            tls = {"ssl": self._tls(), "server_hostname": target.host, "ssl_shutdown_timeout": 1.0}
        try:
            async with asyncio.timeout(self._limits.tls_s):
                _, exchange = await self._loop.create_connection(partial(Exchange, self._loop), sock=connected, **tls)
        except OSError as error:
            connected.close()
            raise CallFailed(reason_of(error, Phase.SHAKING_HANDS)) from error
        return exchange


def _as_info(address: str, port: int) -> aiohappyeyeballs.AddrInfoType:
    if ":" in address:
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)
