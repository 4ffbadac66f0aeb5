"""Faults on request: what is sent, which make sense, and what the provider would do after the answer."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from hookseal import catalogue
from hookseal.clock import GivenClock, Instant, from_unix, plus
from hookseal.message import Request, headers_of
from hookseal.model import ProviderId
from hookseal.schemes.jwk import parse
from hookseal.schemes.verdict import KeyNeeded, Keys, Proven, SigningKeys
from hookseal.simulate.cases.sender import Sender
from hookseal.simulate.faults import ABOUT, Fault, FaultPlayer, Played, faults_of, parts_of
from hookseal.simulate.issuer import Issuer
from hookseal.simulate.provider import Fate, Rate
from hookseal.simulate.wire import Answer, Manner, Sent

START = from_unix(1_763_712_000)
SECRET = b"a secret of the tests, long enough"
ISSUER = Issuer()
KEYS = Keys(secrets=(SECRET,), key_set=parse(ISSUER.key_set))
FIRST = {"zignsec": "success", "seal_id": "identification", "idenfy": "approved", "bankid_antifraud": "alarm"}


def sender_of(provider: str) -> Sender:
    entry = catalogue.provider(ProviderId(provider))
    options = {"audience": "a-recipient"} if provider == "bankid_antifraud" else {}
    keys = ISSUER.keys if options else SigningKeys(secret=SECRET)
    return Sender(
        provider=entry, scheme=entry.bind(options), keys=keys, url="http://receiver.test/", random_bytes=os.urandom
    )


SENDERS = {provider: sender_of(provider) for provider in FIRST}


@dataclass(slots=True)
class Rim:
    """The network: answers by number, from 1, and remembers what was sent and when."""

    clock: GivenClock
    answer: Callable[[int], Answer] = lambda number: Answer(status=200)
    sent: list[tuple[Instant, Sent]] = field(default_factory=list)

    async def exchange(self, sent: Sent, timeout_s: float) -> Answer:
        self.sent.append((self.clock.now(), sent))
        if sent.manner is Manner.LEFT:
            return Answer(status=None, reason="left")
        return self.answer(len(self.sent))


async def played(
    provider: str, fault: Fault, answer: Callable[[int], Answer] = lambda number: Answer(status=200), speed: float = 1.0
) -> tuple[bool, list[Played], Rim]:
    clock = GivenClock(START)
    rim, told = Rim(clock, answer), list[Played]()
    player = FaultPlayer(
        sender=SENDERS[provider],
        wire=rim,
        clock=clock,
        rate=Rate(clock),
        jitter=lambda: 0.0,
        told=told.append,
        speed=speed,
    )
    return await player.play(fault, FIRST[provider]), told, rim


def is_proven(provider: str, sent: Sent, now: Instant = START) -> bool | None:
    sender = SENDERS[provider]
    request = Request(headers=headers_of(sent.headers), body=sent.body, url=sender.url)
    verdict = sender.scheme.verify(request, KEYS, now)
    return None if isinstance(verdict, KeyNeeded) else isinstance(verdict, Proven)


OF_HASH = {Fault.ALTERED_BODY, Fault.RESERIALISED_BODY, Fault.WRONG_SECRET, Fault.WRONG_ENCODING}
OF_TOKEN = {Fault.EXPIRED_TOKEN, Fault.WRONG_TOKEN, Fault.UNKNOWN_KEY}


def test_each_provider_has_the_faults_that_its_proof_can_have() -> None:
    kinds = {provider: set(faults_of(sender.scheme)) for provider, sender in SENDERS.items()}
    assert kinds["zignsec"] == kinds["idenfy"] == set(Fault) - OF_TOKEN - {Fault.OLD_TIMESTAMP}
    assert kinds["seal_id"] == set(Fault) - OF_TOKEN
    assert kinds["bankid_antifraud"] == set(Fault) - OF_HASH - {Fault.OLD_TIMESTAMP}
    assert set(ABOUT) == set(Fault)


@pytest.mark.parametrize(
    ("provider", "fault", "proven"),
    [
        *((provider, fault, [False]) for provider in ("zignsec", "idenfy", "seal_id") for fault in sorted(OF_HASH)),
        ("seal_id", Fault.OLD_TIMESTAMP, [True]),
        ("bankid_antifraud", Fault.EXPIRED_TOKEN, [False]),
        ("bankid_antifraud", Fault.WRONG_TOKEN, [False, False, False]),
        ("bankid_antifraud", Fault.UNKNOWN_KEY, [None]),
        *((provider, Fault.DUPLICATE, [True, True]) for provider in FIRST),
        *((provider, Fault.REORDER, [True, True]) for provider in FIRST),
        *((provider, Fault.DELAY, [True]) for provider in FIRST),
        *((provider, Fault.DROP_ANSWER, [True, True]) for provider in FIRST),
        *((provider, Fault.TRUNCATED_BODY, [True]) for provider in FIRST),
        *((provider, Fault.SLOW_BODY, [True]) for provider in FIRST),
    ],
)
async def test_a_fault_sends_what_it_says(provider: str, fault: Fault, proven: list[bool | None]) -> None:
    if (provider, fault) == ("seal_id", Fault.RESERIALISED_BODY):
        proven = [True]  # its example is changed in nothing but white space, which is free there
    sent = [part.make(START) for part in parts_of(SENDERS[provider], fault, FIRST[provider], START)]
    assert [is_proven(provider, one) for one in sent] == proven


def test_white_space_alone_is_to_be_taken_from_seal_id() -> None:
    (part,) = parts_of(SENDERS["seal_id"], Fault.RESERIALISED_BODY, "identification", START)
    assert part.expected.told == "2xx"
    (part,) = parts_of(SENDERS["idenfy"], Fault.RESERIALISED_BODY, "approved", START)
    assert part.expected.told == "403"


def test_without_a_documented_limit_an_old_request_may_be_taken_or_refused() -> None:
    (part,) = parts_of(SENDERS["seal_id"], Fault.OLD_TIMESTAMP, "identification", START)
    assert [bool(part.expected.fault_in(Answer(status=status))) for status in (200, 401, 503)] == [False, False, True]


async def test_duplicates_are_the_same_bytes() -> None:
    right, told, rim = await played("bankid_antifraud", Fault.DUPLICATE, lambda number: Answer(status=202))
    assert right
    assert rim.sent[0] == rim.sent[1]
    assert [one.what for one in told] == ["first", "again"]


async def test_reordered_calls_about_one_subject_come_last_first() -> None:
    _, _, rim = await played("idenfy", Fault.REORDER)
    newer, older = (sent.body for _, sent in rim.sent)
    assert b'"final":true' in newer
    assert b'"final":false' in older
    scan_ref = newer.index(b'"scanRef"')
    assert newer[scan_ref : scan_ref + 50] in older


async def test_after_a_lost_answer_the_retry_comes_when_the_policy_says() -> None:
    clock = GivenClock(START)
    rim, told = Rim(clock), list[Played]()
    player = FaultPlayer(
        sender=SENDERS["bankid_antifraud"],
        wire=rim,
        clock=_Advancing(clock),  # type: ignore[arg-type]
        rate=Rate(clock),
        jitter=lambda: 0.0,
        told=told.append,
    )
    assert await player.play(Fault.DROP_ANSWER, "alarm")
    (first_at, first), (second_at, second) = rim.sent
    assert second_at == plus(first_at, 10.0)
    assert (first.manner, second.manner) == (Manner.LEFT, Manner.WHOLE)
    assert first.body == second.body
    assert first.headers != second.headers  # a token of that moment
    assert [(one.fate, one.wait_s) for one in told] == [(Fate.AGAIN, 10.0), (Fate.ACKNOWLEDGED, None)]


class _Advancing:
    """A given clock whose waits pass at once."""

    def __init__(self, clock: GivenClock) -> None:
        self._clock = clock
        self.now, self.monotonic = clock.now, clock.monotonic

    async def wait(self, event: object, timeout_s: float) -> bool:
        self._clock.advance(timeout_s)
        return False


@pytest.mark.parametrize(
    ("provider", "status", "right", "fate", "wait_s"),
    [
        ("idenfy", 403, True, Fate.AGAIN, 4.0),
        ("idenfy", 401, False, Fate.AGAIN, 4.0),
        ("idenfy", 200, False, Fate.ACKNOWLEDGED, None),
        ("zignsec", 401, True, Fate.AGAIN, 48.0),
        ("zignsec", 422, True, Fate.AGAIN, 48.0),
        ("zignsec", 500, False, Fate.AGAIN, 48.0),
        ("zignsec", 410, False, Fate.AGAIN, 48.0),
        ("zignsec", None, False, Fate.AGAIN, 48.0),
    ],
)
async def test_a_forged_request_is_judged_and_its_end_told(
    provider: str, status: int | None, right: bool, fate: Fate, wait_s: float | None
) -> None:
    done, (told,), _ = await played(provider, Fault.WRONG_SECRET, lambda number: Answer(status=status, reason="x"))
    assert (done, told.problem == "", told.fate, told.wait_s) == (right, right, fate, wait_s)


@pytest.mark.parametrize(
    ("status", "right", "fate", "wait_s"),
    [
        (401, True, Fate.GIVEN_UP, None),
        (400, True, Fate.GIVEN_UP, None),
        (422, False, Fate.AGAIN, 10.0),
        (205, False, Fate.AGAIN, 10.0),
        (204, False, Fate.ACKNOWLEDGED, None),
    ],
)
async def test_bankid_reads_statuses_by_its_own_table(
    status: int, right: bool, fate: Fate, wait_s: float | None
) -> None:
    done, (told,), _ = await played("bankid_antifraud", Fault.EXPIRED_TOKEN, lambda number: Answer(status=status))
    assert (done, told.fate, told.wait_s) == (right, fate, wait_s)


async def test_a_longer_wait_that_was_asked_for_is_told() -> None:
    answer = Answer(status=503, headers={"retry-after": "120"})
    done, (told,), _ = await played("bankid_antifraud", Fault.UNKNOWN_KEY, lambda number: answer)
    assert (done, told.wait_s) == (True, 120.0)


@pytest.mark.parametrize("fault", [Fault.TRUNCATED_BODY, Fault.SLOW_BODY])
@pytest.mark.parametrize(("status", "right"), [(200, False), (408, True), (None, True), (503, True)])
async def test_what_never_came_in_full_must_not_be_acknowledged(fault: Fault, status: int | None, right: bool) -> None:
    done, _, _ = await played("zignsec", fault, lambda number: Answer(status=status, reason="connect_reset"))
    assert done is right


def test_what_would_come_next_is_told_by_the_providers_own_reading() -> None:
    assert 410 not in SENDERS["idenfy"].policy.permanent  # its policy is `standard`, but it tries everything again
    assert 410 not in SENDERS["zignsec"].policy.permanent
    assert 404 in SENDERS["bankid_antifraud"].policy.permanent
