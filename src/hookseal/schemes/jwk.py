"""The published keys of an issuer: a JSON Web Key set (RFC 7517) in, keys by their ids out; and our own issuer's set.

A key that cannot check a signature is skipped, since issuers publish keys for other ends beside them. A document that
is no key set, or has no usable key at all, is a ValueError, so that it never takes the place of a good set. Knows
nothing of where a document came from or for how long it holds.
"""

import json
from collections.abc import Mapping
from typing import Any

from hookseal.errors import ConfigurationError
from hookseal.schemes.jwt_bearer import ALGORITHMS, MAX_KID_BYTES
from hookseal.schemes.verdict import PublicKey

KeySet = Mapping[str, tuple[PublicKey, ...]]

MAX_DOCUMENT_BYTES = 262_144
MAX_KEYS = 100


def parse(document: bytes) -> KeySet:
    """The usable keys of a key set by key id. ValueError when it is no key set or holds no usable key.

    document  at most 256 KiB of JSON with at most 100 keys.
    Usable: RSA of 2048 to 8192 bits, P-256, P-384, P-521, Ed25519; with a `kid`; not marked for encryption.
    """
    if len(document) > MAX_DOCUMENT_BYTES:
        raise ValueError("the key set is larger than 256 KiB")
    try:
        top = json.loads(document.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("the key set is nested too deeply") from error
    entries = top.get("keys") if isinstance(top, dict) else None
    if not isinstance(entries, list):
        raise ValueError("not a key set, which is a JSON object with a list `keys`")
    if len(entries) > MAX_KEYS:
        raise ValueError("the key set has more than 100 keys")
    keys: dict[str, tuple[PublicKey, ...]] = {}
    for entry in entries:
        key = _usable(entry)
        if key is not None:
            keys[entry["kid"]] = (*keys.get(entry["kid"], ()), key)
    if not keys:
        raise ValueError("the key set has no key that can check a signature")
    return keys


def key_set_of(given: bytes | str | Mapping[str, Any]) -> KeySet:
    """A key set as an operator gives it: text, bytes, or a parsed object. ConfigurationError when it is none."""
    try:
        return parse(
            given if isinstance(given, bytes) else (given if isinstance(given, str) else _dumped(given)).encode()
        )
    except (ValueError, TypeError) as error:
        raise ConfigurationError("", "jwks", f"is not usable: {_told(error)}") from error


def public_jwks(private_key: object, kid: str) -> dict[str, list[dict[str, str]]]:
    """The key set that our issuer publishes for one private key: the public half, and no `alg`, as Entra ID does it."""
    from hookseal.schemes.jose import public_members

    return {"keys": [{"use": "sig", "kid": kid, **public_members(private_key)}]}


def _usable(entry: object) -> PublicKey | None:
    from hookseal.schemes.jose import public_key, suits

    if not isinstance(entry, dict):
        return None
    kid, alg, operations = entry.get("kid"), entry.get("alg"), entry.get("key_ops", ["verify"])
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID_BYTES:
        return None
    if entry.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    if alg is not None and not (isinstance(alg, str) and alg in ALGORITHMS):
        return None
    key = public_key(entry)
    if key is None or not any(suits(key, one) for one in ((alg,) if alg else ALGORITHMS)):
        return None
    return PublicKey(key, alg)


def _dumped(given: Mapping[str, Any]) -> str:
    return json.dumps(dict(given))


def _told(error: Exception) -> str:
    return str(error) if type(error) is ValueError else "it is no JSON in UTF-8"
