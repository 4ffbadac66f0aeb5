"""When an issuer's keys are fetched, what is said meanwhile, and when a key is certainly absent.

A real issuer on a local socket, the real client and the real parser; the clock is given. Each fetch waits at the
issuer's gate until the test lets it go on, so that no order is left to chance.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hookseal.clock import GivenClock, Instant
from hookseal.egress.client import GuardedClient
from hookseal.egress.policy import EgressPolicy
from hookseal.receive.keys import Absent, Answer, Found, KeySets, Patience, Unavailable
from hookseal.schemes.jwk import public_jwks

BOUND_S = 30.0
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
SMALL_RSA = rsa.generate_private_key(65537, 1024)


def jwks(*kids: str) -> bytes:
    return json.dumps({"keys": [key for kid in kids for key in public_jwks(KEY, kid)["keys"]]}).encode()


class Issuer:
    """Answers what `body`, `status` and `headers` say when a fetch passes the gate, or as `raw` if that is set."""

    def __init__(self) -> None:
        self.port = 0
        self.body = jwks("a")
        self.status = 200
        self.headers = ""
        self.raw: bytes | None = None
        self.fetches = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self._changed = asyncio.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/keys"

    async def fetched(self, times: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self.fetches >= times)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            async with self._changed:
                self.fetches += 1
                self._changed.notify_all()
            await self.gate.wait()
            head = f"HTTP/1.1 {self.status} X\r\n{self.headers}Connection: close\r\nContent-Length: {len(self.body)}\r\n\r\n"
            writer.write(self.raw if self.raw is not None else head.encode() + self.body)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


class Bench:
    """An issuer, a clock and the key sets under test."""

    def __init__(self, issuer: Issuer, clock: GivenClock, key_sets: KeySets) -> None:
        self.issuer = issuer
        self.clock = clock
        self.key_sets = key_sets

    async def ask(self, kid: str | None = None, arrived: float | None = None) -> Answer:
        return await self.key_sets.keys(self.issuer.url, kid, self.clock.monotonic() if arrived is None else arrived)

    def asking(self, kid: str | None = None, arrived: float | None = None) -> asyncio.Task[Answer]:
        return asyncio.create_task(self.ask(kid, arrived))

    async def settled(self) -> None:
        """Until no fetch is under way."""
        while (fetch := self.key_sets._sets[self.issuer.url].fetch) is not None:
            await asyncio.wait((fetch,))


@asynccontextmanager
async def a_bench(patience: Patience | None = None) -> AsyncIterator[Bench]:
    issuer = Issuer()
    server = await asyncio.start_server(issuer.answer, "127.0.0.1", 0)
    issuer.port = server.sockets[0].getsockname()[1]
    egress = GuardedClient(EgressPolicy(allow=("127.0.0.0/8",), allow_http=True))
    clock = GivenClock(Instant(1_760_000_000_000_000))
    key_sets = KeySets(egress, clock, patience=patience or Patience())
    try:
        async with asyncio.timeout(BOUND_S):
            yield Bench(issuer, clock, key_sets)
    finally:
        issuer.gate.set()
        await key_sets.close()
        await egress.close()
        server.close()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with a_bench() as made:
        yield made


def kids(answer: Answer) -> set[str]:
    assert isinstance(answer, Found), answer
    return set(answer.key_set)


# --- the first set ----------------------------------------------------------------------------------------------------


async def test_the_first_request_fetches_and_the_next_ones_do_not(bench: Bench) -> None:
    assert bench.key_sets.at_hand(bench.issuer.url) is None
    for _ in range(5):
        assert kids(await bench.ask("a")) == {"a"}
    assert bench.issuer.fetches == 1
    at_hand = bench.key_sets.at_hand(bench.issuer.url)
    assert at_hand is not None
    assert set(at_hand) == {"a"}


async def test_a_hundred_requests_share_the_first_fetch(bench: Bench) -> None:
    bench.issuer.gate.clear()
    asking = [bench.asking("a") for _ in range(100)]
    await bench.issuer.fetched(1)
    bench.issuer.gate.set()
    assert all(kids(answer) == {"a"} for answer in await asyncio.gather(*asking))
    assert bench.issuer.fetches == 1


async def test_a_key_that_the_first_fetch_did_not_bring_is_absent_and_starts_no_cool_down(bench: Bench) -> None:
    assert await bench.ask("b") == Absent()
    bench.issuer.body = jwks("a", "b")
    assert kids(await bench.ask("b")) == {"a", "b"}
    assert bench.issuer.fetches == 2


async def test_whoever_leaves_does_not_take_the_fetch_along(bench: Bench) -> None:
    bench.issuer.gate.clear()
    first, second = bench.asking("a"), bench.asking("a")
    await bench.issuer.fetched(1)
    first.cancel()
    await asyncio.wait((first,))
    bench.issuer.gate.set()
    assert kids(await second) == {"a"}
    assert bench.issuer.fetches == 1


# --- an issuer in trouble ---------------------------------------------------------------------------------------------


def broken_issuers() -> dict[str, dict[str, object]]:
    empty: dict[str, list[object]] = {"keys": []}
    return {
        "500": {"status": 500},
        "404": {"status": 404},
        "204": {"status": 204, "body": b""},
        "redirect": {"status": 302, "headers": "Location: /other\r\n"},
        "html": {"body": b"<html>sign in</html>"},
        "empty_body": {"body": b""},
        "empty_set": {"body": json.dumps(empty).encode()},
        "null": {"body": b"null"},
        "not_utf8": {"body": b"\xff\xfe"},
        "deep": {"body": b"[" * 100_000},
        "too_large": {"body": b" " * 262_145 + jwks("a")},
        "2_megabytes": {"body": jwks("a") + b" " * 2_000_000},
        "10000_keys": {"body": b'{"keys":[' + b",".join([b"{}"] * 10_000) + b"]}"},
        "weak_rsa_only": {"body": json.dumps(public_jwks(SMALL_RSA, "a")).encode()},
        "short": {"raw": b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + jwks("a")},
        "garbage": {"raw": b"\0\1\2\3" * 100},
        "closed": {"raw": b""},
    }


@pytest.mark.parametrize("name", broken_issuers())
async def test_without_keys_a_broken_issuer_is_a_doubt_and_with_keys_it_is_nothing(name: str, bench: Bench) -> None:
    issuer = bench.issuer
    for attribute, value in broken_issuers()[name].items():
        setattr(issuer, attribute, value)
    assert isinstance(await bench.ask("a"), Unavailable)
    assert bench.key_sets.at_hand(issuer.url) is None
    assert bench.key_sets.last_failure(issuer.url)

    issuer.body, issuer.status, issuer.headers, issuer.raw = jwks("a"), 200, "", None
    bench.clock.advance(1)
    assert kids(await bench.ask("a")) == {"a"}
    assert bench.key_sets.last_failure(issuer.url) is None

    for attribute, value in broken_issuers()[name].items():
        setattr(issuer, attribute, value)
    assert isinstance(await bench.ask("unknown"), Unavailable)
    assert kids(await bench.ask("a")) == {"a"}


async def test_an_issuer_that_does_not_answer_is_given_up_at_the_deadline() -> None:
    async with a_bench(Patience(fetch_s=0.2)) as bench:
        bench.issuer.gate.clear()
        assert await bench.ask("a") == Unavailable(1)
        assert bench.key_sets.last_failure(bench.issuer.url) == "response_timeout"


async def test_a_failing_issuer_is_asked_after_1_2_4_8_16_30_and_30_seconds(bench: Bench) -> None:
    bench.issuer.status = 503
    for number, wait_s in enumerate((1, 2, 4, 8, 16, 30, 30), start=1):
        assert await bench.ask("a") == Unavailable(wait_s)
        assert bench.issuer.fetches == number
        bench.clock.advance(wait_s - 0.5)
        assert await bench.ask("a") == Unavailable(1)
        assert bench.issuer.fetches == number
        bench.clock.advance(0.5)


async def test_a_success_forgets_the_failures(bench: Bench) -> None:
    bench.issuer.status = 503
    await bench.ask("a")
    bench.clock.advance(1)
    await bench.ask("a")
    bench.issuer.status = 200
    bench.clock.advance(2)
    assert kids(await bench.ask("a")) == {"a"}
    bench.issuer.status = 503
    bench.clock.advance(3600)
    await bench.ask("a")
    await bench.settled()
    bench.issuer.status = 200
    bench.clock.advance(1)
    await bench.ask("a")
    await bench.settled()
    assert bench.key_sets.last_failure(bench.issuer.url) is None


async def test_a_fault_of_ours_in_a_fetch_is_a_doubt_and_not_an_endless_loop() -> None:
    class Broken:
        async def call(self, *given: object, **named: object) -> object:
            raise RuntimeError

        async def close(self) -> None: ...

    key_sets = KeySets(Broken(), GivenClock(Instant(0)))  # type: ignore[arg-type]
    assert await key_sets.keys("https://issuer.test/", "a", 0.0) == Unavailable(1)
    assert key_sets.last_failure("https://issuer.test/") == "internal"


# --- unknown keys -----------------------------------------------------------------------------------------------------


async def test_a_key_that_was_rotated_in_is_found_by_one_fetch(bench: Bench) -> None:
    await bench.ask("a")
    bench.issuer.body = jwks("a", "b")
    bench.issuer.gate.clear()
    asking = [bench.asking("b") for _ in range(100)]
    await bench.issuer.fetched(2)
    bench.issuer.gate.set()
    assert all(kids(answer) == {"a", "b"} for answer in await asyncio.gather(*asking))
    assert bench.issuer.fetches == 2


async def test_a_flood_of_unknown_keys_is_one_fetch_in_thirty_seconds(bench: Bench) -> None:
    await bench.ask("a")
    answers = await asyncio.gather(*(bench.ask(f"unknown {number}") for number in range(1000)))
    assert set(answers) == {Absent()}
    assert bench.issuer.fetches == 2
    for second in range(30):
        answers = await asyncio.gather(*(bench.ask(f"unknown {number}") for number in range(100)))
        assert set(answers) == {Unavailable(30 - second)}
        assert kids(await bench.ask("a")) == {"a"}
        bench.clock.advance(1)
    assert bench.issuer.fetches == 2
    assert await bench.ask("unknown") == Absent()
    assert bench.issuer.fetches == 3


async def test_a_fetch_that_began_before_the_request_proves_nothing(bench: Bench) -> None:
    """The issuer may have read its set just before the key was added to it."""
    await bench.ask("a")
    bench.issuer.gate.clear()
    earlier = bench.asking("b")
    await bench.issuer.fetched(2)
    bench.clock.advance(1)
    later = bench.asking("b")
    await asyncio.sleep(0)
    bench.issuer.gate.set()
    assert await earlier == Absent()
    assert await later == Unavailable(30)
    assert bench.issuer.fetches == 2


async def test_a_fetch_that_began_after_the_request_proves_it_also_to_one_who_asks_later(bench: Bench) -> None:
    """Judging takes a moment: the request arrived, another's fetch began and ended, and only then is the key asked for."""
    await bench.ask("a")
    arrived = bench.clock.monotonic()
    bench.clock.advance(0.001)
    assert await bench.ask("b") == Absent()
    assert await bench.ask("c", arrived) == Absent()
    assert await bench.ask("c") == Unavailable(30)
    assert bench.issuer.fetches == 2


