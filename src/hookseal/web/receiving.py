"""The receiving side: a bare ASGI callable for `/in/{source}`.

It turns an ASGI scope into a `Request` and an `Answer` into a response. It keeps the bounds: headers, size and time of a
body, and through `admission` the requests and bytes that are held at one time. It does not know schemes or stores. A
framework in front would double the cost of a request (see docs/design/).
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from time import monotonic
from typing import Any

import msgspec

from hookseal import probe
from hookseal.logs import get_logger
from hookseal.message import Headers, Request
from hookseal.model import SourceId
from hookseal.probe import Step
from hookseal.receive import answers
from hookseal.receive.answers import Answer, Case
from hookseal.receive.framing import declared_length, is_ambiguous
from hookseal.receive.handshake import not_allowed
from hookseal.receive.proxies import client_address, shared_by
from hookseal.receive.service import Receiver
from hookseal.receive.source import Source
from hookseal.web.admission import Admission, Place
from hookseal.web.peer_state import has_client_ended

log = get_logger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PREFIX = b"/in/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of the receiving side; beyond them 408, 413, 431 or 503.

    max_header_bytes  all names and values together. The server has its own, larger bound before us.
    max_reading       requests whose bodies are arriving.
    max_in_flight     requests that are judged or stored; a quarter more of clients and sources that have few of them.
    max_bytes         of all bodies that are held at one time, complete or still arriving.
    slow_after_s      a body that arrives too slowly for so long may have to make place for another.
    """

    max_headers: int = 100
    max_header_bytes: int = 32_768
    body_timeout_s: float = 10.0
    max_reading: int = 1024
    max_in_flight: int = 256
    max_bytes: int = 67_108_864
    slow_after_s: float = 2.5


