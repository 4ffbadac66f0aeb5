"""A keyed hash that does not hold: absent, doubled, made otherwise, or over another body. None of it may be taken.

What a receiver answers matters twice: a 2xx is a way in for anyone, and a 5xx lets anyone make it fail while the
provider, had it sent this, would try again without end.
"""

import base64
import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from hookseal import catalogue
from hookseal.clock import Instant
from hookseal.message import Request, headers_of
from hookseal.schemes.keyed_hash import Algorithm, Encoding, KeyedHash
from hookseal.schemes.verdict import SigningKeys
from hookseal.simulate.cases import forging
from hookseal.simulate.cases.forging import Signed, Spoil, another, forged, signed, with_signature, with_values
from hookseal.simulate.cases.sender import Sender
from hookseal.simulate.cases.vocabulary import Case, Expected, Group, accepted, refused
from hookseal.simulate.examples import Call
from hookseal.simulate.wire import Sent

_OTHER_SECRET = b"a secret that the receiver does not have"
_HASHES = (Algorithm.SHA1, Algorithm.SHA256, Algorithm.SHA512)
_OTHERS = ("zignsec", "idenfy", "seal_id")

_OPEN_DOOR = "Whatever is taken here, anyone can send."
_CRASH = "Comparing it as text raises in many languages: that is a 500 for anyone who likes."
_ONE_SPELLING = "One digest has one spelling; to take several widens the check for nothing."
_KEEP_BYTES = "The proof covers the bytes that were sent; a receiver that takes this verifies something else."


def cases(sender: Sender, scheme: KeyedHash) -> Iterator[Case]:
    no = refused(sender.provider, sender.policy)
    odd = refused(sender.provider, sender.policy, odd=True)

    def lax(id: str, sends: str, why: str, spoil: Spoil) -> Case:
        return case(id, sends, why, spoil, odd)

    def case(id: str, sends: str, why: str, spoil: Spoil, expected: Expected = no) -> Case:
        return Case(
            id=id,
            group=Group.PROOF,
            sends=sends,
            why=why,
            expected=expected,
            make=lambda now: forged(sender, scheme, now, spoil),
        )

    yield from _spellings_of_names(sender, scheme)
    yield case(
        "signature-missing",
        "no signature",
        "If the header is only checked when it is there, leaving it out is the way in.",
        lambda good: with_values(good, scheme.header),
    )
    yield case(
        "signature-empty",
        "an empty signature",
        "An empty text compared with nothing at all may be equal.",
        lambda good: with_values(good, scheme.header, b""),
    )
    for id, order in (("signature-twice", 1), ("signature-twice-wrong-first", -1)):
        yield lax(
            id,
            "two signatures, a good one and a wrong one",
            "Two layers that read different ones of them disagree on what was proven.",
            lambda good, order=order: _twice(scheme, good, order),  # type: ignore[misc]
        )
    yield from _by_other_secrets(sender, scheme, case, lax)
    yield from _otherwise_encoded(scheme, lax)
    yield from _otherwise_made(sender, scheme, case, lax)
    yield from _odd_texts(scheme, case, lax)
    for id in _OTHERS:
        if id != sender.provider.id:
            yield lax(
                f"headers-of-{id}",
                f"the headers that {id} would send, with the right secret",
                "Which rule holds is the route's to say; a request that picks its rule picks the weakest.",
                lambda good, id=id: _of_other_provider(sender, scheme, good, id),  # type: ignore[misc]
            )
    yield Case(
        id="bad-signature-bad-json",
        group=Group.PROOF,
        sends="a wrong signature, over a whole and over half a JSON object",
        why="The proof comes first: a parser in front of it answers strangers, and with another code.",
        expected=no,
        make=lambda now: _whole_and_half(sender, scheme, now),
        alike=True,
    )


