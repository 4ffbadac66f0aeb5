"""What is put on the wire, byte for byte, and how whatever comes back is told."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hookseal.clock import SystemClock
from hookseal.egress.policy import EgressPolicy, Target
from hookseal.simulate.wire import Answer, Manner, Sent, SocketWire

OK = b"HTTP/1.1 204 No Content\r\nX-One: a\r\nx-one: b\r\n\r\n"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def wire_to(serve: Serve, path: str = "/hooks?a=1") -> AsyncIterator[SocketWire]:
    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield SocketWire(target(f"http://127.0.0.1:{port}{path}"), SystemClock())


def target(url: str) -> Target:
    judged = EgressPolicy(allow=("127.0.0.1",), allow_http=True).judge_url(url)
    assert isinstance(judged, Target)
    return judged


async def captured(sent: Sent, path: str = "/hooks?a=1") -> tuple[bytes, Answer]:
    """All bytes that the receiver got, its answer given once the head was there."""
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await writer.drain()
        writer.write_eof()
        got.set_result(head + await reader.read())

    async with wire_to(serve, path) as wire:
        answer = await wire.exchange(sent, 5.0)
        return await got, answer


async def test_headers_keep_their_bytes_order_and_spelling() -> None:
    headers = ((b"X-b", b"\xe9"), (b"x-A", b""), (b"X-b", b"2"))
    raw, answer = await captured(Sent(headers=headers, body=b"{}"))
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /hooks?a=1 HTTP/1.1"
    assert lines[1].startswith(b"Host: 127.0.0.1:")
    assert lines[2:5] == [b"X-b: \xe9", b"x-A: ", b"X-b: 2"]
    assert b"Content-Length: 2" in lines
    assert body == b"{}"
    assert (answer.status, answer.headers["x-one"]) == (204, "a")


@pytest.mark.parametrize(
    ("path", "line"), [("", b"/?t=1"), ("?a=1", b"/?a=1&t=1"), ("/h?", b"/h?&t=1"), ("/h", b"/h?t=1")]
)
async def test_a_query_is_put_behind_the_urls_own(path: str, line: bytes) -> None:
    raw, _ = await captured(Sent(query="t=1"), path)
    assert raw.startswith(b"POST " + line + b" HTTP/1.1\r\n")


async def test_chunks_add_up_to_the_body() -> None:
    raw, _ = await captured(Sent(body=b"abcde", manner=Manner.CHUNKED))
    assert raw.endswith(b"\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n")
    assert b"Content-Length" not in raw


async def test_an_empty_body_is_one_last_chunk() -> None:
    raw, _ = await captured(Sent(manner=Manner.CHUNKED))
    assert raw.endswith(b"\r\n\r\n0\r\n\r\n")


async def test_a_truncated_body_is_shorter_than_it_says_and_then_our_side_ends() -> None:
    raw, answer = await captured(Sent(body=b"abcde", manner=Manner.TRUNCATED))
    assert b"Content-Length: 21" in raw
    assert raw.endswith(b"\r\n\r\nabcde")
    assert answer.status == 204


async def test_a_stalled_body_stops_in_the_middle_until_the_time_is_up() -> None:
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.set_result(await reader.read())  # to the end of the connection, which is our giving up

    async with wire_to(serve) as wire:
        answer = await wire.exchange(Sent(body=b"abcdef", manner=Manner.STALLED), 0.05)
        assert (await got).endswith(b"Content-Length: 6\r\nUser-Agent: hookseal\r\nConnection: close\r\n\r\nabc")
    assert (answer.status, answer.reason) == (None, "response_timeout")


async def test_a_left_request_arrives_whole_and_its_answer_is_not_read() -> None:
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.set_result(await reader.read())

    async with wire_to(serve) as wire:
        answer = await wire.exchange(Sent(body=b"abc", manner=Manner.LEFT), 5.0)
        assert (await got).endswith(b"\r\n\r\nabc")
    assert (answer.status, answer.reason) == (None, "left")


def answering(text: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text)
        await writer.drain()

    return serve


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 204, ""),
        (b"HTTP/1.0 503 \r\n\r\nlater", 503, ""),
        (b"HTTP/1.1 200\r\n\r\n", 200, ""),
        (b"", None, "connect_reset"),
        (b"HTTP/1.1 200 OK\r\nX: ", None, "response_headers_invalid"),
        (b"HTTP/2 200\r\n\r\n", None, "response_headers_invalid"),
        (b"HTTP/1.1 999 x\r\n\r\n", None, "response_headers_invalid"),
        (b"\x00\xff\r\n\r\n", None, "response_headers_invalid"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000, None, "response_headers_invalid"),
    ],
)
async def test_whatever_comes_back_is_a_status_or_a_reason(text: bytes, status: int | None, reason: str) -> None:
    async with wire_to(answering(text)) as wire:
        answer = await wire.exchange(Sent(), 5.0)
    assert (answer.status, answer.reason) == (status, reason)


@pytest.mark.parametrize(
    ("text", "body"),
    [
        (b"HTTP/1.1 403 x\r\nContent-Length: 3\r\n\r\nabcdef", b"abc"),
        (b"HTTP/1.1 403 x\r\nContent-Length: nonsense\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 403 x\r\nContent-Length: 99\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 403 x\r\n\r\n" + b"x" * 100_000, b"x" * 65_536),
    ],
)
async def test_of_a_body_is_kept_what_came_within_the_bound(text: bytes, body: bytes) -> None:
    async with wire_to(answering(text)) as wire:
        assert (await wire.exchange(Sent(), 5.0)).body == body


async def test_an_answer_before_the_body_was_read_is_an_answer() -> None:
    async with wire_to(answering(b"HTTP/1.1 413 x\r\nContent-Length: 0\r\n\r\n")) as wire:
        answer = await wire.exchange(Sent(body=b"x" * 100_000), 5.0)
    assert answer.status == 413


async def test_nobody_there_is_a_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    wire = SocketWire(target(f"http://127.0.0.1:{port}/"), SystemClock())
    assert (await wire.exchange(Sent(), 5.0)).reason == "connect_refused"


# --- TLS


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of its own for 127.0.0.1, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "receiver.test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "receiver.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


@pytest.mark.parametrize("trusted", [True, False])
async def test_https_is_spoken_and_the_certificate_checked(certificate: Path, trusted: bool) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        if trusted:
            wire = SocketWire(target(url), SystemClock(), lambda: ssl.create_default_context(cafile=str(certificate)))
        else:
            wire = SocketWire(target(url), SystemClock())
        answer = await wire.exchange(Sent(body=b"{}"), 5.0)
    assert (answer.status, answer.reason) == ((204, "") if trusted else (None, "tls_untrusted"))
