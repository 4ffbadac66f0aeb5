"""For inputs that nobody wrote: no bytes make a scheme raise, what is signed verifies, what is altered does not."""

import base64
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from number_texts import SPELLED

from hookseal import catalogue
from hookseal.clock import LATEST, Instant, from_unix
from hookseal.message import Request, headers_of
from hookseal.schemes import jwk
from hookseal.schemes.jwt_bearer import JwtBearer
from hookseal.schemes.keyed_hash import Algorithm, Content, Encoding, KeyedHash, KeyForm
from hookseal.schemes.minify import minified, stripped
from hookseal.schemes.timestamps import TimestampFormat, read_timestamp, write_timestamp
from hookseal.schemes.verdict import KeyNeeded, Keys, NotProven, Proven, PublicKey, Scheme, SigningKeys

NOW = from_unix(1_763_712_000)
PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
KEY_SET = {"k1": (PublicKey(PRIVATE.public_key()),)}
BEARER = catalogue.provider("bankid_antifraud").bind({"audience": "us"})

instants = st.integers(0, 4_000_000_000_000_000).map(Instant)
SPECIAL = [
    b"v1,",
    b"t=",
    b",v1=",
    b"Bearer ",
    b"e30",
    b".",
    b"=",
    b"\xe9",
    b"\x00",
    b"20221115T090914Z",
    b"1763712000",
    b" ",
]
values = st.one_of(
    st.binary(max_size=200),
    st.lists(st.sampled_from(SPECIAL), max_size=12).map(b"".join),
    st.integers(0, 30_000).map(lambda size: b"v1,a " * (size // 5)),
)
bodies = st.one_of(
    st.binary(max_size=300),
    st.lists(st.sampled_from([b"{", b"}", b'"', b"\\", b" ", b"\n", b"\t", b"1", b"a", b":", b",", b"\xff"])).map(
        b"".join
    ),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def keyed_hashes(draw: st.DrawFn) -> KeyedHash:
    """Any engine that the columns can say."""
    timed, identified = draw(st.booleans()), draw(st.booleans())
    grammar = draw(st.sampled_from(["whole", "prefix", "pairs", "pairs with time", "list"]))
    columns: dict[str, Any] = {"header": ("Sig", "X-Sig") if draw(st.booleans()) else ("Sig",)}
    if grammar == "prefix":
        columns["prefix"] = "sha256="
    elif grammar.startswith("pairs"):
        columns |= {"pairs": draw(st.sampled_from([",", ";"])), "pair_signature": "v1"}
        if grammar == "pairs with time":
            columns["pair_timestamp"] = "t"
    elif grammar == "list":
        columns["list_version"] = "v1"
    if timed and grammar != "pairs with time":
        columns["timestamp_header"] = draw(st.sampled_from([("Time",), ("Time", "X-Time")]))
    timed = timed or grammar == "pairs with time"
    if identified:
        columns["id_header"] = ("Id",)
    signed = ("{id}." if identified else "") + ("{timestamp}|" if timed else "") + "{body}"
    return KeyedHash(
        **columns,
        signed=signed,
        algorithm=draw(st.sampled_from(Algorithm)),
        encoding=draw(st.sampled_from(Encoding)),
        key=draw(st.sampled_from(KeyForm)),
        key_prefix=draw(st.sampled_from(["", "whsec_"])),
        timestamp_format=draw(st.sampled_from(TimestampFormat)),
        tolerance_s=draw(st.sampled_from([None, 0, 300])) if timed else None,
        content=draw(st.sampled_from(Content)),
    )


def names_of(scheme: Scheme) -> list[bytes]:
    return [name for names in scheme.proof for name in names]


# --- total


@given(
    data=st.data(),
    scheme=keyed_hashes(),
    body=bodies,
    now=instants,
    secrets=st.lists(st.binary(max_size=60), max_size=3),
)
@settings(max_examples=400, deadline=None)
def test_no_bytes_make_a_keyed_hash_raise_or_accept(
    data: st.DataObject, scheme: KeyedHash, body: bytes, now: Instant, secrets: list[bytes]
) -> None:
    names = st.sampled_from(names_of(scheme)) | st.binary(max_size=12)
    headers = data.draw(st.lists(st.tuples(names, values), max_size=6))
    request = Request(
        headers=tuple(headers), body=body, method=data.draw(st.text(max_size=9)), url=data.draw(st.text())
    )
    verdict = scheme.verify(request, Keys(secrets=tuple(secrets)), now)
    assert isinstance(verdict, NotProven)


@given(
    headers=st.lists(st.tuples(st.just(b"authorization") | st.binary(max_size=12), values), max_size=4),
    body=st.binary(max_size=50),
    now=instants,
    key_set=st.sampled_from([None, {}, KEY_SET]),
)
@settings(max_examples=300, deadline=None)
def test_no_bytes_make_a_bearer_scheme_raise_or_accept(
    headers: list[tuple[bytes, bytes]], body: bytes, now: Instant, key_set: Mapping[str, tuple[PublicKey, ...]] | None
) -> None:
    verdict = BEARER.verify(Request(headers=tuple(headers), body=body), Keys(key_set=key_set), now)
    assert isinstance(verdict, NotProven)


@given(
    header=st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "jwk"]) | st.text(), json_values, max_size=5),
    claims=st.dictionaries(
        st.sampled_from(["iss", "aud", "exp", "nbf", "iat", "tid", "azp", "roles"]) | st.text(), json_values, max_size=8
    ),
    issuer_signs=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_no_json_in_a_token_makes_a_bearer_scheme_raise(
    header: dict[str, Any], claims: dict[str, Any], issuer_signs: bool
) -> None:
    """Also with the issuer's own signature, so that the claims are read."""
    if issuer_signs:
        header |= {"alg": "RS256", "kid": "k1"}
        claims |= {"iss": BEARER.issuer, "aud": "us"}  # type: ignore[attr-defined]
    text = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims))
    signature = jwt.get_algorithm_by_name("RS256").sign(text, PRIVATE) if issuer_signs else b"none"
    request = Request(
        headers=((b"authorization", b"Bearer " + text + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")),)
    )
    scheme = replace(BEARER, tenant="t", authorized_party="p", roles=("r",))  # type: ignore[type-var]
    verdict = scheme.verify(request, Keys(key_set=KEY_SET), NOW)
    assert isinstance(verdict, NotProven | KeyNeeded)


@given(document=st.binary(max_size=100) | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_document_makes_the_key_set_reader_raise_another_error(document: bytes) -> None:
    with suppress(ValueError):
        assert jwk.parse(document)


members = st.sampled_from(["AQAB", "", "%", "A" * 342, "_" * 342, "P-256", "Ed25519", 5, None, [], {}])


@given(
    entries=st.lists(
        st.dictionaries(
            st.sampled_from(["kty", "kid", "use", "alg", "key_ops", "n", "e", "crv", "x", "y", "d"]),
            members | st.sampled_from(["RSA", "EC", "OKP", "sig", "RS256"]),
        )
        | json_values,
        max_size=4,
    )
)
@settings(max_examples=200, deadline=None)
def test_no_entry_makes_the_key_set_reader_raise_or_hides_the_good_key(entries: list[Any]) -> None:
    good = {"kid": "good", **jwk.public_jwks(PRIVATE, "good")["keys"][0]}
    assert len(jwk.parse(json.dumps({"keys": [*entries, good]}).encode())["good"]) == 1


# --- sign, then verify


def usable(scheme: KeyedHash, secret: bytes) -> bytes:
    """A secret that this scheme decodes to `secret`."""
    if scheme.key_prefix and secret[0] % 2:
        return scheme.key_prefix.encode() + base64.b64encode(secret)
    if scheme.key is KeyForm.TEXT:
        return b"text " + secret
    return secret.hex().encode() if scheme.key is KeyForm.HEX else base64.b64encode(secret)


@given(data=st.data(), scheme=keyed_hashes(), body=bodies, now=instants, secret=st.binary(min_size=1, max_size=60))
@settings(max_examples=400, deadline=None)
def test_what_a_keyed_hash_signs_verifies_and_no_altered_bit_does(
    data: st.DataObject, scheme: KeyedHash, body: bytes, now: Instant, secret: bytes
) -> None:
    now = Instant(now - now % 1_000_000)  # a tolerance of 0 s holds within the second
    keys = Keys(secrets=(b"text of another secret", usable(scheme, secret)))
    request = Request(body=body)
    signed = scheme.sign(request, SigningKeys(secret=keys.secrets[1], id="msg_1"), now)
    request = replace(request, headers=headers_of(signed))
    verdict = scheme.verify(request, keys, now)
    assert isinstance(verdict, Proven)
    assert verdict.secret == 1
    assert verdict.signed_at == (now if scheme.carries_time else None)
    assert (verdict.content is None) == (scheme.content is Content.BODY)

    place = data.draw(st.integers(0, len(request.headers) - 1))
    name, value = request.headers[place]
    bit = data.draw(st.integers(0, len(value) * 8 - 1))
    headers = list(request.headers)
    headers[place] = (name, flipped(value, bit))
    assert not isinstance(scheme.verify(replace(request, headers=tuple(headers)), keys, now), Proven)
    if body:
        other = flipped(body, data.draw(st.integers(0, len(body) * 8 - 1)))
        blank_for_blank = stripped(other) == stripped(body) and scheme.content in (Content.MINIFIED, Content.STRIPPED)
        if not blank_for_blank:
            assert not isinstance(scheme.verify(replace(request, body=other), keys, now), Proven)


@given(names=st.sets(st.sampled_from(["exp", "nbf", "iat", "aud", "roles", "tid"]), min_size=1), text=SPELLED)
@settings(max_examples=300, deadline=None)
def test_a_token_of_the_issuer_with_any_number_in_it_is_judged(names: set[str], text: str) -> None:
    """The signature holds, so that the claims are read."""
    claims = {"iss": BEARER.issuer, "aud": "us", "exp": 1_763_712_060}  # type: ignore[attr-defined]
    told = json.dumps(claims | dict.fromkeys(names, "here")).replace('"here"', text)
    parts = [base64.urlsafe_b64encode(one.encode()).rstrip(b"=") for one in ('{"alg":"RS256","kid":"k1"}', told)]
    signature = PRIVATE.sign(b".".join(parts), padding.PKCS1v15(), hashes.SHA256())
    value = b"Bearer " + b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")])
    for scheme in (BEARER, BEARER.limited(300)):
        verdict = scheme.verify(Request(headers=((b"authorization", value),)), Keys(key_set=KEY_SET), NOW)
        if isinstance(verdict, Proven):
            assert verdict.signed_at is None or 0 <= verdict.signed_at <= LATEST


@given(bit=st.integers(0), now=st.integers(1_000_000_000, 2_000_000_000).map(from_unix))
@settings(max_examples=200, deadline=None)
def test_what_an_issuer_signs_verifies_and_no_altered_bit_does(bit: int, now: Instant) -> None:
    assert isinstance(BEARER, JwtBearer)
    [(_, value)] = BEARER.sign(Request(), SigningKeys(private_key=PRIVATE, kid="k1"), now)
    text = value.encode()
    keys = Keys(key_set=KEY_SET)
    assert isinstance(BEARER.verify(Request(headers=((b"authorization", text),)), keys, now), Proven)
    start = len(b"Bearer ") * 8  # the scheme's own name may change its case
    other = flipped(text, start + bit % (len(text) * 8 - start))
    assert not isinstance(BEARER.verify(Request(headers=((b"authorization", other),)), keys, now), Proven)


def flipped(value: bytes, bit: int) -> bytes:
    changed = bytearray(value)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


# --- their parts


@given(body=bodies)
@settings(max_examples=500, deadline=None)
def test_minifying_takes_white_space_only_and_once_is_enough(body: bytes) -> None:
    small = minified(body)
    assert minified(small) == small
    assert stripped(small) == stripped(body)
    strings = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
    assert strings.findall(small) == strings.findall(body)


@given(value=json_values, indent=st.none() | st.integers(0, 3), ascii_only=st.booleans())
def test_minified_json_is_the_compact_spelling_of_the_same_tokens(
    value: Any, indent: int | None, ascii_only: bool
) -> None:
    spelled = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    compact = json.dumps(value, separators=(",", ":"), ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert minified(spelled) == compact


@given(
    text=st.binary(max_size=30) | st.from_regex(rb"[0-9TZ:.+-]{0,30}", fullmatch=True),
    form=st.sampled_from(TimestampFormat),
)
@settings(max_examples=500)
def test_timestamp_is_read_in_one_spelling_or_not_at_all(text: bytes, form: TimestampFormat) -> None:
    instant = read_timestamp(form, text)
    if instant is not None and form is not TimestampFormat.RFC3339 and instant >= 0:
        assert write_timestamp(form, instant) == text
