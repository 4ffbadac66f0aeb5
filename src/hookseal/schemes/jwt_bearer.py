"""A JSON Web Token (RFC 7519) in `Authorization: Bearer`, signed by an issuer whose public keys are published.

Decides whether the token is one that this issuer made for us and that is valid now. The token has no say in how it is
judged: algorithm, issuer and audience come from the source's configuration, the key from the issuer's key set. What it
says of keys elsewhere (`jku`, `x5u`, `jwk`, `x5c`) makes it refused, as do extensions that we do not know (`crit`).
Rules: RFC 8725 (JSON Web Token Best Current Practices), RFC 6750 §2.1 for the header. A token in the URL is not looked at.

The order: structure, algorithm, key, signature, then issuer, audience, times and claims. A token whose key is not at
hand is `KeyNeeded` and nothing else: fetching keys is not done here. The body is not covered: whoever holds a token can
send any body until it expires.

PyJWT and `cryptography` are loaded with the first token, so that a process without such sources never loads them.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from hookseal.clock import Instant, from_unix, to_unix
from hookseal.errors import ConfigurationError
from hookseal.message import Request
from hookseal.model import Reason
from hookseal.schemes.verdict import KeyNeeded, Keys, NotProven, Proven, PublicKey, SigningKeys, Verdict

ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})
"""Asymmetric only. With a published key, an HMAC would be keyed with what everyone knows (RFC 8725 §2.1)."""

MAX_TOKEN_BYTES = 8192
MAX_JOSE_HEADER_BYTES = 2048
MAX_KID_BYTES = 256

_REFUSED_MEMBERS = ("crit", "jku", "jwk", "x5u", "x5c", "b64")
_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z: beyond it a number is no date


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtBearer:
    """Columns of a `[scheme]` table with `kind = "jwt_bearer"`.

    issuer            equals `iss`, exactly.
    audience          one of these equals `aud` or is in it.
    jwks_url          where the issuer's keys are published; read by whoever fetches them.
    leeway_s          how far clocks may differ at `exp` and `nbf`, seconds.
    max_age_s         how old a token may be by its `iat`; absent: any age until it expires.
    tenant            equals `tid`, where given.
    authorized_party  equals `azp`, where given.
    roles             all of them are in `roles`.
    lifetime_s, token for signing only: how long our tokens last, and what they say besides the registered claims.
    """

    issuer: str
    audience: tuple[str, ...]
    jwks_url: str = ""
    algorithms: tuple[str, ...] = ("RS256",)
    leeway_s: int = 60
    max_age_s: int | None = None
    tenant: str = ""
    authorized_party: str = ""
    roles: tuple[str, ...] = ()
    lifetime_s: int = 3600
    token: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.issuer:
            raise ConfigurationError("", "issuer", "is empty")
        if not self.audience or not all(self.audience):
            # Without an audience a token that the issuer made for anyone else would be good here.
            raise ConfigurationError(
                "", "audience", "is empty; it is told by the provider when the subscription is made"
            )
        if not self.algorithms or not ALGORITHMS.issuperset(self.algorithms):
            raise ConfigurationError("", "algorithms", f"must be among {', '.join(sorted(ALGORITHMS))}")
        if self.leeway_s < 0 or self.lifetime_s <= 0:
            raise ConfigurationError("", "leeway_s", "must be 0 or more, and lifetime_s above 0")

    @property
    def proof(self) -> tuple[tuple[bytes, ...], ...]:
        return ((b"authorization",),)

    def limited(self, max_age_s: int) -> "JwtBearer":
        return replace(self, max_age_s=max_age_s)

    def secret_problem(self, secret: bytes) -> str | None:
        return "is not used: tokens are proven with the issuer's published keys; remove it"

    # --- judging

    def verify(self, request: Request, keys: Keys, now: Instant) -> Verdict:
        token = _token_in(request)
        if isinstance(token, Reason):
            return NotProven(token)
        header = _json_object(token.header)
        claims = _json_object(token.claims)
        if header is None or claims is None or any(name in header for name in _REFUSED_MEMBERS):
            return NotProven(Reason.TOKEN_MALFORMED)
        algorithm = header.get("alg")
        if algorithm not in self.algorithms:
            return NotProven(Reason.TOKEN_ALGORITHM)
        kid = _kid_in(header)
        if kid is None:
            return NotProven(Reason.TOKEN_MALFORMED)
        if keys.key_set is None or not keys.key_set.get(kid):
            return KeyNeeded(kid)
        wrong = _signature_fault(token, algorithm, keys.key_set[kid]) or self._claims_fault(claims, to_unix(now))
        if wrong is not None:
            return NotProven(wrong)
        issued_at = claims.get("iat")
        return Proven(signed_at=None if issued_at is None else from_unix(issued_at))

    def _claims_fault(self, claims: Mapping[str, Any], now_s: float) -> Reason | None:
        return (
            self._issuer_fault(claims)
            or self._audience_fault(claims)
            or self._times_fault(claims, now_s)
            or self._required_claims_fault(claims)
        )

    def _issuer_fault(self, claims: Mapping[str, Any]) -> Reason | None:
        if "iss" not in claims:
            return Reason.TOKEN_CLAIM_MISSING
        return None if claims["iss"] == self.issuer else Reason.TOKEN_ISSUER

    def _audience_fault(self, claims: Mapping[str, Any]) -> Reason | None:
        if "aud" not in claims:
            return Reason.TOKEN_CLAIM_MISSING
        audience = claims["aud"]
        named = [audience] if isinstance(audience, str) else audience
        if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
            return Reason.TOKEN_MALFORMED
        return None if any(one in self.audience for one in named) else Reason.TOKEN_AUDIENCE

    def _times_fault(self, claims: Mapping[str, Any], now_s: float) -> Reason | None:
        dates = [claims[name] for name in ("exp", "nbf", "iat") if name in claims]
        if not all(_is_date(date) for date in dates):
            return Reason.TOKEN_MALFORMED  # "1763715300" as text too: some libraries take it, RFC 7519 §2 does not
        if "exp" not in claims:
            return Reason.TOKEN_CLAIM_MISSING
        if claims["exp"] <= now_s - self.leeway_s:
            return Reason.TOKEN_EXPIRED
        if "nbf" in claims and claims["nbf"] > now_s + self.leeway_s:
            return Reason.TOKEN_NOT_YET_VALID
        if self.max_age_s is not None:
            if "iat" not in claims:
                return Reason.TOKEN_CLAIM_MISSING
            if now_s - claims["iat"] > self.max_age_s:
                return Reason.TIMESTAMP_STALE
        return None

    def _required_claims_fault(self, claims: Mapping[str, Any]) -> Reason | None:
        roles = claims.get("roles")
        held = roles if isinstance(roles, list) else []
        if (
            (self.tenant and claims.get("tid") != self.tenant)
            or (self.authorized_party and claims.get("azp") != self.authorized_party)
            or not all(role in held for role in self.roles)
        ):
            return Reason.TOKEN_CLAIM_MISSING
        return None

    # --- signing

    def sign(self, request: Request, keys: SigningKeys, now: Instant) -> list[tuple[str, str]]:
        """A token as the issuer makes it. keys: a private key object, or its PEM text as the secret."""
        import jwt

        from hookseal.schemes.jose import key_id, private_key_of

        key = keys.private_key if keys.private_key is not None else private_key_of(keys.secret)
        issued_at = now // 1_000_000
        claims: dict[str, object] = {
            "aud": self.audience[0],
            "iss": self.issuer,
            "iat": issued_at,
            "nbf": issued_at,
            "exp": issued_at + self.lifetime_s,
            **self.token,
        }
        asked = {"tid": self.tenant, "azp": self.authorized_party, "roles": list(self.roles)}
        claims.update({name: value for name, value in asked.items() if value})
        claims.update(keys.claims)
        header = {"kid": keys.kid or key_id(key)}
        try:
            token = jwt.encode(claims, key, algorithm=self.algorithms[0], headers=header)  # type: ignore[arg-type]
        except (TypeError, ValueError, jwt.PyJWTError) as error:
            raise ConfigurationError("", "secret", f"is no private key for {self.algorithms[0]}") from error
        return [("Authorization", f"Bearer {token}")]


class _Token(NamedTuple):
    header: bytes
    claims: bytes
    signed: bytes
    signature: bytes | None  # None when its text is not base64url: then nobody made it


_BEARER = re.compile(rb"bearer(?: +|$)", re.IGNORECASE)
_SEGMENTS = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)")


def _token_in(request: Request) -> _Token | Reason:
    values = set(request.values(b"authorization"))
    if len(values) != 1:
        return Reason.HEADER_MALFORMED if values else Reason.TOKEN_MISSING
    value = values.pop()
    scheme = _BEARER.match(value)
    if scheme is None or scheme.end() == len(value):
        return Reason.TOKEN_MISSING
    if len(value) - scheme.end() > MAX_TOKEN_BYTES:
        return Reason.TOKEN_MALFORMED
    segments = _SEGMENTS.fullmatch(value, scheme.end())
    if segments is None or len(segments[1]) > MAX_JOSE_HEADER_BYTES:
        return Reason.TOKEN_MALFORMED
    header, claims, signature = (_base64url(segment) for segment in segments.groups())
    if header is None or claims is None:
        return Reason.TOKEN_MALFORMED
    return _Token(header, claims, segments[1] + b"." + segments[2], signature)


def _base64url(segment: bytes) -> bytes | None:
    """Decoded, or None when it is not the one spelling of its bytes: spare bits set would make many tokens of one."""
    try:
        plain = base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
    except binascii.Error:
        return None
    return plain if base64.urlsafe_b64encode(plain).rstrip(b"=") == segment else None


def _json_object(text: bytes) -> dict[str, Any] | None:
    """A JSON object in UTF-8 that names no key twice, or None."""
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):  # also: not UTF-8, an integer of 5000 digits
        return None
    return value if isinstance(value, dict) else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key stands twice")
    return members


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _kid_in(header: Mapping[str, Any]) -> str | None:
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid or len(kid) > MAX_KID_BYTES or not kid.isprintable():
        return None
    return kid


def _is_date(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LAST_SECOND


def _signature_fault(token: _Token, algorithm: str, keys: Iterable[PublicKey]) -> Reason | None:
    """None when one of the keys made the signature. A key is used only for the algorithm that the key set fixes for it."""
    from hookseal.schemes.jose import is_signed_by, suits

    fitting = [key for key in keys if key.alg in (None, algorithm) and suits(key.key, algorithm)]
    if not fitting:
        return Reason.TOKEN_ALGORITHM
    if token.signature is None:
        return Reason.TOKEN_SIGNATURE
    held = [is_signed_by(key.key, algorithm, token.signed, token.signature) for key in fitting]
    return None if any(held) else Reason.TOKEN_SIGNATURE
