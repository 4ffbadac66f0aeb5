"""Good requests of five providers, made without the gateway's own code: what the corpus starts from and bends.

The signatures are written down a second time on purpose. A corpus that signed with the code under test could not tell
when both are wrong.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

NOW = 1_763_712_000
"""2025-11-21T08:00:00Z, unix seconds: the gateway's clock stands there."""

SECRET = b"corpus-secret-00000000-0000-4000-8000-000000000000"
OTHER_SECRET = b"another-secret"
AUDIENCE = "11111111-2222-4333-8444-555555555555"
ISSUER = "https://issuer.corpus.example/v2.0"
PROVIDERS = ("idenfy", "zignsec", "seal_id", "standard_webhooks", "bankid_antifraud")
HASHED = PROVIDERS[:4]
ACCEPTED = dict.fromkeys(HASHED, 200) | {"bankid_antifraud": 202}
REFUSED = dict.fromkeys(PROVIDERS, 401) | {"idenfy": 403}

Pairs = list[tuple[bytes, bytes]]

_HASH = {"idenfy": "sha256", "zignsec": "sha256", "seal_id": "sha512", "standard_webhooks": "sha256"}
_TIMESTAMP = {"seal_id": b"20251121T080000Z", "standard_webhooks": b"%d" % NOW}


def good_body(provider: str, name: str) -> bytes:
    """A body that its provider could have sent; `name` makes it an event of its own."""
    bodies: dict[str, Any] = {
        "idenfy": {"scanRef": name, "final": True, "status": {"overall": "APPROVED"}},
        "zignsec": {"id": name, "identity": {"FirstName": "LARS", "CountryCode": "SE"}, "errors": []},
        "seal_id": {"id": name, "ubiIdCaseId": name, "status": "SCHEDULED", "createdTime": "20251121T080000Z"},
        "standard_webhooks": {"type": "user.created", "data": {"id": name}},
        "bankid_antifraud": {
            "specversion": "1.0",
            "id": name,
            "source": "/bankid/antifraud",
            "type": "no.bankid.antifraud.alarm.dispatch.v2",
            "data": {"alarm": "x"},
        },
    }
    return json.dumps(bodies[provider], separators=(",", ":")).encode()


def content_type(provider: str) -> bytes:
    return b"application/cloudevents+json; charset=utf-8" if provider == "bankid_antifraud" else b"application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a keyed hash over one body comes to, in the spellings that senders confuse."""

    provider: str
    body: bytes
    timestamp: bytes = b""
    id: bytes = b""

    def digest(self, algorithm: str = "", secret: bytes = SECRET) -> bytes:
        text = {
            "seal_id": b"%b|%b" % (self.timestamp, self.body),
            "standard_webhooks": b"%b.%b.%b" % (self.id, self.timestamp, self.body),
        }.get(self.provider, self.body)
        return hmac.digest(secret, text, algorithm or _HASH[self.provider])

    def written(self, digest: bytes) -> bytes:
        return digest.hex().encode() if self.provider == "idenfy" else base64.b64encode(digest)

    @property
    def words(self) -> dict[bytes, bytes]:
        """What may stand in braces in a case's headers."""
        digest = self.digest()
        return {
            b"{sig}": self.written(digest),
            b"{sig_hex}": digest.hex().encode(),
            b"{sig_HEX}": digest.hex().upper().encode(),
            b"{sig_b64}": base64.b64encode(digest),
            b"{sig_b64url}": base64.urlsafe_b64encode(digest),
            b"{sig_unpadded}": base64.b64encode(digest).rstrip(b"="),
            b"{sig_b64_of_hex}": base64.b64encode(digest.hex().encode()),
            b"{sig_sha1}": self.written(self.digest("sha1")),
            b"{sig_sha256}": self.written(self.digest("sha256")),
            b"{sig_sha384}": self.written(self.digest("sha384")),
            b"{sig_sha512}": self.written(self.digest("sha512")),
            b"{sig_other}": self.written(self.digest(secret=OTHER_SECRET)),
            b"{sig_no_key}": self.written(self.digest(secret=b"")),
            b"{sig_plain}": self.written(hashlib.new(_HASH[self.provider], self.body).digest()),
            b"{ts}": self.timestamp,
            b"{id}": self.id,
        }


def proof(provider: str, body: bytes, *, timestamp: bytes | None = None, id: bytes | None = None) -> Proof:
    at = _TIMESTAMP.get(provider, b"") if timestamp is None else timestamp
    return Proof(provider=provider, body=body, timestamp=at, id=b"msg_1" if id is None else id)


PROOF_HEADERS: Mapping[str, list[tuple[str, str]]] = {
    "idenfy": [("Idenfy-Signature", "{sig}")],
    "zignsec": [("X-ZignSec-Hmac-SHA256", "{sig}")],
    "seal_id": [("ubiid-notification-signature", "{sig}"), ("ubiid-notification-timestamp", "{ts}")],
    "standard_webhooks": [
        ("webhook-id", "{id}"),
        ("webhook-timestamp", "{ts}"),
        ("webhook-signature", "v1,{sig}"),
    ],
    "bankid_antifraud": [("Authorization", "Bearer {token}")],
}


