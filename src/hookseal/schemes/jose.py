"""Signing keys as objects: what they suit, what they signed, what may be published of them.

The only file that knows PyJWT's algorithms and `cryptography`'s keys. Loading it takes some tens of milliseconds, so it
is imported inside functions, where a key is at hand. Sizes are judged here: a key that is too weak suits nothing.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import Algorithm, ECAlgorithm, OKPAlgorithm, RSAAlgorithm, get_default_algorithms
from jwt.exceptions import InvalidKeyError

from hookseal.errors import ConfigurationError

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192
"""A larger modulus is only slower, at every request."""
MAX_RSA_EXPONENT = 2**32

_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_PUBLIC_MEMBERS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_READERS: Mapping[str, Any] = {"RSA": RSAAlgorithm, "EC": ECAlgorithm, "OKP": OKPAlgorithm}
_MAX_MEMBER_CHARACTERS = 2 + MAX_RSA_BITS // 6


def public_key(entry: Mapping[str, Any]) -> object | None:
    """The public key of one entry of a key set; private members are not read. None when it is none that we know."""
    kind = entry.get("kty")
    members = _PUBLIC_MEMBERS.get(kind) if isinstance(kind, str) else None
    if kind is None or members is None:
        return None
    public = {name: entry.get(name) for name in members}
    if not all(isinstance(value, str) and len(value) <= _MAX_MEMBER_CHARACTERS for value in public.values()):
        return None
    try:
        return _READERS[kind].from_jwk({"kty": kind, **public})  # type: ignore[no-any-return]
    except (InvalidKeyError, ValueError, TypeError, OverflowError, UnsupportedAlgorithm):
        return None


def suits(key: object, algorithm: str) -> bool:
    """Whether a key is of the kind, curve and size that an algorithm asks for."""
    if algorithm.startswith(("RS", "PS")):
        return (
            isinstance(key, RSAPublicKey)
            and MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS
            and key.public_numbers().e <= MAX_RSA_EXPONENT
        )
    if algorithm in _CURVES:
        return isinstance(key, EllipticCurvePublicKey) and key.curve.name == _CURVES[algorithm]
    return algorithm == "EdDSA" and isinstance(key, Ed25519PublicKey)


def is_signed_by(key: Any, algorithm: str, signed: bytes, signature: bytes) -> bool:
    """Whether `signature` is the key's over `signed`. The key suits the algorithm; the bytes may be any."""
    return _algorithms()[algorithm].verify(signed, key, signature)


@cache
def _algorithms() -> dict[str, Algorithm]:
    return get_default_algorithms()


def public_members(private_key: object) -> dict[str, str]:
    """What a key set says of a private key's public half, `kty` first. Never a private member."""
    if isinstance(private_key, RSAPrivateKey):
        members = RSAAlgorithm.to_jwk(private_key.public_key(), as_dict=True)
    elif isinstance(private_key, EllipticCurvePrivateKey):
        members = ECAlgorithm.to_jwk(private_key.public_key(), as_dict=True)
    elif isinstance(private_key, Ed25519PrivateKey):
        members = OKPAlgorithm.to_jwk(private_key.public_key(), as_dict=True)
    else:
        raise ConfigurationError("", "secret", "is no RSA, elliptic curve or Ed25519 private key")
    kind = str(members["kty"])
    return {"kty": kind, **{name: str(members[name]) for name in _PUBLIC_MEMBERS[kind]}}


def key_id(private_key: object) -> str:
    """The key's thumbprint (RFC 7638): a key id that needs no register."""
    canonical = json.dumps(public_members(private_key), sort_keys=True, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()


def private_key_of(pem: bytes) -> object:
    """A private key from its PEM text. ConfigurationError, which never holds it, when it is none."""
    try:
        return load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError("", "secret", "is no private key in PEM form without a password") from error
