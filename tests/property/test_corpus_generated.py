"""Bad input that nobody wrote, by category, against a whole gateway: never a 5xx of ours, and no event without a proof.

The oracle of each category decides on its own, from how the case was made, whether the request is good; it shares no
code with the gateway. Thousands of cases with fixed seeds; how many ran is told at the end.
"""

import base64
import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from corpus_bench import Bench, Told, shape_of
from corpus_proofs import (
    ACCEPTED,
    AUDIENCE,
    HASHED,
    NOW,
    PROVIDERS,
    REFUSED,
    Pairs,
    content_type,
    good_body,
    good_headers,
    proof,
    token,
)
from corpus_tally import Tally, tally
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

WANTED = {
    "B-1": 400,
    "B-2": 800,
    "B-3": 300,
    "B-4": 600,
    "B-5": 200,
    "B-6": 400,
    "B-9": 600,
    "B-10": 100,
    "B-11": 100,
    "B-14": 400,
}
TYPE = {provider: (b"Content-Type", content_type(provider)) for provider in PROVIDERS}


def generated(category: str, examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("generated"))
    yield made
    made.close()
    assert set(made.issuer.asked) <= {"https://keys.example/keys"}


@pytest.fixture(scope="module")
def counted(pytestconfig: pytest.Config) -> Tally:
    return tally(pytestconfig)


def judge(told: Told, provider: str, *, good: bool, stored: int = 1) -> None:
    shape_of(told)
    assert told.status == (ACCEPTED if good else REFUSED)[provider]
    assert told.stored == (stored if good else 0)


# --- B-1: one signature in one header

_serial = iter(range(10**9))


def fresh(provider: str) -> bytes:
    """A body that no case had before, so that none is a duplicate."""
    return good_body(provider, f"n-{next(_serial)}")


junk = st.binary(min_size=1, max_size=12).filter(lambda one: one.strip(b" \t") != b"")
BENT = {
    "as it is": lambda sig, more: sig,
    "junk behind": lambda sig, more: sig + more,
    "junk before": lambda sig, more: more + sig,
    "junk within": lambda sig, more: sig[:20] + more + sig[20:],
    "cut": lambda sig, more: sig[: more[0] % len(sig)],
    "cut before": lambda sig, more: sig[more[0] % len(sig) + 1 :],
    "one letter": lambda sig, more: sig[:9] + bytes([sig[9] ^ (more[0] or 1)]) + sig[10:],
    "upper": lambda sig, more: sig.upper(),
    "lower": lambda sig, more: sig.lower(),
    "reversed": lambda sig, more: sig[::-1],
    "doubled": lambda sig, more: sig + sig,
    "listed": lambda sig, more: sig + b", " + sig,
    "hex again": lambda sig, more: sig.hex().encode(),
    "base64 again": lambda sig, more: base64.b64encode(sig),
    "unpadded": lambda sig, more: sig.rstrip(b"="),
    "padded": lambda sig, more: sig + b"=" * (more[0] % 4),
    "other alphabet": lambda sig, more: sig.replace(b"+", b"-").replace(b"/", b"_"),
    "prefixed": lambda sig, more: b"sha256=" + sig,
    "quoted": lambda sig, more: b'"' + sig + b'"',
    "junk alone": lambda sig, more: more,
    "long": lambda sig, more: (sig * 200)[:9000],
    "nothing": lambda sig, more: b"",
}


bends = st.tuples(st.sampled_from(sorted(BENT)), junk)


@given(
    provider=st.sampled_from(["idenfy", "zignsec", "seal_id"]),
    bends=bends.map(lambda one: [one]) | st.lists(bends, max_size=3),
)
@generated("B-1", 440)
def test_b1_only_the_signature_itself_proves(
    bench: Bench, counted: Tally, provider: str, bends: list[tuple[str, bytes]]
) -> None:
    counted.add("B-1", "generated")
    body = fresh(provider)
    signed = proof(provider, body)
    right = signed.words[b"{sig}"]
    values = [BENT[name](right, more) for name, more in bends]
    name = {"idenfy": b"idenfy-signature", "zignsec": b"x-zignsec-hmac-sha256"}.get(
        provider, b"ubiid-notification-signature"
    )
    headers: Pairs = [TYPE[provider], *((name, value) for value in values)]
    if provider == "seal_id":
        headers.append((b"ubiid-notification-timestamp", signed.timestamp))
    told = bench.post(provider, headers, body)
    judge(told, provider, good={value.strip(b" \t") for value in values} == {right})


