"""The bounds of the receiving side, over raw sockets: each excess has its status, and nothing is held afterwards."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from gateways import API_KEY, Answer, Running, read_answer, running
from stores import STORES, store_settings

from hookseal.model import ProviderId, SourceId
from hookseal.settings import ApiSettings, ServerSettings, Settings, SourceSettings, StoreSettings
from hookseal.web.app import Gateway
from hookseal.web.receiving import Limits, Receiving

SECRET = b"your-signing-secret"
LIMIT = 65_536


def settings(folder: Path, store: StoreSettings | None = None, **server: object) -> Settings:
    embedded = StoreSettings(url=f"sqlite:///{folder}/hookseal.db", keyring=f"file:{folder}/hookseal.key")
    return Settings(
        server=replace(ServerSettings(max_body_bytes=LIMIT), **server),
        store=store or embedded,
        api=ApiSettings(keys=(API_KEY.encode(),)),
        sources=(SourceSettings(id=SourceId("idenfy"), provider=ProviderId("idenfy"), secrets=(SECRET,)),),
    )


def signed(body: bytes) -> list[tuple[str, str]]:
    return [("Idenfy-Signature", hmac.digest(SECRET, body, hashlib.sha256).hex())]


def head(*lines: str, body_lines: tuple[str, ...] = ()) -> bytes:
    return "\r\n".join(["POST /in/idenfy HTTP/1.1", "Host: gateway.test", *lines, *body_lines, "", ""]).encode()


@pytest.fixture(params=STORES)
async def gateway(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Running]:
    async with store_settings(request.param, tmp_path) as store, running(settings(tmp_path, store)) as started:
        yield started
        assert started.gateway.receiving.in_flight == 0
        assert started.gateway.receiving.bytes_in_flight == 0


class Open:
    """A connection that is held open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @staticmethod
    async def to(gateway: Running, raw: bytes) -> "Open":
        parts = urlsplit(gateway.url)
        connection = Open(*await asyncio.open_connection(parts.hostname, parts.port))
        connection.writer.write(raw)
        await connection.writer.drain()
        return connection

    async def answer(self) -> Answer:
        return await asyncio.wait_for(read_answer(self.reader), 20)

    async def is_closed(self) -> bool:
        return await asyncio.wait_for(self.reader.read(), 20) == b""


async def test_body_at_the_limit_is_accepted_and_one_byte_more_is_413(gateway: Running) -> None:
    at_limit = b"x" * LIMIT
    assert (await gateway.post("/in/idenfy", at_limit, signed(at_limit))).status == 200
    over = at_limit + b"x"
    assert (await gateway.post("/in/idenfy", over, signed(over))).status == 413
    assert await gateway.count_events("idenfy") == 1


async def test_declared_length_over_the_limit_is_413_before_the_body_comes(gateway: Running) -> None:
    connection = await Open.to(gateway, head("Content-Length: 999999999"))
    answer = await connection.answer()
    assert answer.status == 413
    assert answer.headers["connection"] == "close"


async def test_chunked_body_is_the_same_body(gateway: Running) -> None:
    body = b'{"scanRef":"00000000-0000-4000-8000-000000000001"}'
    lines = [f"{name}: {value}" for name, value in signed(body)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (1, body[at : at + 1]) for at in range(len(body))) + b"0\r\n\r\n"
    connection = await Open.to(gateway, head(*lines, "Transfer-Encoding: chunked") + chunks)
    assert (await connection.answer()).status == 200
    assert (await gateway.events("idenfy"))[0]["subject"] == "00000000-0000-4000-8000-000000000001"


async def test_chunked_body_over_the_limit_is_413(gateway: Running) -> None:
    chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    connection = await Open.to(gateway, head("Transfer-Encoding: chunked") + chunk * 5)
    assert (await connection.answer()).status == 413


@pytest.mark.requirement("B32")
async def test_a_body_that_is_cut_off_is_408_and_never_a_final_no(gateway: Running) -> None:
    connection = await Open.to(gateway, head("Content-Length: 10") + b"half")
    connection.writer.write_eof()  # it still listens, as a proxy may
    answer = await connection.answer()
    assert answer.status == 408
    assert await connection.is_closed()
    assert await gateway.count_events("idenfy") == 0


async def test_slow_body_is_408_and_closed(tmp_path: Path) -> None:
    async with running(settings(tmp_path, body_timeout_s=0.2)) as gateway:
        connection = await Open.to(gateway, head("Content-Length: 10") + b"slow")
        answer = await connection.answer()
        assert answer.status == 408
        assert await connection.is_closed()
        assert await gateway.count_events("idenfy") == 0


async def test_slow_headers_end_the_connection(tmp_path: Path) -> None:
    async with running(settings(tmp_path, header_timeout_s=0.3)) as gateway:
        connection = await Open.to(gateway, b"POST /in/idenfy HTTP/1.1\r\nHost: gat")
        assert await connection.is_closed()


@pytest.mark.parametrize(
    "lines",
    [
        [f"X-{number}: 1" for number in range(101)],
        [f"X-{number}: {'a' * 8000}" for number in range(5)],
        ["X-Long: " + "a" * 200_000],
    ],
    ids=["too many", "too large together", "one too large"],
)
async def test_too_many_or_too_large_headers_are_431(gateway: Running, lines: list[str]) -> None:
    connection = await Open.to(gateway, head(*lines, "Content-Length: 0"))
    assert (await connection.answer()).status == 431


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /in/idenfy HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        b"POST /in/idenfy HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 0\r\n\r\n",
        b"POST /in/idenfy HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n",
        b"POST /in/idenfy HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST /in/idenfy HTTP/1.1\r\nHost: a\r\nX-A: \x00\r\nContent-Length: 0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
    ids=["no host", "two hosts", "negative chunk", "unknown coding", "NUL in a header", "TLS to a plain port"],
)
async def test_broken_http_is_400_and_the_server_lives(gateway: Running, raw: bytes) -> None:
    connection = await Open.to(gateway, raw)
    assert (await connection.answer()).status == 400
    assert (await gateway.post("/in/idenfy", b"", signed(b""))).status == 200


async def test_beyond_the_bytes_in_flight_it_is_503(tmp_path: Path) -> None:
    bounded = Gateway(settings(tmp_path))
    bounded.receiving = Receiving(limits=Limits(max_bytes=1000))
    async with running(bounded.settings, gateway=bounded) as gateway:
        body = b"x" * 2000
        assert (await gateway.post("/in/idenfy", body, signed(body))).status == 503
        body = b"x" * 900
        assert (await gateway.post("/in/idenfy", body, signed(body))).status == 200


async def test_client_that_leaves_in_the_middle_leaves_nothing(gateway: Running) -> None:
    connection = await Open.to(gateway, head("Content-Length: 10") + b"half")
    while gateway.gateway.receiving.in_flight == 0:
        await asyncio.sleep(0)
    connection.writer.transport.abort()
    while gateway.gateway.receiving.in_flight:
        await asyncio.sleep(0)
    assert await gateway.count_events("idenfy") == 0


async def test_proven_but_unparsable_bodies_are_stored_raw_and_flagged(gateway: Running) -> None:
    for body in (b"\xff\xfe not text", b"{", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", b"[" * 20_000, b""):
        assert (await gateway.post("/in/idenfy", body, signed(body))).status == 200
        event = (await gateway.events("idenfy"))[0]
        assert event["type"] == "other"
        assert event["data"]["flags"]
        assert base64.b64decode(event["data"]["payload_base64"]) == body
