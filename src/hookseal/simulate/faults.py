"""One thing that goes wrong, on request: between provider and receiver, or by a forger's hand.

A fault is one or several requests about a new event, each with what a correct receiver answers. Nothing is tried again
for its own sake; what the provider would do after the answer is told instead. Only where the fault is the answer that
got lost does the retry belong to it, and comes when the provider's policy says.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from hookseal.clock import Clock, Instant, plus
from hookseal.delivery import retry_after
from hookseal.schemes.jwt_bearer import JwtBearer
from hookseal.schemes.keyed_hash import Encoding, KeyedHash
from hookseal.schemes.verdict import Scheme, SigningKeys
from hookseal.simulate.cases.forging import ENCODED, signed, with_signature
from hookseal.simulate.cases.sender import Sender, is_json_object
from hookseal.simulate.cases.vocabulary import Expected, accepted, not_acknowledged, one_of, refused
from hookseal.simulate.examples import Call, examples_of
from hookseal.simulate.provider import Fate, Rate, fate_of, pause
from hookseal.simulate.tokens import Token, stranger, token_in
from hookseal.simulate.wire import Answer, Manner, Sent, Wire

_DAY_S = 86_400.0
_HOUR_S = 3600
_WRONG_SECRET = b"a secret that the receiver does not have"


class Fault(StrEnum):
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    DELAY = "delay"
    DROP_ANSWER = "drop-answer"
    ALTERED_BODY = "altered-body"
    RESERIALISED_BODY = "reserialised-body"
    WRONG_SECRET = "wrong-secret"
    WRONG_ENCODING = "wrong-encoding"
    OLD_TIMESTAMP = "old-timestamp"
    EXPIRED_TOKEN = "expired-token"
    WRONG_TOKEN = "wrong-token"
    UNKNOWN_KEY = "unknown-key"
    TRUNCATED_BODY = "truncated-body"
    SLOW_BODY = "slow-body"


ABOUT: Final[Mapping[Fault, str]] = {
    Fault.DUPLICATE: "the same request twice",
    Fault.REORDER: "a newer event before an older one",
    Fault.DELAY: "an event of a day ago, proven now",
    Fault.DROP_ANSWER: "the connection is closed before the answer, then the retry",
    Fault.ALTERED_BODY: "one byte of the body changed on the way",
    Fault.RESERIALISED_BODY: "the body parsed and dumped again on the way",
    Fault.WRONG_SECRET: "signed by another secret",
    Fault.WRONG_ENCODING: "the right digest in hex for base64, or the reverse",
    Fault.OLD_TIMESTAMP: "signed a day ago",
    Fault.EXPIRED_TOKEN: "a token that expired an hour ago",
    Fault.WRONG_TOKEN: "tokens for another audience, of another issuer, by another key",
    Fault.UNKNOWN_KEY: "a token whose key id no key set has",
    Fault.TRUNCATED_BODY: "the body ends before its length",
    Fault.SLOW_BODY: "half of the body, then silence",
}

_OF_ANY = (Fault.DUPLICATE, Fault.REORDER, Fault.DELAY, Fault.DROP_ANSWER)
_OF_CONNECTION = (Fault.TRUNCATED_BODY, Fault.SLOW_BODY)
_OF_HASH = (Fault.ALTERED_BODY, Fault.RESERIALISED_BODY, Fault.WRONG_SECRET, Fault.WRONG_ENCODING)
_OF_TOKEN = (Fault.EXPIRED_TOKEN, Fault.WRONG_TOKEN, Fault.UNKNOWN_KEY)


def faults_of(scheme: Scheme) -> tuple[Fault, ...]:
    """The kinds that make sense for a provider that proves its requests so."""
    match scheme:
        case KeyedHash():
            timed = (Fault.OLD_TIMESTAMP,) if scheme.carries_time else ()
            return _OF_ANY + _OF_HASH + timed + _OF_CONNECTION
        case JwtBearer():  # a token covers no body, so nothing proves that one was altered
            return _OF_ANY + _OF_TOKEN + _OF_CONNECTION
        case _:
            return _OF_ANY + _OF_CONNECTION


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One request of a fault. make: called when its turn comes. what: tells it from the fault's other requests."""

    what: str
    expected: Expected
    make: Callable[[Instant], Sent]


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """One request of a fault, and what came of it.

    problem  what is wrong with the answer, as a sentence; "" when a correct receiver answers so.
    fate     what the provider does next; wait_s: with AGAIN, how long it waits.
    """

    fault: Fault
    what: str
    expected: str
    answer: Answer
    problem: str
    fate: Fate
    wait_s: float | None


