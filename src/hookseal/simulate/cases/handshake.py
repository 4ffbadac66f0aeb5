"""Consent to a subscription: the OPTIONS call of CloudEvents' HTTP web hooks, asked rightly and wrongly.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md §4.
"""

from collections.abc import Iterator

from hookseal.message import Headers
from hookseal.simulate.cases.sender import Sender
from hookseal.simulate.cases.vocabulary import Case, Expected, Group, consent, no_consent
from hookseal.simulate.wire import Sent

_ORIGIN = b"WebHook-Request-Origin"


def cases(sender: Sender) -> Iterator[Case]:
    handshake = sender.provider.handshake
    if handshake is None:
        return

    def case(id: str, sends: str, why: str, expected: Expected, *headers: tuple[bytes, bytes]) -> Case:
        sent: Headers = headers
        return Case(
            id=id,
            group=Group.HANDSHAKE,
            sends=sends,
            why=why,
            expected=expected,
            make=lambda now: (Sent(method="OPTIONS", headers=sent),),
        )

    origin = handshake.origins[0]
    name = origin.encode()
    granted, denied = consent(origin), no_consent()
    without_headers = "Frameworks answer OPTIONS by themselves with 200 and Allow: no consent, and no events ever come."
    yield case("consent", f"OPTIONS from {origin}", without_headers, granted, (_ORIGIN, name))
    yield case(
        "consent-lower-case",
        "the same, the header's name in lower case",
        "Header names have no case, and proxies lower them.",
        granted,
        (_ORIGIN.lower(), name),
    )
    yield case(
        "consent-bad-token",
        "the same, with a token that is junk",
        "Authorization is not looked at here: the sender has no token before the subscription stands.",
        granted,
        (_ORIGIN, name),
        (b"Authorization", b"Bearer junk"),
    )
    yield case(
        "consent-rate-asked",
        "the same, asking for 120 requests a minute",
        "Whoever asks for a rate must be told one, a whole number or *.",
        granted,
        (_ORIGIN, name),
        (b"WebHook-Request-Rate", b"120"),
    )
    blind = "Consent is what keeps a stranger from turning your endpoint into a target; check who asks."
    for id, sends, value in (
        ("origin-foreign", "OPTIONS from evil.example", b"evil.example"),
        ("origin-suffix", f"OPTIONS from {origin}.evil.example", name + b".evil.example"),
        ("origin-list", f"OPTIONS from {origin}, evil.example", name + b", evil.example"),
    ):
        yield case(id, sends, blind, denied, (_ORIGIN, value))
    yield case("origin-missing", "OPTIONS without an origin", blind, denied)
    yield case(
        "cors",
        "a browser's CORS preflight",
        "It is another protocol on the same method.",
        denied,
        (b"Origin", b"https://evil.example"),
        (b"Access-Control-Request-Method", b"POST"),
    )