# --- B-2: another body under a good signature


def minified(body: bytes) -> bytes:
    """Without the white space outside strings; what stands between two literals stays, since `1 2` is not `12`."""
    kept, inside, escaped = bytearray(), False, False
    for at, byte in enumerate(body):
        if inside:
            escaped, inside = (False, True) if escaped else (byte == 0x5C, byte != 0x22)
        elif byte in b" \t\r\n":
            before, behind = body[:at].rstrip(b" \t\r\n")[-1:], body[at:].lstrip(b" \t\r\n")[:1]
            if not before or not behind or before in b'{}[]:,"' or behind in b'{}[]:,"':
                continue
        elif byte == 0x22:
            inside = True
        kept.append(byte)
    return bytes(kept)


members = st.dictionaries(st.text(max_size=6), st.text(max_size=6) | st.integers() | st.none(), max_size=4)
MUTATIONS = (
    "flip",
    "flip",
    "flip",
    "drop",
    "double",
    "insert",
    "truncate",
    "append",
    "indent",
    "minify",
    "blank",
    "keep",
)


def mutated(body: bytes, how: str, place: int, byte: int) -> bytes:
    at = place % len(body)
    match how:
        case "flip":
            return body[:at] + bytes([body[at] ^ (1 << byte % 8)]) + body[at + 1 :]
        case "drop":
            return body[:at] + body[at + 1 :]
        case "double":
            return body[:at] + body[at : at + 1] + body[at:]
        case "insert":
            return body[:at] + bytes([byte]) + body[at:]
        case "truncate":
            return body[:at]
        case "append":
            return body + bytes([byte])
        case "indent":
            return json.dumps(json.loads(body), indent=1).encode()
        case "minify":
            return minified(body)
        case "blank":
            return body[:at] + b" \n"[byte % 2 :][:1] + body[at:]
    return body


@given(
    provider=st.sampled_from(HASHED),
    more=members,
    spaced=st.booleans(),
    how=st.sampled_from(MUTATIONS),
    place=st.integers(0, 5000),
    byte=st.integers(0, 255),
)
@generated("B-2", 820)
def test_b2_a_signature_proves_its_own_body_only(
    bench: Bench, counted: Tally, provider: str, more: dict[str, Any], spaced: bool, how: str, place: int, byte: int
) -> None:
    counted.add("B-2", "generated")
    document = {**json.loads(fresh(provider)), "more": more}
    body = json.dumps(document, separators=(", ", ": ") if spaced else (",", ":")).encode()
    sent = mutated(body, how, place, byte)
    good = sent == body or (provider == "seal_id" and minified(sent) == body)
    judge(bench.post(provider, good_headers(provider, body), sent), provider, good=good)


# --- B-3: the three headers of Standard Webhooks

entries = st.sampled_from(
    [
        b"v1,RIGHT",
        b"v1,WRONG",
        b"v1a,RIGHT",
        b"v9,AAAA",
        b"V1,RIGHT",
        b"v1,",
        b"v1",
        b",RIGHT",
        b"RIGHT",
        b"v1,RIGHT,",
        b"",
    ]
)
idents = st.sampled_from([b"msg_1", b"a" * 256, b"a" * 257, b"a.b", b"\xc3\xa9", b"", b"a b", b"a\x00b", b"x,y"])
moments = st.sampled_from([b"%d" % (NOW + away) for away in (-301, -300, 0, 300, 301)] + [b"", b"+%d" % NOW, b"x"])