def _spellings_of_names(sender: Sender, scheme: KeyedHash) -> Iterator[Case]:
    yes = accepted(sender.policy)

    def case(id: str, sends: str, why: str, expected: Expected, make: Callable[[Instant], tuple[Sent, ...]]) -> Case:
        return Case(id=id, group=Group.PROOF, sends=sends, why=why, expected=expected, make=make)

    def renamed(now: Instant, name_of: Callable[[bytes], bytes]) -> tuple[Sent, ...]:
        good = sender.good(sender.call(now), now)
        return (replace(good, headers=tuple((name_of(name), value) for name, value in good.headers)),)

    without_case = "Header names have no case, and proxies change it."
    yield case("names-lower", "header names in lower case", without_case, yes, lambda now: renamed(now, bytes.lower))
    yield case("names-upper", "header names in upper case", without_case, yes, lambda now: renamed(now, bytes.upper))
    if len(scheme.header) > 1:
        for place, name in enumerate(scheme.header):
            yield case(
                f"only-{name.lower()}",
                f"only the headers of {name}",
                "Either spelling proves it; a proxy may drop the other.",
                yes,
                lambda now, place=place: (_only(sender, scheme, place, now),),  # type: ignore[misc]
            )
        yield case(
            "spellings-differ",
            "two spellings of the header that differ, one of them good",
            "Reading one and ignoring the other lets whoever adds a header win.",
            refused(sender.provider, sender.policy, odd=True),
            lambda now: (_differing(sender, scheme, now),),
        )
    if any("-" in name for name in scheme.header):
        yield case(
            "names-underscored",
            "header names with _ for -",
            "CGI and WSGI fold both into one; a proxy that guards only one of them is passed by.",
            refused(sender.provider, sender.policy, odd=True),
            lambda now: renamed(now, lambda name: name if name == b"Content-Type" else name.replace(b"-", b"_")),
        )


_Make = Callable[..., Case]


def _by_other_secrets(sender: Sender, scheme: KeyedHash, case: _Make, lax: _Make) -> Iterator[Case]:
    secret = sender.keys.secret
    yield case(
        "wrong-secret",
        "a signature by another secret",
        _OPEN_DOOR,
        lambda good: _by(sender, scheme, good.call, _OTHER_SECRET, good),
    )
    yield lax(
        "secret-with-newline",
        "a signature by the secret and a newline",
        "A secret read from a file keeps its newline; both sides must have the same bytes.",
        lambda good: _by(sender, scheme, good.call, secret + b"\n", good),
    )
    yield case(
        "empty-secret",
        "a signature by an empty secret",
        "A secret that was not configured must not be one that everybody knows.",
        lambda good: _recomputed(sender, scheme, good, lambda text: forging.keyed_with(scheme, b"", text)),
    )
    yield lax(
        "hash-without-key",
        "a plain hash of secret and text, no HMAC",
        "It is not the documented construction; whoever takes it does not verify HMAC.",
        lambda good: _recomputed(sender, scheme, good, lambda text: forging.unkeyed(scheme, secret, text)),
    )


def _otherwise_encoded(scheme: KeyedHash, lax: _Make) -> Iterator[Case]:
    ways: list[tuple[str, str, Callable[[Signed], bytes]]] = [
        ("hex", "hex", lambda good: good.digest.hex().encode()),
        ("hex-upper", "upper-case hex", lambda good: good.digest.hex().upper().encode()),
        ("base64", "base64", lambda good: base64.b64encode(good.digest)),
        ("base64url", "URL-safe base64", lambda good: base64.urlsafe_b64encode(good.digest)),
        ("base64-of-hex", "base64 of the hex text", lambda good: base64.b64encode(good.digest.hex().encode())),
        (
            "base64-of-utf8",
            "base64 of the digest read as text",
            lambda good: base64.b64encode(good.digest.decode("latin-1").encode()),
        ),
    ]
    for id, what, encode in ways:
        if id.replace("-", "_") != scheme.encoding.value:
            yield lax(
                f"encoded-{id}",
                f"the right digest in {what}",
                _ONE_SPELLING,
                lambda good, encode=encode: with_signature(good, encode(good)),
            )
    if scheme.encoding in (Encoding.BASE64, Encoding.BASE64URL):
        yield lax(
            "base64-unpadded",
            "base64 without its padding",
            _ONE_SPELLING,
            lambda good: with_signature(good, good.signature.rstrip(b"=")),
        )
        yield lax(
            "base64-spare-bits",
            "base64 with spare bits set",
            "Lenient decoders ignore them, so several texts pass for one signature.",
            lambda good: with_signature(good, _with_spare_bits(good.signature)),
        )
        yield lax(
            "base64-blank-inside",
            "base64 with a blank inside",
            "Lenient decoders skip what is no base64.",
            lambda good: with_signature(good, good.signature[:8] + b" " + good.signature[8:]),
        )
        yield lax(
            "base64-lower-case",
            "base64 in lower case",
            "Comparing without case throws bits of the signature away.",
            lambda good: with_signature(good, good.signature.lower()),
        )


