"""No spelling of a forbidden address gets a connection.

Oracles: the reason of the failure, and canary servers on 127.0.0.1 and ::1 that count every connection they get. Each
spelling is called at the canaries' own port, through a resolver that takes everything `getaddrinfo` takes for loopback.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence

import pytest
from hostile import HostileServer, Line, hostile_server

from hookseal.egress.client import GuardedClient
from hookseal.egress.policy import EgressPolicy
from hookseal.egress.port import Failure, Reply
from hookseal.model import AttemptReason

R = AttemptReason
POLICY = EgressPolicy(allow_http=True)


async def answers(line: Line) -> None:
    await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


@pytest.fixture
async def canaries() -> AsyncIterator[list[HostileServer]]:
    async with hostile_server(answers) as v4, hostile_server(answers, host="::1") as v6:
        yield [v4, v6]


def loopback_lookup(host: str) -> Sequence[str]:
    return ["127.0.0.1"]


DENIED_LITERALS = """
    127.0.0.1 127.0.0.2 127.255.255.254 0.0.0.0 0.0.0.1 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.254
    168.63.129.16 169.254.0.1 169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.192
    192.0.2.1 192.31.196.1 192.52.193.1 192.88.99.1 192.168.0.1 192.168.255.255 192.175.48.1 198.18.0.1
    198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255 [::1] [::]
    [0:0:0:0:0:0:0:1] [0000:0000:0000:0000:0000:0000:0000:0001] [::127.0.0.1] [::7f00:1] [::ffff:127.0.0.1]
    [::ffff:7f00:1] [0:0:0:0:0:ffff:7f00:1] [::FFFF:127.0.0.1] [::ffff:169.254.169.254] [::ffff:10.0.0.1]
    [::ffff:0:127.0.0.1] [64:ff9b::127.0.0.1] [64:ff9b::a9fe:a9fe] [64:ff9b:1::1] [100::1] [100:0:0:1::1]
    [2001::1] [2001:0:7f00:1::] [2001:20::1] [2001:db8::1] [2002:7f00:1::] [2002:a9fe:a9fe::1] [2620:4f:8000::1]
    [3fff::1] [4000::1] [5f00::1] [fc00::1] [fd00::1] [fd00:ec2::254] [fe80::1] [febf::1] [fec0::1] [ff02::1]
    [ff0e::1] [1::1] [8000::1]