@given(
    listed=st.lists(entries, max_size=18),
    ident=idents,
    moment=moments,
    blank=st.sampled_from([b" ", b" ", b" ", b"  "]),
)
@generated("B-3", 320)
def test_b3_one_good_entry_in_a_well_formed_list_proves(
    bench: Bench, counted: Tally, listed: list[bytes], ident: bytes, moment: bytes, blank: bytes
) -> None:
    counted.add("B-3", "generated")
    provider = "standard_webhooks"
    body = fresh(provider)
    signed = proof(provider, body, timestamp=moment, id=ident)
    right, wrong = signed.words[b"{sig}"], signed.words[b"{sig_other}"]
    value = blank.join(listed).replace(b"RIGHT", right).replace(b"WRONG", wrong)
    headers = [(b"webhook-id", ident), (b"webhook-timestamp", moment), (b"webhook-signature", value)]
    told = bench.post(provider, [TYPE[provider], *headers], body)
    found = value.strip(b" ").split(b" ")
    well_formed = len(found) <= 16 and all(re.fullmatch(rb"[^,]+,.+", one) for one in found)
    good = (
        well_formed
        and b"v1," + right in found
        and 1 <= len(ident) <= 256
        and b"." not in ident
        and re.fullmatch(rb"[ -~]+", ident) is not None
        and moment.isdigit()
        and abs(int(moment) - NOW) <= 300
    )
    judge(told, provider, good=good)


# --- B-4: tokens

HARMLESS: list[dict[str, Any]] = [
    {"claims": {"nbf": NOW + 60}},
    {"claims": {"exp": NOW - 59}},
    {"claims": {"iat": NOW + 100_000}},
    {"claims": {"aud": ["x", AUDIENCE]}},
    {"claims": {"roles": 7, "tid": None, "azp": []}},
    {"claims": {"sub": "x" * 500}},
    {"header": {"typ": None}},
    {"header": {"typ": "at+jwt", "x5t": "abc", "zip": "DEF"}},
    {"without": ("iat", "nbf", "typ")},
]
HARMFUL: list[dict[str, Any]] = [
    *(
        {"header": {"alg": alg}}
        for alg in ("none", "NONE", "HS256", "PS256", "ES256", "RS384", "", None, 5, [], {}, True)
    ),
    *(
        {"header": {name: value}}
        for name in ("crit", "jku", "jwk", "x5u", "x5c", "b64")
        for value in (None, [], "x", {})
    ),
    *({"header": {"kid": kid}} for kid in (None, 7, "", [], {}, "a\nb", "\x00", "k" * 257, "ps", "ec", "\u202e")),
    *(
        {"claims": {"aud": aud}}
        for aud in (None, "", 5, {}, [None], [[AUDIENCE]], AUDIENCE.upper() + "x", AUDIENCE[:-1])
    ),
    *({"claims": {"iss": iss}} for iss in (None, "", 5, [], {}, "https://issuer.corpus.example/v2.0 ")),
    *({"claims": {"exp": at}} for at in (None, "", -1, NOW - 60, 0, [], {}, True, False, 10**12, 10**40, 1e300, "1e9")),
    *({"claims": {"nbf": at}} for at in (None, "x", NOW + 61, -1, [], True, 10**12)),
    *({"claims": {"iat": at}} for at in (None, "x", -1, {}, False, 10**13)),
    *({"without": (name,)} for name in ("alg", "kid", "aud", "iss", "exp")),
    *(
        {"signing": signing}
        for signing in (
            *("rs256_other_key", "rs384", "rs256_sha1", "ps256", "es256", "hs256_public_key", "hs256_empty"),
            *("zeros_64", "zeros_256", "ones_256", "doubled", "truncated", "none"),
        )
    ),
    *(
        {"form": form}
        for form in (
            b"{h}.{c}",
            b"{h}.{c}.{s}.{s}",
            b"{h}..{s}",
            b".{c}.{s}",
            b"{c}.{h}.{s}",
            b"{h}.{c}.{s}=",
            b"{h}{c}{s}",
        )
    ),
]


