"""Signatures made wrong on purpose: another secret, encoding, hash, text, or spelling of a keyed hash.

Every function makes one request that is bad in one way. Some ways leave a signature as it was by chance (a base64 text
without `+` and `/` is its own URL-safe spelling); `forged` then makes another event until they differ.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from hookseal.clock import Instant
from hookseal.message import Request, headers_of
from hookseal.schemes.keyed_hash import Algorithm, Content, Encoding, KeyedHash, Proof
from hookseal.simulate.cases.sender import Sender
from hookseal.simulate.examples import Call
from hookseal.simulate.wire import Sent

_TRIES = 64
_SHORTEST_TELLTALE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A good request and what its signature is made of.

    signature, timestamp, id  as they stand in the headers.
    digest                    what the signature encodes.
    at                        when it was made.
    """

    sent: Sent
    call: Call
    signature: bytes
    timestamp: bytes
    id: bytes
    digest: bytes
    at: Instant


Spoil = Callable[[Signed], Sent | None]
"""A bad request out of a good one; None where this one cannot be spoilt so."""


def signed(sender: Sender, scheme: KeyedHash, call: Call, now: Instant) -> Signed:
    sent = sender.good(call, now)
    proof = scheme.read(Request(headers=headers_of(sent.headers), body=sent.body, url=sender.url))
    assert isinstance(proof, Proof)
    signature = proof.signatures[0]
    telltales = sent.telltales + ((signature,) if len(signature) >= _SHORTEST_TELLTALE else ())
    text = signed_text(scheme.signed, sender, call.body, proof.timestamp, proof.id)
    return Signed(
        sent=replace(sent, telltales=telltales),
        call=call,
        signature=signature,
        timestamp=proof.timestamp,
        id=proof.id,
        digest=digest(scheme, sender.keys.secret, text),
        at=now,
    )


def forged(sender: Sender, scheme: KeyedHash, now: Instant, spoil: Spoil) -> tuple[Sent, ...]:
    """One bad request about a new event; () where no event can be spoilt so."""
    for _ in range(_TRIES):
        good = signed(sender, scheme, sender.call(now), now)
        bad = spoil(good)
        if bad is None:
            return ()
        if (bad.headers, bad.body) != (good.sent.headers, good.sent.body):
            return (bad,)
    return ()


def digest(scheme: KeyedHash, secret: bytes, text: bytes, algorithm: Algorithm | None = None) -> bytes:
    """The keyed hash over exactly this text, its key made of the secret as the scheme makes it."""
    plain = KeyedHash(
        header=scheme.header,
        algorithm=algorithm or scheme.algorithm,
        encoding=Encoding.HEX,
        key=scheme.key,
        key_prefix=scheme.key_prefix,
        prefixed_key=scheme.prefixed_key,
        content=Content.BODY,
    )
    return bytes.fromhex(plain.signature(Request(body=text), secret).decode())


def encoded(scheme: KeyedHash, raw: bytes) -> bytes:
    return ENCODED[scheme.encoding](raw)


def signed_text(template: str, sender: Sender, body: bytes, timestamp: bytes, id: bytes) -> bytes:
    """A signed template with its fields filled in, any template."""
    values = {
        "{body}": body,
        "{timestamp}": timestamp,
        "{id}": id,
        "{method}": b"POST",
        "{url}": sender.url.encode(),
    }
    return b"".join(values.get(part, part.encode()) for part in re.split(r"(\{[a-z]+\})", template))


def with_signature(good: Signed, new: bytes) -> Sent:
    """The same request with another signature in the place of the good one, in all spellings of its header."""
    headers = tuple((name, value.replace(good.signature, new)) for name, value in good.sent.headers)
    return replace(good.sent, headers=headers)


def with_values(good: Signed, names: tuple[str, ...], *values: bytes) -> Sent:
    """The same request with these values in a header of several spellings, none for none: the first spelling is used."""
    spellings = {name.lower().encode() for name in names}
    others = tuple(pair for pair in good.sent.headers if pair[0].lower() not in spellings)
    return replace(good.sent, headers=(*others, *((names[0].encode(), value) for value in values)))


def value_of(good: Signed, names: tuple[str, ...]) -> bytes:
    spellings = {name.lower().encode() for name in names}
    return next(value for name, value in good.sent.headers if name.lower() in spellings)


def unkeyed(scheme: KeyedHash, secret: bytes, text: bytes) -> bytes:
    """What somebody makes who takes "signed with a secret" for a hash of both."""
    return hashlib.new(scheme.algorithm.value, secret + text).digest()


def keyed_with(scheme: KeyedHash, key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, scheme.algorithm.value)


def another(body: bytes) -> bytes:
    """One byte other, and still as parsable: the last letter or digit is changed."""
    for place in range(len(body) - 1, -1, -1):
        if body[place : place + 1].isalnum():
            return body[:place] + (b"1" if body[place : place + 1] == b"0" else b"0") + body[place + 1 :]
    return body + b"0"


ENCODED: dict[Encoding, Callable[[bytes], bytes]] = {
    Encoding.HEX: lambda raw: raw.hex().encode(),
    Encoding.HEX_UPPER: lambda raw: raw.hex().upper().encode(),
    Encoding.BASE64: base64.b64encode,
    Encoding.BASE64URL: base64.urlsafe_b64encode,
    Encoding.BASE64URL_UNPADDED: lambda raw: base64.urlsafe_b64encode(raw).rstrip(b"="),
}