async def test_a_renewal_under_way_is_waited_for_and_then_a_fetch_of_ones_own(bench: Bench) -> None:
    await bench.ask("a")
    bench.clock.advance(3600)
    bench.issuer.gate.clear()
    assert kids(await bench.ask("a")) == {"a"}  # begins the renewal, does not wait for it
    await bench.issuer.fetched(2)
    bench.clock.advance(1)
    unknown = bench.asking("b")
    await asyncio.sleep(0)
    bench.issuer.gate.set()
    assert await unknown == Absent()
    assert bench.issuer.fetches == 3


async def test_a_failed_fetch_proves_no_key_absent(bench: Bench) -> None:
    await bench.ask("a")
    bench.issuer.status = 500
    assert await bench.ask("b") == Unavailable(30)
    bench.issuer.status, bench.issuer.body = 200, jwks("a", "b")
    bench.clock.advance(29)
    assert await bench.ask("b") == Unavailable(1)
    bench.clock.advance(1)
    assert kids(await bench.ask("b")) == {"a", "b"}


async def test_two_issuers_have_nothing_to_do_with_each_other(bench: Bench) -> None:
    other = bench.issuer.url + "?other"
    await bench.ask("a")
    assert await bench.ask("b") == Absent()
    assert await bench.ask("b") == Unavailable(30)
    assert isinstance(await bench.key_sets.keys(other, "a", bench.clock.monotonic()), Found)


