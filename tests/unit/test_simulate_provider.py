"""How a provider is played: consent first, its own reading of statuses, its own waits, the rate that was granted."""

import asyncio
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from hookseal import catalogue
from hookseal.clock import GivenClock, Instant, from_unix
from hookseal.egress.port import Failure, Reply
from hookseal.message import Request, headers_of
from hookseal.model import AttemptReason
from hookseal.schemes.jwk import key_set_of
from hookseal.schemes.verdict import Keys, Proven, SigningKeys
from hookseal.simulate.examples import calls_of, examples_of
from hookseal.simulate.issuer import Issuer
from hookseal.simulate.provider import Consent, Fate, Simulator, Try, consent_in

START = from_unix(1_763_712_000)
URL = "http://receiver.test/in/source"
CONSENT = Reply(status=200, headers={"webhook-allowed-origin": "eventgrid.azure.net", "webhook-allowed-rate": "*"})
OPTIONS = {"audience": "11111111-2222-4333-8444-555555555555"}


@dataclass(frozen=True, slots=True)
class Sent:
    at: Instant
    method: str
    url: str
    headers: Sequence[tuple[str, str]]
    body: bytes


@dataclass(slots=True)
class Rim:
    """The network: answers as told, and remembers what was sent and when."""

    clock: GivenClock
    answer: Callable[[int], Reply | Failure] = lambda number: Reply(status=200, headers={})
    consent: Reply | Failure = CONSENT
    asked: list[Sent] = field(default_factory=list)
    posted: list[Sent] = field(default_factory=list)

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        timeout_s: float = 30.0,
        max_bytes: int = 65536,
    ) -> Reply | Failure:
        sent = Sent(self.clock.now(), method, url, headers, body)
        if method == "OPTIONS":
            self.asked.append(sent)
            return self.consent
        self.posted.append(sent)
        return self.answer(len(self.posted))

    async def close(self) -> None:
        pass


@dataclass(slots=True)
class Notes:
    consents: list[Consent] = field(default_factory=list)
    tries: list[Try] = field(default_factory=list)

    def consented(self, consent: Consent) -> None:
        self.consents.append(consent)

    def tried(self, attempt: Try) -> None:
        self.tries.append(attempt)


ISSUER = Issuer()


class Play:
    """A simulator on a clock that jumps to whatever is waited for next."""

    def __init__(self, provider: str, **more: Any) -> None:
        self.entry = catalogue.provider(provider)
        self.clock = Jumping(START)
        self.rim = Rim(self.clock)
        self.notes = Notes()
        tokens = self.entry.scheme_kind == "jwt_bearer"
        self.simulator = Simulator(
            provider=self.entry,
            scheme=self.entry.bind(OPTIONS if tokens else {}),
            keys=ISSUER.keys if tokens else SigningKeys(secret=b"a secret of the tests"),
            url=URL,
            egress=self.rim,
            clock=self.clock,
            watcher=self.notes,
            jitter=lambda: 0.0 if tokens else 0.5,
            **more,
        )

    async def events(self, count: int, name: str = "") -> bool:
        examples = examples_of(self.entry)
        example = examples[name or next(iter(examples))]
        random = itertools.count(1)
        return await self.simulator.play(
            (lambda: calls_of(self.entry, example, START, lambda size: next(random).to_bytes(size)))
            for _ in range(count)
        )

    @property
    def offsets(self) -> list[float]:
        return [(sent.at - START) / 1_000_000 for sent in self.rim.posted]


class Jumping(GivenClock):
    """Nothing but waiting takes time, and waiting takes none of ours."""

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        assert timeout_s is not None
        self.advance(timeout_s)
        return False


def always(status: int, **headers: str) -> Callable[[int], Reply]:
    return lambda number: Reply(status=status, headers={name.replace("_", "-"): text for name, text in headers.items()})


# --- consent


async def test_consent_is_asked_without_a_token_and_with_the_origin_only() -> None:
    play = Play("bankid_antifraud")
    assert await play.events(1)
    (asked,) = play.rim.asked
    assert (asked.method, asked.url, asked.body) == ("OPTIONS", URL, b"")
    assert list(asked.headers) == [("WebHook-Request-Origin", "eventgrid.azure.net")]