def _otherwise_made(sender: Sender, scheme: KeyedHash, case: _Make, lax: _Make) -> Iterator[Case]:
    secret = sender.keys.secret
    for algorithm in _HASHES:
        if algorithm is not scheme.algorithm:
            yield lax(
                f"hash-{algorithm.value}",
                f"HMAC with {algorithm.value}",
                "The hash is fixed by the provider; who lets the sender choose gets the weakest.",
                lambda good, algorithm=algorithm: _recomputed(
                    sender, scheme, good, lambda text: forging.digest(scheme, secret, text, algorithm)
                ),
            )
    yield case(
        "signature-of-nothing",
        "the signature of an empty body",
        "A stream that was read before is empty: then this one signature opens every door.",
        lambda good: _recomputed(sender, scheme, good, lambda text: forging.digest(scheme, secret, text), body=b""),
    )
    yield case(
        "signature-of-other-event",
        "a good signature of another event",
        "Only a signature over this very body counts.",
        lambda good: replace(good.sent, body=another(good.call.body)),
    )
    others = [("body-alone-signed", "{body}", "the body without the rest of what is signed")]
    for name, separator in (("colon", ":"), ("blanks", " | "), ("nothing", "")):
        others.append((f"separator-{name}", _rejoined(scheme.signed, separator), f"{separator!r} between the parts"))
    for id, template, sends in others:
        if template != scheme.signed and "{timestamp}" in scheme.signed:
            yield lax(
                id,
                f"a signature over {sends}",
                "The time is bound to the body only where exactly the documented text is signed.",
                lambda good, template=template: _recomputed(
                    sender, scheme, good, lambda text: forging.digest(scheme, secret, text), template=template
                ),
            )


_WHOLE = frozenset({"prefixed", "prefixed-0x", "extended", "full-width"})
"""The right signature is in them, so whoever sends them has the secret."""


def _odd_texts(scheme: KeyedHash, case: _Make, lax: _Make) -> Iterator[Case]:
    prefix = b"" if scheme.prefix else b"sha256="
    for id, sends, why, text in (
        ("prefixed", "the right signature behind sha256=", _ONE_SPELLING, lambda good: prefix + good.signature),
        ("prefixed-0x", "the right signature behind 0x", _ONE_SPELLING, lambda good: b"0x" + good.signature),
        (
            "cut",
            "the right signature without its last character",
            "Comparisons that stop at the shorter text take it; others raise on the length.",
            lambda good: good.signature[:-1],
        ),
        (
            "one-character",
            "the first character of the right signature",
            "A comparison of beginnings can be passed by guessing.",
            lambda good: good.signature[:1],
        ),
        (
            "extended",
            "the right signature and one character more",
            "A comparison that stops at the expected length takes it; others raise.",
            lambda good: good.signature + good.signature[-1:],
        ),
        ("last-changed", "the right signature, its last third changed", _OPEN_DOOR, lambda good: _end_changed(good)),
        ("non-ascii", "a signature with é in Latin-1", _CRASH, lambda good: good.signature[:-1] + b"\xe9"),
        (
            "full-width",
            "a signature in full-width digits, UTF-8",
            _CRASH,
            lambda good: "".join(chr(0xFEE0 + byte) for byte in good.signature).encode(),
        ),
        ("null", "the word null", "It is what a missing value becomes on the way.", lambda good: b"null"),
        ("long", "a signature of 6000 characters", _CRASH, lambda good: b"A" * 6000),
    ):
        yield (lax if id in _WHOLE else case)(
            f"signature-{id}",
            sends,
            why,
            lambda good, text=text: with_signature(good, text(good)),
        )