class FaultPlayer:
    """Plays faults against one receiver. patience_s: how long a connection that fell silent is watched."""

    def __init__(
        self,
        *,
        sender: Sender,
        wire: Wire,
        clock: Clock,
        rate: Rate,
        jitter: Callable[[], float],
        told: Callable[[Played], None],
        speed: float = 1.0,
        patience_s: float = 30.0,
    ) -> None:
        self._sender = sender
        self._wire = wire
        self._clock = clock
        self._rate = rate
        self._jitter = jitter
        self._told = told
        self._speed = speed
        self._patience_s = patience_s

    async def play(self, fault: Fault, example: str) -> bool:
        """One fault with a new event; True when all answers were those of a correct receiver."""
        right = True
        for part in parts_of(self._sender, fault, example, self._clock.now()):
            await self._rate.turn()
            first_at = self._clock.now()
            sent = part.make(first_at)
            slow = sent.manner is Manner.STALLED
            answer = await self._wire.exchange(
                sent, self._patience_s if slow else self._sender.provider.sending.timeout_s
            )
            ended_at = self._clock.now()
            wish = retry_after.parse(answer.headers.get("retry-after"), ended_at)
            fate, wait_s = fate_of(self._sender.policy, answer.status, 1, first_at, ended_at, wish, self._jitter())
            left = sent.manner is Manner.LEFT
            problem = "" if left else part.expected.fault_in(answer)
            right = right and not problem
            self._told(
                Played(
                    fault=fault,
                    what=part.what,
                    expected=part.expected.told,
                    answer=answer,
                    problem=problem,
                    fate=fate,
                    wait_s=wait_s,
                )
            )
            if left and wait_s is not None:
                await pause(self._clock, wait_s / self._speed)
        return right


def parts_of(sender: Sender, fault: Fault, example: str, now: Instant) -> tuple[Part, ...]:
    """The requests of one fault about a new event after `example`, in their order."""
    call = sender.event(now, example)[0]
    yes, no = accepted(sender.policy), refused(sender.provider, sender.policy)

    def part(what: str, expected: Expected, make: Callable[[Instant], Sent]) -> Part:
        return Part(what=what, expected=expected, make=make)

    def in_manner(manner: Manner) -> Callable[[Instant], Sent]:
        return lambda at: replace(sender.good(call, at), manner=manner)

    match fault:
        case Fault.DUPLICATE:
            good = sender.good(call, now)
            return part("first", yes, lambda at: good), part("again", yes, lambda at: good)
        case Fault.REORDER:
            newer, older = _newer_and_older(sender, example, now)
            return (
                part("newer", yes, lambda at: sender.good(newer, at)),
                part("older", yes, lambda at: sender.good(older, at)),
            )
        case Fault.DELAY:
            late = sender.event(plus(now, -_DAY_S), example)[0]
            return (part("late", yes, lambda at: sender.good(late, at)),)
        case Fault.DROP_ANSWER:
            return part("first", yes, in_manner(Manner.LEFT)), part("again", yes, lambda at: sender.good(call, at))
        case Fault.TRUNCATED_BODY:
            return (part("", not_acknowledged(), in_manner(Manner.TRUNCATED)),)
        case Fault.SLOW_BODY:
            return (part("", not_acknowledged(), in_manner(Manner.STALLED)),)
        case Fault.EXPIRED_TOKEN | Fault.WRONG_TOKEN | Fault.UNKNOWN_KEY:
            unknown = refused(sender.provider, sender.policy, frozenset({429, 503}))
            return tuple(
                part(what, unknown if fault is Fault.UNKNOWN_KEY else no, _with_token(sender, call, change))
                for what, change in _TOKENS[fault]
            )
        case _:
            return (_part_of_hash(sender, fault, call, no),)


