"""The time that a keyed hash signs: absent, altered, or written in a way that lenient readers take.

Where the form is wrong the signature fits it, so that nothing but the form is to be refused.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, timedelta

from hookseal.clock import Instant, plus, to_datetime
from hookseal.message import Request
from hookseal.schemes.keyed_hash import KeyedHash
from hookseal.schemes.timestamps import TimestampFormat
from hookseal.simulate.cases.forging import Signed, forged, signed, with_values
from hookseal.simulate.cases.sender import Sender
from hookseal.simulate.cases.vocabulary import Case, Expected, Group, refused
from hookseal.simulate.wire import Sent

_BEYOND_S = 60.0


def cases(sender: Sender, scheme: KeyedHash) -> Iterator[Case]:
    if not scheme.carries_time:
        return
    no = refused(sender.provider, sender.policy)
    odd = refused(sender.provider, sender.policy, odd=True)

    def case(
        id: str, sends: str, why: str, make: Callable[[Instant], tuple[Sent, ...]], expected: Expected = no
    ) -> Case:
        return Case(id=id, group=Group.PROOF, sends=sends, why=why, expected=expected, make=make)

    if scheme.timestamp_header:
        yield case(
            "timestamp-missing",
            "no timestamp",
            "It is part of what is signed; looked up without care, its absence is a 500.",
            lambda now: forged(sender, scheme, now, lambda good: with_values(good, scheme.timestamp_header)),
        )
    if len(scheme.timestamp_header) > 1:
        yield case(
            "timestamps-differ",
            "two spellings of the timestamp that differ, one of them signed",
            "Verifying one and using the other lets an old request look new.",
            lambda now: forged(sender, scheme, now, lambda good: _differing(scheme, good)),
        )
    yield case(
        "timestamp-altered",
        "the timestamp a second later than signed",
        "If it is not verified with the body, a recorded request can be made new for ever.",
        lambda now: forged(
            sender, scheme, now, lambda good: _written(scheme, good, _FORMS[scheme.timestamp_format](plus(now, 1.0)))
        ),
    )
    for name, form in _ODD_FORMS.get(scheme.timestamp_format, {}).items():
        yield case(
            f"timestamp-{name}",
            f"the timestamp {_TOLD[name]}, signed so",
            "One moment has one spelling; lenient readers take several, and some raise on others.",
            lambda now, form=form: forged(  # type: ignore[misc]
                sender, scheme, now, lambda good: _signed_anew(sender, scheme, good, form(now))
            ),
            odd,
        )
    if scheme.tolerance_s is not None:
        for id, sign, sends in (("timestamp-old", -1, "old"), ("timestamp-ahead", 1, "ahead")):
            away_s = sign * (scheme.tolerance_s + _BEYOND_S)
            yield case(
                id,
                f"a request that is {abs(away_s):.0f} s {sends}",
                "Without a limit a recorded request can be sent again at any time.",
                lambda now, away_s=away_s: (  # type: ignore[misc]
                    signed(sender, scheme, sender.call(now), plus(now, away_s)).sent,
                ),
            )


def _basic(now: Instant) -> bytes:
    return to_datetime(now).astimezone(UTC).strftime("%Y%m%dT%H%M%SZ").encode()


def _extended(now: Instant) -> bytes:
    return to_datetime(now).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()


def _unix(now: Instant) -> bytes:
    return b"%d" % (now // 1_000_000)


_FORMS: dict[TimestampFormat, Callable[[Instant], bytes]] = {
    TimestampFormat.UNIX: _unix,
    TimestampFormat.UNIX_MS: lambda now: b"%d" % (now // 1000),
    TimestampFormat.ISO_BASIC: _basic,
    TimestampFormat.RFC3339: _extended,
}

_TOLD = {
    "extended": "as 2022-11-15T09:09:14Z",
    "no-zone": "without its Z",
    "no-such-month": "in the 13th month",
    "lower-case": "with a small z",
    "local": "with +0100 for Z",
    "unix": "in unix seconds",
    "signed": "with a plus sign",
    "fraction": "with a fraction",
    "words": "as the word now",
}
_ODD_FORMS: dict[TimestampFormat, dict[str, Callable[[Instant], bytes]]] = {
    TimestampFormat.ISO_BASIC: {
        "extended": _extended,
        "no-zone": lambda now: _basic(now)[:-1],
        "no-such-month": lambda now: _basic(now)[:4] + b"13" + _basic(now)[6:],
        "lower-case": lambda now: _basic(now).lower(),
        "local": lambda now: (to_datetime(now) + timedelta(hours=1)).strftime("%Y%m%dT%H%M%S+0100").encode(),
        "unix": _unix,
        "words": lambda now: b"now",
    },
    TimestampFormat.UNIX: {
        "extended": _extended,
        "signed": lambda now: b"+" + _unix(now),
        "fraction": lambda now: _unix(now) + b".0",
        "words": lambda now: b"now",
    },
}


def _written(scheme: KeyedHash, good: Signed, text: bytes) -> Sent:
    """The same request with another timestamp, wherever it stands."""
    names = {name.lower().encode() for name in (*scheme.header, *scheme.timestamp_header)}
    headers = tuple(
        (name, value.replace(good.timestamp, text) if name.lower() in names else value)
        for name, value in good.sent.headers
    )
    return replace(good.sent, headers=headers)


def _differing(scheme: KeyedHash, good: Signed) -> Sent:
    last = scheme.timestamp_header[-1].lower().encode()
    other = _FORMS[scheme.timestamp_format](plus(good.at, 1.0))
    headers = tuple((name, other if name.lower() == last else value) for name, value in good.sent.headers)
    return replace(good.sent, headers=headers)


def _signed_anew(sender: Sender, scheme: KeyedHash, good: Signed, text: bytes) -> Sent:
    request = Request(body=good.call.body, url=sender.url)
    signature = scheme.signature(request, sender.keys.secret, timestamp=text, id=good.id)
    written = _written(scheme, good, text)
    headers = tuple((name, value.replace(good.signature, signature)) for name, value in written.headers)
    return replace(written, headers=headers)
