"""A receiver that misbehaves costs us one bounded try: it ends in time, with the reason that it deserves.

Oracles, and nothing else:
- the call comes back by itself (the outer timeout only keeps a broken client from hanging the suite);
- the reply's status and completeness, or the failure's reason;
- how many bytes the server could get rid of, and how many connections it saw.
"""

import asyncio
import ssl
import zlib
from collections.abc import Callable

import pytest
from hostile import Authority, Behaviour, Line, hostile_server, on_each_loop, refusing_tls_server

from hookseal.egress.client import GuardedClient
from hookseal.egress.connector import Limits
from hookseal.egress.policy import EgressPolicy
from hookseal.egress.port import Failure, Reply
from hookseal.egress.tls import strict_context
from hookseal.model import AttemptReason

R = AttemptReason
LOOPBACK = EgressPolicy(allow=("127.0.0.0/8",), allow_http=True)
SHORT_S = 0.7  # for what ends by its deadline; all else has LONG_S, so that a busy machine does not decide
LONG_S = 20.0
MAX_BYTES = 65_536
BOUND_S = 60.0
TAKEN_BYTES = 16 * 1024 * 1024  # the kernel's buffers on both sides hold some megabytes
OK = b"HTTP/1.1 200 OK\r\n"


def says(data: bytes) -> Behaviour:
    async def behave(line: Line) -> None:
        await line.send(data)
        await line.hang()

    return behave


def says_and_closes(data: bytes) -> Behaviour:
    async def behave(line: Line) -> None:
        await line.send(data)
        line.writer.close()
        await line.writer.wait_closed()

    return behave


def says_for_ever(start: bytes, repeated: bytes) -> Behaviour:
    async def behave(line: Line) -> None:
        await line.send(start)
        await line.send_for_ever(repeated)

    return behave


def drips(start: bytes, slowly: bytes) -> Behaviour:
    async def behave(line: Line) -> None:
        if start:
            await line.send(start)
        await line.drip(slowly)

    return behave


async def hangs(line: Line) -> None:
    await line.hang()


async def resets(line: Line) -> None:
    line.reset()


async def resets_within_the_body(line: Line) -> None:
    await line.send(OK + b"Content-Length: 100\r\n\r\nabc")
    await asyncio.sleep(0.05)
    line.reset()


async def closes(line: Line) -> None:
    line.writer.close()


async def sends_a_gzip_bomb(line: Line) -> None:
    """200 MB of zeros, decompressed."""
    pack = zlib.compressobj(level=1, wbits=31)
    bomb = b"".join([*(pack.compress(bytes(1024 * 1024)) for _ in range(200)), pack.flush()])
    await line.send(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb)
    await line.hang()


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

Expected = AttemptReason | tuple[int, bool]

