"""One gateway for the whole corpus on a real socket, with an issuer of keys beside it, and a client that counts answers."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from corpus_cases import API, API_KEY, Case
from corpus_proofs import ACCEPTED, AUDIENCE, ISSUER, NOW, PROVIDERS, SECRET, good_body, good_headers, key_set
from gateways import Running, running

from hookseal.clock import GivenClock, from_unix
from hookseal.model import EndpointId, ProviderId, SourceId
from hookseal.settings import (
    ApiSettings,
    EgressSettings,
    EndpointSettings,
    ServerSettings,
    Settings,
    SigningSettings,
    SourceSettings,
    StoreSettings,
)

MAX_BODY_BYTES = 65_536
BODY_TIMEOUT_S = 0.5
"""Short, because a broken framing often ends only when the server loses patience."""


@dataclass(slots=True)
class Issuer:
    """Where the keys are. Whoever asks for anything else followed a stranger's URL."""

    url: str
    asked: list[str] = field(default_factory=list)

    @property
    def lured(self) -> list[str]:
        return [path for path in self.asked if not path.startswith("/keys/")]


@asynccontextmanager
async def issuing() -> AsyncIterator[Issuer]:
    issuer = Issuer("")
    document = key_set()

    async def any_path(request: web.Request) -> web.Response:
        issuer.asked.append(request.path)
        return web.json_response(document)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", any_path)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        issuer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield issuer
    finally:
        await runner.cleanup()


@dataclass(slots=True)
class Corpus:
    running: Running
    issuer: Issuer

    async def good_request_is_accepted(self, provider: str, name: str) -> bool:
        """One more good request at a source of its own: the gateway is alive, and what came before changed nothing."""
        body = good_body(provider, name)
        source = good_source(provider)
        before = await self.running.count_events(source)
        answer = await self.running.post(f"/in/{source}", body, good_headers(provider, body))
        return answer.status == ACCEPTED[provider] and await self.running.count_events(source) == before + 1


def good_source(provider: str) -> str:
    return f"good-{provider}"


@asynccontextmanager
async def corpus_gateway(folder: Path, cases: Sequence[Case] = (), **server: Any) -> AsyncIterator[Corpus]:
    """cases: each has a source of its own, so that what it stored is what is found there."""
    async with issuing() as issuer:
        sources = [_source(good_source(provider), provider, f"{issuer.url}/keys/shared") for provider in PROVIDERS]
        for case in cases:
            if case.source != API:
                keys = case.name if case.own_issuer else "shared"
                options = {"max_age_s": case.max_age_s, "options": case.options}
                sources.append(_source(case.source_id, case.source, f"{issuer.url}/keys/{keys}", **options))
        bounds = {"max_body_bytes": MAX_BODY_BYTES, "body_timeout_s": BODY_TIMEOUT_S, "header_timeout_s": 1.0}
        settings = Settings(
            server=ServerSettings(**{**bounds, **server}),
            store=StoreSettings(url=f"sqlite:///{folder}/hookseal.db", keyring=f"file:{folder}/hookseal.key"),
            api=ApiSettings(keys=(API_KEY.encode(),)),
            egress=EgressSettings(allow=("127.0.0.0/8",), allow_http=True),
            sources=tuple(sources),
            endpoints=(
                EndpointSettings(
                    id=EndpointId("core"),
                    url="https://core.example.com/hooks",
                    signing=SigningSettings(scheme="standard_webhooks", secrets=(SECRET,)),
                    sources=("none-of-these",),
                ),
            ),
        )
        async with running(settings, clock=GivenClock(from_unix(NOW))) as started:
            yield Corpus(started, issuer)


def _source(
    id: str, provider: str, jwks_url: str, *, options: Any = None, max_age_s: int | None = None
) -> SourceSettings:
    mine = dict(options or {})
    if provider == "bankid_antifraud":
        mine = {"audience": AUDIENCE, "issuer": ISSUER, "jwks_url": jwks_url, **mine}
    secrets = () if provider == "bankid_antifraud" else (SECRET,)
    return SourceSettings(
        id=SourceId(id), provider=ProviderId(provider), secrets=secrets, options=mine, max_age_s=max_age_s
    )


