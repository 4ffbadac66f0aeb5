"""Bearer tokens: the token has no say in how it is judged."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from hookseal import catalogue
from hookseal.clock import from_unix
from hookseal.errors import ConfigurationError
from hookseal.message import Request, headers_of
from hookseal.model import Reason
from hookseal.schemes import jwk
from hookseal.schemes.columns import from_columns
from hookseal.schemes.jwt_bearer import JwtBearer
from hookseal.schemes.verdict import KeyNeeded, Keys, NotProven, Proven, PublicKey, SigningKeys, Verdict

NOW_S = 1_763_712_000
NOW = from_unix(NOW_S)
ISSUER = "https://login.example/tenant/v2.0"
SCHEME = JwtBearer(issuer=ISSUER, audience=("us",))
CLAIMS: dict[str, Any] = {"iss": ISSUER, "aud": "us", "exp": NOW_S + 600, "nbf": NOW_S - 60, "iat": NOW_S - 60}


@cache
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def keys_with(public: object, alg: str | None = None, kid: str = "k1") -> Keys:
    return Keys(key_set={kid: (PublicKey(public, alg),)})


def base64url(plain: bytes) -> bytes:
    return base64.urlsafe_b64encode(plain).rstrip(b"=")


def compact(header: bytes, claims: bytes, signer: Any = None) -> bytes:
    """A token of exactly these bytes, signed with RS256 or by `signer`."""
    signed = base64url(header) + b"." + base64url(claims)
    algorithm = jwt.get_algorithm_by_name("RS256")
    signature = signer(signed) if signer else algorithm.sign(signed, key())
    return signed + b"." + base64url(signature)


def token(claims: Mapping[str, Any] = CLAIMS, header: Mapping[str, Any] | None = None, **more: Any) -> bytes:
    header = {"typ": "JWT", "alg": "RS256", "kid": "k1", **(header or {})}
    return compact(json.dumps(header).encode(), json.dumps({**claims, **more}).encode())


def judged(given: bytes, scheme: JwtBearer = SCHEME, keys: Keys | None = None) -> Verdict:
    request = Request(headers=((b"authorization", b"Bearer " + given),))
    return scheme.verify(request, keys or keys_with(key().public_key()), NOW)


def reason_of(verdict: Verdict) -> Reason | None:
    return verdict.reason if isinstance(verdict, NotProven) else None


def without(name: str) -> dict[str, Any]:
    return {claim: value for claim, value in CLAIMS.items() if claim != name}


def test_good_token_is_proven_and_dated_by_its_issue() -> None:
    assert judged(token()) == Proven(signed_at=from_unix(NOW_S - 60))


# --- structure


@pytest.mark.parametrize(
    ("authorization", "reason"),
    [
        ([], Reason.TOKEN_MISSING),
        ([b""], Reason.TOKEN_MISSING),
        ([b"Bearer"], Reason.TOKEN_MISSING),
        ([b"Bearer "], Reason.TOKEN_MISSING),
        ([b"Basic dXNlcjpwYXNz"], Reason.TOKEN_MISSING),
        ([b"Bearerx.y.z"], Reason.TOKEN_MISSING),
        ([b"Bearer a b"], Reason.TOKEN_MALFORMED),
        ([b"Bearer a.b"], Reason.TOKEN_MALFORMED),
        ([b"Bearer a.b.c.d"], Reason.TOKEN_MALFORMED),
        ([b"Bearer a.b.c.d.e"], Reason.TOKEN_MALFORMED),
        ([b"Bearer %%%.%%%.%%%"], Reason.TOKEN_MALFORMED),
        ([b"Bearer \xe9.\xe9.\xe9"], Reason.TOKEN_MALFORMED),
        ([b"Bearer e30=.e30=.AA=="], Reason.TOKEN_MALFORMED),
        ([b"Bearer e30.e30.\nAA"], Reason.TOKEN_MALFORMED),
        ([b"Bearer A.e30.AA"], Reason.TOKEN_MALFORMED),
        ([b"Bearer e31.e30.AA"], Reason.TOKEN_MALFORMED),
        ([b"Bearer " + b"e30." * 2 + b"A" * 8192], Reason.TOKEN_MALFORMED),
        ([b"Bearer a.b.c", b"Bearer a.b.d"], Reason.HEADER_MALFORMED),
    ],
)
def test_authorization_that_holds_no_token_is_refused(authorization: list[bytes], reason: Reason) -> None:
    request = Request(headers=tuple((b"authorization", value) for value in authorization))
    assert reason_of(SCHEME.verify(request, keys_with(key().public_key()), NOW)) is reason


def test_scheme_in_any_case_and_several_blanks_are_fine() -> None:
    for word in (b"bearer ", b"BEARER ", b"Bearer   "):
        request = Request(headers=((b"authorization", word + token()),))
        assert isinstance(SCHEME.verify(request, keys_with(key().public_key()), NOW), Proven)


def test_token_in_the_url_is_not_looked_at() -> None:
    request = Request(url=f"https://hooks.example.com/in/a?access_token={token().decode()}")
    assert reason_of(SCHEME.verify(request, keys_with(key().public_key()), NOW)) is Reason.TOKEN_MISSING


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[]",
        b'"JWT"',
        b"null",
        b"\xff",
        b'{"alg":"RS256"',
        b'{"alg":"RS256","alg":"RS256","kid":"k1"}',
        '{"alg":"RS256","kid":"k1"}'.encode("utf-16"),
        b"[" * 1400,
        b'{"alg":"RS256","kid":"k1","x":' + b"9" * 5000 + b"}",
        b'{"alg":"RS256","kid":"k1","x":NaN}',
        b'{"alg":"RS256","kid":"k1","x":"' + b"x" * 2048 + b'"}',
    ],
)
def test_header_that_is_no_plain_json_object_is_malformed(header: bytes) -> None:
    assert reason_of(judged(compact(header, json.dumps(CLAIMS).encode()))) is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize("claims", [b"", b"[]", b"\xff", b'{"iss":"a","iss":"b"}', b"[" * 5000, b'{"exp":Infinity}'])
def test_claims_that_are_no_plain_json_object_are_malformed(claims: bytes) -> None:
    header = b'{"alg":"RS256","kid":"k1"}'
    assert reason_of(judged(compact(header, claims))) is Reason.TOKEN_MALFORMED
    assert reason_of(judged(compact(header, claims), keys=Keys())) is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize(
    "member",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"jku": "https://attacker.example/keys"},
        {"x5u": "https://attacker.example/cert"},
        {"x5c": []},
        {"jwk": {}},
        {"b64": False},
    ],
)
def test_header_that_names_keys_or_extensions_is_refused(member: dict[str, Any]) -> None:
    assert reason_of(judged(token(header=member))) is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize("kid", [None, "", 1, ["k1"], {"k1": 1}, "k" * 257, "k\x00", "\ud800", "k\n1"])
def test_key_id_is_a_short_printable_text(kid: object) -> None:
    assert reason_of(judged(token(header={"kid": kid}))) is Reason.TOKEN_MALFORMED


def test_other_members_do_no_harm() -> None:
    assert isinstance(judged(token(header={"x5t": "abc", "typ": "at+jwt", "nonce": 1})), Proven)


# --- algorithm and key


@pytest.mark.parametrize(
    "alg", [None, "none", "None", "nOnE", "HS256", "RS512", "PS256", "rs256", "", ["RS256"], 1, {}]
)
def test_algorithm_is_the_configured_one(alg: object) -> None:
    assert reason_of(judged(token(header={"alg": alg}))) is Reason.TOKEN_ALGORITHM


def test_public_key_as_hmac_secret_is_refused() -> None:
    pem = key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    forged = compact(
        b'{"alg":"HS256","kid":"k1"}',
        json.dumps(CLAIMS).encode(),
        lambda signed: hmac.new(pem, signed, hashlib.sha256).digest(),
    )
    assert reason_of(judged(forged)) is Reason.TOKEN_ALGORITHM
    with pytest.raises(ConfigurationError) as raised:
        replace(SCHEME, algorithms=("HS256",))
    assert raised.value.key == "algorithms"


def test_unsigned_token_is_refused() -> None:
    bare = base64url(b'{"alg":"none","kid":"k1"}') + b"." + base64url(json.dumps(CLAIMS).encode()) + b"."
    assert reason_of(judged(bare)) is Reason.TOKEN_ALGORITHM
    named = base64url(b'{"alg":"RS256","kid":"k1"}') + b"." + base64url(json.dumps(CLAIMS).encode()) + b"."
    assert reason_of(judged(named)) is Reason.TOKEN_SIGNATURE


@pytest.mark.parametrize("keys", [Keys(), Keys(key_set={}), Keys(key_set={"k2": ()}), Keys(key_set={"k1": ()})])
def test_key_that_is_not_at_hand_is_asked_for(keys: Keys) -> None:
    assert judged(token(), keys=keys) == KeyNeeded("k1")


def test_nothing_else_is_said_while_the_key_is_not_at_hand() -> None:
    assert judged(token(iss="another"), keys=Keys()) == KeyNeeded("k1")


def test_key_serves_only_the_algorithm_that_the_set_fixes_for_it() -> None:
    public = key().public_key()
    assert isinstance(judged(token(), keys=keys_with(public, "RS256")), Proven)
    assert reason_of(judged(token(), keys=keys_with(public, "RS512"))) is Reason.TOKEN_ALGORITHM


def test_key_of_another_kind_or_size_serves_nothing() -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    for other in (ec.generate_private_key(ec.SECP256R1()).public_key(), weak, "a text", None):
        assert reason_of(judged(token(), keys=keys_with(other))) is Reason.TOKEN_ALGORITHM


def test_two_keys_may_share_an_id() -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    for order in ((other, key().public_key()), (key().public_key(), other)):
        keys = Keys(key_set={"k1": tuple(PublicKey(one) for one in order)})
        assert isinstance(judged(token(), keys=keys), Proven)
    assert reason_of(judged(token(), keys=keys_with(other))) is Reason.TOKEN_SIGNATURE


def test_every_other_spelling_of_a_signature_is_refused() -> None:
    """A signature of 256 bytes leaves four spare bits in its last character: sixteen texts decode to one value."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    good = token()
    taken = [last for last in alphabet if isinstance(judged(good[:-1] + bytes([last])), Proven)]
    assert taken == [good[-1]]


