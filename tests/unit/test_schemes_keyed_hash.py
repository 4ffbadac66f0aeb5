"""The keyed-hash engine, column by column."""

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from hookseal import catalogue
from hookseal.clock import from_unix
from hookseal.errors import ConfigurationError
from hookseal.message import Request, headers_of
from hookseal.model import Reason
from hookseal.schemes.columns import from_columns
from hookseal.schemes.keyed_hash import Algorithm, Content, Encoding, KeyedHash, KeyForm
from hookseal.schemes.timestamps import TimestampFormat
from hookseal.schemes.verdict import Keys, NotProven, Proven, SigningKeys, Verdict

NOW = from_unix(1_763_712_000)
BODY = b'{"id": "evt_1", "name": "\xc3\xa5"}'
SECRET = b"a secret for tests"
PLAIN = KeyedHash(header=("X-Signature",))
STAMPED = KeyedHash(header=("X-Signature",), timestamp_header=("X-Time",), signed="{timestamp}.{body}", tolerance_s=300)
PAIRS = KeyedHash(
    header=("X-Signature",), pairs=",", pair_timestamp="t", pair_signature="v1", signed="{timestamp}.{body}"
)


def mac(text: bytes, secret: bytes = SECRET, algorithm: str = "sha256") -> bytes:
    return hmac.new(secret, text, algorithm).digest()


def judged(scheme: KeyedHash, *headers: tuple[str, str | bytes], secrets: tuple[bytes, ...] = (SECRET,)) -> Verdict:
    return scheme.verify(Request(headers=headers_of(list(headers)), body=BODY), Keys(secrets=secrets), NOW)


def reason_of(verdict: Verdict) -> Reason | None:
    return verdict.reason if isinstance(verdict, NotProven) else None


# --- encodings, hashes, keys


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        (Encoding.HEX, lambda digest: digest.hex()),
        (Encoding.HEX_UPPER, lambda digest: digest.hex().upper()),
        (Encoding.BASE64, lambda digest: base64.b64encode(digest).decode()),
        (Encoding.BASE64URL, lambda digest: base64.urlsafe_b64encode(digest).decode()),
        (Encoding.BASE64URL_UNPADDED, lambda digest: base64.urlsafe_b64encode(digest).decode().rstrip("=")),
    ],
)
def test_each_encoding_takes_its_own_spelling_only(encoding: Encoding, written: Callable[[bytes], str]) -> None:
    digest = mac(BODY)
    scheme = replace(PLAIN, encoding=encoding)
    assert judged(scheme, ("X-Signature", written(digest))) == Proven(secret=0)
    others = {digest.hex(), digest.hex().upper(), base64.b64encode(digest).decode()} - {written(digest)}
    assert {reason_of(judged(scheme, ("X-Signature", other))) for other in others} == {Reason.SIGNATURE_MISMATCH}


@pytest.mark.parametrize("algorithm", Algorithm)
def test_each_algorithm_is_its_own(algorithm: Algorithm) -> None:
    scheme = replace(PLAIN, algorithm=algorithm)
    assert judged(scheme, ("X-Signature", mac(BODY, algorithm=algorithm.value).hex())) == Proven(secret=0)
    other = "sha512" if algorithm is not Algorithm.SHA512 else "sha256"
    assert reason_of(judged(scheme, ("X-Signature", mac(BODY, algorithm=other).hex()))) is Reason.SIGNATURE_MISMATCH


@pytest.mark.parametrize(
    ("columns", "secret", "key"),
    [
        ({"key": KeyForm.TEXT}, b"00ff", b"00ff"),
        ({"key": KeyForm.HEX}, b"00fF", b"\x00\xff"),
        ({"key": KeyForm.BASE64}, b"AP8=", b"\x00\xff"),
        ({"key_prefix": "whsec_"}, b"whsec_AP8=", b"\x00\xff"),
        ({"key_prefix": "whsec_"}, b"AP8=", b"AP8="),
        ({"key_prefix": "k_", "prefixed_key": KeyForm.TEXT}, b"k_AP8=", b"AP8="),
        ({"key_prefix": "k_", "prefixed_key": KeyForm.HEX, "key": KeyForm.BASE64}, b"AP8=", b"\x00\xff"),
    ],
)
def test_secret_becomes_the_key_that_the_columns_say(columns: dict[str, str], secret: bytes, key: bytes) -> None:
    scheme = replace(PLAIN, **columns)  # type: ignore[arg-type]
    assert scheme.secret_problem(secret) is None
    assert judged(scheme, ("X-Signature", mac(BODY, key).hex()), secrets=(secret,)) == Proven(secret=0)