HANDSHAKES = [
    ("HS-echo", 200, "eventgrid.azure.net", "100", True),
    ("HS-star", 200, "*", "*", True),
    ("HS-case", 200, "EventGrid.Azure.Net", "100", True),
    ("HS-202", 202, "eventgrid.azure.net", "100", False),
    ("HS-204", 204, "eventgrid.azure.net", "100", False),
    ("HS-no-origin", 200, None, "100", False),
    ("HS-other-origin", 200, "evil.example", "100", False),
    ("HS-list", 200, "a.example, eventgrid.azure.net", "100", False),
    ("HS-no-rate", 200, "eventgrid.azure.net", None, False),
    ("HS-rate-zero", 200, "eventgrid.azure.net", "0", False),
    ("HS-rate-neg", 200, "eventgrid.azure.net", "-1", False),
    ("HS-rate-float", 200, "eventgrid.azure.net", "1.5", False),
    ("HS-rate-plus", 200, "eventgrid.azure.net", "+5", False),
    ("HS-rate-underscore", 200, "eventgrid.azure.net", "1_000", False),
    ("HS-rate-word", 200, "eventgrid.azure.net", "fast", False),
    ("HS-rate-empty", 200, "eventgrid.azure.net", "", False),
    ("HS-rate-arabic", 200, "eventgrid.azure.net", "\u0661\u0660\u0660", False),
    ("HS-rate-exp", 200, "eventgrid.azure.net", "1e3", False),
    ("HS-rate-1", 200, "*", "1", True),
    ("HS-405", 405, None, None, False),
    ("HS-302", 302, "eventgrid.azure.net", "100", False),
]
"""Name, the answer's status, WebHook-Allowed-Origin, WebHook-Allowed-Rate, whether that is a consent."""


@pytest.mark.parametrize(
    ("status", "origin", "rate", "granted"), [row[1:] for row in HANDSHAKES], ids=[row[0] for row in HANDSHAKES]
)
async def test_events_are_sent_only_after_a_consent(
    status: int, origin: str | None, rate: str | None, granted: bool
) -> None:
    play = Play("bankid_antifraud")
    headers = {"webhook-allowed-origin": origin, "webhook-allowed-rate": rate}
    play.rim.consent = Reply(status=status, headers={name: text for name, text in headers.items() if text is not None})
    assert await play.events(1) is granted
    assert bool(play.rim.posted) is granted
    assert play.notes.consents[0].granted is granted


async def test_no_answer_to_the_handshake_is_no_consent() -> None:
    play = Play("bankid_antifraud")
    play.rim.consent = Failure(reason=AttemptReason.CONNECT_REFUSED)
    assert not await play.events(1)
    assert play.rim.posted == []
    assert play.notes.consents[0].reason == "connect_refused"


async def test_a_provider_without_handshake_asks_nothing() -> None:
    play = Play("zignsec")
    assert await play.events(1)
    assert play.rim.asked == []


def test_a_list_of_origins_is_no_consent() -> None:
    headers = {"webhook-allowed-origin": "a.test, eventgrid.azure.net", "webhook-allowed-rate": "5"}
    assert not consent_in(Reply(status=200, headers=headers), "eventgrid.azure.net").granted


# --- the rate


async def test_the_granted_rate_is_kept_over_any_minute() -> None:
    play = Play("bankid_antifraud")
    play.rim.consent = Reply(status=200, headers={"webhook-allowed-origin": "*", "webhook-allowed-rate": "2"})
    assert await play.events(5)
    assert play.offsets == [0, 0, 60, 60, 120]


async def test_retries_count_towards_the_granted_rate() -> None:
    play = Play("bankid_antifraud", concurrency=1)
    play.rim.consent = Reply(status=200, headers={"webhook-allowed-origin": "*", "webhook-allowed-rate": "1"})
    play.rim.answer = lambda number: Reply(status=503 if number == 1 else 200, headers={})
    assert await play.events(2)
    assert play.offsets == [0, 60, 120]


async def test_without_a_limit_nothing_is_held_back() -> None:
    play = Play("bankid_antifraud")
    assert await play.events(50)
    assert set(play.offsets) == {0}


async def test_an_asked_rate_spaces_the_requests() -> None:
    play = Play("zignsec", per_second=4)
    assert await play.events(3)
    assert play.offsets == [0, 0.25, 0.5]


# --- tries


async def test_zignsec_tries_four_times_with_the_same_bytes_and_signature() -> None:
    play = Play("zignsec")
    play.rim.answer = always(500)
    assert not await play.events(1)
    assert play.offsets == [0, 60, 660, 4260]
    assert len({(sent.body, tuple(sent.headers)) for sent in play.rim.posted}) == 1
    assert [attempt.fate for attempt in play.notes.tries] == [Fate.AGAIN] * 3 + [Fate.GIVEN_UP]


async def test_a_try_after_a_failure_acknowledges_the_event() -> None:
    play = Play("idenfy")
    play.rim.answer = lambda number: Reply(status=500 if number == 1 else 200, headers={})
    assert await play.events(1)
    assert [attempt.fate for attempt in play.notes.tries] == [Fate.AGAIN, Fate.ACKNOWLEDGED]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