@pytest.mark.parametrize("alg", ["PS256", "ES256", "ES384", "ES512", "EdDSA"])
def test_other_algorithms_can_be_configured(alg: str) -> None:
    curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    private: Any = key() if alg == "PS256" else ed25519.Ed25519PrivateKey.generate()
    if alg in curves:
        private = ec.generate_private_key(curves[alg])
    scheme = replace(SCHEME, algorithms=(alg,))
    keys = Keys(key_set=jwk.parse(json.dumps(jwk.public_jwks(private, "k1")).encode()))
    [(_, value)] = scheme.sign(Request(), SigningKeys(private_key=private, kid="k1"), NOW)
    assert isinstance(judged(value.encode()[7:], scheme, keys), Proven)
    for forged in (b"\x00" * 64, b"\x00" * 132, b"", b"\xff" * 256):
        bad = value.encode()[7:].rpartition(b".")[0] + b"." + base64url(forged)
        assert reason_of(judged(bad, scheme, keys)) is Reason.TOKEN_SIGNATURE


# --- claims


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        (without("iss"), Reason.TOKEN_CLAIM_MISSING),
        (without("aud"), Reason.TOKEN_CLAIM_MISSING),
        (without("exp"), Reason.TOKEN_CLAIM_MISSING),
        (without("nbf"), None),
        (without("iat"), None),
        ({**CLAIMS, "iss": ISSUER + "/"}, Reason.TOKEN_ISSUER),
        ({**CLAIMS, "iss": ISSUER.upper()}, Reason.TOKEN_ISSUER),
        ({**CLAIMS, "iss": [ISSUER]}, Reason.TOKEN_ISSUER),
        ({**CLAIMS, "iss": None}, Reason.TOKEN_ISSUER),
        ({**CLAIMS, "aud": ["them", "us"]}, None),
        ({**CLAIMS, "aud": []}, Reason.TOKEN_AUDIENCE),
        ({**CLAIMS, "aud": "us "}, Reason.TOKEN_AUDIENCE),
        ({**CLAIMS, "aud": "u"}, Reason.TOKEN_AUDIENCE),
        ({**CLAIMS, "aud": "usx"}, Reason.TOKEN_AUDIENCE),
        ({**CLAIMS, "aud": ""}, Reason.TOKEN_AUDIENCE),
        ({**CLAIMS, "aud": ["us", 1]}, Reason.TOKEN_MALFORMED),
        ({**CLAIMS, "aud": {"us": 1}}, Reason.TOKEN_MALFORMED),
        ({**CLAIMS, "aud": None}, Reason.TOKEN_MALFORMED),
        ({**CLAIMS, "exp": NOW_S - 59}, None),
        ({**CLAIMS, "exp": NOW_S - 60}, Reason.TOKEN_EXPIRED),
        ({**CLAIMS, "exp": NOW_S + 0.5}, None),
        ({**CLAIMS, "exp": str(NOW_S + 600)}, Reason.TOKEN_MALFORMED),
        ({**CLAIMS, "exp": True}, Reason.TOKEN_MALFORMED),
        ({**CLAIMS, "exp": None}, Reason.TOKEN_MALFORMED),
        ({**CLAIMS, "exp": -1}, Reason.TOKEN_MALFORMED),
        ({**CLAIMS, "exp": 10**300}, Reason.TOKEN_MALFORMED),
        ({**CLAIMS, "exp": [NOW_S]}, Reason.TOKEN_MALFORMED),
        ({**CLAIMS, "nbf": NOW_S + 60}, None),
        ({**CLAIMS, "nbf": NOW_S + 61}, Reason.TOKEN_NOT_YET_VALID),
        ({**CLAIMS, "nbf": str(NOW_S)}, Reason.TOKEN_MALFORMED),
        ({**CLAIMS, "iat": str(NOW_S)}, Reason.TOKEN_MALFORMED),
        ({**CLAIMS, "iat": NOW_S + 5000}, None),
        ({**CLAIMS, "exp": NOW_S + 10**8}, None),
    ],
)
def test_claims_are_judged_strictly(claims: dict[str, Any], reason: Reason | None) -> None:
    assert reason_of(judged(token(claims))) is reason