@pytest.mark.parametrize(
    ("columns", "secret", "problem"),
    [
        ({}, b"", "is empty"),
        ({"key": KeyForm.HEX}, b"0", "is not hex"),
        ({"key": KeyForm.HEX}, b"00 ff", "is not hex"),
        ({"key": KeyForm.BASE64}, b"AP8", "is not base64"),
        ({"key": KeyForm.BASE64}, b"A P8=", "is not base64"),
        ({"key_prefix": "whsec_"}, b"whsec_", "is not base64"),
        ({"key_prefix": "whsec_"}, b"whsec_\xff", "is not base64"),
    ],
)
def test_secret_without_a_key_proves_nothing_and_signs_nothing(
    columns: dict[str, str], secret: bytes, problem: str
) -> None:
    scheme = replace(PLAIN, **columns)  # type: ignore[arg-type]
    assert scheme.secret_problem(secret) == problem
    for key in (b"", secret):
        assert not isinstance(judged(scheme, ("X-Signature", mac(BODY, key).hex()), secrets=(secret,)), Proven)
    with pytest.raises(ConfigurationError, match=problem):
        scheme.sign(Request(body=BODY), SigningKeys(secret=secret), NOW)


def test_empty_secret_is_passed_over_and_the_next_one_counts() -> None:
    assert judged(PLAIN, ("X-Signature", mac(BODY).hex()), secrets=(b"", SECRET)) == Proven(secret=1)


def test_no_secret_proves_nothing() -> None:
    assert reason_of(judged(PLAIN, ("X-Signature", mac(BODY, b"\0").hex()), secrets=())) is Reason.SIGNATURE_MISMATCH


# --- comparing


