"""CloudEvents under a good proof: what must be taken, and the little that may be refused with a code that ends it.

Sources: CloudEvents 1.0.2, spec.md and formats/json-format.md; http-webhook.md for 415; the provider's own table of
statuses says what each of them does.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from hookseal.clock import Instant
from hookseal.simulate.cases.sender import Sender, with_member
from hookseal.simulate.cases.vocabulary import Case, Expected, Group, accepted, one_of
from hookseal.simulate.examples import Call
from hookseal.simulate.wire import Manner, Sent

_STRUCTURED = "application/cloudevents+json"
_LARGE_BYTES = 1_000_000
_HOPELESS = "What can never become valid is answered 400; other codes lose the reason, or bring it back for a day."


def cases(sender: Sender) -> Iterator[Case]:
    taken = accepted(sender.policy)
    hopeless = one_of(frozenset({400}), "400", _HOPELESS)

    def case(id: str, sends: str, why: str, expected: Expected, change: Callable[[Call], Call | None]) -> Case:
        def make(now: Instant) -> tuple[Sent, ...]:
            call = change(sender.call(now))
            return () if call is None else (sender.good(call, now),)

        return Case(id=id, group=Group.ENVELOPE, sends=sends, why=why, expected=expected, make=make)

    for id, sends, content_type in (
        ("media-type-plain", "the media type without a charset", _STRUCTURED),
        ("media-type-case", "the media type in other case", 'Application/CloudEvents+JSON;Charset="UTF-8"'),
    ):
        yield case(
            id,
            sends,
            "Media types have no case and parameters are optional: compare the type alone.",
            taken,
            lambda call, content_type=content_type: replace(call, content_type=content_type),  # type: ignore[misc]
        )
    for id, type in (
        ("type-unknown", "no.bankid.antifraud.something.new.v1"),
        ("type-deprecated", "no.bankid.antifraud.alarm.dispatch.v1"),
        ("type-case", "NO.BANKID.ANTIFRAUD.ALARM.DISPATCH.V2"),
    ):
        yield case(
            id,
            f"type {type}",
            "New types come unannounced: a 4xx loses them silently, a 5xx brings them back for a day.",
            taken,
            lambda call, type=type: _with(call, type=type),  # type: ignore[misc]
        )
    yield case(
        "extensions",
        "extension attributes, and one that is null",
        "Senders may add attributes; a strict model that forbids them loses alarms.",
        taken,
        lambda call: _with(call, traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", subject=None),
    )
    yield case("no-time", "no time", "It is optional.", taken, lambda call: _with(call, "time"))
    yield case("no-data", "no data", "It is optional.", taken, lambda call: _with(call, "data"))
    for id, sends, data in (
        ("data-string", "data that is a string of JSON", '{"a":1}'),
        ("data-list", "data that is a list", [1]),
        ("data-null", "data that is null", None),
    ):
        yield case(
            id,
            sends,
            "The schema of data is open: whatever it is must be stored first and read later.",
            taken,
            lambda call, data=data: _with(call, data=data),  # type: ignore[misc]
        )
    yield case(
        "data-base64",
        "data_base64 instead of data",
        "It is the other way to carry data.",
        taken,
        lambda call: _with(call, "data", data_base64="eyJhIjoxfQ=="),
    )
    yield case(
        "non-ascii",
        "letters beyond ASCII, as UTF-8",
        "JSON is UTF-8, whatever the machine's locale.",
        taken,
        lambda call: with_member(call, '"note":"Åse Ødegård, 東京 😀"'.encode()),
    )
    yield case(
        "large",
        "an event of 1 MB",
        "413 is final: a small limit, of a proxy too, deletes alarms.",
        taken,
        lambda call: with_member(call, b'"filler":"' + b"x" * _LARGE_BYTES + b'"'),
    )
    yield Case(
        id="same-id-other-source",
        group=Group.ENVELOPE,
        sends="two events with one id and two sources",
        why="Only source and id together name an event.",
        expected=taken,
        make=lambda now: _two_sources(sender, now),
    )
    yield Case(
        id="chunked",
        group=Group.ENVELOPE,
        sends="the body in chunks, without a length",
        why="A proxy may pass it on so; a receiver that reads only Content-Length sees an empty body.",
        expected=accepted(sender.policy, frozenset({411})),
        make=lambda now: (replace(sender.good(sender.call(now), now), manner=Manner.CHUNKED),),
    )
    for id, sends, change in (
        ("no-type", "no type", lambda call: _with(call, "type")),
        ("no-source", "no source", lambda call: _with(call, "source")),
        ("no-id", "no id", lambda call: _with(call, "id")),
        ("empty-id", "an empty id", lambda call: _with(call, id="")),
        ("specversion-old", 'specversion "0.3"', lambda call: _with(call, specversion="0.3")),
        ("specversion-number", "specversion 1.0, a number", lambda call: _with(call, specversion=1.0)),
        ("data-twice", "data and data_base64", lambda call: _with(call, data_base64="eyJhIjoxfQ==")),
        ("not-an-object", "a JSON string", lambda call: replace(call, body=b'"x"')),
        ("not-json", "half a JSON object", lambda call: replace(call, body=b"{")),
        ("empty", "an empty body", lambda call: replace(call, body=b"")),
    ):
        yield case(id, sends, "It can never become a CloudEvent: say so once, with 400.", hopeless, change)
    yield case(
        "other-media-type",
        "Content-Type: text/plain",
        "Most likely a proxy's or a configuration's fault: a code that ends it would lose the alarm.",
        one_of(
            frozenset(range(300, 600)) - sender.policy.permanent - sender.policy.success,
            "415 (retryable)",
            "Not a CloudEvent by its media type: answer 415, which is tried again, and nothing that ends it.",
        ),
        lambda call: replace(call, content_type="text/plain"),
    )


def _with(call: Call, *without: str, **attributes: Any) -> Call:
    event = json.loads(call.body)
    kept = {name: value for name, value in event.items() if name not in without}
    body = json.dumps({**kept, **attributes}, ensure_ascii=False, separators=(",", ":"))
    return replace(call, body=body.encode())


def _two_sources(sender: Sender, now: Instant) -> tuple[Sent, ...]:
    call = sender.call(now)
    return sender.good(call, now), sender.good(_with(call, source="/another/source"), now)
