"""Chunked bodies that do not come to their end, over real sockets.

A request that was cut off is not known to be bad: 408 to a client that still listens. A malformed chunk of a client that
still sends is bad for certain: 400. Oracles: status, `Connection: close`, the stored events, and what the metrics count.
"""

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from aiohttp import ClientSession
from gateways import API_KEY, Answer, Running, read_answer, running

import hookseal
from hookseal.model import ProviderId, SourceId
from hookseal.settings import ApiSettings, ServerSettings, Settings, SourceSettings, StoreSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODY = b'{"scanRef":"1"}'
SECRET = "your-signing-secret"
BOUND_S = 30

CUT_OFF = {
    "before the first chunk": b"",
    "in a size": b"1",
    "after a size": b"f\r\n",
    "in the line end of a size": b"f\r",
    "in an extension": b"f;ext",
    "in the first chunk": b"f\r\n" + BODY[:4],
    "after the bytes of a chunk": b"f\r\n" + BODY,
    "in the line end of a chunk": b"f\r\n" + BODY + b"\r",
    "before the last chunk": b"f\r\n" + BODY + b"\r\n",
    "in the last size": b"f\r\n" + BODY + b"\r\n0",
    "in the last chunk": b"f\r\n" + BODY + b"\r\n0\r\n",
    "in a trailer": b"f\r\n" + BODY + b"\r\n0\r\nX-Trai",
    "in the last line end": b"f\r\n" + BODY + b"\r\n0\r\n\r",
}
MALFORMED = {
    "negative size": b"-1\r\n",
    "no hexadecimal digit": b"zz\r\n",
    "empty size": b"\r\n",
    "size beyond 64 bits": b"f" * 17 + b"\r\n",
    "no line end after a chunk": b"f\r\n" + BODY + b"XX",
    "malformed after a good chunk": b"f\r\n" + BODY + b"\r\n+5\r\n",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"])
async def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    folder = tmp_path_factory.mktemp("cut-off")
    settings = Settings(
        server=ServerSettings(),
        store=StoreSettings(url=f"sqlite:///{folder}/hookseal.db", keyring=f"file:{folder}/hookseal.key"),
        api=ApiSettings(keys=(API_KEY.encode(),)),
        sources=(SourceSettings(id=SourceId("idenfy"), provider=ProviderId("idenfy"), secrets=(SECRET.encode(),)),),
    )
    async with running(settings, listen=request.param) as started:
        yield started
        assert await started.count_events("idenfy") == 0


async def begin(gateway: Running, chunks: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    lines = ["POST /in/idenfy HTTP/1.1", "Host: gateway.test", "Transfer-Encoding: chunked"]
    lines += [f"{name}: {value}" for name, value in hookseal.sign("idenfy", BODY, secret=SECRET)]
    parts = urlsplit(gateway.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write("\r\n".join([*lines, "", ""]).encode() + chunks)
    await writer.drain()
    return reader, writer


async def answered(gateway: Running) -> dict[str, float]:
    """The counted answers of the source, by status."""
    async with ClientSession(headers={"Authorization": f"Bearer {API_KEY}"}) as session:
        text = await (await session.get(gateway.url + "/metrics")).text()
    counts = re.findall(r'hookseal_received_total\{source="idenfy",status="(\d+)"\} (\S+)', text)
    return {status: float(count) for status, count in counts}


async def until_idle(gateway: Running) -> None:
    async with asyncio.timeout(BOUND_S):
        while gateway.gateway.receiving.in_flight:
            await asyncio.sleep(0)


async def ended_by_server(reader: asyncio.StreamReader) -> Answer:
    answer = await asyncio.wait_for(read_answer(reader), BOUND_S)
    assert answer.headers["connection"] == "close"
    assert await asyncio.wait_for(reader.read(), BOUND_S) == b""
    return answer


@pytest.mark.parametrize("chunks", CUT_OFF.values(), ids=CUT_OFF.keys())
@pytest.mark.requirement("B32")
async def test_a_chunked_body_that_is_half_closed_is_408(gateway: Running, chunks: bytes) -> None:
    reader, writer = await begin(gateway, chunks)
    writer.write_eof()
    try:
        assert (await ended_by_server(reader)).status == 408
    finally:
        writer.close()


@pytest.mark.parametrize("chunks", CUT_OFF.values(), ids=CUT_OFF.keys())
@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
async def test_a_chunked_body_of_a_client_that_left_is_never_final(
    gateway: Running, chunks: bytes, is_reset: bool
) -> None:
    before = await answered(gateway)
    _, writer = await begin(gateway, chunks)
    async with asyncio.timeout(BOUND_S):
        while not gateway.gateway.receiving.in_flight:
            await asyncio.sleep(0)
    if is_reset:
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()
    await until_idle(gateway)
    after = await answered(gateway)
    assert {status for status, count in after.items() if count > before.get(status, 0)} <= {"408"}


@pytest.mark.parametrize("chunks", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_chunk_is_400(gateway: Running, chunks: bytes) -> None:
    reader, writer = await begin(gateway, chunks)
    try:
        assert (await ended_by_server(reader)).status == 400
    finally:
        writer.close()