class Receiving:
    """ASGI app. `receiver` is None until the gateway has started; when `leaving`, each answer ends its connection.

    answered   called with source and status for the answers that the receiver does not count itself.
    in_flight  requests between their head and their answer, in whatever phase.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        trusted_proxies: Sequence[IPv4Network | IPv6Network] = (),
        public_url: str | None = None,
        answered: Callable[[str, int], None] = lambda source, status: None,
    ) -> None:
        self.receiver: Receiver | None = None
        self.leaving = False
        self.in_flight = 0
        self._limits = limits
        self._admission = Admission(
            max_reading=limits.max_reading,
            max_judging=limits.max_in_flight,
            max_bytes=limits.max_bytes,
            slow_after_s=limits.slow_after_s,
        )
        self._trusted = tuple(trusted_proxies)
        self._public_url = public_url.rstrip("/") if public_url else None
        self._answered = answered

    @property
    def bytes_in_flight(self) -> int:
        return self._admission.bytes_held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.receiver is None:
            await respond(send, answers.answer(Case.STARTING))
            return
        self.in_flight += 1
        try:
            answer = await self._answer(self.receiver, scope, receive)
            await respond(send, answer, is_last=self.leaving)
            probe.reach(Step.ANSWERED)
        finally:
            self.in_flight -= 1

    async def _answer(self, receiver: Receiver, scope: Scope, receive: Receive) -> Answer:
        headers: Headers = tuple(map(tuple, scope["headers"]))
        if (fault := self._headers_fault(headers, scope.get("http_version", "1.1"))) is not None:
            return fault
        path = own_path(scope)
        id = SourceId(path[len(PREFIX) :].decode("latin-1"))
        source = receiver.sources.get(id)
        if source is None:
            latest = await receiver.look_up(id)
            if isinstance(latest, Answer):
                return latest
            source = latest
        method: str = scope["method"]
        peer = scope.get("client")
        remote = client_address(peer[0] if peer else None, headers, self._trusted)
        if method == "OPTIONS":
            return receiver.handshake(source, self._request(scope, headers, method, path, b"", remote))
        if method != "POST":
            return not_allowed(source)
        if remote is None and source.addresses:
            log.warning("client address unknown, check the trusted proxies", source=source.id)
            return self._unjudged(source, answers.answer(Case.ADDRESS_UNKNOWN))
        client = shared_by(remote)
        if not self._admission.has_room(client, source.id):  # before the body is read: an overload then costs the least
            return self._unjudged(source, answers.answer(Case.OVERLOADED))
        place = self._admission.read(client, source.id, monotonic())
        if place is None:
            return self._unjudged(source, answers.answer(Case.OVERLOADED))
        try:
            body = await self._body(receiver, source, scope, headers, receive, place)
            if isinstance(body, Answer):
                return self._unjudged(source, body)
            if not self._admission.judge(place):
                return self._unjudged(source, answers.answer(Case.OVERLOADED))
            probe.reach(Step.BODY_READ)
            return await receiver.receive(source, self._request(scope, headers, method, path, body, remote))
        finally:
            self._admission.leave(place)

    def _unjudged(self, source: Source, answer: Answer) -> Answer:
        self._answered(source.id, answer.status)
        return answer

    def _headers_fault(self, headers: Headers, http_version: str) -> Answer | None:
        if len(headers) > self._limits.max_headers:
            return answers.answer(Case.HEADERS_TOO_LARGE)
        size = 0
        for name, value in headers:
            size += len(name) + len(value)
        if size > self._limits.max_header_bytes:
            return answers.answer(Case.HEADERS_TOO_LARGE)
        return answers.answer(Case.MALFORMED) if is_ambiguous(headers, http_version) else None

    async def _body(
        self, receiver: Receiver, source: Source, scope: Scope, headers: Headers, receive: Receive, place: Place
    ) -> bytes | Answer:
        """Return the whole body, or the answer that ends it. Its bytes are counted until the place is left."""
        limit = source.max_body_bytes
        declared = next((value for name, value in headers if name == b"content-length"), b"")
        length = declared_length(declared)
        if length > limit:
            allowed = await _limit_now(receiver, source, length)
            if isinstance(allowed, Answer):
                return allowed
            limit = allowed
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._limits.body_timeout_s) as place.deadline:
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        return answers.answer(Case.CUT_OFF if declared else await _broken_chunks(scope))
                    chunk = message.get("body", b"")
                    if chunk:
                        size += len(chunk)
                        if size > limit:
                            allowed = await _limit_now(receiver, source, size)
                            if isinstance(allowed, Answer):
                                return allowed
                            limit = allowed
                        if not self._admission.hold(place, len(chunk), monotonic()):
                            return answers.answer(Case.OVERLOADED)
                        chunks.append(chunk)
                    if not message.get("more_body", False):
                        return chunks[0] if len(chunks) == 1 else b"".join(chunks)
        except TimeoutError:  # of the whole body, or because another request took the place
            return answers.answer(Case.TOO_SLOW)

    def _request(
        self, scope: Scope, headers: Headers, method: str, path: bytes, body: bytes, remote: str | None
    ) -> Request:
        url = None
        if self._public_url is not None:
            query: bytes = scope.get("query_string", b"")
            url = self._public_url + (path + (b"?" + query if query else b"")).decode("latin-1")
        return Request(method=method, headers=headers, body=body, url=url, remote=remote)


def own_path(scope: Scope) -> bytes:
    """The path below where we are mounted, as sent: no percent-decoding, no normalisation."""
    raw = scope.get("raw_path")
    path: bytes = raw if isinstance(raw, bytes) else str(scope["path"]).encode()
    root = str(scope.get("root_path", "")).encode()
    return path.removeprefix(root) if root else path


async def _limit_now(receiver: Receiver, source: Source, size: int) -> int | Answer:
    """Return the limit of a body of this size, or the answer 413 if the source's latest state does not allow it."""
    latest = await receiver.look_up(source.id)
    if isinstance(latest, Answer):
        return latest
    return latest.max_body_bytes if size <= latest.max_body_bytes else answers.answer(Case.BODY_TOO_LARGE)


async def _broken_chunks(scope: Scope) -> Case:
    """Return what ended a chunked body: the end of the connection, or a chunk that is malformed."""
    # A malformed chunk is certain only while the client can still send. If the system cannot say, it is not certain.
    is_open = await asyncio.to_thread(has_client_ended, scope) is False
    return Case.MALFORMED if is_open else Case.CUT_OFF


async def respond(send: Send, answer: Answer, *, is_last: bool = False) -> None:
    """Send an answer. is_last: the connection ends after it. A client that has closed the connection is not logged."""
    headers = list(answer.headers)
    body = b""
    if answer.title is not None:
        kind = f"/problems/{answer.case.replace('_', '-')}"  # the namespace of the management API too
        body = msgspec.json.encode({"type": kind, "title": answer.title, "status": answer.status})
        headers.append((b"content-type", b"application/problem+json"))
    if answer.status != 204:
        headers.append((b"content-length", b"%d" % len(body)))
    if answer.close or is_last:
        headers.append((b"connection", b"close"))
    try:
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
    except (ConnectionError, OSError, RuntimeError):
        return