# --- what comes back


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any] | None:
        """None for an answer that the HTTP parser gave before any of our code ran."""
        if self.headers.get("content-type") != "application/problem+json" or not self.body:
            return None
        problem: dict[str, Any] = json.loads(self.body)
        return problem


async def exchange(url: str, wire: bytes, *, ending: str = "wait", patience_s: float = 15.0) -> list[Response]:
    """Send bytes, read until the server closes the connection, and take the answers apart. Answers 100 are left out.

    ending  wait: the client stays; half_close: it says that it sends no more; reset: it is gone at once, without a
            read; drip: bytes after the head come one by one and never end.
    TimeoutError when the connection is still open after `patience_s`, ValueError when what came is not HTTP.
    """
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        async with asyncio.timeout(patience_s):
            return responses(await _talk(reader, writer, wire, ending), wire)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wire: bytes, ending: str) -> bytes:
    received = bytearray()
    if ending == "reset":
        writer.write(wire)
        await writer.drain()
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        return b""
    head, blank, body = wire.partition(b"\r\n\r\n")
    drip = asyncio.create_task(_drip(writer, body)) if ending == "drip" else None
    # A server that has seen enough may close while we still write; what it said before is in the reader all the same.
    with suppress(OSError):
        writer.write(head + blank if drip is not None else wire)
        await writer.drain()
        if ending == "half_close":
            writer.write_eof()
    try:
        with suppress(OSError):
            while chunk := await reader.read(65_536):
                received += chunk
    finally:
        if drip is not None:
            drip.cancel()
    return bytes(received)


async def _drip(writer: asyncio.StreamWriter, body: bytes) -> None:
    with suppress(OSError):
        for at in range(len(body)):
            writer.write(body[at : at + 1])
            await writer.drain()
            await asyncio.sleep(0.02)  # the pace of a slow sender, not a wait


def responses(received: bytes, wire: bytes) -> list[Response]:
    """The final answers in a connection's bytes. An answer to HEAD has a length and no body."""
    found: list[Response] = []
    rest = received
    is_head = wire.startswith(b"HEAD ")
    while rest:
        head, blank, rest = rest.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        version, status, *_ = first.split(b" ", 2)
        if not blank or version not in (b"HTTP/1.0", b"HTTP/1.1") or not (len(status) == 3 and status.isdigit()):
            raise ValueError(f"not an answer: {first[:80]!r}")
        headers = {}
        for line in lines:
            name, colon, value = line.partition(b":")
            if not colon:
                raise ValueError(f"not a header: {line[:80]!r}")
            headers[name.decode("ascii").lower()] = value.strip().decode("latin-1")
        if status == b"100":
            continue
        if "transfer-encoding" in headers:
            raise ValueError("our answers have a length")
        length = 0 if is_head or status == b"204" else int(headers.get("content-length", "0"))
        if len(rest) < length:
            raise ValueError("an answer was cut")
        found.append(Response(int(status), headers, rest[:length]))
        rest = rest[length:]
    return found


def faults_of(answer: Response) -> list[str]:
    """What is wrong with an answer, whatever it answers: never 5xx but 503, and every no in one shape that says little."""
    wrong = []
    if answer.status >= 500 and answer.status != 503:
        wrong.append(f"status {answer.status}")
    if answer.status in (429, 503) and not answer.headers.get("retry-after", "").isdigit():
        wrong.append(f"{answer.status} without Retry-After")
    if answer.status == 405 and not answer.headers.get("allow"):
        wrong.append("405 without Allow")
    if answer.status == 401 and "/" in answer.headers.get("www-authenticate", ""):
        wrong.append("a challenge that tells too much")
    problem = answer.problem
    if answer.status >= 400 and answer.body:
        if problem is None:
            wrong.append("a body that is no problem")
        elif problem.get("status") != answer.status or not {"type", "title"} <= problem.keys():
            wrong.append("a problem of another shape")
        elif not problem.keys() <= {"type", "title", "status", "detail", "errors", "request_id", "reason"}:
            wrong.append("a problem that says more than it may")
    for secret in (SECRET, API_KEY.encode()):
        if secret in answer.body:
            wrong.append("a secret")
    return wrong
