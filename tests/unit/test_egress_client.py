"""What the guarded client puts on the wire, what it keeps between calls, and what it never does twice."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from hookseal.egress.client import GuardedClient
from hookseal.egress.connector import Limits
from hookseal.egress.names import MAX_LOOKUPS
from hookseal.egress.policy import EgressPolicy
from hookseal.egress.port import Failure, Reply
from hookseal.model import AttemptReason

R = AttemptReason
LOOPBACK = EgressPolicy(allow=("127.0.0.0/8",), allow_http=True)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BOUND_S = 30.0

Answer = Callable[["Receiver", bytes], Awaitable[bytes | None]]


@dataclass
class Receiver:
    """An HTTP server of a few lines that keeps connections open. None as an answer closes the connection."""

    port: int = 0
    connections: int = 0
    open_now: int = 0
    most_open: int = 0
    requests: list[tuple[bytes, bytes]] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    def headers(self, number: int = -1) -> list[tuple[str, str]]:
        lines = self.requests[number][0].decode("latin-1").split("\r\n")[1:-2]
        return [(name.lower(), value) for name, value in (line.split(": ", 1) for line in lines)]


async def says_ok(receiver: Receiver, head: bytes) -> bytes | None:
    return OK


@asynccontextmanager
async def receiving(answer: Answer = says_ok) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    lines: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        lines.add(task)
        receiver.connections += 1
        receiver.open_now += 1
        receiver.most_open = max(receiver.most_open, receiver.open_now)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: ")]
                body = await reader.readexactly(int(length[0][16:])) if length else b""
                receiver.requests.append((head, body))
                receiver.asked.set()
                said = await answer(receiver, head)
                if said is None:
                    return
                writer.write(said)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            receiver.open_now -= 1
            lines.discard(task)
            writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for line in list(lines):
            line.cancel()
        await asyncio.gather(*lines, return_exceptions=True)


@asynccontextmanager
async def a_client(
    policy: EgressPolicy = LOOPBACK,
    *,
    limits: Limits | None = None,
    lookup: Callable[[str], Sequence[str]] | None = None,
    most_s: float = 30.0,
) -> AsyncIterator[GuardedClient]:
    given = {} if lookup is None else {"lookup": lookup}
    client = GuardedClient(policy, limits=limits or Limits(), most_s=most_s, **given)  # type: ignore[arg-type]
    try:
        async with asyncio.timeout(BOUND_S):
            yield client
    finally:
        await client.close()


def reason(outcome: Reply | Failure) -> AttemptReason:
    assert isinstance(outcome, Failure), outcome
    return outcome.reason


async def test_a_post_goes_out_as_it_was_given_and_says_how_long_it_is() -> None:
    async with receiving() as receiver, a_client() as client:
        headers = (("Content-Type", "application/json"), ("webhook-id", "msg_1"), ("Authorization", "Bearer t"))
        reply = await client.call("POST", receiver.url + "/a%2Fb/../c?x=%20&y", headers=headers, body=b'{"a":1}')
        assert reply == Reply(status=200, headers={"content-length": "2"}, body=b"ok", complete=True)
        head, body = receiver.requests[0]
        assert body == b'{"a":1}'
        assert head.startswith(b"POST /hooks/a%2Fb/../c?x=%20&y HTTP/1.1\r\n")
        assert sorted(receiver.headers()) == [
            ("accept-encoding", "identity"),
            ("authorization", "Bearer t"),
            ("content-length", "7"),
            ("content-type", "application/json"),
            ("host", f"127.0.0.1:{receiver.port}"),
            ("user-agent", "hookseal"),
            ("webhook-id", "msg_1"),
        ]


async def test_an_empty_post_says_that_it_is_empty_and_a_get_says_nothing() -> None:
    async with receiving() as receiver, a_client() as client:
        await client.call("POST", receiver.url)
        assert ("content-length", "0") in receiver.headers()
        await client.call("GET", receiver.url)
        assert "content-length" not in dict(receiver.headers())
        await client.call("OPTIONS", receiver.url, headers=(("WebHook-Request-Origin", "hookseal.example"),))
        assert ("webhook-request-origin", "hookseal.example") in receiver.headers()


async def test_the_callers_user_agent_stands() -> None:
    async with receiving() as receiver, a_client() as client:
        await client.call("POST", receiver.url, headers=(("User-Agent", "sim/1"),))
        assert [value for name, value in receiver.headers() if name == "user-agent"] == ["sim/1"]


@pytest.mark.parametrize(
    "header",
    [("Host", "evil"), ("Content-Length", "1"), ("Transfer-Encoding", "chunked"), ("X", "a\r\nY: b"), ("X:Y", "a")],
)
async def test_a_header_that_breaks_the_message_does_not_leave(header: tuple[str, str]) -> None:
    async with receiving() as receiver, a_client() as client:
        assert reason(await client.call("POST", receiver.url, headers=(header,))) is R.CONFIG_ERROR
        assert receiver.connections == 0


@pytest.mark.parametrize("method", ["", "post", "GET /x", "PO\r\nST"])
async def test_a_method_that_breaks_the_message_does_not_leave(method: str) -> None:
    async with receiving() as receiver, a_client() as client:
        assert reason(await client.call(method, receiver.url)) is R.CONFIG_ERROR
        assert receiver.connections == 0


async def test_calls_one_after_the_other_share_a_connection() -> None:
    async with receiving() as receiver, a_client() as client:
        for _ in range(20):
            assert isinstance(await client.call("POST", receiver.url, body=b"{}"), Reply)
        assert receiver.connections == 1


async def test_an_answer_without_success_does_not_cost_the_connection() -> None:
    answers = iter([b"HTTP/1.1 503 No\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nno", OK])

    async def says(receiver: Receiver, head: bytes) -> bytes | None:
        return next(answers)

    async with receiving(says) as receiver, a_client() as client:
        reply = await client.call("POST", receiver.url)
        assert isinstance(reply, Reply)
        assert (reply.status, reply.headers["retry-after"], reply.body) == (503, "7", b"no")
        await client.call("POST", receiver.url)
        assert receiver.connections == 1


async def test_a_host_gets_no_more_connections_than_it_may_have() -> None:
    go = asyncio.Event()

    async def waits(receiver: Receiver, head: bytes) -> bytes | None:
        await go.wait()
        return OK

    limits = Limits(connections_per_host=2)
    async with receiving(waits) as receiver, a_client(limits=limits) as client:
        first = [asyncio.create_task(client.call("POST", receiver.url, timeout_s=BOUND_S)) for _ in range(2)]
        while len(receiver.requests) < 2:
            await receiver.asked.wait()
            receiver.asked.clear()
        assert reason(await client.call("POST", receiver.url, timeout_s=0.2)) is R.CONNECT_TIMEOUT
        more = [asyncio.create_task(client.call("POST", receiver.url, timeout_s=BOUND_S)) for _ in range(6)]
        go.set()
        assert all(isinstance(reply, Reply) for reply in await asyncio.gather(*first, *more))
        assert receiver.most_open == 2


async def test_a_request_is_sent_once_also_when_its_connection_dies_unanswered() -> None:
    async def hangs_up_on_the_second(receiver: Receiver, head: bytes) -> bytes | None:
        return None if len(receiver.requests) % 2 == 0 else OK

    for method in ("POST", "GET", "PUT"):
        async with receiving(hangs_up_on_the_second) as receiver, a_client() as client:
            assert isinstance(await client.call(method, receiver.url), Reply)
            assert reason(await client.call(method, receiver.url)) is R.CONNECT_RESET
            assert len(receiver.requests) == 2
            assert receiver.connections == 1


async def test_no_cookie_is_kept() -> None:
    async def sets(receiver: Receiver, head: bytes) -> bytes | None:
        return b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n"

    async with receiving(sets) as receiver, a_client() as client:
        for _ in range(2):
            await client.call("POST", receiver.url)
        assert "cookie" not in dict(receiver.headers())


async def test_repeated_headers_of_the_answer_are_joined_and_never_fail_to_decode() -> None:
    async def says(receiver: Receiver, head: bytes) -> bytes | None:
        return b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nX-Raw: \xe4\xff\r\nContent-Length: 0\r\n\r\n"

    async with receiving(says) as receiver, a_client() as client:
        reply = await client.call("POST", receiver.url)
        assert isinstance(reply, Reply)
        assert (reply.headers["x-a"], reply.headers["x-raw"]) == ("1, 2", "äÿ")


@pytest.mark.parametrize(("size", "complete"), [(9, True), (10, True), (11, False), (100_000, False)])
async def test_a_body_is_read_up_to_its_bound(size: int, complete: bool) -> None:
    async def says(receiver: Receiver, head: bytes) -> bytes | None:
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"a" * size

    async with receiving(says) as receiver, a_client() as client:
        reply = await client.call("GET", receiver.url, max_bytes=10)
        assert isinstance(reply, Reply)
        assert (reply.status, reply.complete, len(reply.body)) == (200, complete, min(size, 10))


async def test_no_call_takes_longer_than_the_most() -> None:
    async def never(receiver: Receiver, head: bytes) -> bytes | None:
        await asyncio.Event().wait()
        return None

    async with receiving(never) as receiver, a_client(most_s=0.2) as client:
        assert reason(await client.call("POST", receiver.url, timeout_s=10_000)) is R.RESPONSE_TIMEOUT


# --- policies ---------------------------------------------------------------------------------------------------------


async def test_no_connection_outlives_the_policy_that_it_was_made_under() -> None:
    async with receiving() as receiver, a_client() as client:
        assert isinstance(await client.call("POST", receiver.url), Reply)
        await client.use(EgressPolicy(allow_http=True))
        assert reason(await client.call("POST", receiver.url)) is R.DENIED_ADDRESS
        await client.use(LOOPBACK)
        assert isinstance(await client.call("POST", receiver.url), Reply)
        assert receiver.connections == 2


async def test_a_call_under_way_ends_as_it_began_when_the_policy_changes() -> None:
    go = asyncio.Event()

    async def waits(receiver: Receiver, head: bytes) -> bytes | None:
        await go.wait()
        return OK

    async with receiving(waits) as receiver, a_client() as client:
        under_way = asyncio.create_task(client.call("POST", receiver.url))
        await receiver.asked.wait()
        await client.use(EgressPolicy(allow_http=True))
        assert reason(await client.call("POST", receiver.url)) is R.DENIED_ADDRESS
        go.set()
        assert isinstance(await under_way, Reply)
        assert receiver.connections == 1


async def test_a_closed_client_calls_nobody_and_breaks_off_what_is_under_way() -> None:
    async def never(receiver: Receiver, head: bytes) -> bytes | None:
        await asyncio.Event().wait()
        return None

    async with receiving(never) as receiver, a_client() as client:
        under_way = asyncio.create_task(client.call("POST", receiver.url))
        await receiver.asked.wait()
        await client.close()
        assert isinstance(await under_way, Failure)
        assert isinstance(await client.call("POST", receiver.url), Failure)
        assert len(receiver.requests) == 1


async def test_a_cancelled_call_lets_go_of_its_connection() -> None:
    async def never(receiver: Receiver, head: bytes) -> bytes | None:
        await asyncio.Event().wait()
        return None

    async with receiving(never) as receiver, a_client(limits=Limits(connections_per_host=1)) as client:
        for times in (1, 2):
            under_way = asyncio.create_task(client.call("POST", receiver.url, timeout_s=BOUND_S))
            await receiver.asked.wait()
            receiver.asked.clear()
            under_way.cancel()
            with pytest.raises(asyncio.CancelledError):
                await under_way
            assert receiver.connections == times


# --- names and connections --------------------------------------------------------------------------------------------


def failing(error: Exception) -> Callable[[str], Sequence[str]]:
    def lookup(host: str) -> Sequence[str]:
        raise error

    return lookup


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (socket.gaierror(socket.EAI_NONAME, "no such name"), R.DNS_NXDOMAIN),
        (socket.gaierror(socket.EAI_NODATA, "no address"), R.DNS_NXDOMAIN),
        (socket.gaierror(socket.EAI_AGAIN, "try again"), R.DNS_ERROR),
        (socket.gaierror(socket.EAI_FAIL, "failed"), R.DNS_ERROR),
        (OSError("no sockets left"), R.DNS_ERROR),
        (UnicodeError("label too long"), R.DNS_ERROR),
    ],
)
async def test_a_name_without_an_address_has_its_reason(error: Exception, expected: AttemptReason) -> None:
    async with a_client(lookup=failing(error)) as client:
        assert reason(await client.call("POST", "http://receiver.test/")) is expected


async def test_a_name_with_an_empty_answer_has_no_address() -> None:
    async with a_client(lookup=lambda _: []) as client:
        assert reason(await client.call("POST", "http://receiver.test/")) is R.DNS_NXDOMAIN


async def test_a_resolver_that_hangs_holds_up_only_those_who_ask_for_that_name() -> None:
    release = threading.Event()
    asked: list[str] = []

    def lookup(host: str) -> Sequence[str]:
        asked.append(host)
        if host == "dead.test":
            release.wait(BOUND_S)
        return ["127.0.0.1"]

    async with receiving() as receiver, a_client(lookup=lookup, limits=Limits(name_s=0.3)) as client:
        dead = [asyncio.create_task(client.call("POST", "http://dead.test/")) for _ in range(MAX_LOOKUPS * 2)]
        assert isinstance(await client.call("POST", f"http://alive.test:{receiver.port}/"), Reply)
        assert {reason(outcome) for outcome in await asyncio.gather(*dead)} == {R.DNS_TIMEOUT}
        assert asked.count("dead.test") == 1
        release.set()


async def test_nobody_listening_is_a_refused_connection() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        async with a_client() as client:
            url = f"http://127.0.0.1:{reserved.getsockname()[1]}/"
            assert reason(await client.call("POST", url)) is R.CONNECT_REFUSED


async def test_a_connection_that_nobody_accepts_runs_out_of_time() -> None:
    with socket.socket() as full, socket.socket() as waiting, socket.socket() as another:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for client_socket in (waiting, another):  # they fill the backlog: Linux drops what comes after
            client_socket.setblocking(False)
            client_socket.connect_ex(full.getsockname())
        async with a_client(limits=Limits(connect_s=0.3)) as client:
            url = f"http://127.0.0.1:{full.getsockname()[1]}/"
            assert reason(await client.call("POST", url)) is R.CONNECT_TIMEOUT


async def test_the_next_address_is_tried_where_one_refuses() -> None:
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(receiving())
        client = await stack.enter_async_context(a_client(lookup=lambda _: ["127.0.0.9", "127.0.0.1"]))
        assert isinstance(await client.call("POST", f"http://receiver.test:{receiver.port}/"), Reply)


async def test_an_http_library_that_reads_a_url_otherwise_than_the_policy_calls_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from yarl import URL

    monkeypatch.setattr(
        "hookseal.egress.client.URL", lambda text, encoded: URL(text.replace("receiver", "other"), encoded=encoded)
    )
    async with a_client(lookup=lambda _: ["127.0.0.1"]) as client:
        assert reason(await client.call("POST", "http://receiver.test/")) is R.CONFIG_ERROR
