"""Tokens that no careful library would make: any header, any claims, any signature or none.

What a good token says comes from the scheme (`JwtBearer.sign`); here its parts are changed and put together again, so
that exactly one thing is wrong with it. RSA only, as the issuer is played with an RSA key.
"""

import base64
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_HASHES = {"RS256": hashes.SHA256(), "RS512": hashes.SHA512()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token in parts. key: what signs it, None for an empty signature."""

    header: Mapping[str, object]
    claims: Mapping[str, object]
    key: rsa.RSAPrivateKey | None

    def with_claims(self, *without: str, **claims: object) -> "Token":
        kept = {name: value for name, value in self.claims.items() if name not in without}
        return replace(self, claims={**kept, **claims})

    def with_header(self, *without: str, **members: object) -> "Token":
        kept = {name: value for name, value in self.header.items() if name not in without}
        return replace(self, header={**kept, **members})

    @property
    def text(self) -> str:
        """Compact serialisation, signed as `alg` says where that is RS256, RS512 or HS256; HS256 with the public key."""
        signed = f"{_segment(self.header)}.{_segment(self.claims)}"
        return f"{signed}.{_base64url(self._signature(signed.encode()))}"

    def _signature(self, signed: bytes) -> bytes:
        if self.key is None:
            return b""
        algorithm = self.header.get("alg")
        if algorithm == "HS256":
            public = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            return hmac.digest(public, signed, "sha256")
        return self.key.sign(signed, padding.PKCS1v15(), _HASHES.get(str(algorithm), _HASHES["RS256"]))


def token_in(authorization: str, key: object) -> Token:
    """The parts of `Bearer <token>` as the scheme made it, to be signed with `key` again."""
    header, claims, _ = authorization.rpartition(" ")[2].split(".")
    assert isinstance(key, rsa.RSAPrivateKey)
    return Token(header=_object(header), claims=_object(claims), key=key)


@cache
def stranger() -> rsa.RSAPrivateKey:
    """A key that no key set has."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_jwk(key: rsa.RSAPrivateKey) -> dict[str, str]:
    """The public half, as a thief would put it into a token's header."""
    numbers = key.public_key().public_numbers()
    return {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}


def _number(value: int) -> str:
    return _base64url(value.to_bytes((value.bit_length() + 7) // 8))


def _segment(members: Mapping[str, object]) -> str:
    return _base64url(json.dumps(members, separators=(",", ":")).encode())


def _base64url(plain: bytes) -> str:
    return base64.urlsafe_b64encode(plain).rstrip(b"=").decode()


def _object(segment: str) -> dict[str, object]:
    members: dict[str, object] = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    return members