async def test_bankid_gives_up_for_ever_after_a_certain_refusal(status: int) -> None:
    play = Play("bankid_antifraud")
    play.rim.answer = always(status)
    assert not await play.events(1)
    assert len(play.rim.posted) == 1
    assert play.notes.tries[0].fate is Fate.GIVEN_UP


@pytest.mark.parametrize("status", [205, 226, 402, 410, 429, 503])
async def test_bankid_tries_eleven_times_within_a_day(status: int) -> None:
    play = Play("bankid_antifraud")
    play.rim.answer = always(status)
    assert not await play.events(1)
    assert play.offsets == [0, 10, 40, 100, 400, 1000, 2800, 6400, 17200, 38800, 82000]


async def test_a_wish_to_be_called_later_is_kept() -> None:
    play = Play("bankid_antifraud")
    play.rim.answer = lambda number: Reply(
        status=503 if number == 1 else 202, headers={"retry-after": "120"} if number == 1 else {}
    )
    assert await play.events(1)
    assert play.offsets == [0, 120]


async def test_no_answer_is_tried_again() -> None:
    play = Play("zignsec")
    play.rim.answer = lambda number: (
        Failure(reason=AttemptReason.CONNECT_REFUSED) if number == 1 else Reply(status=204, headers={})
    )
    assert await play.events(1)
    assert (play.notes.tries[0].status, play.notes.tries[0].reason) == (None, "connect_refused")


async def test_speed_shortens_what_is_waited_and_not_what_is_told() -> None:
    play = Play("zignsec", speed=60)
    play.rim.answer = always(500)
    assert not await play.events(1)
    assert play.offsets == [0, 1, 11, 71]
    assert [attempt.wait_s for attempt in play.notes.tries] == [60, 600, 3600, None]


async def test_speed_does_not_lengthen_the_window_of_a_day() -> None:
    play = Play("bankid_antifraud", speed=1000)
    play.rim.answer = always(503)
    assert not await play.events(1)
    assert len(play.rim.posted) == 11


# --- what is sent


async def test_each_try_has_a_token_of_its_own_time() -> None:
    play = Play("bankid_antifraud")
    play.rim.answer = lambda number: Reply(status=503 if number < 9 else 202, headers={})
    assert await play.events(1)
    keys = Keys(key_set=key_set_of(ISSUER.key_set))
    scheme = play.entry.bind(OPTIONS)
    tokens = {dict(sent.headers)["Authorization"] for sent in play.rim.posted}
    assert len(tokens) == 9
    for sent in play.rim.posted:
        request = Request(headers=headers_of(sent.headers), body=sent.body)
        assert isinstance(scheme.verify(request, keys, sent.at), Proven)


async def test_the_key_set_holds_no_private_member() -> None:
    (key,) = json.loads(ISSUER.key_set)["keys"]
    assert set(key) == {"kty", "use", "kid", "n", "e"}


@pytest.mark.parametrize(
    ("provider", "names"),
    [
        ("zignsec", ["Content-Type", "X-ZignSec-Hmac-SHA256"]),
        ("idenfy", ["Content-Type", "Idenfy-Event-Type", "Idenfy-Signature"]),
        ("bankid_antifraud", ["Content-Type", "Authorization"]),
        (
            "seal_id",
            [
                "Content-Type",
                "accept",
                "ubiid-notification-timestamp",
                "x-ubiid-notification-timestamp",
                "ubiid-notification-signature",
                "x-ubiid-notification-signature",
            ],
        ),
    ],
)
async def test_the_headers_are_the_providers_own_in_its_spelling(provider: str, names: list[str]) -> None:
    play = Play(provider)
    assert await play.events(1)
    assert sorted(name for name, _ in play.rim.posted[0].headers) == sorted(names)


async def test_bankid_says_its_media_type_with_the_charset() -> None:
    play = Play("bankid_antifraud")
    assert await play.events(1)
    assert dict(play.rim.posted[0].headers)["Content-Type"] == "application/cloudevents+json; charset=utf-8"


async def test_the_calls_of_one_event_go_in_their_order_however_often_each_is_tried() -> None:
    play = Play("zignsec")
    play.rim.answer = lambda number: Reply(status=500 if number == 1 else 200, headers={})
    assert await play.events(1, "sms")
    statuses = [json.loads(sent.body)["status"] for sent in play.rim.posted]
    assert statuses == ["queued", "queued", "sent", "delivered"]


async def test_only_the_title_of_a_problem_is_read_from_an_answer() -> None:
    play = Play("idenfy")
    play.rim.answer = lambda number: Reply(
        status=403,
        headers={"content-type": "application/problem+json" if number == 1 else "text/html"},
        body=b'{"type":"about:blank","title":"Invalid signature","status":403}',
    )
    await play.events(1)
    assert [attempt.title for attempt in play.notes.tries[:2]] == ["Invalid signature", ""]
