"""Who may use the management API, judged on headers and address alone."""

import pytest

from hookseal.api.access import Access

KEYS = (b"first-key", b"second-key-of-another-length")
BROWSER_LESS = [(b"host", b"127.0.0.1:8400")]


def judged(access: Access, *headers: tuple[bytes, bytes], client: str | None = "127.0.0.1") -> int | None:
    problem = access.judge([*BROWSER_LESS, *headers], client)
    return None if problem is None else problem.status


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer", b"BEARER"])
def test_every_key_opens_the_api_from_anywhere(key: bytes, scheme: bytes) -> None:
    assert judged(Access(KEYS), (b"authorization", scheme + b" " + key), client="203.0.113.9") is None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b"first-key",
        b"Basic first-key",
        b"Bearer first-ke",
        b"Bearer first-key2",
        b"Bearer first-key,second-key-of-another-length",
        b"Bearer \xff\xfe",
        b"Bearer " + b"a" * 9000,
    ],
)
def test_what_is_not_exactly_a_key_is_401(value: bytes) -> None:
    assert judged(Access(KEYS), (b"authorization", value)) == 401


def test_two_authorization_headers_are_401_even_if_one_is_right() -> None:
    right = (b"authorization", b"Bearer first-key")
    assert judged(Access(KEYS), right, right) == 401


def test_no_configured_key_turns_the_api_off_and_no_guess_turns_it_on() -> None:
    assert judged(Access()) == 403
    assert judged(Access(), (b"authorization", b"Bearer ")) == 403


def test_an_empty_key_is_a_fault_of_ours_and_no_key() -> None:
    with pytest.raises(ValueError, match="not empty"):
        Access((b"good", b""))


def test_keys_are_not_shown_by_repr() -> None:
    assert "first-key" not in repr(Access(KEYS))


def test_open_access_lets_a_program_of_this_machine_in() -> None:
    access = Access(open_access=True)
    assert judged(access) is None
    assert judged(access, client="::1") is None
    assert access.judge([(b"host", b"[::1]:8400")], "::1") is None
    assert access.judge([(b"host", b"localhost:8400"), (b"origin", b"http://localhost:8400")], "127.0.0.1") is None


@pytest.mark.parametrize("client", ["203.0.113.9", "10.0.0.1", "not an address", None])
def test_open_access_refuses_another_machine(client: str | None) -> None:
    assert judged(Access(open_access=True), client=client) == 403


def test_open_access_refuses_a_page_that_rebinds_its_own_name_to_loopback() -> None:
    assert Access(open_access=True).judge([(b"host", b"evil.example:8400")], "127.0.0.1") is not None
    assert Access(open_access=True).judge([], "127.0.0.1") is not None


@pytest.mark.parametrize(
    "header",
    [
        (b"sec-fetch-site", b"cross-site"),
        (b"sec-fetch-site", b"same-site"),
        (b"origin", b"https://evil.example"),
        (b"origin", b"null"),
        (b"origin", b"http://["),
    ],
)
def test_open_access_refuses_a_form_of_a_foreign_page(header: tuple[bytes, bytes]) -> None:
    assert judged(Access(open_access=True), header) == 403


def test_a_key_is_enough_where_open_access_would_refuse() -> None:
    access = Access(KEYS, open_access=True)
    assert judged(access, (b"authorization", b"Bearer first-key"), client="203.0.113.9") is None
    assert judged(access, client="203.0.113.9") == 403
