"""Which headers an operator may configure and which lines may leave at all."""

import pytest

from hookseal.egress.headers import check_header, check_headers, is_sendable


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Tenant", "7"),
        ("x-tenant", ""),
        ("X", "a b  c"),
        ("Api-Key", "~!@#$%^&*()_+{}|:<>?"),
        ("Accept", "text/plain"),
        ("X" * 64, "a" * 1024),
    ],
)
def test_an_ordinary_header_may_be_configured(name: str, value: str) -> None:
    assert check_header(name, value) is None
    assert is_sendable([(name, value)])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", "a"),
        ("X Y", "a"),
        ("X:", "a"),
        ("X-Ä", "a"),
        ("X\r\nY", "a"),
        ("X\n", "a"),
        ("1X", "a"),
        ("-X", "a"),
        ("X_Y", "a"),
        ("X" * 65, "a"),
        ("X", "a\r\nY: b"),
        ("X", "a\n"),
        ("X", "a\0b"),
        ("X", "a\tb"),
        ("X", "\x7f"),
        ("X", "ä"),
        ("X", "\udcff"),
        ("X", " a"),
        ("X", "a "),
        ("X", " "),
        ("X", "a" * 65536),
        *((name, "1") for name in ("Host", "host", "Content-Length", "Transfer-Encoding", "Connection", "Expect")),
        *((name, "1") for name in ("TE", "Trailer", "Upgrade", "Keep-Alive", "Accept-Encoding", "Proxy-Authorization")),
        ("proxy-connection", "1"),
    ],
)
def test_a_line_that_breaks_the_message_neither_is_configured_nor_leaves(name: str, value: str) -> None:
    assert check_header(name, value) is not None
    assert not is_sendable([("X-Fine", "1"), (name, value)])


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "Cookie",
        "Set-Cookie",
        "Content-Type",
        "Content-Encoding",
        "Date",
        "webhook-id",
        "Webhook-Signature",
        "webhook-anything",
        "ce-id",
        "Sec-Fetch-Site",
    ],
)
def test_what_hookseal_writes_itself_is_not_the_operators_to_set(name: str) -> None:
    fault = check_header(name, "1")
    assert fault is not None
    assert name in fault
    assert is_sendable([(name, "1")])


def test_a_long_token_leaves_though_it_may_not_be_configured() -> None:
    assert check_header("X-Token", "a" * 1025) is not None
    assert is_sendable([("Authorization", "Bearer " + "a" * 8000)])
    assert not is_sendable([("Authorization", "a" * 8193)])


def test_a_fault_never_shows_the_value() -> None:
    for value in ("s3cret\n", "s3cret" + "x" * 2000, "s3cret "):
        fault = check_header("X-Api-Key", value)
        assert fault is not None
        assert "s3cret" not in fault


def test_the_headers_of_one_endpoint_are_counted_and_told_apart() -> None:
    assert check_headers({}) is None
    assert check_headers({f"X-{number}": "1" for number in range(32)}) is None
    assert check_headers({f"X-{number}": "1" for number in range(33)}) is not None
    assert check_headers({"X-A": "1", "x-a": "2"}) is not None
    assert check_headers({"X-A": "1", "Host": "2"}) == check_header("Host", "2")