def test_number_beyond_floats_is_no_date() -> None:
    claims = json.dumps(CLAIMS).replace(str(NOW_S + 600), "1e400").encode()
    assert reason_of(judged(compact(b'{"alg":"RS256","kid":"k1"}', claims))) is Reason.TOKEN_MALFORMED


def test_signature_is_judged_before_claims() -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    assert reason_of(judged(token(iss="another"), keys=keys_with(other))) is Reason.TOKEN_SIGNATURE


@pytest.mark.parametrize(
    ("columns", "claims", "holds"),
    [
        ({"tenant": "t"}, {"tid": "t"}, True),
        ({"tenant": "t"}, {"tid": "u"}, False),
        ({"tenant": "t"}, {}, False),
        ({"authorized_party": "p"}, {"azp": "p"}, True),
        ({"authorized_party": "p"}, {"appid": "p"}, False),
        ({"roles": ("a", "b")}, {"roles": ["b", "c", "a"]}, True),
        ({"roles": ("a", "b")}, {"roles": ["a"]}, False),
        ({"roles": ("a",)}, {"roles": "a"}, False),
        ({"roles": ("a",)}, {"roles": [["a"]]}, False),
    ],
)
def test_claims_that_are_asked_for_are_required(columns: dict[str, Any], claims: dict[str, Any], holds: bool) -> None:
    verdict = judged(token(**claims), replace(SCHEME, **columns))
    assert reason_of(verdict) is (None if holds else Reason.TOKEN_CLAIM_MISSING)
    assert isinstance(judged(token(**claims)), Proven)


