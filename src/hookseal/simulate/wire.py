"""One request on a connection of its own, byte for byte as it was made, faults of the sender included.

The careful client in `egress` cannot send what a faulty or hostile sender sends: bytes that are no text in a header, a
length that does not fit, half a body and then silence. So requests of faults and assessments are written here by hand.
The URL is the one that the operator typed on the command line; no stranger can choose it, and no redirect is followed.

Knows nothing of proofs and providers. What the other side does ends in an `Answer`, never in an exception.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from hookseal.clock import Clock
from hookseal.egress.policy import Target
from hookseal.egress.tls import strict_context
from hookseal.message import Headers

_MAX_HEAD_BYTES = 65_536
_MAX_BODY_BYTES = 65_536
_BODY_S = 5.0
_MISSING_BYTES = 16
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: .*)?")


class Manner(StrEnum):
    """How a request is put on the wire."""

    WHOLE = "whole"
    CHUNKED = "chunked"  # Transfer-Encoding instead of a length
    TRUNCATED = "truncated"  # the length promises 16 bytes more than come; then our side of the connection is closed
    STALLED = "stalled"  # half of the body, then silence
    LEFT = "left"  # all of it, then the connection is closed without an answer being read


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One request to put on the wire.

    headers    in their order and spelling, without Host and framing.
    query      put behind the URL's own query, e.g. `access_token=...`.
    telltales  texts that must not stand in the answer: the secret, the signature that would have been right.
    """

    method: str = "POST"
    headers: Headers = ()
    body: bytes = b""
    manner: Manner = Manner.WHOLE
    query: str = ""
    telltales: tuple[bytes, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back.

    status   None when no answer came; `reason` says why: a code of failed attempts, or `left` where none was waited for.
    headers  names in lower case; the first value of each.
    body     the first 64 KiB.
    seconds  from the first byte sent to the end of the answer's head.
    """

    status: int | None
    reason: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0


class Wire(Protocol):
    async def exchange(self, sent: Sent, timeout_s: float) -> Answer:
        """Send one request and read the answer. Never raises for what the other side does."""
        ...


class SocketWire:
    """A `Wire` to one URL, http or https. tls: makes the context, once, for https."""

    def __init__(self, target: Target, clock: Clock, tls: Callable[[], ssl.SSLContext] = strict_context) -> None:
        self._target = target
        self._clock = clock
        self._tls = tls() if target.scheme == "https" else None

    async def exchange(self, sent: Sent, timeout_s: float) -> Answer:
        """A stalled request is given up after `timeout_s` like any other: reason `response_timeout`."""
        begun = self._clock.monotonic()
        writer: asyncio.StreamWriter | None = None
        reason = "connect_timeout"
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await self._connect()
                reason = "response_timeout"
                await _write(writer, self._head(sent), sent)
                if sent.manner is Manner.LEFT:
                    return Answer(status=None, reason="left", seconds=self._clock.monotonic() - begun)
                status, headers = await _read_head(reader)
                seconds = self._clock.monotonic() - begun
            body = await _read_body(reader, headers)
        except (OSError, EOFError, ValueError) as error:  # TimeoutError is an OSError
            return Answer(status=None, reason=_reason(error, reason), seconds=self._clock.monotonic() - begun)
        finally:
            if writer is not None:
                writer.close()
        return Answer(status=status, headers=headers, body=body, seconds=seconds)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._target.host, self._target.port, ssl=self._tls, limit=_MAX_HEAD_BYTES)

    def _head(self, sent: Sent) -> bytes:
        _, _, rest = self._target.url.partition("://")
        authority, path = re.fullmatch(r"([^/?]*)(.*)", rest).groups()  # type: ignore[union-attr]
        path = path if path.startswith("/") else f"/{path}"
        if sent.query:
            path += ("&" if "?" in path else "?") + sent.query
        lines = [f"{sent.method} {path} HTTP/1.1".encode(), b"Host: " + authority.encode()]
        lines += [name + b": " + value for name, value in sent.headers]
        length = len(sent.body) + (_MISSING_BYTES if sent.manner is Manner.TRUNCATED else 0)
        lines.append(b"Transfer-Encoding: chunked" if sent.manner is Manner.CHUNKED else b"Content-Length: %d" % length)
        lines += [b"User-Agent: hookseal", b"Connection: close"]
        return b"\r\n".join(lines) + b"\r\n\r\n"


async def _write(writer: asyncio.StreamWriter, head: bytes, sent: Sent) -> None:
    body = sent.body
    match sent.manner:
        case Manner.CHUNKED:
            middle = len(body) // 2
            pieces = [piece for piece in (body[:middle], body[middle:]) if piece]
            body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        case Manner.STALLED:
            body = body[: len(body) // 2]
        case Manner.WHOLE | Manner.TRUNCATED | Manner.LEFT:
            pass
    try:
        writer.write(head + body)
        await writer.drain()
        if sent.manner is Manner.TRUNCATED and writer.can_write_eof():  # TLS cannot close one side
            writer.write_eof()
    except ConnectionError:
        if sent.manner is Manner.LEFT:
            raise
        # A receiver may answer before it has read everything, and close: its answer is still to be read.


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError as error:
            raise ValueError("the head of the answer is too long") from error
        first, *lines = head[:-4].split(b"\r\n")
        found = _STATUS_LINE.fullmatch(first)
        if found is None:
            raise ValueError("not an HTTP/1 answer")
        if found[1].startswith(b"1"):  # 100 Continue and its like are not the answer
            continue
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(b":")
            headers.setdefault(name.decode("latin-1").lower(), value.strip().decode("latin-1"))
        return int(found[1]), headers


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    """What can be had of it, chunk marks included: it is only searched. Its end does not matter to the sender."""
    parts: list[bytes] = []
    length = headers.get("content-length", "")
    wanted = min(int(length), _MAX_BODY_BYTES) if length.isascii() and length.isdigit() else _MAX_BODY_BYTES
    try:
        async with asyncio.timeout(_BODY_S):
            while wanted > 0 and (part := await reader.read(wanted)):
                parts.append(part)
                wanted -= len(part)
    except OSError:  # TimeoutError is one
        pass
    return b"".join(parts)


def _reason(error: Exception, reason_of_timeout: str) -> str:
    match error:
        case TimeoutError():
            return reason_of_timeout
        case ssl.SSLCertVerificationError():
            return "tls_untrusted"
        case ssl.SSLError():
            return "tls_protocol"
        case socket.gaierror():
            return "dns_error"
        case ConnectionRefusedError():
            return "connect_refused"
        case asyncio.IncompleteReadError() if error.partial:
            return "response_headers_invalid"
        case ConnectionError() | EOFError():
            return "connect_reset"
        case OSError():
            return "connect_reset"
        case _:
            return "response_headers_invalid"