@given(
    harmless=st.lists(st.sampled_from(HARMLESS), max_size=2),
    harmful=st.lists(st.sampled_from(HARMFUL), max_size=2),
    scheme=st.sampled_from([b"Bearer ", b"Bearer ", b"bearer ", b"BEARER  "]),
)
@generated("B-4", 420)
def test_b4_a_token_proves_only_when_all_of_it_is_right(
    bench: Bench, counted: Tally, harmless: list[dict[str, Any]], harmful: list[dict[str, Any]], scheme: bytes
) -> None:
    counted.add("B-4", "generated")
    recipe: dict[str, Any] = {"header": {}, "claims": {}, "without": ()}
    spoiled = {claim for one in harmful for claim in one.get("claims", ())}
    harmless = [one for one in harmless if not spoiled & set(one.get("without", ()))]
    for one in (*harmless, *harmful):
        for key, value in one.items():
            if key in ("header", "claims"):
                recipe[key] = {**recipe[key], **value}
            else:
                recipe[key] = recipe.get(key, ()) + value if key == "without" else value
    provider = "bankid_antifraud"
    headers = [TYPE[provider], (b"Authorization", scheme + token(**recipe))]
    judge(bench.post(provider, headers, fresh(provider)), provider, good=not harmful)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(
    header=st.binary(max_size=40) | json_values.map(lambda value: json.dumps(value).encode()),
    claims=st.binary(max_size=40) | json_values.map(lambda value: json.dumps(value).encode()),
    form=st.lists(st.sampled_from([b"{h}", b"{c}", b"{s}", b".", b".", b"=", b" ", b"\xff", b"%"]), max_size=7).map(
        b"".join
    )
    | st.just(b"{h}.{c}.{s}"),
)
@generated("B-4", 200)
def test_b4_junk_is_no_token(bench: Bench, counted: Tally, header: bytes, claims: bytes, form: bytes) -> None:
    counted.add("B-4", "generated")
    provider = "bankid_antifraud"
    text = token(header_text=header, claims_text=claims, form=form)
    told = bench.post(provider, [TYPE[provider], (b"Authorization", b"Bearer " + text)], fresh(provider))
    judge(told, provider, good=False)


# --- B-5: signed times

digits = st.integers(NOW - 400, NOW + 400).map(str)
odd = st.sampled_from(["", "+", "-", "0", " ", "_", ".", ".0", "e0", "Z", "\x00", "٣", "１", "0x", "nan", "inf"])
unix_texts = st.one_of(
    digits,
    st.tuples(odd, digits).map("".join),
    st.tuples(digits, odd).map("".join),
    digits.map(lambda text: text[:4] + "_" + text[4:]),
    digits.map(lambda text: "".join(chr(0xFF10 + int(one)) for one in text)),
    st.integers(-(10**15), 10**18).map(str),
    st.text(max_size=14),
    st.just("9" * 400),
)
iso_texts = st.one_of(
    st.datetimes(datetime(1971, 1, 1), datetime(2999, 1, 1)).map(lambda at: at.strftime("%Y%m%dT%H%M%SZ")),
    st.from_regex(r"[0-9]{8}T[0-9]{6}Z", fullmatch=True),
    st.tuples(st.just("20251121T080000"), odd).map("".join),
    st.sampled_from(
        ["20251121t080000z", "2025-11-21T08:00:00Z", "20251121T080000+00", "20251121 080000Z", "20251121T0800Z"]
    ),
)


@given(text=unix_texts)
@generated("B-5", 130)
def test_b5_unix_seconds_have_one_spelling(bench: Bench, counted: Tally, text: str) -> None:
    counted.add("B-5", "generated")
    provider = "standard_webhooks"
    body, stamp = fresh(provider), text.encode().strip(b" \t")
    words = proof(provider, body, timestamp=stamp).words
    headers = [
        (b"webhook-id", b"msg_1"),
        (b"webhook-timestamp", stamp),
        (b"webhook-signature", b"v1," + words[b"{sig}"]),
    ]
    good = re.fullmatch(rb"[1-9][0-9]{0,11}", stamp) is not None and abs(int(stamp) - NOW) <= 300
    judge(bench.post(provider, headers, body), provider, good=good)