def test_signatures_are_compared_by_compare_digest_over_every_secret_and_candidate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two secrets, two readings of the body, three signatures: twelve comparisons, whichever of them matches."""
    seen: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def spied(one: bytes, other: bytes) -> bool:
        seen.append((one, other))
        return real(one, other)

    monkeypatch.setattr("hookseal.schemes.keyed_hash.hmac.compare_digest", spied)
    scheme = replace(PAIRS, content=Content.MINIFIED)
    request = Request(body=BODY)
    good = scheme.signature(request, SECRET, timestamp=b"1763712000").decode()
    for signatures in ([good, "a", "b"], ["a", "b", good], ["a", "b", "c"]):
        for secrets in ((SECRET, b"other"), (b"other", SECRET)):
            seen.clear()
            value = ",".join(["t=1763712000", *(f"v1={one}" for one in signatures)])
            verdict = judged(scheme, ("X-Signature", value), secrets=secrets)
            assert isinstance(verdict, Proven) == (good in signatures)
            assert len(seen) == 12
            assert all(isinstance(one, bytes) and isinstance(other, bytes) for one, other in seen)


def test_newest_secret_that_fits_is_named() -> None:
    signature = mac(BODY).hex()
    assert judged(PLAIN, ("X-Signature", signature), secrets=(SECRET, SECRET, b"x")) == Proven(secret=0)
    assert judged(PLAIN, ("X-Signature", signature), secrets=(b"x", SECRET)) == Proven(secret=1)


# --- headers


def test_one_of_two_spellings_suffices_and_different_ones_are_refused() -> None:
    scheme = replace(PLAIN, header=("sig", "x-sig"))
    good = mac(BODY).hex()
    assert judged(scheme, ("sig", good)) == judged(scheme, ("X-SIG", good)) == Proven(secret=0)
    assert judged(scheme, ("sig", good), ("x-sig", good)) == Proven(secret=0)
    assert reason_of(judged(scheme, ("sig", good), ("x-sig", "0" * 64))) is Reason.HEADER_MALFORMED
    assert reason_of(judged(scheme, ("sig", good), ("x-sig", ""))) is Reason.HEADER_MALFORMED


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", Reason.HEADER_MISSING),
        (b"\xe9" * 64, Reason.HEADER_MALFORMED),
        ("０" * 64, Reason.HEADER_MALFORMED),
        (b"a\x00b", Reason.HEADER_MALFORMED),
        (b"a\tb", Reason.HEADER_MALFORMED),
        ("a" * 8193, Reason.HEADER_MALFORMED),
        ("a" * 8192, Reason.SIGNATURE_MISMATCH),
        ("null", Reason.SIGNATURE_MISMATCH),
    ],
)
def test_value_that_is_no_text_is_malformed_and_any_other_a_mismatch(value: str | bytes, reason: Reason) -> None:
    assert reason_of(judged(PLAIN, ("X-Signature", value))) is reason


def test_prefix_is_required_once() -> None:
    scheme = replace(PLAIN, prefix="sha256=")
    good = mac(BODY).hex()
    assert judged(scheme, ("X-Signature", f"sha256={good}")) == Proven(secret=0)
    for value in (good, f"SHA256={good}", "sha256="):
        assert reason_of(judged(scheme, ("X-Signature", value))) is Reason.HEADER_MALFORMED
    assert reason_of(judged(scheme, ("X-Signature", f"sha256=sha256={good}"))) is Reason.SIGNATURE_MISMATCH


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("t=1763712000,v1={good}", None),
        ("t=1763712000, v1={good}", None),
        ("v1=00,v0=1,t=1763712000,v1={good}", None),
        ("t=1763712000," + "v1=00," * 15 + "v1={good}", None),
        ("t=1763712000," + "v1=00," * 16 + "v1={good}", Reason.HEADER_MALFORMED),
        ("t=1763712000,t=1763712000,v1={good}", Reason.HEADER_MALFORMED),
        ("t=1763712000", Reason.HEADER_MALFORMED),
        ("t=1763712000,v1=", Reason.HEADER_MALFORMED),
        ("t=1763712000,v1={good},", Reason.HEADER_MALFORMED),
        ("v1={good}", Reason.TIMESTAMP_MISSING),
        ("t=+1763712000,v1={good}", Reason.TIMESTAMP_MALFORMED),
        ("t=1763712001,v1={good}", Reason.SIGNATURE_MISMATCH),
        ("T=1763712000,V1={good}", Reason.HEADER_MALFORMED),
        ("x=1," * 2000 + "t=1763712000,v1={good}", Reason.HEADER_MALFORMED),
    ],
)
def test_pairs_follow_their_grammar(value: str, reason: Reason | None) -> None:
    good = mac(b"1763712000." + BODY).hex()
    assert reason_of(judged(PAIRS, ("X-Signature", value.replace("{good}", good)))) is reason


def test_sixteen_signatures_are_tried_and_no_more() -> None:
    untimed = KeyedHash(header=("X-Signature",), pairs=",", pair_signature="v1")
    pairs = [*["v1=00"] * 15, f"v1={mac(BODY).hex()}"]
    assert judged(untimed, ("X-Signature", ",".join(pairs))) == Proven(secret=0)
    assert reason_of(judged(untimed, ("X-Signature", ",".join(["v1=00", *pairs])))) is Reason.HEADER_MALFORMED


def test_seconds_of_the_timestamp_are_signed_as_they_came() -> None:
    signed = (("X-Time", "1763711700"), ("X-Signature", mac(b"1763711700." + BODY).hex()))
    assert judged(STAMPED, *signed) == Proven(secret=0, signed_at=from_unix(1_763_711_700))


@pytest.mark.parametrize(
    ("stamp", "reason"),
    [
        ("1763712300", None),
        ("1763712301", Reason.TIMESTAMP_STALE),
        ("1763711700", None),
        ("1763711699", Reason.TIMESTAMP_STALE),
    ],
)
def test_tolerance_holds_on_either_side_and_is_inclusive(stamp: str, reason: Reason | None) -> None:
    signed = (("X-Time", stamp), ("X-Signature", mac(stamp.encode() + b"." + BODY).hex()))
    assert reason_of(judged(STAMPED, *signed)) is reason


def test_stale_is_said_of_a_proof_that_holds_only() -> None:
    assert reason_of(judged(STAMPED, ("X-Time", "1"), ("X-Signature", "0" * 64))) is Reason.SIGNATURE_MISMATCH


def test_limit_takes_the_place_of_the_tolerance() -> None:
    signed = (("X-Time", "1763711000"), ("X-Signature", mac(b"1763711000." + BODY).hex()))
    assert reason_of(judged(STAMPED, *signed)) is Reason.TIMESTAMP_STALE
    assert isinstance(judged(STAMPED.limited(1000), *signed), Proven)
    with pytest.raises(ConfigurationError, match="max_age_s"):
        PLAIN.limited(300)


def test_missing_and_two_timestamps_are_told_apart_from_bad_ones() -> None:
    good = mac(b"1763712000." + BODY).hex()
    assert reason_of(judged(STAMPED, ("X-Signature", good))) is Reason.TIMESTAMP_MISSING
    assert reason_of(judged(STAMPED, ("X-Signature", good), ("X-Time", ""))) is Reason.TIMESTAMP_MISSING
    two = (("X-Signature", good), ("X-Time", "1763712000"), ("X-Time", "1763712001"))
    assert reason_of(judged(STAMPED, *two)) is Reason.TIMESTAMP_MALFORMED


def test_method_and_url_can_be_signed() -> None:
    scheme = replace(PLAIN, signed="{method} {url}\n{body}")
    url = "https://hooks.example.com/in/acme?a=1"
    headers = headers_of({"X-Signature": mac(b"POST " + url.encode() + b"\n" + BODY).hex()})
    request = Request(headers=headers, body=BODY, url=url)
    assert scheme.verify(request, Keys(secrets=(SECRET,)), NOW) == Proven(secret=0)
    for other in (replace(request, url=url + "&b"), replace(request, url=None), replace(request, method="PUT")):
        assert not isinstance(scheme.verify(other, Keys(secrets=(SECRET,)), NOW), Proven)


# --- Standard Webhooks, against the reference library

STANDARD = catalogue.provider("standard_webhooks").bind({})
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.mark.parametrize("body", ["", "{}", '{"name":"Zoë …"}', "x" * 70_000])
def test_what_we_sign_the_reference_library_takes(body: str) -> None:
    now = from_unix(datetime.now(UTC).timestamp())  # the library asks its own clock
    keys = SigningKeys(secret=WHSEC.encode(), id="msg_2KWPBgLlAfxdpx2AI54pPJ85f4W")
    headers = dict(STANDARD.sign(Request(body=body.encode()), keys, now))
    assert set(headers) == {"webhook-id", "webhook-timestamp", "webhook-signature"}
    if body.startswith("{"):
        Webhook(WHSEC).verify(body, headers)
    at = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
    assert headers["webhook-signature"] == Webhook(WHSEC).sign(headers["webhook-id"], at, body)


def test_what_the_reference_library_signs_we_take() -> None:
    body = '{"name":"Zoë …"}'
    signature = Webhook(WHSEC).sign("msg_1", datetime.fromtimestamp(1_763_712_000, UTC), body)
    headers = {"Webhook-Id": "msg_1", "Webhook-Timestamp": "1763712000", "Webhook-Signature": signature}
    request = Request(headers=headers_of(headers), body=body.encode())
    assert STANDARD.verify(request, Keys(secrets=(WHSEC.encode(),)), NOW) == Proven(secret=0, signed_at=NOW)


def test_rotation_signs_with_every_live_secret() -> None:
    keys = SigningKeys(secrets=(b"the new secret", WHSEC.encode()), id="msg_1")
    pairs = STANDARD.sign(Request(body=BODY), keys, NOW)
    new, old = dict(pairs)["webhook-signature"].split(" ")
    assert new != old
    request = Request(headers=headers_of(pairs), body=BODY)
    for secret in keys.secrets:
        assert STANDARD.verify(request, Keys(secrets=(secret,)), NOW) == Proven(secret=0, signed_at=NOW)
    assert dict(PLAIN.sign(Request(body=BODY), keys, NOW))["X-Signature"] == mac(BODY, b"the new secret").hex()


def test_id_that_nobody_gave_is_the_same_at_every_try() -> None:
    first = dict(STANDARD.sign(Request(body=BODY), SigningKeys(secret=SECRET), NOW))
    later = dict(STANDARD.sign(Request(body=BODY), SigningKeys(secret=SECRET), from_unix(1_800_000_000)))
    other = dict(STANDARD.sign(Request(body=b"other"), SigningKeys(secret=SECRET), NOW))
    assert first["webhook-id"] == later["webhook-id"] != other["webhook-id"]
    assert first["webhook-id"].startswith("msg_")


def test_id_cannot_be_split_at_another_place() -> None:
    """`a.1763712000` and body `x` would sign the same text as `a` and body `x` at another time."""
    text = b"a.1763712000.1763712000." + BODY
    signature = "v1," + base64.b64encode(mac(text)).decode()
    headers = (("webhook-timestamp", "1763712000"), ("webhook-signature", signature))
    for ident in ("a.1763712000", "a" * 257):
        verdict = judged(STANDARD, ("webhook-id", ident), *headers)  # type: ignore[arg-type]
        assert reason_of(verdict) is Reason.HEADER_MALFORMED


# --- columns


@pytest.mark.parametrize(
    ("columns", "key"),
    [
        ({}, "header"),
        ({"header": []}, "header"),
        ({"header": "a b"}, "header"),
        ({"header": 1}, "header"),
        ({"header": "a", "heeader": "b"}, "heeader"),
        ({"header": "a", "algorithm": "md5"}, "algorithm"),
        ({"header": "a", "encoding": "base32"}, "encoding"),
        ({"header": "a", "signed": ""}, "signed"),
        ({"header": "a", "signed": "{time}.{body}"}, "signed"),
        ({"header": "a", "signed": "{body"}, "signed"),
        ({"header": "a", "signed": "{timestamp}.{body}"}, "signed"),
        ({"header": "a", "timestamp_header": "b"}, "signed"),
        ({"header": "a", "id_header": "b"}, "signed"),
        ({"header": "a", "pairs": ","}, "pairs"),
        ({"header": "a", "pair_timestamp": "t"}, "pairs"),
        ({"header": "a", "list_version": "v1", "prefix": "x"}, "header"),
        ({"header": "a", "tolerance_s": 300}, "tolerance_s"),
        ({"header": "a", "tolerance_s": "300"}, "tolerance_s"),
        ({"header": "a", "tolerance_s": True}, "tolerance_s"),
        ({"header": "a", "content": "parsed"}, "content"),
    ],
)
def test_column_that_cannot_be_is_named(columns: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        from_columns(KeyedHash, columns)
    assert raised.value.key == key
    assert raised.value.remedy


def test_columns_become_values_of_their_types() -> None:
    scheme = from_columns(
        KeyedHash,
        {
            "header": "a",
            "timestamp_header": ["b", "c"],
            "timestamp_format": "unix_ms",
            "signed": "{timestamp}{body}",
            "tolerance_s": 5,
        },
    )
    assert scheme == KeyedHash(
        header=("a",),
        timestamp_header=("b", "c"),
        timestamp_format=TimestampFormat.UNIX_MS,
        signed="{timestamp}{body}",
        tolerance_s=5,
    )
    assert scheme.proof == ((b"a",), (b"b", b"c"))


def test_secrets_never_show_in_a_repr() -> None:
    shown = repr(Keys(secrets=(SECRET,))) + repr(SigningKeys(secret=SECRET, secrets=(SECRET,), private_key=SECRET))
    assert SECRET.decode() not in shown
    assert hashlib.sha256(SECRET).hexdigest() not in shown
