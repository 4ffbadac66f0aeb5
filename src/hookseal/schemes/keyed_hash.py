"""A keyed hash (HMAC, RFC 2104) over the request, with a shared secret: what most providers send.

What differs between them is columns: the hash, how the secret becomes a key, which text is signed, in which headers and
in what grammar the signature stands, how it is encoded, whether a time is signed and how old it may be.

Decides whether a request carries a signature by one of the live secrets over exactly the bytes received. It compares
the encoded text and decodes no signature, so that one digest has one spelling; it signs the timestamp's text as it
came and reads it for freshness only. Knows no provider, no clock and no configuration.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from hookseal.clock import Instant
from hookseal.errors import ConfigurationError
from hookseal.message import Request, headers_of
from hookseal.model import Reason
from hookseal.schemes.minify import is_json, minified, stripped
from hookseal.schemes.timestamps import TimestampFormat, read_timestamp, write_timestamp
from hookseal.schemes.verdict import Keys, NotProven, Proven, SigningKeys, Verdict

MAX_HEADER_BYTES = 8192
MAX_SIGNATURES = 16
"""In one header, of all versions together. Each costs one comparison per secret."""
MAX_ID_BYTES = 256


class Algorithm(StrEnum):
    SHA1 = "sha1"  # for named older providers only; HMAC with it is not broken, but nobody should start with it
    SHA256 = "sha256"
    SHA384 = "sha384"
    SHA512 = "sha512"


class KeyForm(StrEnum):
    TEXT = "text"  # the secret's own bytes
    HEX = "hex"
    BASE64 = "base64"


class Encoding(StrEnum):
    """How the digest is written. Each has one spelling for one digest."""

    HEX = "hex"
    HEX_UPPER = "hex_upper"
    BASE64 = "base64"
    BASE64URL = "base64url"
    BASE64URL_UNPADDED = "base64url_unpadded"


class Content(StrEnum):
    """Which bytes stand for `{body}`."""

    BODY = "body"  # the body as received, and nothing else is said of it
    RAW = "raw"  # the body as received, of a provider whose white space does not matter
    MINIFIED = "minified"  # the body as received, else without the white space outside strings
    STRIPPED = "stripped"  # the body without any white space, inside strings too


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedHash:
    """Columns of a `[scheme]` table with `kind = "hmac"`.

    header             the signature's header; several spellings of one header are a list, any of them suffices.
    signed             what is signed: literal text and {timestamp}, {id}, {body}, {method}, {url}.
    prefix             stands before the signature, e.g. `sha256=`.
    pairs              the header holds `key=value` pairs with this between them, e.g. "," of `t=…,v1=…,v1=…`.
    pair_signature     the key of the signatures; several may stand there while a secret rotates.
    pair_timestamp     the key of the timestamp, where it stands in the same header.
    list_version       the header holds `version,signature` with a space between them (Standard Webhooks), and this is
                       the version that counts, e.g. "v1".
    key                how a secret becomes a key.
    key_prefix         a secret that begins with this (`whsec_`) is decoded as `prefixed_key` after the prefix is taken off.
    tolerance_s        how far the timestamp may lie from now, seconds, on either side and inclusive; absent: any age.
    """

    header: tuple[str, ...]
    signed: str = "{body}"
    algorithm: Algorithm = Algorithm.SHA256
    encoding: Encoding = Encoding.HEX
    prefix: str = ""
    pairs: str = ""
    pair_signature: str = ""
    pair_timestamp: str = ""
    list_version: str = ""
    key: KeyForm = KeyForm.TEXT
    key_prefix: str = ""
    prefixed_key: KeyForm = KeyForm.BASE64
    timestamp_header: tuple[str, ...] = ()
    timestamp_format: TimestampFormat = TimestampFormat.UNIX
    tolerance_s: int | None = None
    id_header: tuple[str, ...] = ()
    content: Content = Content.BODY
    _parts: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _names: "_Names" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_parts", _parts_of(self.signed))
        lower = (tuple(name.lower().encode() for name in names) for names in self._columns_of_headers())
        object.__setattr__(self, "_names", _Names(*lower))
        self._check()

    @property
    def proof(self) -> tuple[tuple[bytes, ...], ...]:
        return tuple(names for names in self._names if names)

    @property
    def carries_time(self) -> bool:
        return bool(self.timestamp_header or self.pair_timestamp)

    # --- judging

    def verify(self, request: Request, keys: Keys, now: Instant) -> Verdict:
        proof = self.read(request)
        if isinstance(proof, Reason):
            return NotProven(proof)
        secret = self._secret_that_signed(proof, request, keys.secrets)
        if secret is None:
            return NotProven(Reason.SIGNATURE_MISMATCH)
        if self.tolerance_s is not None and proof.signed_at is not None:
            away = abs(now - proof.signed_at)
            if away > self.tolerance_s * 1_000_000:
                return NotProven(Reason.TIMESTAMP_STALE)
        return Proven(secret, proof.signed_at, self._content_for_dedupe(request.body))

    def limited(self, max_age_s: int) -> "KeyedHash":
        if not self.carries_time:
            raise ConfigurationError("", "max_age_s", "cannot be kept here, the provider signs no time; remove it")
        return replace(self, tolerance_s=max_age_s)

    def secret_problem(self, secret: bytes) -> str | None:
        """Why no request can ever be proven with this secret, in a few words that do not hold it; None when one can."""
        if not secret:
            return "is empty"
        if self._key_of(secret) is None:
            form = self.prefixed_key if self._is_prefixed(secret) else self.key
            return f"is not {form.value}"
        return None

    # --- signing

    def sign(self, request: Request, keys: SigningKeys, now: Instant) -> list[tuple[str, str]]:
        secrets = keys.secrets or (keys.secret,)
        for secret in secrets:
            problem = self.secret_problem(secret)
            if problem:
                raise ConfigurationError("", "secret", f"{problem}; give the secret as the provider shows it")
        stamp = write_timestamp(self.timestamp_format, now) if self.carries_time else b""
        ident = (keys.id.encode() or _id_of(request.body)) if self.id_header else b""
        signatures = [self.signature(request, secret, timestamp=stamp, id=ident) for secret in secrets]
        return self._headers([one.decode() for one in signatures], stamp.decode(), ident.decode())

    def signed_with(self, request: Request, secret: bytes, *, timestamp: bytes = b"", id: bytes = b"") -> Request:
        """The request with a proof in place of its own. timestamp, id: texts that go in as they are, odd ones too."""
        signature = self.signature(request, secret, timestamp=timestamp, id=id)
        names = {name for names in self.proof for name in names}
        others = [(name, value) for name, value in request.headers if name not in names]
        fresh = headers_of(self._headers([signature.decode()], timestamp.decode(), id.decode()))
        return replace(request, headers=(*others, *fresh))

    def signature(self, request: Request, secret: bytes, *, timestamp: bytes = b"", id: bytes = b"") -> bytes:
        """The encoded signature of a request as it is to be sent, b"" when the secret gives no key.

        timestamp, id  as they stand in their headers; no grammar is asked for.
        """
        key = self._key_of(secret)
        if key is None:
            return b""
        return self._encoded(key, self._signed_text(request, timestamp, id, self._content_to_sign(request.body)))

    # --- reading the proof

    def read(self, request: Request) -> "Proof | Reason":
        """What stands in the headers, or the reason why it cannot be a proof. Nothing is proven yet."""
        names = self._names
        value = _one_value(request, names.signature)
        if isinstance(value, Reason):
            return value
        read = self._signatures_in(value)
        if isinstance(read, Reason):
            return read
        signatures, stamp = read
        signed_at = None
        if names.timestamp:
            given = _one_value(request, names.timestamp)
            if isinstance(given, Reason):
                return Reason.TIMESTAMP_MISSING if given is Reason.HEADER_MISSING else Reason.TIMESTAMP_MALFORMED
            stamp = given
        if self.carries_time:
            signed_at = read_timestamp(self.timestamp_format, stamp)
            if signed_at is None:
                return Reason.TIMESTAMP_MALFORMED if stamp else Reason.TIMESTAMP_MISSING
        ident = b""
        if names.id:
            given = _one_value(request, names.id)
            if isinstance(given, Reason):
                return given
            if len(given) > MAX_ID_BYTES or self._separator_after_id() in given:
                return Reason.HEADER_MALFORMED
            ident = given
        return Proof(signatures, stamp, signed_at, ident)

    def _signatures_in(self, value: bytes) -> tuple[list[bytes], bytes] | Reason:
        """The signatures in the header, and the timestamp where it stands there, else b""."""
        if self.pairs:
            return self._pairs_in(value)
        if self.list_version:
            return self._list_in(value)
        prefix = self.prefix.encode()
        if not value.startswith(prefix) or len(value) == len(prefix):
            return Reason.HEADER_MALFORMED
        return [value[len(prefix) :]], b""

    def _pairs_in(self, value: bytes) -> tuple[list[bytes], bytes] | Reason:
        pairs = value.split(self.pairs.encode(), MAX_SIGNATURES + 1)
        signature_key, timestamp_key = self.pair_signature.encode(), self.pair_timestamp.encode()
        signatures: list[bytes] = []
        stamps: list[bytes] = []
        for pair in pairs:
            key, equals, one = pair.strip(b" ").partition(b"=")
            if not equals or not one:
                return Reason.HEADER_MALFORMED
            if key == signature_key:
                signatures.append(one)
            elif key == timestamp_key:
                stamps.append(one)
        if not signatures or len(stamps) > 1 or len(pairs) > MAX_SIGNATURES + 1 or len(signatures) > MAX_SIGNATURES:
            return Reason.HEADER_MALFORMED
        return signatures, stamps[0] if stamps else b""

    def _list_in(self, value: bytes) -> tuple[list[bytes], bytes] | Reason:
        entries = value.split(b" ", MAX_SIGNATURES)
        version = self.list_version.encode()
        signatures: list[bytes] = []
        for entry in entries:
            name, comma, one = entry.partition(b",")
            if not comma or not name or not one:
                return Reason.HEADER_MALFORMED
            if name == version:
                signatures.append(one)
        if not signatures or len(entries) > MAX_SIGNATURES:
            return Reason.HEADER_MALFORMED
        return signatures, b""

    # --- comparing

    def _secret_that_signed(self, proof: "Proof", request: Request, secrets: tuple[bytes, ...]) -> int | None:
        """Every secret is tried against every signature and every reading of the body, whatever matched before."""
        texts = [
            self._signed_text(request, proof.timestamp, proof.id, content) for content in self._contents(request.body)
        ]
        found = None
        for index, secret in enumerate(secrets):
            key = self._key_of(secret)
            if key is None:
                continue
            for text in texts:
                expected = self._encoded(key, text)
                for signature in proof.signatures:
                    matches = hmac.compare_digest(expected, signature)
                    if matches and found is None:
                        found = index
        return found

    def _content_to_sign(self, body: bytes) -> bytes:
        """Return the bytes that a signature of ours covers.

        A body that is not JSON has no tokens, so white space cannot be told from content: it is signed as it is.
        """
        if self.content is Content.STRIPPED:
            return stripped(body)
        if self.content is Content.MINIFIED:
            small = minified(body)
            return small if len(small) != len(body) and is_json(body) else body
        return body

    def _contents(self, body: bytes) -> Iterator[bytes]:
        """Yield the readings of the body that a signature may cover."""
        if self.content is Content.STRIPPED:
            yield stripped(body)
            return
        if self.content is Content.MINIFIED:
            small = minified(body)
            if len(small) != len(body):
                yield body
            yield small
            return
        yield body

    def _content_for_dedupe(self, body: bytes) -> bytes | None:
        """One form for all spellings of a body that differ in white space only, made of nothing but proven bytes."""
        if self.content is Content.BODY:
            return None
        return stripped(body) if self.content is Content.STRIPPED else minified(body)

    def _signed_text(self, request: Request, timestamp: bytes, ident: bytes, body: bytes) -> bytes:
        parts = self._parts
        if parts == ("{body}",):
            return body
        values = {"{body}": body, "{timestamp}": timestamp, "{id}": ident}
        values["{method}"] = request.method.encode("utf-8", "surrogatepass")
        values["{url}"] = (request.url or "").encode("utf-8", "surrogatepass")
        return b"".join(values[part] if part in values else part.encode() for part in parts)

    def _encoded(self, key: bytes, text: bytes) -> bytes:
        return _ENCODERS[self.encoding](hmac.digest(key, text, self.algorithm.value))

    # --- secrets

    def _is_prefixed(self, secret: bytes) -> bool:
        return bool(self.key_prefix) and secret.startswith(self.key_prefix.encode())

    def _key_of(self, secret: bytes) -> bytes | None:
        """The key that a secret stands for, or None: an empty key proves nothing, as everyone has it."""
        if self._is_prefixed(secret):
            return _decoded(self.prefixed_key, secret[len(self.key_prefix) :]) or None
        return _decoded(self.key, secret) or None

    # --- the columns themselves

    def _columns_of_headers(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        return self.header, self.timestamp_header, self.id_header

    def _headers(self, signatures: list[str], stamp: str, ident: str) -> list[tuple[str, str]]:
        """In the order of the spellings: `x`, its timestamp, `y`, its timestamp; the id first."""
        value = self._written(signatures, stamp)
        headers = [(name, ident) for name in self.id_header]
        for place, name in enumerate(self.header):
            headers.append((name, value))
            headers.extend((name, stamp) for name in self.timestamp_header[place : place + 1])
        headers.extend((name, stamp) for name in self.timestamp_header[len(self.header) :])
        return headers

    def _written(self, signatures: list[str], stamp: str) -> str:
        if self.pairs:
            pairs = [f"{self.pair_timestamp}={stamp}"] if self.pair_timestamp else []
            return self.pairs.join(pairs + [f"{self.pair_signature}={one}" for one in signatures])
        if self.list_version:
            return " ".join(f"{self.list_version},{one}" for one in signatures)
        return self.prefix + signatures[0]

    def _separator_after_id(self) -> bytes:
        """What stands behind {id} in the signed text: an id that holds it could be split at another place."""
        rest = self._parts[self._parts.index("{id}") + 1 :]
        return rest[0].encode() if rest and rest[0] not in _FIELDS else b"\n"

    def _check(self) -> None:
        if not all(_HEADER_NAME.fullmatch(name) for names in self._columns_of_headers() for name in names):
            raise ConfigurationError("", "header", "a header's name has letters, digits and '-' only")
        if not self.header:
            raise ConfigurationError("", "header", "name the header that holds the signature")
        if bool(self.pairs) != bool(self.pair_signature) or (self.pair_timestamp and not self.pairs):
            raise ConfigurationError(
                "", "pairs", "give pairs and pair_signature together, pair_timestamp only with them"
            )
        if sum(map(bool, (self.pairs, self.list_version, self.prefix))) > 1:
            raise ConfigurationError(
                "", "header", "only one of prefix, pairs and list_version can be the header's grammar"
            )
        if self.timestamp_header and self.pair_timestamp:
            raise ConfigurationError("", "timestamp_header", "the timestamp stands in the pairs already")
        if self.carries_time != ("{timestamp}" in self._parts):
            raise ConfigurationError("", "signed", "a timestamp is read if and only if {timestamp} is signed")
        if bool(self.id_header) != ("{id}" in self._parts):
            raise ConfigurationError("", "signed", "an id is read if and only if {id} is signed")
        if self.tolerance_s is not None and (self.tolerance_s < 0 or not self.carries_time):
            raise ConfigurationError("", "tolerance_s", "needs a timestamp, and is 0 or more")


class _Names(NamedTuple):
    """Header names in lower case, by what stands in them."""

    signature: tuple[bytes, ...]
    timestamp: tuple[bytes, ...]
    id: tuple[bytes, ...]


class Proof(NamedTuple):
    """timestamp: its text as signed, b"" where none is."""

    signatures: list[bytes]
    timestamp: bytes
    signed_at: Instant | None
    id: bytes


_FIELDS = frozenset({"{timestamp}", "{id}", "{body}", "{method}", "{url}"})
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,64}")
_HEX = re.compile(rb"(?:[0-9a-fA-F]{2})+")
_TEXT = re.compile(rb"[ -~]+")

_ENCODERS: dict[Encoding, Callable[[bytes], bytes]] = {
    Encoding.HEX: binascii.hexlify,
    Encoding.HEX_UPPER: lambda digest: binascii.hexlify(digest).upper(),
    Encoding.BASE64: base64.b64encode,
    Encoding.BASE64URL: base64.urlsafe_b64encode,
    Encoding.BASE64URL_UNPADDED: lambda digest: base64.urlsafe_b64encode(digest).rstrip(b"="),
}


def _one_value(request: Request, names: tuple[bytes, ...]) -> bytes | Reason:
    """The one value that all spellings and repeats of a header agree on."""
    found = None
    for name, value in request.headers:
        if name in names:
            if found is None:
                found = value
            elif value != found:
                return Reason.HEADER_MALFORMED
    if not found:
        return Reason.HEADER_MISSING
    if len(found) > MAX_HEADER_BYTES or not _TEXT.fullmatch(found):
        return Reason.HEADER_MALFORMED
    return found


def _parts_of(template: str) -> tuple[str, ...]:
    """The template's literals and fields in order: "{timestamp}|{body}" gives ("{timestamp}", "|", "{body}")."""
    parts = tuple(part for part in re.split(r"(\{[^{}]*\})", template) if part)
    for part in parts:
        if ("{" in part or "}" in part) and part not in _FIELDS:
            raise ConfigurationError("", "signed", f"knows no field {part}; it knows {', '.join(sorted(_FIELDS))}")
    if not parts:
        raise ConfigurationError("", "signed", "is empty")
    return parts


def _decoded(form: KeyForm, secret: bytes) -> bytes | None:
    if form is KeyForm.TEXT:
        return secret
    if form is KeyForm.HEX:
        return bytes.fromhex(secret.decode("ascii")) if _HEX.fullmatch(secret) else None
    try:
        return base64.b64decode(secret, validate=True)
    except binascii.Error:
        return None


def _id_of(body: bytes) -> bytes:
    return b"msg_" + hashlib.sha256(body).hexdigest()[:32].encode()
