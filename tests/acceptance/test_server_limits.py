"""What the HTTP server library cannot do (docs/design/002), and what hookseal does about it.

The tests that are expected to fail state what is wanted. Each is the least experiment that shows the limit. They are
strict: with a server that has no such limit they fail, and the mark and the paragraph in the design document have to go.
"""

import asyncio
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from gateways import API_KEY, Running, read_answer, running

import hookseal
from hookseal import probe
from hookseal.model import ProviderId, SourceId
from hookseal.probe import Step
from hookseal.settings import ApiSettings, ServerSettings, Settings, SourceSettings, StoreSettings
from hookseal.web import server as web_server

BODY = b'{"scanRef":"1"}'
SECRET = "your-signing-secret"
BOUND_S = 30
NOTHING_COMES_S = 1.0
"""How long to wait for what is not expected to come."""


def settings(folder: Path, server: ServerSettings | None = None) -> Settings:
    folder.mkdir(exist_ok=True)
    return Settings(
        server=server or ServerSettings(),
        store=StoreSettings(url=f"sqlite:///{folder}/hookseal.db", keyring=f"file:{folder}/hookseal.key"),
        api=ApiSettings(keys=(API_KEY.encode(),)),
        sources=(SourceSettings(id=SourceId("idenfy"), provider=ProviderId("idenfy"), secrets=(SECRET.encode(),)),),
    )


def request(*framing: str, body: bytes = BODY) -> bytes:
    proof = [f"{name}: {value}" for name, value in hookseal.sign("idenfy", BODY, secret=SECRET)]
    return "\r\n".join(["POST /in/idenfy HTTP/1.1", "Host: gateway.test", *proof, *framing, "", ""]).encode() + body


async def connect(gateway: Running, address: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(gateway.url)
    return await asyncio.open_connection(parts.hostname, parts.port, local_addr=(address, 0))


LENGTH = f"Content-Length: {len(BODY)}"
CODING = "Transfer-Encoding: chunked"
CHUNKS = b"f\r\n" + BODY + b"\r\n0\r\n\r\n"
BEHIND = b"GET /healthz HTTP/1.1\r\nHost: gateway.test\r\n\r\n"


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="the server drops Content-Length before the scope is made"
)
@pytest.mark.parametrize("framing", [(LENGTH, CODING), (CODING, LENGTH)], ids=["length first", "coding first"])
async def test_both_framings_are_400(tmp_path: Path, framing: tuple[str, str]) -> None:
    async with running(settings(tmp_path)) as gateway:
        reader, writer = await connect(gateway)
        writer.write(request(*framing, body=CHUNKS))
        answer = await asyncio.wait_for(read_answer(reader), BOUND_S)
        writer.close()
        assert answer.status == 400


@pytest.mark.parametrize("framing", [(LENGTH, CODING), (CODING, LENGTH)], ids=["length first", "coding first"])
async def test_after_both_framings_nothing_more_is_read_from_the_connection(
    tmp_path: Path, framing: tuple[str, str]
) -> None:
    """RFC 9112 section 6.1: the coding counts, and the connection is closed after the answer. Nothing is smuggled."""
    async with running(settings(tmp_path)) as gateway:
        reader, writer = await connect(gateway)
        writer.write(request(*framing, body=CHUNKS + BEHIND))
        answer = await asyncio.wait_for(read_answer(reader), BOUND_S)
        assert answer.status == 200
        assert answer.headers["connection"] == "close"
        assert await asyncio.wait_for(reader.read(), BOUND_S) == b""
        writer.close()
        assert await gateway.count_events("idenfy") == 1


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="the server ends a connection that the client has half-closed"
)
async def test_a_complete_request_before_a_half_close_is_answered(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as gateway:
        go_on = threading.Event()
        leave = probe.listen(lambda step: go_on.wait(BOUND_S) if step is Step.WRITE_BEGUN else None)
        reader, writer = await connect(gateway)
        writer.write(request(LENGTH))
        writer.write_eof()
        reading = asyncio.create_task(reader.read())
        # The answer must not leave before the server has seen the end of the client's side.
        await asyncio.wait([reading], timeout=NOTHING_COMES_S)
        go_on.set()
        leave()
        received = await asyncio.wait_for(reading, BOUND_S)
        writer.close()
        assert received.startswith(b"HTTP/1.1 200 ")


async def test_a_request_before_a_half_close_is_stored_once(tmp_path: Path) -> None:
    """It may be stored without an answer. The sender tries again, and the second request is the same event."""
    async with running(settings(tmp_path)) as gateway:
        reader, writer = await connect(gateway)
        writer.write(request(LENGTH))
        writer.write_eof()
        await asyncio.wait_for(reader.read(), BOUND_S)
        writer.close()
        answer = await gateway.post("/in/idenfy", BODY, hookseal.sign("idenfy", BODY, secret=SECRET))
        assert answer.status == 200
        assert await gateway.count_events("idenfy") == 1


async def idle_outlives_another(subject: Running, other: Running) -> bool:
    """Whether an idle connection of `subject` still serves after a younger idle connection of `other` was closed."""
    async with asyncio.timeout(BOUND_S):
        kept, ended = await connect(subject), await connect(other)
        for reader, writer in (kept, ended):
            writer.write(request(LENGTH))
            assert (await read_answer(reader)).status == 200
        assert await ended[0].read() == b""
        try:
            kept[1].write(request(LENGTH))
            return (await read_answer(kept[0])).status == 200
        except (OSError, asyncio.IncompleteReadError):
            return False
        finally:
            kept[1].close()
            ended[1].close()


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="the server has one timer for heads and for idle connections"
)
async def test_idle_connections_outlive_the_time_for_headers(tmp_path: Path) -> None:
    server = ServerSettings(header_timeout_s=1.0, keep_alive_s=30.0)
    other_server = ServerSettings(header_timeout_s=2.5, keep_alive_s=2.5)
    async with (
        running(settings(tmp_path / "subject", server)) as subject,
        running(settings(tmp_path / "other", other_server)) as other,
    ):
        assert await idle_outlives_another(subject, other)


async def test_idle_connections_of_trusted_proxies_outlive_the_time_for_headers(tmp_path: Path) -> None:
    behind = ServerSettings(header_timeout_s=1.0, keep_alive_s=30.0, trusted_proxies=("127.0.0.0/8",))
    other_server = ServerSettings(header_timeout_s=2.5, keep_alive_s=2.5)
    async with (
        running(settings(tmp_path / "subject", behind)) as subject,
        running(settings(tmp_path / "other", other_server)) as other,
    ):
        assert await idle_outlives_another(subject, other)


@pytest.mark.xfail(
    strict=True, raises=TimeoutError, reason="neither ASGI nor the server shows a connection before its first request"
)
async def test_one_address_holds_only_a_share_of_the_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_server, "_CONNECTIONS", 8)  # instead of 4096
    async with running(settings(tmp_path)) as gateway:
        silent = [await connect(gateway) for _ in range(8)]
        try:
            _, writer = genuine = await connect(gateway, "127.0.0.2")
            writer.write(request(LENGTH))
            answer = await asyncio.wait_for(read_answer(genuine[0]), NOTHING_COMES_S)
            assert answer.status == 200
        finally:
            for _, writer in [*silent, genuine]:
                writer.close()
