"""The trial of a catalogue entry: its vectors as written, and the refusals that follow from each accepting one.

Whoever adds a provider writes a few genuine requests down; what must be refused next to each of them is always the
same, and is made here: every body byte flipped, every header taken away or replaced by junk, another secret, another
clock, timestamps in odd numerals (signed anew, so that only the numeral is wrong). The same trial runs over our own
catalogue in the tests and over an operator's folder. Knows how a proof is built, by the kind of its scheme; knows
nothing of what an event means (`event_of` is handed in).
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from hookseal.catalogue.entry import Provider
from hookseal.catalogue.reader import read
from hookseal.catalogue.vectors import Vector, Vectors, vectors_beside
from hookseal.clock import Instant, plus
from hookseal.errors import CatalogueError, ConfigurationError
from hookseal.message import Headers, Request
from hookseal.model import Reason
from hookseal.schemes import jwk
from hookseal.schemes.jwt_bearer import JwtBearer
from hookseal.schemes.keyed_hash import KeyedHash, Proof
from hookseal.schemes.verdict import KeyNeeded, Keys, NotProven, Proven, PublicKey, Scheme, Verdict

EventOf = Callable[[Provider, Vector], Mapping[str, object]]
"""What the event of an accepted vector says, by the names that its `event` uses."""

ACCEPT = "accept"
REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Failure:
    """A vector, or a case made of it, that came out otherwise than it should.

    case  "as written", or what was changed.
    """

    vector: str
    case: str
    expected: str
    got: str


@dataclass(frozen=True, slots=True)
class _Case:
    """A changed request, judged with `keys` at `now`; `reason` None where any refusal will do."""

    name: str
    scheme: Scheme
    request: Request
    keys: Keys
    now: Instant
    accepted: bool = False
    reason: Reason | None = None
    secret: int | None = None


def trial_of_folder(folder: Path, event_of: EventOf | None = None) -> dict[str, list[Failure]]:
    """Every `*.toml` of a folder by its id. CatalogueError for a file that cannot be read, or has no vectors."""
    results: dict[str, list[Failure]] = {}
    files = sorted(folder.glob("*.toml"))
    if not files:
        raise CatalogueError(str(folder), "", "holds no provider: a file named <id>.toml")
    for file in files:
        provider = read(file)
        vectors = vectors_beside(file)
        if vectors is None:
            raise CatalogueError(file.name, "", f"has no vectors: write {file.stem}.vectors.json beside it")
        results[provider.id] = trial(provider, vectors, event_of)
    return results


def trial(provider: Provider, vectors: Vectors, event_of: EventOf | None = None) -> list[Failure]:
    """All failures, none when the entry keeps its word. An entry without an accepting vector has not shown anything."""
    failures: list[Failure] = []
    if not any(vector.accepted for vector in vectors.vectors):
        failures.append(Failure(vectors.place, "as written", "a vector that is accepted", "none"))
    try:
        key_set = None if vectors.key_set is None else jwk.parse(vectors.key_set)
    except ValueError as error:
        raise CatalogueError(vectors.place, "key_set", str(error)) from error
    for vector in vectors.vectors:
        try:
            scheme = provider.bind(vector.options, vector.max_age_s)
        except ConfigurationError as error:
            raise CatalogueError(vectors.place, f"{vector.id}.{error.key}", error.remedy) from error
        keys = Keys(secrets=vector.secrets, key_set=key_set)
        written = _Case(
            "as written", scheme, vector.request, keys, vector.now, accepted=vector.accepted, reason=vector.reason
        )
        cases: Iterable[_Case] = [written]
        if vector.accepted and _judged(written) is None:
            cases = _derived(provider, written)
            if event_of is not None and vector.event is not None:
                failures.extend(_event_failures(vector, event_of(provider, vector)))
        for case in cases:
            failure = _judged(case)
            if failure is not None:
                failures.append(Failure(vector.id, case.name, *failure))
    return failures


def _judged(case: _Case) -> tuple[str, str] | None:
    """What was expected and what came, None when they are the same."""
    verdict = case.scheme.verify(case.request, case.keys, case.now)
    got = _told(verdict)
    if case.accepted:
        secret_fits = case.secret is None or (isinstance(verdict, Proven) and verdict.secret == case.secret)
        return None if isinstance(verdict, Proven) and secret_fits else (ACCEPT, got)
    if isinstance(verdict, Proven) or (case.reason is not None and got != case.reason.value):
        return case.reason.value if case.reason else REFUSE, got
    return None


def _told(verdict: Verdict) -> str:
    if isinstance(verdict, NotProven):
        return verdict.reason.value
    # A key that even a fresh set does not have ends in this reason.
    return Reason.TOKEN_KEY_UNKNOWN.value if isinstance(verdict, KeyNeeded) else ACCEPT


def _event_failures(vector: Vector, event: Mapping[str, object]) -> Iterator[Failure]:
    for name, expected in (vector.event or {}).items():
        if event.get(name) != expected:
            yield Failure(vector.id, f"event.{name}", repr(expected), repr(event.get(name)))


# --- cases made of an accepted one


def _derived(provider: Provider, case: _Case) -> Iterator[_Case]:
    if provider.covers_body:
        yield from _other_bodies(case)
    yield from _other_headers(case)
    if isinstance(case.scheme, KeyedHash):
        yield from _other_secrets(case)
        if case.scheme.carries_time:
            yield from _other_numerals(case, case.scheme)
            yield from _other_times(case, case.scheme)
    if isinstance(case.scheme, JwtBearer):
        yield from _other_keys(case)
        yield from _other_token_times(case, case.scheme)


def _other_bodies(case: _Case) -> Iterator[_Case]:
    body = case.request.body
    for place in range(len(body)):
        flipped = bytearray(body)
        flipped[place] ^= 1
        name = f"body byte {place} flipped"
        yield replace(case, name=name, request=replace(case.request, body=bytes(flipped)), accepted=False)
    yield replace(case, name="body longer", request=replace(case.request, body=body + b"x"), accepted=False)
    if body and not body[-1:].isspace():  # blanks at the end may be free, see `Content`
        yield replace(case, name="body cut", request=replace(case.request, body=body[:-1]), accepted=False)


_JUNK = (
    b"",
    b"null",
    b",",
    b"=",
    b"v1,",
    b"t=,v1=",
    b"\xe9" * 44,
    b"\xff\xfe\x00",
    "０" * 64,
    b"A" * 9000,
    b"v1,AAAA " * 1000,
    b"t=1," + b"v1=00," * 1000 + b"v1=00",
    b"Bearer " + b"A." * 3,
    b"Bearer " + b"A" * 9000,
)


def _other_headers(case: _Case) -> Iterator[_Case]:
    for spellings in case.scheme.proof:
        label = spellings[0].decode()
        present = [(name, value) for name, value in case.request.headers if name in spellings]
        if not present:
            continue
        value = present[0][1]
        yield _with_headers(case, f"{label} taken away", spellings, [])
        for junk in (junk.encode() if isinstance(junk, str) else junk for junk in _JUNK):
            yield _with_headers(case, f"{label} is {junk[:12]!r}, {len(junk)} bytes", spellings, [junk])
        for name, other in () if _holds_several(case, value) else _near(value):
            yield _with_headers(case, f"{label} {name}", spellings, [other])
            yield _with_headers(case, f"{label} twice, the second {name}", spellings, [value, other])


def _holds_several(case: _Case, value: bytes) -> bool:
    """Whether a header holds several signatures: beside a good one, a spoilt one is no fault."""
    if not isinstance(case.scheme, KeyedHash):
        return False
    read = case.scheme.read(case.request)
    in_list = bool(case.scheme.list_version) and b" " in value
    return in_list or (isinstance(read, Proof) and len(read.signatures) > 1)


def _near(value: bytes) -> Iterator[tuple[str, bytes]]:
    """Values next to a good one."""
    yield "with a character more", value + b"0"
    yield "without its last character", value[:-1]
    yield "with a word before it", b"sha256" + value
    yield "with a byte that is not ASCII", value + b"\xe9"
    yield "with NUL", value + b"\x00"
    swapped = value[:-12] + value[-12:].swapcase()
    if swapped != value:
        yield "with the case of its end swapped", swapped


def _with_headers(case: _Case, name: str, spellings: Sequence[bytes], values: Sequence[bytes]) -> _Case:
    others = tuple((key, value) for key, value in case.request.headers if key not in spellings)
    headers: Headers = (*others, *((spellings[0], value) for value in values))
    return replace(case, name=name, request=replace(case.request, headers=headers), accepted=False, reason=None)


_OTHER_SECRET = b"not the secret of this vector"


def _other_secrets(case: _Case) -> Iterator[_Case]:
    secrets = case.keys.secrets
    for name, other in (
        ("another secret", (_OTHER_SECRET,)),
        ("no secret", ()),
        ("an empty secret", (b"",)),
        ("a newline behind the secret", tuple(secret + b"\n" for secret in secrets)),
    ):
        yield replace(case, name=name, keys=Keys(secrets=other), accepted=False, reason=Reason.SIGNATURE_MISMATCH)
    verdict = case.scheme.verify(case.request, case.keys, case.now)
    if isinstance(verdict, Proven) and verdict.secret is not None:
        rotated = Keys(secrets=(_OTHER_SECRET, *secrets))
        yield replace(case, name="a newer secret before it", keys=rotated, secret=verdict.secret + 1)
        rotated = Keys(secrets=(*secrets, _OTHER_SECRET))
        yield replace(case, name="an older secret behind it", keys=rotated, secret=verdict.secret)


_ODD_NUMERALS = (
    *(b"+%b", b"-%b", b"0%b", b"%b.0", b"%b.", b"%b,", b"%bZ", b"0x%b", b"%be0", b"%b_0"),
    *(b"nan", b"inf", b"1e9", b"0x6912ab", b"-1", b"1_763_712_000", b"9" * 400, b"20221115T090914z", b"24:00"),
    *(b"20221315T090914Z", b"20221115T240000Z", b"20221115T090960Z", b"20221115T090914", b"2022-11-15 09:09:14"),
)


def _other_numerals(case: _Case, scheme: KeyedHash) -> Iterator[_Case]:
    """Timestamps that laxer readers take, under a signature that fits them."""
    read = scheme.read(case.request)
    if isinstance(read, Reason):
        return
    for pattern in _ODD_NUMERALS:
        odd = pattern.replace(b"%b", read.timestamp)
        request = scheme.signed_with(case.request, case.keys.secrets[0], timestamp=odd, id=read.id)
        reason = Reason.TIMESTAMP_MALFORMED if scheme.timestamp_header else None
        name = f"timestamp {odd[:24]!r}, signed anew"
        yield replace(case, name=name, request=request, accepted=False, reason=reason)


def _other_times(case: _Case, scheme: KeyedHash) -> Iterator[_Case]:
    """The clock at the tolerance and a second beyond it. Without a tolerance, one is asked for first."""
    tolerance_s = 300 if scheme.tolerance_s is None else scheme.tolerance_s
    limited = scheme.limited(tolerance_s)
    verdict = scheme.verify(case.request, case.keys, case.now)
    if not isinstance(verdict, Proven) or verdict.signed_at is None:
        return
    for sign, side in ((1, "old"), (-1, "ahead")):
        at = replace(case, scheme=limited, now=plus(verdict.signed_at, sign * tolerance_s))
        yield replace(at, name=f"{tolerance_s} s {side}")
        late = replace(at, now=plus(verdict.signed_at, sign * (tolerance_s + 1)), accepted=False)
        yield replace(late, name=f"{tolerance_s + 1} s {side}", reason=Reason.TIMESTAMP_STALE)


def _other_keys(case: _Case) -> Iterator[_Case]:
    """Without its key, and with a stranger's key under every id of the set."""
    unknown = Reason.TOKEN_KEY_UNKNOWN
    for name, keys in (("no key set", Keys()), ("an empty key set", Keys(key_set={}))):
        yield replace(case, name=name, keys=keys, accepted=False, reason=unknown)
    others = Keys(key_set={kid: (_stranger(),) for kid in case.keys.key_set or {}})
    yield replace(case, name="a stranger's key", keys=others, accepted=False, reason=None)


@cache
def _stranger() -> PublicKey:
    from cryptography.hazmat.primitives.asymmetric import rsa

    return PublicKey(rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key())


def _other_token_times(case: _Case, scheme: JwtBearer) -> Iterator[_Case]:
    """The clock at either end of the token's life, leeway included, and a second beyond it."""
    token = (case.request.value(b"authorization") or b"").rpartition(b" ")[2]
    segment = token.split(b".")[1]
    claims = json.loads(base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4)))
    ends = [
        ("exp", 1, scheme.leeway_s - 1, Reason.TOKEN_EXPIRED),
        ("nbf", -1, scheme.leeway_s, Reason.TOKEN_NOT_YET_VALID),
    ]
    for name, sign, leeway_s, reason in ends:
        if name in claims:
            last = Instant(int((claims[name] + sign * leeway_s) * 1_000_000))
            yield replace(case, name=f"{name}, the last moment of the leeway", now=last)
            yield replace(case, name=f"{name}, a second beyond", now=plus(last, sign), accepted=False, reason=reason)