"""

MALFORMED_HOSTS = [
    "2130706433",
    "017700000001",
    "0x7f000001",
    "0X7F000001",
    "0x7f.1",
    "0x7f.0x0.0x0.0x1",
    "0177.0.0.1",
    "0177.0.0.01",
    "127.1",
    "127.0.1",
    "127.0.0.1.",
    "127.0.0.01",
    "127.0.0.0x1",
    "127.0.0.1.5",
    "127.0.0.256",
    "256.256.256.256",
    "0",
    "00",
    "1.2.3.4.5",
    "localhost.",
    "①②⑦.⓪.⓪.①",
    "１２７.0.0.1",
    "127。0。0。1",
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "loc\u00adalhost",
    "localho\u017ft",
    "127.0.0.1\0.example.com",
    "127.0.0.1%00.example.com",
    "127.0.0.1%2eexample.com",
    "%31%32%37.0.0.1",
    "localhost%00",
    "127.0.0.1\t",
    "127.0.0.1\n",
    "127.0.0.1\r\nX: y",
    " 127.0.0.1",
    "127.0.0.1 ",
    "example.com@127.0.0.1",
    "example.com:80@127.0.0.1",
    "127.0.0.1@example.com",
    "user:secret@example.com",
    "@127.0.0.1",
    "example.com\\@127.0.0.1",
    "127.0.0.1\\.example.com",
    "127.0.0.1#@example.com",
    "[::1%25lo]",
    "[::1%lo]",
    "[fe80::1%25eth0]",
    "[fe80::1%1]",
    "[127.0.0.1]",
    "[localhost]",
    "[::1",
    "::1",
    "[::1]]",
    "[[::1]]",
    "[::1].example.com",
    "[::ffff:127.0.0.01]",
    "[v1.127]",
    "xn--a",
    "xn--",
    "-localhost",
    "localhost-.",
    "a..b",
    ".localhost",
    "",
    "*",
    "a" * 64,
    ".".join(["a" * 60] * 5),
]


async def call(url: str, client: GuardedClient | None = None) -> Reply | Failure:
    client = client or GuardedClient(POLICY, lookup=loopback_lookup)
    try:
        async with asyncio.timeout(60):
            return await client.call("GET", url, timeout_s=20)
    finally:
        await client.close()


def reason(outcome: Reply | Failure) -> AttemptReason:
    assert isinstance(outcome, Failure)
    return outcome.reason


@pytest.mark.parametrize("host", DENIED_LITERALS.split())
async def test_a_forbidden_address_in_the_url_is_not_called(host: str, canaries: list[HostileServer]) -> None:
    for canary in canaries:
        outcome = await call(f"http://{host}:{canary.port}/")
        assert reason(outcome) is R.DENIED_ADDRESS
        assert canary.connections == 0


@pytest.mark.parametrize("host", MALFORMED_HOSTS)
async def test_a_host_that_can_be_read_in_two_ways_is_not_called(host: str, canaries: list[HostileServer]) -> None:
    for canary in canaries:
        assert reason(await call(f"http://{host}:{canary.port}/")) is R.CONFIG_ERROR
        assert canary.connections == 0


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "a.localhost", "127-0-0-1.example.com", "internal", "metadata.google.internal", "h_1"],
)
async def test_a_name_that_leads_to_a_forbidden_address_is_not_called(host: str, canaries: list[HostileServer]) -> None:
    assert reason(await call(f"http://{host}:{canaries[0].port}/")) is R.DENIED_ADDRESS
    assert canaries[0].connections == 0


async def test_the_systems_own_localhost_is_not_called(canaries: list[HostileServer]) -> None:
    outcome = await call(f"http://localhost:{canaries[0].port}/", GuardedClient(POLICY))
    assert reason(outcome) is R.DENIED_ADDRESS
    assert [canary.connections for canary in canaries] == [0, 0]


@pytest.mark.parametrize(
    "answer",
    [
        ["127.0.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["::ffff:7f00:1"],
        ["169.254.169.254"],
        ["fd00:ec2::254"],
        ["0.0.0.0"],
        ["::"],
        ["fe80::1%lo"],
        ["::1%1"],
        ["93.184.215.14", "127.0.0.1"],
        ["127.0.0.1", "93.184.215.14"],
        ["2606:2800:220:1::1", "::1"],
        ["93.184.215.14", "2606:2800:220:1::1", "169.254.169.254"],
        ["0x7f.1"],
        ["localhost"],
        ["127.1"],
        [""],
    ],
    ids=str,
)
async def test_one_forbidden_address_in_the_answer_refuses_the_whole_attempt(
    answer: list[str], canaries: list[HostileServer]
) -> None:
    for canary in canaries:
        client = GuardedClient(POLICY, lookup=lambda _: answer)
        outcome = await call(f"http://rebinding.example:{canary.port}/", client)
        assert reason(outcome) is R.DENIED_ADDRESS
        assert canary.connections == 0


async def test_a_name_that_turns_to_loopback_between_two_calls_is_refused_then(canaries: list[HostileServer]) -> None:
    port = canaries[0].port
    allowed_once = iter([["127.0.0.2"], ["127.0.0.1"], ["127.0.0.2", "127.0.0.1"]])
    policy = EgressPolicy(allow=("127.0.0.2",), allow_http=True)
    client = GuardedClient(policy, lookup=lambda _: next(allowed_once))
    reasons = [reason(await client.call("GET", f"http://rebinding.example:{port}/")) for _ in range(3)]
    assert reasons == [R.CONNECT_REFUSED, R.DENIED_ADDRESS, R.DENIED_ADDRESS]
    assert canaries[0].connections == 0
    await client.close()


async def test_what_was_judged_is_what_is_dialled() -> None:
    """The name is asked once: a resolver that changes its mind has no second chance within a call."""
    asked: list[str] = []

    def lookup(host: str) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"]

    client = GuardedClient(EgressPolicy(allow=("127.0.0.0/8",), allow_http=True), lookup=lookup)
    async with hostile_server(answers) as server:
        outcome = await call(f"http://receiver.test:{server.port}/", client)
        assert isinstance(outcome, Reply)
    assert asked == ["receiver.test"]


async def test_the_judgement_at_the_socket_is_final(
    canaries: list[HostileServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if every judgement above it were lost."""
    from hookseal.egress.connector import JudgingConnector

    async def unjudged(self: JudgingConnector, target: object) -> list[str]:
        return ["127.0.0.1", "::1"]

    monkeypatch.setattr(JudgingConnector, "_judged", unjudged)
    assert reason(await call(f"http://receiver.test:{canaries[0].port}/")) is R.DENIED_ADDRESS
    assert [canary.connections for canary in canaries] == [0, 0]


async def test_a_redirect_to_a_forbidden_address_is_not_followed(canaries: list[HostileServer]) -> None:
    target = canaries[0].port

    async def redirects(line: Line) -> None:
        location = f"http://127.0.0.1:{target}/".encode()
        await line.send(b"HTTP/1.1 307 Go\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n")

    client = GuardedClient(EgressPolicy(allow=("127.0.0.0/8",), allow_http=True))
    async with hostile_server(redirects) as server:
        assert reason(await call(f"http://127.0.0.1:{server.port}/", client)) is R.REDIRECT_REFUSED
        assert server.connections == 1
    assert canaries[0].connections == 0


async def test_our_own_listener_is_not_called_even_where_its_network_is_allowed() -> None:
    async with hostile_server(answers) as own, hostile_server(answers) as other:
        for listens_on in ("127.0.0.1", "0.0.0.0"):
            policy = EgressPolicy(allow=("127.0.0.0/8",), allow_http=True, own=((listens_on, own.port),))
            assert reason(await call(f"http://127.0.0.1:{own.port}/", GuardedClient(policy))) is R.DENIED_ADDRESS
        assert isinstance(await call(f"http://127.0.0.1:{other.port}/", GuardedClient(policy)), Reply)
        assert own.connections == 0


async def test_the_environments_proxy_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with hostile_server(answers) as proxy, hostile_server(answers) as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        client = GuardedClient(EgressPolicy(allow=("127.0.0.0/8",), allow_http=True))
        assert isinstance(await call(f"http://127.0.0.1:{receiver.port}/", client), Reply)
        assert (proxy.connections, receiver.connections) == (0, 1)


def test_the_systems_resolver_takes_for_loopback_what_is_refused_here() -> None:
    """Why the hosts above are refused before they are resolved."""
    for host in ("2130706433", "0x7f.1", "127.1"):
        assert {info[4][0] for info in socket.getaddrinfo(host, 80)} == {"127.0.0.1"}