def filled(text: bytes, words: Mapping[bytes, bytes]) -> bytes:
    for word, value in words.items():
        text = text.replace(word, value)
    return text


def good_headers(provider: str, body: bytes) -> Pairs:
    """The headers of a good request with this body."""
    words = {b"{token}": token()} if provider == "bankid_antifraud" else proof(provider, body).words
    pairs = [(name.encode(), filled(value.encode(), words)) for name, value in PROOF_HEADERS[provider]]
    return [(b"Content-Type", content_type(provider)), *pairs]


# --- tokens


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """One key per name for the whole run. None is written down: a private key in a repository alarms its readers."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_set() -> dict[str, Any]:
    """`rsa` has no alg, as Entra's have none; `ps` is fixed to PS256; `ec` is another kind of key."""
    point = ec_key().public_key().public_numbers()
    return {
        "keys": [
            {"kty": "RSA", "use": "sig", "kid": "rsa", **_public(rsa_key("rsa"))},
            {"kty": "RSA", "use": "sig", "kid": "ps", "alg": "PS256", **_public(rsa_key("ps"))},
            {"kty": "EC", "crv": "P-256", "kid": "ec", "x": _b64int(point.x, 32), "y": _b64int(point.y, 32)},
        ]
    }


def _public(key: rsa.RSAPrivateKey) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    return {"n": _b64int(numbers.n, 256), "e": _b64int(numbers.e, 3)}


def _b64int(number: int, size: int) -> str:
    return b64url(number.to_bytes(size)).decode()


def b64url(given: bytes) -> bytes:
    return base64.urlsafe_b64encode(given).rstrip(b"=")


GOOD_HEADER = {"typ": "JWT", "alg": "RS256", "kid": "rsa"}
GOOD_CLAIMS = {
    "aud": AUDIENCE,
    "iss": ISSUER,
    "iat": NOW - 300,
    "nbf": NOW - 300,
    "exp": NOW + 3600,
    "azp": "azp-1",
    "tid": "tid-1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A recipe. header and claims are laid over the good ones; the texts replace them; signing says by what it is signed."""

    header: Mapping[str, Any] = field(default_factory=dict)
    claims: Mapping[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    header_text: bytes | None = None
    claims_text: bytes | None = None
    signing: str = "rs256"
    form: bytes = b"{h}.{c}.{s}"

    def made(self) -> bytes:
        header = {key: value for key, value in {**GOOD_HEADER, **self.header}.items() if key not in self.without}
        claims = {key: value for key, value in {**GOOD_CLAIMS, **self.claims}.items() if key not in self.without}
        head = b64url(json.dumps(header).encode() if self.header_text is None else self.header_text)
        body = b64url(json.dumps(claims).encode() if self.claims_text is None else self.claims_text)
        signature = b64url(_signed(self.signing, head + b"." + body)) if b"{s}" in self.form else b""
        return filled(self.form, {b"{h}": head, b"{c}": body, b"{s}": signature})


def token(**recipe: Any) -> bytes:
    return Token(**recipe).made() if recipe else _good_token()


@cache
def _good_token() -> bytes:
    return Token().made()


def _signed(signing: str, text: bytes) -> bytes:
    pkcs1, sha256 = padding.PKCS1v15(), hashes.SHA256()
    match signing:
        case "rs256":
            return rsa_key("rsa").sign(text, pkcs1, sha256)
        case "rs256_other_key":
            return rsa_key("other").sign(text, pkcs1, sha256)
        case "rs256_ps_key":
            return rsa_key("ps").sign(text, pkcs1, sha256)
        case "rs384":
            return rsa_key("rsa").sign(text, pkcs1, hashes.SHA384())
        case "rs256_sha1":
            return rsa_key("rsa").sign(text, pkcs1, hashes.SHA1())
        case "ps256":
            pss = padding.PSS(padding.MGF1(sha256), padding.PSS.DIGEST_LENGTH)
            return rsa_key("rsa").sign(text, pss, sha256)
        case "es256":
            r, s = decode_dss_signature(ec_key().sign(text, ec.ECDSA(sha256)))
            return r.to_bytes(32) + s.to_bytes(32)
        case "hs256_public_key":
            pem = rsa_key("rsa").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            return hmac.digest(pem, text, "sha256")
        case "hs256_empty":
            return hmac.digest(b"", text, "sha256")
        case "zeros_64":
            return bytes(64)
        case "zeros_256":
            return bytes(256)
        case "ones_256":
            return b"\x00" * 255 + b"\x01"
        case "doubled":
            return 2 * rsa_key("rsa").sign(text, pkcs1, sha256)
        case "truncated":
            return rsa_key("rsa").sign(text, pkcs1, sha256)[:-1]
        case "none":
            return b""
    raise ValueError(signing)