# --- age --------------------------------------------------------------------------------------------------------------


async def test_a_renewal_makes_nobody_wait(bench: Bench) -> None:
    await bench.ask("a")
    bench.clock.advance(3599)
    await bench.ask("a")
    assert bench.issuer.fetches == 1
    bench.clock.advance(1)
    bench.issuer.body = jwks("b")
    bench.issuer.gate.clear()
    for _ in range(10):
        assert kids(await bench.ask("a")) == {"a"}
    await bench.issuer.fetched(2)
    bench.issuer.gate.set()
    await bench.settled()
    assert kids(await bench.ask()) == {"b"}
    assert bench.issuer.fetches == 2


async def test_a_warm_set_serves_for_a_day_while_the_issuer_is_down(bench: Bench) -> None:
    await bench.ask("a")
    bench.issuer.status = 503
    for _ in range(24):
        bench.clock.advance(3600)
        assert kids(await bench.ask("a")) == {"a"}
        await bench.settled()
    bench.clock.advance(3600)
    assert bench.key_sets.at_hand(bench.issuer.url) is None
    assert isinstance(await bench.ask("a"), Unavailable)


@pytest.mark.parametrize(
    ("cache_control", "life_s"),
    [
        ("", 3600),
        ("Cache-Control: public, max-age=7200\r\n", 7200),
        ('Cache-Control: max-age="600"\r\n', 600),
        ("Cache-Control: MAX-AGE=600, must-revalidate\r\n", 600),
        ("Cache-Control: max-age=0\r\n", 300),
        ("Cache-Control: max-age=299\r\n", 300),
        ("Cache-Control: max-age=86401\r\n", 86400),
        ("Cache-Control: max-age=99999999999999999999\r\n", 86400),
        ("Cache-Control: no-store\r\n", 300),
        ("Cache-Control: private, no-cache, max-age=7200\r\n", 300),
        ("Cache-Control: s-maxage=60\r\n", 3600),
        ("Cache-Control: max-age=soon\r\n", 3600),
        ("Cache-Control: \xff\r\n", 3600),
    ],
)
async def test_the_issuers_word_on_age_counts_within_bounds(cache_control: str, life_s: float, bench: Bench) -> None:
    bench.issuer.headers = cache_control
    await bench.ask("a")
    bench.clock.advance(life_s - 1)
    await bench.ask("a")
    assert bench.key_sets._sets[bench.issuer.url].fetch is None
    bench.clock.advance(1)
    await bench.ask("a")
    await bench.issuer.fetched(2)


