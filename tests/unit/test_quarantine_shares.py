"""Who gives way in a full quarantine, and how much of what is refused gets there."""

from hypothesis import given
from hypothesis import strategies as st

from hookseal.clock import Instant, from_unix, plus
from hookseal.model import SourceId
from hookseal.receive.quarantine_limit import (
    BYTES_AT_ONCE,
    BYTES_PER_S,
    PEER_PART,
    REQUESTS_AT_ONCE,
    REQUESTS_PER_S,
    QuarantineLimit,
)
from hookseal.sealing import Keyring
from hookseal.store.quarantine_shares import Share, evictions, peer_number

NOW: Instant = from_unix(1_763_712_000)
SOURCE, OTHER = SourceId("a"), SourceId("b")
KEYRING = Keyring((("k1", b"k" * 32),))


def test_nothing_gives_way_within_the_bounds() -> None:
    assert evictions([Share(("a", 1), 10, 1000)], 10, 1000) == {}


def test_the_peer_with_most_of_the_source_with_most_gives_way() -> None:
    shares = [Share(("a", 1), 900, 900), Share(("a", 2), 80, 80), Share(("b", 1), 60, 60)]
    assert set(evictions(shares, 1000, 10**9)) == {("a", 1)}


def test_small_requests_do_not_give_way_for_the_bytes_of_large_ones() -> None:
    shares = [Share(("a", 1), 5000, 500_000), Share(("b", 1), 60, 60_000_000)]
    assert set(evictions(shares, 10_000, 40_000_000)) == {("b", 1)}


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.integers(1, 50), st.integers(1, 5000)),
        max_size=20,
        unique_by=lambda share: share[:2],
    ),
    st.integers(1, 200),
    st.integers(1, 100_000),
)
def test_what_is_left_is_within_the_bounds_and_no_more_is_dropped_than_there_is(
    drawn: list[tuple[str, int, int, int]], max_rows: int, max_bytes: int
) -> None:
    shares = {(source, peer): Share((source, peer), rows, rows * size) for source, peer, rows, size in drawn}
    dropped = evictions(shares.values(), max_rows, max_bytes)
    assert all(0 < count <= shares[group].rows for group, count in dropped.items())
    left = {group: share.rows - dropped.get(group, 0) for group, share in shares.items()}
    assert sum(left.values()) <= max_rows
    assert sum(rows * shares[group].bytes // shares[group].rows for group, rows in left.items()) <= max_bytes


def test_a_peer_is_an_address_or_a_network_of_ipv6() -> None:
    numbers = [peer_number(KEYRING, remote) for remote in ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2")]
    assert numbers[0] != numbers[2]
    assert peer_number(KEYRING, "2001:db8::1") == peer_number(KEYRING, "2001:db8::ffff:1")
    assert peer_number(KEYRING, "2001:db8::1") != peer_number(KEYRING, "2001:db8:0:1::1")
    assert peer_number(KEYRING, None) == peer_number(KEYRING, "unknown") == 0
    assert all(0 < number < 2**63 for number in numbers)
    assert peer_number(Keyring((("k1", b"o" * 32),)), "192.0.2.1") != numbers[0]


def passed(limit: QuarantineLimit, remotes: list[str], size: int, now: Instant = NOW, source: SourceId = SOURCE) -> int:
    return sum(limit.take(source, remote, size, now) for remote in remotes)


def test_one_peer_gets_half_of_what_its_source_has() -> None:
    limit = QuarantineLimit()
    assert passed(limit, ["p"] * 1000, 1) == REQUESTS_AT_ONCE * PEER_PART
    assert passed(limit, [f"q{number}" for number in range(1000)], 1) == REQUESTS_AT_ONCE * (1 - PEER_PART)
    assert passed(limit, ["p"] * 1000, 1, source=OTHER) == REQUESTS_AT_ONCE * PEER_PART


def test_the_addresses_of_one_ipv6_network_are_one_peer() -> None:
    """A site has 2**64 addresses in its /64. Each of them had a share of its own, and all together had the source's."""
    limit = QuarantineLimit()
    site = [f"2001:db8::{number:x}" for number in range(1000)]
    assert passed(limit, site, 1) == REQUESTS_AT_ONCE * PEER_PART
    assert passed(limit, ["2001:db8:0:1::1"] * 1000, 1) == REQUESTS_AT_ONCE * PEER_PART


def test_bytes_count_as_well() -> None:
    limit = QuarantineLimit()
    assert passed(limit, ["p"] * 100, 1024 * 1024) == BYTES_AT_ONCE * PEER_PART / 1024 / 1024


def test_what_was_taken_comes_back_at_the_rate() -> None:
    limit = QuarantineLimit()
    passed(limit, ["p"] * 1000, 1)
    assert passed(limit, ["p"] * 1000, 1, plus(NOW, 2)) == 2 * REQUESTS_PER_S * PEER_PART
    assert passed(limit, ["p"] * 1000, 1024, plus(NOW, 1_000_000)) == REQUESTS_AT_ONCE * PEER_PART
    assert BYTES_PER_S < BYTES_AT_ONCE


def test_a_clock_that_was_set_back_stops_nothing_for_long() -> None:
    limit = QuarantineLimit()
    passed(limit, ["p"] * 1000, 1)
    assert passed(limit, ["p"] * 1000, 1, plus(NOW, -3600)) == 0
    assert passed(limit, ["p"] * 1000, 1, plus(NOW, -3599)) == REQUESTS_PER_S * PEER_PART
