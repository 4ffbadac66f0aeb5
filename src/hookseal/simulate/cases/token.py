"""Bearer tokens: made by the issuer with one thing wrong, or by somebody else. None of them may be taken.

Sources: RFC 8725 (JSON Web Token Best Current Practices), RFC 6750 for the header and the challenge. The token is bound
neither to the body nor to the URL, so these checks are all that there is.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from hookseal.clock import Instant
from hookseal.schemes.jwt_bearer import JwtBearer
from hookseal.simulate.cases.sender import Sender
from hookseal.simulate.cases.vocabulary import Case, Expected, Group, accepted, challenged, refused
from hookseal.simulate.tokens import Token, public_jwk, stranger, token_in
from hookseal.simulate.wire import Sent

_HOUR_S = 3600
_NAME = b"Authorization"
_FINAL = "Whatever is taken here, anyone who holds such a token can send."


def cases(sender: Sender, scheme: JwtBearer) -> Iterator[Case]:
    no = refused(sender.provider, sender.policy)

    def case(id: str, sends: str, why: str, change: Callable[[Token, int], Token], expected: Expected = no) -> Case:
        def make(now: Instant) -> tuple[Sent, ...]:
            good, token = _good(sender, now)
            return (_with(good, f"Bearer {change(token, now // 1_000_000).text}"),)

        return Case(id=id, group=Group.TOKEN, sends=sends, why=why, expected=expected, make=make)

    odd = refused(sender.provider, sender.policy, odd=True)
    yield from _headers(sender, no, odd)
    yield from _good_ones(sender)
    for id, sends, why, change in _CLAIMS:
        yield case(f"token-{id}", sends, why, change, odd if id in _BY_THE_ISSUER else no)
    for id, sends, claim, other in _issuers(scheme):
        yield case(
            f"token-{id}",
            sends,
            "The issuer is compared exactly; key sets overlap between tenants and versions, so only this tells them.",
            lambda token, now, claim=claim, other=other: token.with_claims(**{claim: other}),  # type: ignore[misc]
        )
    for id, sends, why, change in _HEADERS:
        yield case(f"token-{id}", sends, why, change, odd if id in _BY_THE_ISSUER else no)
    yield case(
        "token-unknown-key",
        "a token whose key id no key set has",
        "One look at the key set, then 401; not one fetch for each request. 503 while a fetch is not due.",
        lambda token, now: replace(token.with_header(kid="a-key-of-tomorrow"), key=stranger()),
        refused(sender.provider, sender.policy, frozenset({429, 503})),
    )
    yield from _asked_claims(scheme, case)


def _headers(sender: Sender, no: Expected, odd: Expected) -> Iterator[Case]:
    def case(id: str, sends: str, why: str, expected: Expected, make: Callable[[Instant], Sent]) -> Case:
        return Case(id=id, group=Group.TOKEN, sends=sends, why=why, expected=expected, make=lambda now: (make(now),))

    yield case(
        "token-missing",
        "no Authorization",
        "RFC 9110 asks for the challenge, and the sender's operators read it.",
        challenged("Bearer"),
        lambda now: _with(_good(sender, now)[0]),
    )
    for id, sends, value in (
        ("basic", "Basic instead of Bearer", b"Basic dXNlcjpwYXNz"),
        ("empty", "Bearer and nothing", b"Bearer "),
        ("bearer-only", "the word Bearer", b"Bearer"),
        ("two-segments", "Bearer a.b", b"Bearer a.b"),
        ("garbage", "a token that is no base64", b"Bearer %%%.%%%.%%%"),
        ("non-ascii", "a token with é in Latin-1", b"Bearer \xe9\xe9.\xe9.\xe9"),
    ):
        yield case(
            f"token-{id}",
            sends,
            "Splitting at the blank and decoding raise: a 500 is tried again for a day.",
            no,
            lambda now, value=value: _with(_good(sender, now)[0], value),  # type: ignore[misc]
        )
    yield case(
        "token-twice",
        "a good token and a bad one",
        "Two layers that read different ones of them disagree on who sent it.",
        odd,
        lambda now: _twice(sender, now),
    )
    yield case(
        "token-in-url",
        "a good token in the URL, none in the header",
        "URLs stand in logs; the provider uses the header only.",
        odd,
        lambda now: _in_url(sender, now),
    )
    yield Case(
        id="bad-token-bad-json",
        group=Group.TOKEN,
        sends="an expired token, over a whole event and over half a one",
        why="The proof comes first: a parser in front of it answers strangers, and with another code.",
        expected=no,
        make=lambda now: _whole_and_half(sender, now),
        alike=True,
    )
    yield case(
        "signature-instead",
        "the headers of another provider, no token",
        "Which rule holds is the route's to say; a request that picks its rule picks the weakest.",
        no,
        lambda now: _with_signature_instead(sender, now),
    )


def _good_ones(sender: Sender) -> Iterator[Case]:
    yes = accepted(sender.policy)

    def make(now: Instant, change: Callable[[str], str], name: bytes = _NAME) -> tuple[Sent, ...]:
        good, token = _good(sender, now)
        headers = (*(pair for pair in good.headers if pair[0] != _NAME), (name, change(token.text).encode()))
        return (replace(good, headers=headers),)

    yield Case(
        id="token-scheme-case",
        group=Group.TOKEN,
        sends="bearer in lower case, and the header's name",
        why="Neither has a case.",
        expected=yes,
        make=lambda now: make(now, lambda text: f"bearer {text}", _NAME.lower()),
    )
    yield Case(
        id="token-more-claims",
        group=Group.TOKEN,
        sends="a token with claims that nobody knows",
        why="Issuers add claims without asking.",
        expected=yes,
        make=lambda now: (
            _with(_good(sender, now)[0], f"Bearer {_good(sender, now)[1].with_claims(xms_new=[1, {'a': 2}]).text}"),
        ),
    )


_Change = Callable[[Token, int], Token]

_CLAIMS: tuple[tuple[str, str, str, _Change], ...] = (
    (
        "expired",
        "a token that expired an hour ago",
        _FINAL,
        lambda token, now: token.with_claims(iat=now - 2 * _HOUR_S, nbf=now - 2 * _HOUR_S, exp=now - _HOUR_S),
    ),
    (
        "not-yet",
        "a token that begins in an hour",
        "nbf is as much a bound as exp.",
        lambda token, now: token.with_claims(nbf=now + _HOUR_S, exp=now + 2 * _HOUR_S),
    ),
    (
        "no-expiry",
        "a token without exp",
        "Libraries take it for one that never expires.",
        lambda token, now: token.with_claims("exp"),
    ),
    (
        "expiry-text",
        "a token whose exp is a text",
        "It is no number: a comparison raises, or is skipped.",
        lambda token, now: token.with_claims(exp=str(now + _HOUR_S)),
    ),
    (
        "no-audience",
        "a token without aud",
        "Libraries skip the check when the claim is not there.",
        lambda token, now: token.with_claims("aud"),
    ),
    (
        "other-audience",
        "a token made for somebody else",
        "Every customer of the issuer gets tokens; without this check each of them can send to you.",
        lambda token, now: token.with_claims(aud="99999999-2222-4333-8444-555555555555"),
    ),
    (
        "audience-longer",
        "a token whose aud only begins with yours",
        "The audience is compared exactly.",
        lambda token, now: token.with_claims(aud=f"{token.claims['aud']}0"),
    ),
    (
        "no-issuer",
        "a token without iss",
        "Libraries skip the check when the claim is not there.",
        lambda token, now: token.with_claims("iss"),
    ),
)

_BY_THE_ISSUER = frozenset({"not-yet", "expiry-text", "no-expiry", "no-issuer", "alg-rs512", "critical"})
"""Signed by the issuer for this audience: to take them is lax, and no stranger can make them."""

_PIN = "The algorithm is yours to fix; a token that chooses it chooses none, or makes your public key a secret."

_HEADERS: tuple[tuple[str, str, str, _Change], ...] = (
    ("alg-none", "alg none, no signature", _PIN, lambda token, now: replace(token.with_header(alg="none"), key=None)),
    (
        "alg-none-case",
        "alg nOnE, no signature",
        "A list of forbidden words forgets one.",
        lambda token, now: replace(token.with_header(alg="nOnE"), key=None),
    ),
    ("alg-hs256", "HS256 keyed with the public key", _PIN, lambda token, now: token.with_header(alg="HS256")),
    ("alg-rs512", "RS512 by the right key", _PIN, lambda token, now: token.with_header(alg="RS512")),
    ("no-signature", "a good token without its signature", _FINAL, lambda token, now: replace(token, key=None)),
    (
        "stranger-key",
        "a stranger's signature under your issuer's key id",
        _FINAL,
        lambda token, now: replace(token, key=stranger()),
    ),
    (
        "no-key-id",
        "a stranger's token without a key id",
        "Trying one key after another, or the first, is not choosing.",
        lambda token, now: replace(token.with_header("kid"), key=stranger()),
    ),
    (
        "own-key",
        "a token that brings its own key (jwk)",
        "Keys come from the configured key set, never from the token.",
        lambda token, now: replace(token.with_header(jwk=public_jwk(stranger())), key=stranger()),
    ),
    (
        "own-key-set",
        "a token that names its own key set (jku)",
        "Fetching it lets a stranger choose the key, and what you call.",
        lambda token, now: replace(token.with_header(jku="https://evil.example/keys"), key=stranger()),
    ),
    (
        "critical",
        "a token with an unknown critical extension",
        "RFC 7515: what is critical and not understood must be refused.",
        lambda token, now: token.with_header(crit=["hookseal"], hookseal=1),
    ),
)


def _issuers(scheme: JwtBearer) -> Iterator[tuple[str, str, str, str]]:
    issuer = scheme.issuer
    yield "other-issuer", "a token of another issuer", "iss", "https://login.microsoftonline.com/evil/v2.0"
    yield "issuer-slash", "iss with a slash behind it", "iss", f"{issuer}/"
    if issuer.endswith("/v2.0"):
        yield "issuer-v1", "iss without its version", "iss", issuer.removesuffix("/v2.0")
        tenant = issuer.removesuffix("/v2.0").rpartition("/")[2]
        yield "version-1", "a version 1 token of the same tenant", "iss", f"https://sts.windows.net/{tenant}/"


def _asked_claims(scheme: JwtBearer, case: Callable[..., Case]) -> Iterator[Case]:
    """What is refused only where the operator says with `--set` that the receiver checks it."""
    for asked, id, sends, claims in (
        (scheme.tenant, "other-tenant", "another tid", {"tid": "00000000-0000-4000-8000-000000000000"}),
        (scheme.authorized_party, "other-party", "another azp", {"azp": "00000000-0000-4000-8000-000000000000"}),
        (scheme.roles, "no-role", "no roles", {"roles": []}),
    ):
        if asked:
            yield case(
                f"token-{id}",
                f"a token with {sends}",
                "You said that the receiver checks it.",
                lambda token, now, claims=claims: token.with_claims(**claims),
            )


def _good(sender: Sender, now: Instant) -> tuple[Sent, Token]:
    good = sender.good(sender.call(now), now)
    value = next(value for name, value in good.headers if name == _NAME)
    return good, token_in(value.decode(), sender.keys.private_key)


def _with(sent: Sent, *values: str | bytes) -> Sent:
    others = tuple(pair for pair in sent.headers if pair[0] != _NAME)
    given = tuple((_NAME, value.encode() if isinstance(value, str) else value) for value in values)
    return replace(sent, headers=others + given)


def _twice(sender: Sender, now: Instant) -> Sent:
    good, token = _good(sender, now)
    return _with(good, f"Bearer {token.text}", f"Bearer {replace(token, key=stranger()).text}")


def _in_url(sender: Sender, now: Instant) -> Sent:
    good, token = _good(sender, now)
    return replace(_with(good), query=f"access_token={token.text}")


def _whole_and_half(sender: Sender, now: Instant) -> tuple[Sent, ...]:
    good, token = _good(sender, now)
    whole = _with(good, f"Bearer {token.with_claims(exp=now // 1_000_000 - _HOUR_S).text}")
    return whole, replace(whole, body=whole.body[: len(whole.body) // 2])


def _with_signature_instead(sender: Sender, now: Instant) -> Sent:
    good = _with(_good(sender, now)[0])
    return replace(good, headers=(*good.headers, (b"Idenfy-Signature", b"0" * 64)))
