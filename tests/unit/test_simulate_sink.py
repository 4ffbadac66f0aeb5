"""The demo's last stop and its book: what is not proven is not counted, and what came twice counts once."""

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from hookseal.cli.demo_board import Board, Counts, Passage
from hookseal.clock import GivenClock, from_unix
from hookseal.simulate.examples import Call, Expected
from hookseal.simulate.provider import Consent, Fate, Try
from hookseal.simulate.sink import Arrival, Sink

NOW = 1_763_712_000
KEY = hashlib.sha256(b"a key of the tests").digest()
SECRET = b"whsec_" + base64.b64encode(KEY)
BODY = b'{"id":"one","providerid":"mark-1","subject":"s","data":{"payload":{"a":1}}}'


@dataclass(slots=True)
class Taken:
    arrivals: list[Arrival] = field(default_factory=list)
    unproven: int = 0

    def count(self) -> None:
        self.unproven += 1


async def post(sink: Sink, headers: dict[str, str], body: bytes) -> int:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await sink({"type": "http", "headers": raw}, receive, send)
    status: int = sent[0]["status"]
    return status


def signed(id: str, body: bytes, time: int = NOW, key: bytes = KEY) -> dict[str, str]:
    digest = base64.b64encode(hmac.digest(key, f"{id}.{time}.".encode() + body, "sha256")).decode()
    return {"webhook-id": id, "webhook-timestamp": str(time), "webhook-signature": f"v1,{digest}"}


@pytest.fixture
def taken() -> Taken:
    return Taken()


@pytest.fixture
def sink(taken: Taken) -> Sink:
    return Sink(SECRET, GivenClock(from_unix(NOW)), taken.arrivals.append, taken.count)


async def test_a_signed_delivery_arrives(sink: Sink, taken: Taken) -> None:
    assert await post(sink, signed("msg_1", BODY), BODY) == 204
    assert [(one.webhook_id, one.repeat) for one in taken.arrivals] == [("msg_1", False)]


async def test_a_signature_of_the_specification_is_taken(taken: Taken) -> None:
    # the example of the specification's reference libraries
    sink = Sink(
        b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        GivenClock(from_unix(1_614_265_330)),
        taken.arrivals.append,
        taken.count,
    )
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    assert await post(sink, headers, b'{"test": 2432232314}') == 204


async def test_one_of_several_signatures_is_enough(sink: Sink) -> None:
    headers = signed("msg_1", BODY)
    headers["webhook-signature"] = f"v1,AAAA {headers['webhook-signature']}"
    assert await post(sink, headers, BODY) == 204


async def test_a_repeat_is_told_as_one(sink: Sink, taken: Taken) -> None:
    for _ in range(2):
        await post(sink, signed("msg_1", BODY), BODY)
    assert [one.repeat for one in taken.arrivals] == [False, True]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        signed("msg_1", BODY, key=b"another"),
        signed("msg_1", BODY + b" "),
        signed("msg_1", BODY, time=NOW - 301),
        signed("msg_1", BODY) | {"webhook-id": "msg_2"},
        signed("msg_1", BODY) | {"webhook-timestamp": "now"},
        signed("msg_1", BODY) | {"webhook-signature": "v1,\xff"},
    ],
    ids=["none", "other-key", "other-body", "old", "other-id", "no-time", "not-ascii"],
)
async def test_what_is_not_proven_is_refused_and_told(sink: Sink, taken: Taken, headers: dict[str, str]) -> None:
    assert await post(sink, headers, BODY) == 401
    assert (taken.arrivals, taken.unproven) == ([], 1)


# --- the book


@dataclass(slots=True)
class Shown:
    passed_: list[Passage] = field(default_factory=list)
    visits: int = 0
    surprises: list[str] = field(default_factory=list)

    def consented(self, provider: str, consent: Consent) -> None: ...

    def passed(self, passage: Passage) -> None:
        self.passed_.append(passage)

    def failed(self, provider: str, attempt: Try) -> None: ...

    def surprised(self, provider: str, what: str) -> None:
        self.surprises.append(what)

    def visited(self, event: dict[str, Any]) -> None:
        self.visits += 1


def call_of(mark: str, payload: Any = None) -> Call:
    body = json.dumps({"a": 1} if payload is None else payload).encode()
    return Call(example="x", body=body, content_type="application/json", expected=(Expected(mark, "other"),))


def tried(call: Call, fate: Fate, status: int = 200) -> Try:
    return Try(call=call, number=1, status=status, reason=None, title="", seconds=0.0, fate=fate)


def arrival(id: str, mark: str, payload: Any = None, repeat: bool = False) -> Arrival:
    event = {
        "id": id,
        "providerid": mark,
        "provider": "p",
        "data": {"payload": {"a": 1} if payload is None else payload},
    }
    return Arrival(webhook_id=id, event=event, repeat=repeat)


class Book:
    def __init__(self) -> None:
        self.show = Shown()
        self.clock = GivenClock(from_unix(NOW))
        self.board = Board(self.clock, self.show, {"p": Counts()})

    @property
    def counts(self) -> tuple[int, int, int]:
        one = self.board.providers["p"]
        return one.sent, one.accepted, one.delivered


def test_an_event_is_shown_only_when_it_was_answered_and_has_arrived() -> None:
    book, call = Book(), call_of("m1")
    book.board.expect("p", [call])
    book.board.arrived(arrival("1", "m1"))
    assert (book.counts, book.show.passed_) == ((0, 0, 1), [])
    book.board.tried("p", tried(call, Fate.ACKNOWLEDGED))
    assert book.counts == (1, 1, 1)
    assert len(book.show.passed_) == 1


async def test_what_was_accepted_and_has_not_arrived_is_missing() -> None:
    book, call = Book(), call_of("m1")
    book.board.expect("p", [call])
    book.board.tried("p", tried(call, Fate.ACKNOWLEDGED))
    assert not await book.board.settled(0)
    assert [one.expected.mark for one in book.board.missing] == ["m1"]


def test_a_refused_call_counts_as_sent_only() -> None:
    book, call = Book(), call_of("m1")
    book.board.expect("p", [call])
    book.board.tried("p", tried(call, Fate.GIVEN_UP, 401))
    assert book.counts == (1, 0, 0)


def test_a_repeated_delivery_counts_once() -> None:
    book, call = Book(), call_of("m1")
    book.board.expect("p", [call])
    book.board.arrived(arrival("1", "m1"))
    book.board.arrived(arrival("1", "m1", repeat=True))
    assert book.counts == (0, 0, 1)


def test_calls_that_share_an_id_are_told_apart_by_their_bodies() -> None:
    book = Book()
    calls = [call_of("m1", {"status": status}) for status in ("queued", "sent")]
    book.board.expect("p", calls)
    book.board.arrived(arrival("2", "m1", {"status": "sent"}))
    book.board.tried("p", tried(calls[1], Fate.ACKNOWLEDGED))
    assert [one.call for one in book.show.passed_] == [calls[1]]


def test_a_forged_event_that_arrives_is_a_surprise_and_no_delivery() -> None:
    book = Book()
    book.board.forge(call_of("evil"))
    book.board.arrived(arrival("1", "evil"))
    assert book.counts == (0, 0, 0)
    assert (book.board.surprises, len(book.show.surprises)) == (1, 1)


def test_an_event_of_the_users_own_is_shown_and_not_counted() -> None:
    book = Book()
    book.board.arrived(arrival("1", "stranger"))
    assert (book.counts, book.show.visits, book.board.surprises) == ((0, 0, 0), 1, 0)
