"""Signed as one body, sent as another: what happens where something on the way parses a body and writes it anew.

Where white space between the tokens is free for the provider, and only there, other white space is to be taken.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

from hookseal.clock import Instant
from hookseal.schemes.keyed_hash import Content, KeyedHash
from hookseal.simulate.cases.forging import another, signed
from hookseal.simulate.cases.sender import Sender, indented, is_json_object, with_member
from hookseal.simulate.cases.vocabulary import Case, Expected, Group, accepted, refused
from hookseal.simulate.examples import Call
from hookseal.simulate.wire import Sent

_OPEN_DOOR = "Whatever is taken here, anyone can send."
_KEEP_BYTES = "The proof covers the bytes that were sent; a receiver that takes this verifies something else."


def cases(sender: Sender, scheme: KeyedHash) -> Iterator[Case]:
    no = refused(sender.provider, sender.policy)
    odd = refused(sender.provider, sender.policy, odd=True)
    blanks_are_free = scheme.content in (Content.MINIFIED, Content.STRIPPED)
    yes = accepted(sender.policy)

    def case(
        id: str,
        sends: str,
        why: str,
        change: Callable[[bytes], bytes | None],
        expected: Expected = odd,
        member: bytes = b"",
    ) -> Case:
        def make(now: Instant) -> tuple[Sent, ...]:
            call: Call | None = sender.call(now)
            if call is not None and member:
                call = with_member(call, member)
            if call is None:
                return ()
            good = signed(sender, scheme, call, now)
            body = change(call.body)
            return () if body is None or body == call.body else (replace(good.sent, body=body),)

        return Case(id=id, group=Group.CHANGED, sends=sends, why=why, expected=expected, make=make)

    def json_only(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes | None]:
        return lambda body: change(body) if is_json_object(body) else None

    yield case("byte-changed", "one byte changed", _OPEN_DOOR, another, no)
    yield case("byte-missing", "one byte missing", _OPEN_DOOR, lambda body: body[:-1], no)
    yield case(
        "reserialised",
        "the body parsed and dumped again",
        _KEEP_BYTES,
        json_only(lambda body: json.dumps(json.loads(body)).encode()),
        member=rb'"odd":["\/",1.0,1e2],"note":"' + "Åse".encode() + b'"',
    )
    yield case(
        "keys-sorted",
        "the body with its keys sorted",
        _KEEP_BYTES,
        json_only(
            lambda body: json.dumps(
                json.loads(body), sort_keys=True, ensure_ascii=False, separators=(",", ":")
            ).encode()
        ),
        member=b'"Aa":1',
    )
    yield case(
        "nulls-dropped",
        "the body without its nulls",
        _KEEP_BYTES,
        lambda body: body.replace(b',"nothing":null', b""),
        member=b'"nothing":null',
    )
    blanks = "White space between the tokens is free for this provider: the minified text is what was signed."
    for id, sends, change in (
        ("blanks-added", "the body indented after it was signed", lambda body: indented(body)),
        ("tabs-added", "the body with tabs and CRLF after it was signed", lambda body: indented(body, b"\r\n", "\t")),
        ("newline-added", "a newline behind the body after it was signed", lambda body: body + b"\n"),
    ):
        yield case(
            id, sends, blanks if blanks_are_free else _KEEP_BYTES, json_only(change), yes if blanks_are_free else odd
        )
    for id, sends, signed_as, changed_to in (
        ("blank-in-value", "a blank taken out of a value after it was signed", b"Anna Maria", b"AnnaMaria"),
        ("blank-added-to-value", "a blank put into a value after it was signed", b"AnnaMaria", b"Anna Maria"),
    ):
        yield case(
            id,
            sends,
            "Anna Maria and AnnaMaria are two names: only white space outside of strings is free.",
            lambda body, old=signed_as, new=changed_to: body.replace(old, new),  # type: ignore[misc]
            expected=yes if scheme.content is Content.STRIPPED else odd,
            member=b'"note":"%s"' % signed_as,
        )
    yield case("bom-added", "a byte order mark before the body", _KEEP_BYTES, lambda body: b"\xef\xbb\xbf" + body)
    yield case("recoded", "the body in UTF-16", _KEEP_BYTES, lambda body: body.decode("latin-1").encode("utf-16-le"))