# --- ways to spoil


def _by(sender: Sender, scheme: KeyedHash, call: Call, secret: bytes, good: Signed) -> Sent | None:
    """This call, signed by another secret in every other respect as the good one was."""
    if scheme.secret_problem(secret) is not None:
        return None
    request = Request(body=call.body, url=sender.url)
    signature = scheme.signature(request, secret, timestamp=good.timestamp, id=good.id)
    return replace(with_signature(good, signature), body=call.body)


def _whole_and_half(sender: Sender, scheme: KeyedHash, now: Instant) -> tuple[Sent, ...]:
    whole = forged(sender, scheme, now, lambda good: _by(sender, scheme, good.call, _OTHER_SECRET, good))
    return whole + tuple(replace(sent, body=sent.body[: len(sent.body) // 2]) for sent in whole)


def _recomputed(
    sender: Sender,
    scheme: KeyedHash,
    good: Signed,
    digest_of: Callable[[bytes], bytes],
    *,
    template: str = "",
    body: bytes | None = None,
) -> Sent:
    text = forging.signed_text(
        template or scheme.signed, sender, good.call.body if body is None else body, good.timestamp, good.id
    )
    return with_signature(good, forging.encoded(scheme, digest_of(text)))


def _twice(scheme: KeyedHash, good: Signed, order: int) -> Sent:
    right = forging.value_of(good, scheme.header)
    return with_values(good, scheme.header, *(right, right.replace(good.signature, _other_text(good)))[::order])


def _other_text(good: Signed) -> bytes:
    """As long as the good signature and of its letters, but another one."""
    return good.signature[::-1] if good.signature[::-1] != good.signature else b"A" * len(good.signature)


def _end_changed(good: Signed) -> bytes:
    third = len(good.signature) // 3
    return good.signature[:-third] + good.signature[-third:][::-1]


def _with_spare_bits(signature: bytes) -> bytes:
    """Another last letter that decodes to the same bytes."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    letters = signature.rstrip(b"=")
    last = alphabet.find(letters[-1:])
    return signature if last < 0 else letters[:-1] + alphabet[last | 1 : (last | 1) + 1] + signature[len(letters) :]


def _rejoined(template: str, separator: str) -> str:
    """The fields of a template with another text between them."""
    return separator.join(re.findall(r"\{[a-z]+\}", template))


def _of_other_provider(sender: Sender, scheme: KeyedHash, good: Signed, id: str) -> Sent | None:
    """Signed with our secret as the other provider signs; None where its header is ours too."""
    other = catalogue.provider(id).bind({})
    if set(other.proof[0]) & set(scheme.proof[0]):
        return None
    request = Request(headers=headers_of(good.sent.headers), body=good.call.body, url=sender.url)
    proof = other.sign(request, SigningKeys(secret=sender.keys.secret), good.at)
    headers = sender.plain(good.call) + tuple((name.encode(), value.encode()) for name, value in proof)
    return replace(good.sent, headers=headers)


def _only(sender: Sender, scheme: KeyedHash, place: int, now: Instant) -> Sent:
    """Of each header that has several spellings, only the one at this place."""
    good = sender.good(sender.call(now), now)
    dropped = {
        name.lower().encode()
        for names in (scheme.header, scheme.timestamp_header, scheme.id_header)
        for other, name in enumerate(names)
        if len(names) > 1 and other != place
    }
    return replace(good, headers=tuple(pair for pair in good.headers if pair[0].lower() not in dropped))


def _differing(sender: Sender, scheme: KeyedHash, now: Instant) -> Sent:
    good = signed(sender, scheme, sender.call(now), now)
    last = scheme.header[-1].lower().encode()
    headers = tuple(
        (name, value.replace(good.signature, _other_text(good)) if name.lower() == last else value)
        for name, value in good.sent.headers
    )
    return replace(good.sent, headers=headers)
