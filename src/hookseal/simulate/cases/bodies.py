"""Bodies as the provider may sign them: the proof holds over exactly these bytes, so all of them are genuine.

After the proof held nothing is refused: a 4xx makes the provider send the same bytes again, or lose them.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from hookseal.clock import Instant
from hookseal.simulate.cases.sender import Sender, changed, indented, is_json_object, with_member
from hookseal.simulate.cases.vocabulary import Case, Group, accepted
from hookseal.simulate.examples import Call
from hookseal.simulate.wire import Manner, Sent

_LARGE_BYTES = 200_000
_UNKNOWN = {
    "zignsec": (b'"sbid-another"', b'"an-eid-of-tomorrow"'),
    "idenfy": (b'"overall":"APPROVED"', b'"overall":"A_RESULT_OF_TOMORROW"'),
    "seal_id": (b"IDENTIFICATION_SUCCESSFUL", b"A_STATUS_OF_TOMORROW"),
}
"""Where a provider's own example says what happened; others get an object that says nothing known."""
_DOCTYPE = b'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><r>&b;</r>'


def cases(sender: Sender) -> Iterator[Case]:
    def case(id: str, sends: str, why: str, change: Callable[[Call], Call | None]) -> Case:
        return Case(
            id=id,
            group=Group.BODIES,
            sends=sends,
            why=why,
            expected=accepted(sender.policy),
            make=lambda now: _sent(sender, change(sender.call(now)), now),
        )

    yield case(
        "non-ascii",
        "letters beyond ASCII, as UTF-8",
        "A receiver that parses and dumps again signs other bytes, and loses every such person.",
        lambda call: with_member(call, '"note":"Åse Ødegård, 東京 😀"'.encode()),
    )
    yield case(
        "escaped",
        "escapes, 1.0, 1e2, a 23-digit number, a key that stands twice",
        "No JSON library writes all of them as they came: only the bytes received can be verified.",
        lambda call: with_member(call, rb'"odd":["\u00fc","\/",1.0,1e2,12345678901234567890123],"twice":1,"twice":2'),
    )
    yield case(
        "pretty-printed",
        "the body indented, and signed so",
        "The bytes as posted are signed, whatever their layout.",
        lambda call: changed(call, indented) if is_json_object(call.body) else None,
    )
    yield case(
        "crlf",
        "the body indented with CRLF, and signed so",
        "Text mode turns CRLF into LF, and the signature does not hold any more.",
        lambda call: changed(call, lambda body: indented(body, b"\r\n")) if is_json_object(call.body) else None,
    )
    yield case(
        "newline-at-end",
        "a newline behind the body, signed with it",
        "A body that is trimmed before it is verified is not the one that was signed.",
        lambda call: changed(call, lambda body: body + b"\n"),
    )
    yield case(
        "bom",
        "a byte order mark before the body, signed with it",
        "Readers of text drop it silently, and the signature does not hold any more.",
        lambda call: changed(call, lambda body: b"\xef\xbb\xbf" + body),
    )
    yield case(
        "not-utf8",
        "bytes that are not UTF-8, signed",
        "Decoding before verifying fails, or puts other bytes in their place.",
        lambda call: changed(call, lambda body: b'{"name":"\xc5se"}' + body[-8:]),
    )
    yield case(
        "unparsable",
        "half a JSON object, signed",
        "It is genuine and will never parse: a 4xx or 5xx only brings it back again and again.",
        lambda call: changed(call, lambda body: body[: len(body) // 2]),
    )
    yield case(
        "empty",
        "an empty body, signed",
        "A test call may carry nothing; its proof holds all the same.",
        lambda call: changed(call, lambda body: b""),
    )
    yield case(
        "no-object",
        "a JSON list, signed",
        "Code that asks a list for a key raises, and the provider sends it for ever.",
        lambda call: changed(call, lambda body: b"[" + body + b"]"),
    )
    yield case(
        "deep",
        "a list in a list, 5000 deep, signed",
        "Recursive parsers overflow; the answer must not depend on them.",
        lambda call: changed(call, lambda body: b"[" * 5000 + b"]" * 5000),
    )
    yield case(
        "unknown-event",
        "a result that the documents do not have yet",
        "Providers add results without asking; what is refused comes again or is lost.",
        lambda call: _unknown(sender, call),
    )
    yield case(
        "large",
        f"a body of {_LARGE_BYTES // 1000} kB",
        "Results with images and reports are long, and a small limit of a proxy refuses them.",
        lambda call: with_member(call, b'"filler":"' + b"x" * _LARGE_BYTES + b'"'),
    )
    yield case(
        "document-type",
        "XML with a document type and entities, signed",
        "Parsing it expands entities or reads files; keep it raw and acknowledge it.",
        lambda call: replace(call, body=_DOCTYPE, content_type="application/xml; charset=utf-8"),
    )
    for id, content_type, sends in (
        ("content-type-text", "text/plain", "Content-Type: text/plain"),
        ("content-type-case", 'Application/JSON;Charset="UTF-8"', "the media type in other case, quoted charset"),
        ("content-type-missing", "", "no Content-Type"),
    ):
        yield case(
            id,
            sends,
            "The proof covers the body and not this header; a framework's own 415 only makes it come again.",
            lambda call, content_type=content_type: replace(call, content_type=content_type),  # type: ignore[misc]
        )
    yield Case(
        id="chunked",
        group=Group.BODIES,
        sends="the body in chunks, without a length",
        why="A proxy may pass it on so; a receiver that reads only Content-Length sees an empty body.",
        expected=accepted(sender.policy, frozenset({411})),
        make=lambda now: (replace(sender.good(sender.call(now), now), manner=Manner.CHUNKED),),
    )


def _sent(sender: Sender, call: Call | None, now: Instant) -> tuple[Sent, ...]:
    if call is None:
        return ()
    good = sender.good(call, now)
    return (replace(good, headers=tuple(pair for pair in good.headers if pair != (b"Content-Type", b""))),)


def _unknown(sender: Sender, call: Call) -> Call:
    known, unknown = _UNKNOWN.get(sender.provider.id, (b"", b""))
    headers = tuple(
        (name, "AN_EVENT_OF_TOMORROW" if name == "Idenfy-Event-Type" else value) for name, value in call.headers
    )
    if known and known in call.body:
        return replace(call, body=call.body.replace(known, unknown), headers=headers)
    return replace(call, body=b'{"an event":"of tomorrow"}')