# --- in the background ------------------------------------------------------------------------------------------------


async def test_what_is_named_at_the_start_is_fetched_before_anybody_asks(bench: Bench) -> None:
    bench.key_sets.start((bench.issuer.url,))
    await bench.issuer.fetched(1)
    await bench.settled()
    assert bench.key_sets.at_hand(bench.issuer.url) is not None


async def test_a_set_that_nobody_asks_for_is_renewed_each_hour(bench: Bench) -> None:
    bench.key_sets.start((bench.issuer.url,))
    for number in range(1, 6):
        await bench.issuer.fetched(number)
        await bench.settled()
        bench.issuer.body = jwks(f"key {number}")
        await _until_waiting(bench)
        bench.clock.advance(3600)
    await bench.issuer.fetched(6)


async def test_in_the_background_a_failing_issuer_is_asked_again_with_growing_waits(bench: Bench) -> None:
    bench.issuer.status = 503
    bench.key_sets.start((bench.issuer.url,))
    for number, wait_s in enumerate((1, 2, 4), start=1):
        await bench.issuer.fetched(number)
        await bench.settled()
        await _until_waiting(bench)
        assert bench.issuer.fetches == number
        bench.clock.advance(wait_s)
    await bench.issuer.fetched(4)


async def test_closing_ends_the_waiting_and_the_fetching(bench: Bench) -> None:
    bench.key_sets.start()
    bench.issuer.gate.clear()
    waiting = bench.asking("a")
    await bench.issuer.fetched(1)
    await bench.key_sets.close()
    assert await waiting == Unavailable(1)
    assert await bench.ask("a") == Unavailable(1)


async def _until_waiting(bench: Bench) -> None:
    """Until the renewing task waits for the clock: it has then seen that the fetch is over."""
    while not bench.clock._moved:
        await asyncio.sleep(0)
