"""Host and Transfer-Encoding as ASGI servers hand them over, for the versions that a test client cannot speak."""

import pytest

from hookseal.message import Headers
from hookseal.receive.framing import is_ambiguous

HOST = (b"host", b"gateway.example:8443")
CHUNKED = (b"transfer-encoding", b"chunked")


@pytest.mark.parametrize("version", ["1", "1.0", "1.1", "2", "3"])
def test_one_host_is_fine_in_every_version(version: str) -> None:
    assert not is_ambiguous((HOST,), version)
    assert not is_ambiguous((HOST, CHUNKED), version)


@pytest.mark.parametrize("headers", [(), ((b"host", b""),)])
def test_only_http_1_1_needs_a_host(headers: Headers) -> None:
    assert is_ambiguous(headers, "1.1")
    for version in ("1", "1.0", "2"):
        assert not is_ambiguous(headers, version)


@pytest.mark.parametrize("version", ["1.0", "1.1", "2"])
@pytest.mark.parametrize(
    "headers",
    [
        (HOST, HOST),
        (HOST, (b"host", b"b")),
        ((b"host", b"a/b"),),
        ((b"host", b"a b"),),
        ((b"host", b"a\nb"),),
        ((b"host", b"a\n"),),
        ((b"host", b"[::1"),),
        ((b"host", b"a:8x"),),
        (HOST, CHUNKED, CHUNKED),
        (HOST, (b"transfer-encoding", b"gzip, chunked")),
        (HOST, (b"transfer-encoding", b"")),
    ],
)
def test_two_readings_are_refused_in_every_version(headers: Headers, version: str) -> None:
    assert is_ambiguous(headers, version)


@pytest.mark.parametrize(
    "host", [b"a", b"a.example", b"127.0.0.1:80", b"[::1]", b"[2001:db8::1]:443", b"xn--4ca.example", b"a_b:"]
)
def test_hosts_of_every_kind_are_hosts(host: bytes) -> None:
    assert not is_ambiguous(((b"host", host),), "1.1")