BEHAVIOURS: dict[str, tuple[Behaviour, Expected]] = {
    "hang": (hangs, R.RESPONSE_TIMEOUT),
    "head_drip": (drips(b"", b"HTTP/1.1 200 OK\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaa" * 100), R.RESPONSE_TOO_SLOW),
    "head_stalls": (says(b"HTTP/1.1 200 OK\r\nX-Half: "), R.RESPONSE_TOO_SLOW),
    "status_line_stalls": (says(b"HTTP/1.1 200"), R.RESPONSE_TOO_SLOW),
    "body_drip": (drips(OK + b"Content-Length: 100000\r\n\r\n", b"a"), (200, False)),
    "body_drip_of_an_error": (drips(b"HTTP/1.1 500 No\r\nContent-Length: 100000\r\n\r\n", b"a"), (500, False)),
    "body_stalls": (says(OK + b"Content-Length: 10\r\n\r\nabc"), (200, False)),
    "body_infinite": (says_for_ever(OK + b"\r\n", b"a" * 65536), (200, False)),
    "body_of_an_error_infinite": (says_for_ever(b"HTTP/1.1 503 No\r\n\r\n", b"a" * 65536), (503, False)),
    "body_longer_than_any": (
        says_for_ever(OK + b"Content-Length: 99999999999999999999999\r\n\r\n", b"a" * 65536),
        R.RESPONSE_HEADERS_INVALID,
    ),
    "chunks_infinite": (says_for_ever(CHUNKED, b"1000\r\n" + b"a" * 4096 + b"\r\n"), (200, False)),
    "chunks_of_one_byte": (says_for_ever(CHUNKED, b"1\r\na\r\n" * 1000), (200, False)),
    "chunk_size_infinite": (says_for_ever(CHUNKED, b"0" * 65536), (200, False)),
    "chunk_extension_infinite": (says_for_ever(CHUNKED + b"1;x=", b"a" * 65536), (200, False)),
    "trailers_infinite": (says_for_ever(CHUNKED + b"0\r\n", b"X-Trailer: a\r\n" * 1000), (200, False)),
    "one_trailer_infinite": (says_for_ever(CHUNKED + b"0\r\nX-T: ", b"a" * 65536), (200, False)),
    "headers_infinite": (says_for_ever(OK, b"X-More: a\r\n" * 1000), R.RESPONSE_HEADERS_INVALID),
    "one_header_infinite": (says_for_ever(OK + b"X-Long: ", b"a" * 65536), R.RESPONSE_HEADERS_INVALID),
    "one_header_name_infinite": (says_for_ever(OK, b"x" * 65536), R.RESPONSE_HEADERS_INVALID),
    "status_line_infinite": (says_for_ever(b"HTTP/1.1 200 ", b"a" * 65536), R.RESPONSE_HEADERS_INVALID),
    "version_infinite": (says_for_ever(b"HTTP/", b"1" * 65536), R.RESPONSE_HEADERS_INVALID),
    "blank_lines_infinite": (says_for_ever(b"", b"\r\n" * 4096), R.RESPONSE_HEADERS_INVALID),
    "interim_answers_infinite": (says_for_ever(b"", b"HTTP/1.1 102 Wait\r\n\r\n" * 100), R.RESPONSE_HEADERS_INVALID),
    "interim_answers_drip": (drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), R.RESPONSE_TOO_SLOW),
    "interim_answer_then_silence": (says(b"HTTP/1.1 103 Early Hints\r\n\r\n"), R.RESPONSE_TOO_SLOW),
    "interim_answer_then_answer": (
        says(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"),
        (204, True),
    ),
    "gzip_bomb": (sends_a_gzip_bomb, (200, False)),
    "deflate_that_is_none": (
        says(OK + b"Content-Encoding: deflate\r\nContent-Length: 4\r\n\r\n\xff\xff\xff\xff"),
        (200, True),
    ),
    "garbage": (says(bytes(range(256)) * 16), R.RESPONSE_HEADERS_INVALID),
    "tls_where_http_is_due": (says(b"\x15\x03\x01\x00\x02\x02\x46"), R.RESPONSE_HEADERS_INVALID),
    "another_protocol": (says(b"SSH-2.0-OpenSSH_9.2p1\r\n"), R.RESPONSE_HEADERS_INVALID),
    "http_0_9": (says_and_closes(b"<html>hello</html>"), R.RESPONSE_HEADERS_INVALID),
    "http_2": (says(b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"), R.RESPONSE_HEADERS_INVALID),
    "status_000": (says(b"HTTP/1.1 000 Nothing\r\nContent-Length: 0\r\n\r\n"), R.RESPONSE_HEADERS_INVALID),
    "status_negative": (says(b"HTTP/1.1 -20 Less\r\nContent-Length: 0\r\n\r\n"), R.RESPONSE_HEADERS_INVALID),
    "status_999": (says(b"HTTP/1.1 999 More\r\nContent-Length: 0\r\n\r\n"), R.RESPONSE_HEADERS_INVALID),
    "status_2000": (says(b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"), R.RESPONSE_HEADERS_INVALID),
    "status_of_letters": (says(b"HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n"), R.RESPONSE_HEADERS_INVALID),
    "status_101": (
        says(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
        R.RESPONSE_HEADERS_INVALID,
    ),
    "redirect_to_itself": (says(b"HTTP/1.1 307 Here\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"), R.REDIRECT_REFUSED),
    "redirect_to_metadata": (
        says(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest/\r\nContent-Length: 0\r\n\r\n"),
        R.REDIRECT_REFUSED,
    ),
    "not_modified": (says(b"HTTP/1.1 304 Not Modified\r\n\r\n"), R.REDIRECT_REFUSED),
    "early_200_unread": (says(OK + b"Content-Length: 2\r\n\r\nok"), (200, True)),
    "body_short": (says_and_closes(OK + b"Content-Length: 100\r\n\r\nabc"), (200, False)),
    "chunks_end_early": (says_and_closes(CHUNKED + b"5\r\nabc"), (200, False)),
    "chunks_malformed": (says(CHUNKED + b"zz\r\nabc\r\n"), (200, False)),
    "two_lengths": (says(OK + b"Content-Length: 2\r\nContent-Length: 5\r\n\r\nhello"), R.RESPONSE_HEADERS_INVALID),
    "length_negative": (says(OK + b"Content-Length: -1\r\n\r\n"), R.RESPONSE_HEADERS_INVALID),
    "length_and_chunks": (
        says(OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        R.RESPONSE_HEADERS_INVALID,
    ),
    "nul_in_header": (says(OK + b"X-Nul: a\0b\r\nContent-Length: 0\r\n\r\n"), R.RESPONSE_HEADERS_INVALID),
    "reset": (resets, R.CONNECT_RESET),
    "reset_within_the_body": (resets_within_the_body, (200, False)),
    "close": (closes, R.CONNECT_RESET),
    "close_within_the_head": (says_and_closes(b"HTTP/1.1 200 OK\r\nX-Half"), R.RESPONSE_HEADERS_INVALID),
}


ENDED_BY_THE_DEADLINE = (R.RESPONSE_TIMEOUT, R.RESPONSE_TOO_SLOW)


async def call(client: GuardedClient, url: str, body: bytes = b'{"a":1}', timeout_s: float = LONG_S) -> Reply | Failure:
    async with asyncio.timeout(BOUND_S):
        return await client.call("POST", url, body=body, timeout_s=timeout_s, max_bytes=MAX_BYTES)


def shown(outcome: Reply | Failure) -> Expected:
    return outcome.reason if isinstance(outcome, Failure) else (outcome.status, outcome.complete)


@pytest.mark.parametrize("name", BEHAVIOURS)
@on_each_loop
async def test_a_misbehaving_receiver_ends_in_time_with_its_reason(name: str) -> None:
    behave, expected = BEHAVIOURS[name]
    client = GuardedClient(LOOPBACK, body_s=SHORT_S)
    async with hostile_server(behave) as server:
        timeout_s = SHORT_S if expected in ENDED_BY_THE_DEADLINE else LONG_S
        outcome = await call(client, f"http://127.0.0.1:{server.port}/", timeout_s=timeout_s)
        assert shown(outcome) == expected
        assert isinstance(outcome, Failure) or len(outcome.body) <= MAX_BYTES
        assert server.requests == 1
        assert server.bytes_sent < TAKEN_BYTES
        await client.close()


@on_each_loop
async def test_a_body_that_is_never_read_does_not_hold_up_an_early_answer() -> None:
    async def answers_unread(line: Line) -> None:
        await line.send(OK + b"Content-Length: 2\r\n\r\nok")
        line.writer.transport.pause_reading()
        await asyncio.sleep(BOUND_S)

    client = GuardedClient(LOOPBACK)
    async with hostile_server(answers_unread) as server:
        for times in (1, 2):
            outcome = await call(client, f"http://127.0.0.1:{server.port}/", body=bytes(32 * 1024 * 1024))
            assert shown(outcome) == (200, True)
            assert server.connections == times  # what is left of the first body is nobody's next request
        await client.close()


@on_each_loop
async def test_a_body_that_is_never_read_and_never_answered_ends_in_time() -> None:
    async def neither_reads_nor_answers(line: Line) -> None:
        line.writer.transport.pause_reading()
        await asyncio.sleep(BOUND_S)

    client = GuardedClient(LOOPBACK)
    async with hostile_server(neither_reads_nor_answers) as server:
        outcome = await call(
            client, f"http://127.0.0.1:{server.port}/", body=bytes(32 * 1024 * 1024), timeout_s=SHORT_S
        )
        assert shown(outcome) == R.RESPONSE_TIMEOUT
        await client.close()


@on_each_loop
async def test_a_second_answer_to_one_request_is_never_the_next_calls_answer() -> None:
    async def answers_twice(line: Line) -> None:
        await line.send(OK + b"Content-Length: 2\r\n\r\n")
        await asyncio.sleep(0.05)
        await line.send(b"ok" + OK + b"Content-Length: 6\r\n\r\npoison")
        await line.hang()

    client = GuardedClient(LOOPBACK)
    async with hostile_server(answers_twice) as server:
        for times in (1, 2):
            outcome = await call(client, f"http://127.0.0.1:{server.port}/")
            assert isinstance(outcome, Reply)
            assert outcome.body == b"ok"
            assert server.connections == times
        await client.close()


@on_each_loop
async def test_an_answer_that_nobody_asked_for_is_never_the_next_calls_answer() -> None:
    hung_up = asyncio.Event()

    async def speaks_unasked(line: Line) -> None:
        await line.send(OK + b"Content-Length: 2\r\n\r\nok")
        await asyncio.sleep(0.05)
        await line.send(OK + b"Content-Length: 6\r\n\r\npoison")
        await line.hang()
        hung_up.set()

    client = GuardedClient(LOOPBACK)
    async with hostile_server(speaks_unasked) as server:
        for times in (1, 2):
            outcome = await call(client, f"http://127.0.0.1:{server.port}/")
            assert isinstance(outcome, Reply)
            assert outcome.body == b"ok"
            assert server.connections == times
            async with asyncio.timeout(BOUND_S):
                await hung_up.wait()
            hung_up.clear()
        await client.close()


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def good(authority: Authority) -> ssl.SSLContext:
    return authority.server("127.0.0.1", "receiver.test")


def expired(authority: Authority) -> ssl.SSLContext:
    return authority.server("127.0.0.1", valid_days=(-30, -1))


def not_yet_valid(authority: Authority) -> ssl.SSLContext:
    return authority.server("127.0.0.1", valid_days=(1, 30))


def wrong_host(authority: Authority) -> ssl.SSLContext:
    return authority.server("other.example")


def wrong_address(authority: Authority) -> ssl.SSLContext:
    return authority.server("127.0.0.2")


def self_signed(authority: Authority) -> ssl.SSLContext:
    return authority.server("127.0.0.1", self_signed=True)


def of_a_stranger(authority: Authority) -> ssl.SSLContext:
    return Authority(authority.folder, "a stranger").server("127.0.0.1")


def tls_1_0_only(authority: Authority) -> ssl.SSLContext:
    context = authority.server("127.0.0.1")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def demands_a_certificate(authority: Authority) -> ssl.SSLContext:
    context = authority.server("127.0.0.1")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.file)
    return context


def demands_a_certificate_over_1_2(authority: Authority) -> ssl.SSLContext:
    context = demands_a_certificate(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1 is deprecated")
@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (good, (200, True)),
        (expired, R.TLS_CERT_EXPIRED),
        (not_yet_valid, R.TLS_CERT_EXPIRED),
        (wrong_host, R.TLS_HOSTNAME),
        (wrong_address, R.TLS_HOSTNAME),
        (self_signed, R.TLS_UNTRUSTED),
        (of_a_stranger, R.TLS_UNTRUSTED),
        (tls_1_0_only, R.TLS_PROTOCOL),
        (demands_a_certificate, R.TLS_PROTOCOL),
        (demands_a_certificate_over_1_2, R.TLS_PROTOCOL),
    ],
)
@on_each_loop
async def test_a_receiver_that_cannot_prove_itself_gets_nothing(
    made: Callable[[Authority], ssl.SSLContext], expected: Expected, authority: Authority
) -> None:
    client = GuardedClient(LOOPBACK, tls=lambda: strict_context(authority.file))
    with refusing_tls_server(made(authority)) as port:
        async with asyncio.timeout(BOUND_S):
            outcome = await client.call("POST", f"https://127.0.0.1:{port}/", body=b"{}", timeout_s=LONG_S)
        assert shown(outcome) == expected
        await client.close()


@on_each_loop
async def test_the_name_that_is_called_is_the_name_in_the_certificate(authority: Authority) -> None:
    client = GuardedClient(LOOPBACK, tls=lambda: strict_context(authority.file), lookup=lambda _: ["127.0.0.1"])
    async with hostile_server(says(OK + b"Content-Length: 0\r\n\r\n"), tls=good(authority)) as server:
        for name, expected in (("receiver.test", (200, True)), ("other.test", R.TLS_HOSTNAME)):
            assert shown(await client.call("GET", f"https://{name}:{server.port}/")) == expected
        await client.close()


@on_each_loop
async def test_the_systems_authorities_do_not_know_ours(authority: Authority) -> None:
    client = GuardedClient(LOOPBACK)
    async with hostile_server(hangs, tls=good(authority)) as server:
        assert shown(await client.call("GET", f"https://127.0.0.1:{server.port}/")) == R.TLS_UNTRUSTED
        await client.close()


@pytest.mark.parametrize(
    ("behave", "expected"),
    [
        (hangs, R.TLS_TIMEOUT),
        (says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), R.TLS_PROTOCOL),
        (says(b"\x16\x03\x03\x40\x00"), R.TLS_TIMEOUT),
        (closes, R.CONNECT_RESET),
        (resets, R.CONNECT_RESET),
    ],
    ids=["handshake_hangs", "plain_http", "handshake_stalls", "closes", "resets"],
)
@on_each_loop
async def test_a_handshake_that_never_comes_about_has_its_reason(behave: Behaviour, expected: Expected) -> None:
    client = GuardedClient(LOOPBACK, limits=Limits(tls_s=SHORT_S))
    async with hostile_server(behave, read_head=False) as server:
        async with asyncio.timeout(BOUND_S):
            outcome = await client.call("POST", f"https://127.0.0.1:{server.port}/", timeout_s=LONG_S)
        assert shown(outcome) == expected
        await client.close()