def _part_of_hash(sender: Sender, fault: Fault, call: Call, no: Expected) -> Part:
    scheme = sender.scheme
    assert isinstance(scheme, KeyedHash)
    expected, make = no, None
    match fault:
        case Fault.ALTERED_BODY:
            make = _with_body(sender, call, _altered)
        case Fault.RESERIALISED_BODY:
            make = _with_body(sender, call, _reserialised)
            now = Instant(0)
            if sender.accepts(make(now), now):  # only white space changed, which is free for this provider
                expected = accepted(sender.policy)
        case Fault.WRONG_SECRET:
            make = _by_wrong_secret(sender, call)
        case Fault.OLD_TIMESTAMP:
            make = lambda at: sender.good(call, plus(at, -_DAY_S))  # noqa: E731
            if scheme.tolerance_s is None:
                expected = _taken_or_refused(sender)
        case _:
            make = _in_other_encoding(sender, scheme, call)
    return Part(what="", expected=expected, make=make)


def _newer_and_older(sender: Sender, example: str, now: Instant) -> tuple[Call, Call]:
    """The last and the first call about one subject where the example, or one of them all, has several; else two events."""
    examples = examples_of(sender.provider)
    for name in (example, *examples):
        if len(examples[name].drafts) > 1:
            calls = sender.event(now, name)
            return calls[-1], calls[0]
    return sender.event(now, example)[0], sender.event(plus(now, -_HOUR_S), example)[0]


def _with_body(sender: Sender, call: Call, change: Callable[[bytes], bytes]) -> Callable[[Instant], Sent]:
    """Signed as one body, sent as another."""
    return lambda at: replace(sender.good(call, at), body=change(call.body))


def _altered(body: bytes) -> bytes:
    place = len(body) // 2
    return body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :] if body else b"0"


def _reserialised(body: bytes) -> bytes:
    return json.dumps(json.loads(body)).encode() if is_json_object(body) else body + b"\n"


def _by_wrong_secret(sender: Sender, call: Call) -> Callable[[Instant], Sent]:
    def make(at: Instant) -> Sent:
        proof = sender.proof(call, at, SigningKeys(secret=_WRONG_SECRET))
        return replace(sender.good(call, at), headers=sender.plain(call) + proof)

    return make


def _in_other_encoding(sender: Sender, scheme: KeyedHash, call: Call) -> Callable[[Instant], Sent]:
    in_hex = scheme.encoding in (Encoding.HEX, Encoding.HEX_UPPER)
    other = ENCODED[Encoding.BASE64 if in_hex else Encoding.HEX]

    def make(at: Instant) -> Sent:
        good = signed(sender, scheme, call, at)
        return with_signature(good, other(good.digest))

    return make


def _taken_or_refused(sender: Sender) -> Expected:
    """No document sets a limit, so the receiver may have one or none."""
    refusals = frozenset(range(400, 500)) - {408, 425, 429}
    return one_of(
        sender.policy.success | refusals, "2xx, or 4xx by a limit of your own", "It failed on an old request."
    )


_TOKENS: Final[Mapping[Fault, tuple[tuple[str, Callable[[Token, int], Token]], ...]]] = {
    Fault.EXPIRED_TOKEN: (
        ("", lambda token, now: token.with_claims(iat=now - 2 * _HOUR_S, nbf=now - 2 * _HOUR_S, exp=now - _HOUR_S)),
    ),
    Fault.WRONG_TOKEN: (
        ("audience", lambda token, now: token.with_claims(aud="99999999-2222-4333-8444-555555555555")),
        ("issuer", lambda token, now: token.with_claims(iss=f"{token.claims['iss']}/")),
        ("key", lambda token, now: replace(token, key=stranger())),
    ),
    Fault.UNKNOWN_KEY: (("", lambda token, now: replace(token.with_header(kid="a-key-of-tomorrow"), key=stranger())),),
}


def _with_token(sender: Sender, call: Call, change: Callable[[Token, int], Token]) -> Callable[[Instant], Sent]:
    def make(at: Instant) -> Sent:
        good = sender.good(call, at)
        headers = []
        for name, value in good.headers:
            if name == b"Authorization":
                token = token_in(value.decode(), sender.keys.private_key)
                value = f"Bearer {change(token, at // 1_000_000).text}".encode()
            headers.append((name, value))
        return replace(good, headers=tuple(headers))

    return make