@given(text=iso_texts)
@generated("B-5", 90)
def test_b5_basic_iso_times_have_one_spelling(bench: Bench, counted: Tally, text: str) -> None:
    counted.add("B-5", "generated")
    provider = "seal_id"
    body, stamp = fresh(provider), text.encode().strip(b" \t")
    signed = proof(provider, body, timestamp=stamp).words[b"{sig}"]
    headers = [(b"ubiid-notification-timestamp", stamp), (b"ubiid-notification-signature", signed)]
    told = bench.post(provider, headers, body)
    if b"T24" in stamp:  # the end of a day: Python reads it from 3.13 on
        shape_of(told)
        return
    judge(told, provider, good=re.fullmatch(rb"[0-9]{8}T[0-9]{6}Z", stamp) is not None and is_time(text))


def is_time(text: str) -> bool:
    try:
        datetime.strptime(text, "%Y%m%dT%H%M%SZ")
    except ValueError:
        return False
    return int(text[13:15]) < 60  # strptime takes a leap second


# --- B-6 and B-14: envelopes under a good token

odd_values = st.sampled_from(["", None, 0, True, [], {}, ["x"], 1.0, "x"])
extras = st.dictionaries(
    st.sampled_from(["subject", "ext", "dataschema", "datacontenttype", "data"]), json_values, max_size=3
)
times = st.sampled_from([("2025-11-21T08:00:00Z", True), ("2025-11-21T08:00:00.1234567+02:00", True), (None, True)]) | (
    st.sampled_from(["", "now", "2025-11-21", "2025-11-21T08:00:00", "20251121T080000Z", 5, []]).map(
        lambda t: (t, False)
    )
)
binaries = st.sampled_from(
    [("AAEC", True), ("", True), (None, True), ("!", False), ("A", False), (7, False), ("AA\n==", False)]
)
MEDIA = [
    b"application/cloudevents+json",
    b"application/cloudevents+json; charset=utf-8",
    b"application/cloudevents-batch+json",
    b"application/json",
    b"application/cloudevents+json; charset=latin-1",
    b"",
]


@st.composite
def envelopes(draw: st.DrawFn) -> tuple[dict[str, Any], bool]:
    """An event and whether it can be valid. `id` is filled in later where it is to be good."""
    event: dict[str, Any] = {"specversion": "1.0", "id": "GOOD", "source": "/s", "type": "t", **draw(extras)}
    good = True
    name = draw(st.sampled_from(["specversion", "id", "source", "type", "", "", "", ""]))
    if name:
        value = draw(odd_values)
        event[name] = value
        good = isinstance(value, str) and value != "" and (name != "specversion")
    if draw(st.integers(0, 5)) == 0:
        event.pop(draw(st.sampled_from(["specversion", "id", "source", "type"])))
        good = False
    if draw(st.integers(0, 3)) == 0:
        time, fine = draw(times)
        event["time"] = time
        good = good and fine
    if draw(st.integers(0, 3)) == 0:
        encoded, fine = draw(binaries)
        event["data_base64"] = encoded
        good = good and fine and (encoded is None or event.get("data") is None)
    return event, good


@given(
    made=st.lists(envelopes(), min_size=1, max_size=3),
    media=st.sampled_from([*MEDIA[:3], *MEDIA]),
    wrapped=st.booleans(),
    proven=st.sampled_from([True, True, True, False]),
)
@generated("B-6", 430)
def test_b6_an_envelope_is_refused_only_when_it_can_never_be_valid(
    bench: Bench, counted: Tally, made: list[tuple[dict[str, Any], bool]], media: bytes, wrapped: bool, proven: bool
) -> None:
    counted.add("B-6", "generated")
    provider = "bankid_antifraud"
    events = [{**event, "id": f"g-{next(_serial)}"} if event.get("id") == "GOOD" else event for event, _ in made]
    is_batch = media == MEDIA[2]
    body = json.dumps(events if wrapped else events[0]).encode()
    headers = [(b"Content-Type", media)]
    if proven:
        headers.append((b"Authorization", b"Bearer " + token()))
    told = bench.post(provider, headers, body)
    shape_of(told)
    judged = [good for _, good in made] if is_batch else [made[0][1]]
    if not proven:
        assert told.status == 401
    elif media not in MEDIA[:3]:
        assert told.status == 415
    elif is_batch is wrapped and all(judged):
        assert told.status == 202
        ids = {(event["source"], event["id"]) for event in (events if is_batch else events[:1])}
        assert told.stored <= len(ids)
        if all(id.startswith("g-") for _, id in ids):
            assert told.stored == len(ids)
    else:
        assert told.status == 400