def test_age_limit_counts_from_the_issue() -> None:
    limited = SCHEME.limited(300)
    assert isinstance(judged(token(iat=NOW_S - 300), limited), Proven)
    assert reason_of(judged(token(iat=NOW_S - 301), limited)) is Reason.TIMESTAMP_STALE
    assert reason_of(judged(token(without("iat")), limited)) is Reason.TOKEN_CLAIM_MISSING


@pytest.mark.parametrize(
    ("columns", "key_name"),
    [
        ({"issuer": "", "audience": "a"}, "issuer"),
        ({"issuer": "i"}, "audience"),
        ({"issuer": "i", "audience": []}, "audience"),
        ({"issuer": "i", "audience": [""]}, "audience"),
        ({"issuer": "i", "audience": "a", "algorithms": []}, "algorithms"),
        ({"issuer": "i", "audience": "a", "algorithms": ["none"]}, "algorithms"),
        ({"issuer": "i", "audience": "a", "leeway_s": -1}, "leeway_s"),
        ({"issuer": "i", "audience": "a", "token": "x"}, "token"),
    ],
)
def test_column_that_cannot_be_is_named(columns: dict[str, object], key_name: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        from_columns(JwtBearer, columns)
    assert raised.value.key == key_name


# --- signing


def test_token_that_we_sign_says_what_entra_says() -> None:
    scheme = catalogue.provider("bankid_antifraud").bind({"audience": "us"})
    [(name, value)] = scheme.sign(Request(), SigningKeys(private_key=key(), kid="k1"), NOW)
    assert name == "Authorization"
    given = value.removeprefix("Bearer ")
    assert jwt.get_unverified_header(given) == {"alg": "RS256", "kid": "k1", "typ": "JWT"}
    claims = jwt.decode(given, options={"verify_signature": False})
    assert set(claims) == {"aud", "iss", "iat", "nbf", "exp", "azp", "oid", "sub", "tid", "roles", "ver"}
    assert (claims["ver"], claims["iat"], claims["exp"]) == ("2.0", NOW_S, NOW_S + 3600)
    assert isinstance(judged(given.encode(), scheme, keys_with(key().public_key())), Proven)  # type: ignore[arg-type]


def test_private_key_may_come_as_pem_and_its_id_be_made() -> None:
    pem = key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    [(_, value)] = SCHEME.sign(Request(), SigningKeys(secret=pem, claims={"exp": NOW_S - 3600}), NOW)
    kid = jwt.get_unverified_header(value[7:])["kid"]
    keys = Keys(key_set=jwk.key_set_of(jwk.public_jwks(key(), kid)))
    assert reason_of(judged(value.encode()[7:], keys=keys)) is Reason.TOKEN_EXPIRED


@pytest.mark.parametrize("keys", [SigningKeys(), SigningKeys(secret=b"text"), SigningKeys(private_key="text", kid="k")])
def test_key_that_cannot_sign_is_told(keys: SigningKeys) -> None:
    with pytest.raises(ConfigurationError, match="secret"):
        SCHEME.sign(Request(), keys, NOW)


def test_wrong_kind_of_private_key_is_told() -> None:
    with pytest.raises(ConfigurationError, match="RS256"):
        SCHEME.sign(Request(), SigningKeys(private_key=ed25519.Ed25519PrivateKey.generate(), kid="k"), NOW)


def test_shared_secret_is_of_no_use_here() -> None:
    assert SCHEME.secret_problem(b"anything")


def test_headers_given_as_text_are_judged_alike() -> None:
    request = Request(headers=headers_of({"Authorization": f"Bearer {token().decode()}"}))
    assert isinstance(SCHEME.verify(request, keys_with(key().public_key()), NOW), Proven)
