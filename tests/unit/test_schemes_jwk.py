"""Key sets: usable keys in, everything else skipped; a document that is none never takes a good one's place."""

import base64
import json
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519

from hookseal.errors import ConfigurationError
from hookseal.schemes import jwk
from hookseal.schemes.jose import public_members

PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def entry(**more: Any) -> dict[str, Any]:
    return {"kid": "k1", "use": "sig", **public_members(rsa_key()), **more}


def parsed(*entries: object) -> dict[str, int]:
    """How many keys there are by id."""
    return {kid: len(keys) for kid, keys in jwk.parse(json.dumps({"keys": entries}).encode()).items()}


def test_key_is_found_by_its_id_with_the_algorithm_that_the_set_fixes() -> None:
    keys = jwk.parse(json.dumps({"keys": [entry(), entry(kid="k2", alg="RS256")]}).encode())
    assert [(kid, key.alg) for kid, (key,) in keys.items()] == [("k1", None), ("k2", "RS256")]
    assert keys["k1"][0].key.public_numbers() == rsa_key().public_key().public_numbers()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "private",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["P-256", "P-384", "P-521", "Ed25519"],
)
def test_curves_are_read(private: Any) -> None:
    assert parsed({"kid": "c", **public_members(private)}) == {"c": 1}


@pytest.mark.parametrize(
    "unusable",
    [
        None,
        [],
        "key",
        {},
        {"kty": "RSA"},
        entry(kid=None),
        entry(kid=""),
        entry(kid=5),
        entry(kid="k" * 257),
        entry(use="enc"),
        entry(use=None),
        entry(key_ops=["encrypt"]),
        entry(key_ops="verify"),
        entry(alg="RSA-OAEP"),
        entry(alg="HS256"),
        entry(alg="none"),
        entry(alg="ES256"),
        entry(alg=["RS256"]),
        entry(kty="oct", k="c2VjcmV0"),
        entry(kty=["RSA"]),
        entry(n="%%%"),
        entry(n=""),
        entry(n=5),
        entry(n="A" * 100_000),
        entry(e="AA"),
        entry(e="AQAB" * 20),
        entry(n="AQAB"),
        {"kid": "k", "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kid": "k", "kty": "EC", "crv": "secp256k1", "x": "A" * 43, "y": "A" * 43},
        {"kid": "k", "kty": "OKP", "crv": "Ed448", "x": "A" * 76},
        {"kid": "k", "kty": "OKP", "crv": "Ed25519", "x": "AA"},
        {"kid": "k", "kty": "OKP", "crv": ["Ed25519"], "x": "AA"},
    ],
)
def test_unusable_key_is_skipped_and_the_others_stay(unusable: object) -> None:
    assert parsed(unusable, entry()) == {"k1": 1}


def test_rsa_keys_too_small_or_too_large_are_skipped() -> None:
    small = {"kid": "small", **public_members(rsa_key(1024))}
    large = {**entry(kid="large"), "n": "_" + "w" * 1400}
    slightly_large = {**entry(kid="large"), "n": "_" + "w" * 1366}  # 1025 bytes
    assert parsed(small, large, slightly_large, entry()) == {"k1": 1}


def test_exchange_key_is_skipped() -> None:
    raw = x25519.X25519PrivateKey.generate().public_key().public_bytes_raw()
    entry_of_it = {"kid": "x", "kty": "OKP", "crv": "X25519", "x": base64.urlsafe_b64encode(raw).rstrip(b"=").decode()}
    assert parsed(entry_of_it, entry()) == {"k1": 1}


def test_private_half_in_a_document_is_not_read() -> None:
    numbers = rsa_key().private_numbers()
    leaked = entry(d="AQAB", p="AQAB", q="AQAB")
    [(_, (key,))] = jwk.parse(json.dumps({"keys": [leaked]}).encode()).items()
    assert isinstance(key.key, rsa.RSAPublicKey)
    assert numbers.public_numbers == key.key.public_numbers()


def test_two_keys_under_one_id_are_both_kept() -> None:
    assert parsed(entry(), entry()) == {"k1": 2}


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"\xff",
        b"null",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": null}',
        b'{"keys": []}',
        b'{"keys": [{"kty": "RSA"}]}',
        b"[" * 100_000,
        b"<html>not found</html>",
        b'{"keys": [' + b"{}," * 100 + b"{}]}",
        b" " * 262_145,
    ],
)
def test_document_that_is_no_key_set_is_an_error(document: bytes) -> None:
    with pytest.raises(ValueError):
        jwk.parse(document)


def test_hundred_keys_are_read_and_no_more() -> None:
    assert len(parsed(*(entry(kid=f"k{place}") for place in range(100)))) == 100
    with pytest.raises(ValueError, match="more than 100"):
        parsed(*(entry(kid=f"k{place}") for place in range(101)))


def test_key_set_may_be_given_as_text_bytes_or_object() -> None:
    document = {"keys": [entry()]}
    for given in (document, json.dumps(document), json.dumps(document).encode()):
        assert set(jwk.key_set_of(given)) == {"k1"}
    for bad in ({"keys": []}, "", b"\xff", {"keys": [{1, 2}]}):
        with pytest.raises(ConfigurationError, match="jwks"):
            jwk.key_set_of(bad)


def test_our_own_key_set_never_holds_the_private_half() -> None:
    for private in (rsa_key(), ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()):
        [published] = jwk.public_jwks(private, "k1")["keys"]
        assert not PRIVATE_MEMBERS & set(published)
        assert published["kid"] == "k1"
        assert parsed(published) == {"k1": 1}
    assert jwk.public_jwks(rsa_key(), "k1")["keys"][0]["e"] == "AQAB"


def test_leading_zero_bytes_and_padding_are_written_as_rfc_7518_asks() -> None:
    """Coordinates have the curve's full length (RFC 7518 §6.2.1.2): a short one is refused elsewhere."""
    while True:  # one key in about 128 has a coordinate that begins with a zero byte
        private = ec.generate_private_key(ec.SECP256R1())
        if private.public_key().public_numbers().x < 2**248:
            break
    [published] = jwk.public_jwks(private, "k1")["keys"]
    assert len(base64.urlsafe_b64decode(published["x"] + "=")) == 32
    assert "=" not in published["x"]