# --- B-9, B-10, B-14: proven, and whatever it holds

ODD_JSON = [
    *("NaN", "-Infinity", "1e400", "-0", "01", "1.", "+1", "0x1", "9" * 30, "9" * 5000, "18446744073709551617"),
    *('"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"\\x"', '"\n"', '"', "'a'", "tru", "null", "/**/1", "[1,]", "{,}"),
    *('{"a":1,"a":2}', '{"\\u0061":1,"a":2}', "[" * 300 + "]" * 300, "[" * 2000, '{"a":' * 300 + "1" + "}" * 300),
    *('{"__proto__":{}}', "[]", "{}", '""', "\x00", "\ufeff", "\u2028"),
]
odd_json = st.sampled_from(ODD_JSON) | json_values.map(json.dumps)
json_texts = st.one_of(
    odd_json,
    st.lists(odd_json, max_size=4).map(lambda some: "[" + ",".join(some) + "]"),
    st.lists(
        st.tuples(st.sampled_from(['"scanRef"', '"status"', '"final"', '"data"', '"id"', "a"]), odd_json), max_size=4
    ).map(lambda pairs: "{" + ",".join(f"{key}:{value}" for key, value in pairs) + "}"),
    st.tuples(odd_json, st.sampled_from(["", " ", ",", "}", "]", "\x00", "x", "{}"])).map("".join),
)
json_bytes = st.one_of(
    json_texts.map(lambda text: text.encode("utf-8", "surrogatepass")),
    json_texts.map(lambda text: b"\xef\xbb\xbf" + text.encode("utf-8", "surrogatepass")),
    json_texts.map(lambda text: text.encode("utf-16", "surrogatepass")),
    st.tuples(json_texts, st.binary(max_size=3)).map(lambda both: both[0].encode("utf-8", "surrogatepass") + both[1]),
    st.binary(max_size=60),
)
xml_texts = st.lists(
    st.sampled_from(
        [
            *(
                "<result>",
                "</result>",
                "<id>",
                "</id>",
                "<a/>",
                '<a b="c">',
                "</a>",
                "text",
                "&amp;",
                "&lt",
                "&x;",
                "&#0;",
            ),
            *("<!DOCTYPE a>", '<!DOCTYPE a [<!ENTITY x "y">]>', "<![CDATA[", "]]>", "<!--", "-->", "<?pi?>", "\ufeff"),
            *(
                '<?xml version="1.0"?>',
                '<?xml version="1.0" encoding="utf-16"?>',
                '<_ key="a">',
                "</_>",
                "<item>",
                "</item>",
            ),
            *(
                '<a type="number">',
                '<a type="null"/>',
                '<a type="array">',
                '<a type="object"/>',
                "<x:y>",
                "</x:y>",
                "<a>" * 300,
            ),
        ]
    ),
    max_size=9,
).map("".join)
xml_bytes = st.one_of(
    xml_texts.map(str.encode),
    xml_texts.map(lambda text: f"<result>{text}</result>".encode()),
    xml_texts.map(lambda text: text.encode("utf-16")),
)
_seen: set[tuple[str, bytes]] = set()


def stored_raw(bench: Bench, provider: str, media: bytes, body: bytes) -> dict[str, Any]:
    """Send a proven body; it is accepted and kept byte for byte. Returns its event as the API shows it."""
    headers = [(b"Content-Type", media), *good_headers(provider, body)[1:]]
    told = bench.post(provider, headers, body)
    key = (provider, minified(body) if provider == "seal_id" else body)
    judge(told, provider, good=True, stored=0 if key in _seen else 1)
    if key not in _seen:
        assert bench.newest(provider).body == body
    _seen.add(key)
    shown = bench.api("GET", "/api/v1/events", query=b"limit=1&source=" + provider.encode())
    assert shown.status == 200
    [event] = json.loads(shown.body)["data"]
    assert isinstance(event, dict)
    return event


