"""Which status a request gets: one table, and the certainty rule.

The certainty rule: some senders never try again after 400, 401, 403, 404 or 413 (BankID Antifraud says so). Those are
sent only when a healthy verifier is certain that this request is bad for ever. Every doubt of ours is 503 with
`Retry-After`. After the proof held nothing is refused but a CloudEvents envelope that can never be valid (400), and a
media type that a CloudEvents source does not speak (415, which makes such a sender try again).

What a case means for one provider (its own code and words) comes from its entry; this table has the rest.
"""

from dataclasses import dataclass
from enum import StrEnum

from hookseal.catalogue import Provider
from hookseal.model import Reason


class Case(StrEnum):
    ACCEPTED = "accepted"
    HANDSHAKE = "handshake"
    NOT_PROVEN = "not_proven"
    ADDRESS = "address"
    ADDRESS_UNKNOWN = "address_unknown"
    ENVELOPE = "envelope"
    MEDIA_TYPE = "media_type"
    UNKNOWN_SOURCE = "unknown_source"
    SOURCE_UNREADABLE = "source_unreadable"
    METHOD = "method"
    BODY_TOO_LARGE = "body_too_large"
    TOO_SLOW = "too_slow"
    CUT_OFF = "cut_off"
    HEADERS_TOO_LARGE = "headers_too_large"
    MALFORMED = "malformed"
    RATE = "rate"
    KEYS_UNAVAILABLE = "keys_unavailable"
    CLOCK_DOUBTED = "clock_doubted"
    STORE_UNAVAILABLE = "store_unavailable"
    OVERLOADED = "overloaded"
    STARTING = "starting"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What leaves. `title` is None for an answer without a body; `close` asks the sender to give the connection up."""

    case: Case
    status: int
    title: str | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    close: bool = False


@dataclass(frozen=True, slots=True)
class _Row:
    status: int
    title: str
    retry_after_s: int | None = None
    close: bool = False
    headers: tuple[tuple[bytes, bytes], ...] = ()


TABLE: dict[Case, _Row] = {
    Case.NOT_PROVEN: _Row(401, "Not proven"),
    Case.ADDRESS: _Row(403, "Address not allowed"),
    # The proxy in front names no address that can be read. That is a fault of our side, and says nothing of the client.
    Case.ADDRESS_UNKNOWN: _Row(503, "Client address unknown", retry_after_s=10),
    Case.ENVELOPE: _Row(400, "Invalid CloudEvents envelope"),
    # The header says which content codings would be read (RFC 9110 §12.5.3).
    Case.MEDIA_TYPE: _Row(415, "Unsupported media type", headers=((b"accept-encoding", b"identity"),)),
    Case.UNKNOWN_SOURCE: _Row(404, "Not found"),
    Case.METHOD: _Row(405, "Method not allowed"),
    Case.BODY_TOO_LARGE: _Row(413, "Body too large", close=True),
    Case.TOO_SLOW: _Row(408, "Request too slow", close=True),
    # The sender may still listen, or a proxy may pass it on: what never came whole is not bad for ever, so never 400.
    Case.CUT_OFF: _Row(408, "Request cut off", close=True),
    Case.HEADERS_TOO_LARGE: _Row(431, "Headers too large", close=True),
    Case.MALFORMED: _Row(400, "Malformed request", close=True),
    # The source exists and this version cannot read its registration: an operator has to act, so not too often.
    Case.SOURCE_UNREADABLE: _Row(503, "Unavailable", retry_after_s=60),
    Case.RATE: _Row(429, "Rate exceeded", retry_after_s=60),
    Case.KEYS_UNAVAILABLE: _Row(503, "Keys unavailable", retry_after_s=30),
    Case.CLOCK_DOUBTED: _Row(503, "Unavailable", retry_after_s=60),
    Case.STORE_UNAVAILABLE: _Row(503, "Storage unavailable", retry_after_s=10),
    Case.OVERLOADED: _Row(503, "Overloaded", retry_after_s=10),
    Case.STARTING: _Row(503, "Starting", retry_after_s=5),
    Case.INTERNAL: _Row(503, "Unavailable", retry_after_s=10),
}

CERTAIN = frozenset({400, 401, 403, 404, 413})
"""Statuses that end a delivery for good at some senders."""


def answer(case: Case, *, retry_after_s: float | None = None, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Answer:
    """The answer of a case that is the same for every provider. retry_after_s overrides the table's seconds."""
    row = TABLE[case]
    wait = row.retry_after_s if retry_after_s is None else max(1, round(retry_after_s))
    headers = (*row.headers, *headers)
    if wait is not None:
        headers = (*headers, (b"retry-after", b"%d" % wait))
    return Answer(case=case, status=row.status, title=row.title, headers=headers, close=row.close)


def accepted(provider: Provider) -> Answer:
    return Answer(case=Case.ACCEPTED, status=provider.answers.accepted)


def refused(provider: Provider, reason: Reason) -> Answer:
    """The answer to a refused request. The sender learns the provider's own words and not the reason."""
    if reason is Reason.ADDRESS_NOT_ALLOWED:
        return answer(Case.ADDRESS)
    if reason is Reason.ENVELOPE_INVALID:
        return answer(Case.ENVELOPE)
    if reason is Reason.BODY_TOO_LARGE:
        return answer(Case.BODY_TOO_LARGE)
    challenge = provider.answers.challenge
    return Answer(
        case=Case.NOT_PROVEN,
        status=provider.answers.refused,
        title=provider.answers.refused_title,
        headers=((b"www-authenticate", challenge.encode()),) if challenge else (),
    )