class Unreadable(Exception):
    """Not JSON that has one meaning for everybody."""


def strictly(body: bytes) -> Any:
    """The value of a body that every JSON parser reads alike; Unreadable for all else."""

    def no(_: str) -> None:
        raise Unreadable

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise Unreadable
        return dict(pairs)

    def small(text: str) -> int:
        if len(text) > 15:
            raise Unreadable
        return int(text)

    try:
        value = json.loads(body.decode(), parse_constant=no, object_pairs_hook=unique, parse_int=small)
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Unreadable from error
    return value


@given(body=json_bytes)
@generated("B-9", 640)
def test_b9_proven_json_of_any_kind_is_kept_and_told(bench: Bench, counted: Tally, body: bytes) -> None:
    counted.add("B-9", "generated")
    is_new = ("idenfy", body) not in _seen
    event = stored_raw(bench, "idenfy", b"application/json", body)
    if is_new:
        data = event["data"]
        if "payload_base64" in data:
            assert base64.b64decode(data["payload_base64"]) == body
            assert data["flags"]
        if body[:1] not in (b"", b"<") and body.count(b"[") + body.count(b"{") < 200:
            try:
                value = strictly(body)
            except Unreadable:
                pass
            else:
                assert data["flags"] == []
                assert data["payload"] == value
    shape_of(bench.api("POST", "/api/v1/replays", body))


@given(body=xml_bytes)
@generated("B-10", 120)
def test_b10_proven_xml_of_any_kind_is_kept(bench: Bench, counted: Tally, body: bytes) -> None:
    counted.add("B-10", "generated")
    is_new = ("zignsec", body) not in _seen
    data = stored_raw(bench, "zignsec", b"application/xml", body)["data"]
    if is_new and b"<!DOCTYPE" in body and b"<![CDATA[" not in body and b"<!--" not in body:
        assert "payload" not in data


media_types = st.one_of(
    st.sampled_from(
        [
            *(
                b"application/x-www-form-urlencoded",
                b"multipart/form-data; boundary=x",
                b"text/plain",
                b"text/html",
                b"",
            ),
            *(
                b"application/json; charset=utf-16",
                b"application/json; charset=rot13",
                b"APPLICATION/JSON",
                b"application/xml",
            ),
            *(b"application/cloudevents+json", b"a/b+xml; charset=\xff", b";;;", b"application/json;charset"),
        ]
    ),
    st.binary(max_size=30),
)
form_bodies = st.lists(
    st.tuples(
        st.text(max_size=4), st.sampled_from(["=", "==", "", "&", "%", "%zz", "+", "\r\n--x\r\n"]), st.text(max_size=4)
    ),
    max_size=5,
).map(lambda some: "&".join(map("".join, some)).encode("utf-8", "surrogatepass"))


@given(media=media_types, body=form_bodies | json_bytes)
@generated("B-11", 120)
def test_b11_a_media_type_decides_nothing_once_the_body_is_proven(
    bench: Bench, counted: Tally, media: bytes, body: bytes
) -> None:
    counted.add("B-11", "generated")
    stored_raw(bench, "idenfy", media, body)


@given(
    provider=st.sampled_from(HASHED),
    body=json_bytes | xml_bytes | envelopes().map(lambda made: json.dumps(made[0]).encode()),
)
@generated("B-14", 420)
def test_b14_what_is_proven_is_never_lost(bench: Bench, counted: Tally, provider: str, body: bytes) -> None:
    counted.add("B-14", "generated")
    stored_raw(bench, provider, b"application/json", body)


# --- all of them


def test_as_many_ran_as_are_promised(counted: Tally) -> None:
    for category, wanted in WANTED.items():
        ran = counted.counts[category, "generated"]
        assert ran == 0 or ran >= wanted * 0.95, (category, ran)
