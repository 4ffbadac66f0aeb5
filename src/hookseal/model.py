"""The words of the domain: ids, closed sets, and the normalised event. No rule lives here.

The normalised event is a CloudEvents 1.0 event (https://github.com/cloudevents/spec, v1.0.2) whose data carries
`verified_claims` of OpenID Identity Assurance Schema Definition 1.0.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NewType

from hookseal.clock import Instant, rfc3339

ProviderId = NewType("ProviderId", str)
SourceId = NewType("SourceId", str)
EndpointId = NewType("EndpointId", str)
EventId = NewType("EventId", str)
"""UUIDv7 in its 36-character text form: sorts by time of receipt."""
DeliveryId = NewType("DeliveryId", str)
"""`msg_` and a UUIDv7 in hex; the `webhook-id` of every try of one delivery."""
RefusalId = NewType("RefusalId", str)
"""UUIDv7 text of one quarantined request."""

Json = Any
"""A parsed JSON value: dict, list, str, int, float, bool or None."""

SEQUENCE_DIGITS = 20


class EventType(StrEnum):
    """What happened, in our words. A provider's kind that its entry does not map is OTHER, never an error."""

    VERIFICATION_STARTED = "identity.verification.started"
    VERIFICATION_UPDATED = "identity.verification.updated"
    VERIFICATION_COMPLETED = "identity.verification.completed"
    AUTHENTICATION_COMPLETED = "identity.authentication.completed"
    SIGNATURE_UPDATED = "identity.signature.updated"
    SIGNATURE_COMPLETED = "identity.signature.completed"
    DOCUMENT_UPDATED = "identity.document.updated"
    SCREENING_UPDATED = "identity.screening.updated"
    COMPANY_UPDATED = "company.verification.updated"
    COMPANY_COMPLETED = "company.verification.completed"
    ALARM_RAISED = "risk.alarm.raised"
    MESSAGE_UPDATED = "message.status.updated"
    ACCOUNT_CHANGED = "account.changed"
    SESSION_CHANGED = "session.changed"
    OTHER = "other"


class Outcome(StrEnum):
    """What the provider decided."""

    APPROVED = "approved"
    DECLINED = "declined"
    REVIEW = "review"
    PENDING = "pending"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    ERROR = "error"
    UNKNOWN = "unknown"


class Reason(StrEnum):
    """Why a request was refused."""

    HEADER_MISSING = "header_missing"
    HEADER_MALFORMED = "header_malformed"
    SIGNATURE_MISMATCH = "signature_mismatch"
    TIMESTAMP_MISSING = "timestamp_missing"
    TIMESTAMP_MALFORMED = "timestamp_malformed"
    TIMESTAMP_STALE = "timestamp_stale"
    TOKEN_MISSING = "token_missing"
    TOKEN_MALFORMED = "token_malformed"
    TOKEN_SIGNATURE = "token_signature"
    TOKEN_ALGORITHM = "token_algorithm"
    TOKEN_KEY_UNKNOWN = "token_key_unknown"
    TOKEN_ISSUER = "token_issuer"
    TOKEN_AUDIENCE = "token_audience"
    TOKEN_EXPIRED = "token_expired"
    TOKEN_NOT_YET_VALID = "token_not_yet_valid"
    TOKEN_CLAIM_MISSING = "token_claim_missing"
    ADDRESS_NOT_ALLOWED = "address_not_allowed"
    BODY_TOO_LARGE = "body_too_large"
    BODY_MALFORMED = "body_malformed"
    ENVELOPE_INVALID = "envelope_invalid"


class Flag(StrEnum):
    """An oddity of an accepted request, told with the event."""

    BODY_UNPARSED = "body_unparsed"  # not JSON or XML that we read; the bytes are in payload_base64
    BODY_DTD = "body_dtd"  # XML with a document type: never parsed
    BODY_TOO_DEEP = "body_too_deep"  # nested deeper than we read
    DUPLICATE_KEYS = "duplicate_keys"  # a JSON object names a key twice; the last one counts
    CONFLICT = "conflict"  # a later request had the same dedupe key and other data
    STALE = "stale"  # older than the source's limit, and the source holds such requests
    RELEASED = "released"  # came through the quarantine


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    CANCELLED = "cancelled"
    REPLAYED = "replayed"  # it was dead, and a replay made another delivery in its place


class AttemptReason(StrEnum):
    """Why one try did not deliver. `http_<status>` is made from the status and is not listed here."""

    DNS_NXDOMAIN = "dns_nxdomain"
    DNS_TIMEOUT = "dns_timeout"
    DNS_ERROR = "dns_error"
    DENIED_ADDRESS = "denied_address"
    CONNECT_REFUSED = "connect_refused"
    CONNECT_TIMEOUT = "connect_timeout"
    CONNECT_RESET = "connect_reset"
    TLS_CERT_EXPIRED = "tls_cert_expired"
    TLS_HOSTNAME = "tls_hostname"
    TLS_UNTRUSTED = "tls_untrusted"
    TLS_PROTOCOL = "tls_protocol"
    TLS_TIMEOUT = "tls_timeout"
    WRITE_ERROR = "write_error"
    RESPONSE_TIMEOUT = "response_timeout"
    RESPONSE_HEADERS_INVALID = "response_headers_invalid"
    RESPONSE_TOO_SLOW = "response_too_slow"
    REDIRECT_REFUSED = "redirect_refused"
    WORKER_LOST = "worker_lost"  # of a delivery: no attempt has it
    PENDING_EXPIRED = "pending_expired"  # the same
    CONFIG_ERROR = "config_error"
    PAYLOAD_UNPARSABLE = "payload_unparsable"
    SEAL_BROKEN = "seal_broken"  # what is stored of the event or the delivery was altered, or its key is gone


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingRevision:
    """The rules that make events of a provider's requests, as they were at one time.

    provider  the catalogue's id; for events that are published through our own API it is no provider of the catalogue.
    rules     the tables `event` and `claims` of the provider's file, as JSON. Empty where no rules apply.
    revision  the first 128 bits of the SHA-256 of `rules`, in hex. See `of`.
    """

    provider: ProviderId
    revision: str
    rules: bytes = field(repr=False, compare=False)

    @staticmethod
    def of(provider: ProviderId, rules: bytes) -> "MappingRevision":
        return MappingRevision(provider=provider, revision=hashlib.sha256(rules).hexdigest()[:32], rules=rules)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of a diagnosis: a stable code and what to change."""

    code: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One normalised event.

    type           one of `EventType`, or free text for events published through our own API.
    time           the provider's own time where it gives one, else `received_at`.
    sequence       rises per source in the order of storing, from 1; 0 for an event that is not stored.
    claims         the same fields as inside `verified_claims`, where the provider does not say that it verified them.
    payload        the parsed body; None together with `payload_base64` when the body did not parse.
    """

    id: EventId
    source: SourceId
    type: str
    time: Instant
    received_at: Instant
    provider: ProviderId
    sequence: int = 0
    subject: str | None = None
    provider_type: str | None = None
    provider_id: str | None = None
    outcome: Outcome = Outcome.UNKNOWN
    final: bool = False
    superseded: bool = False
    flags: tuple[str, ...] = ()
    verified_claims: Mapping[str, Json] | None = None
    claims: Mapping[str, Json] | None = None
    reasons: tuple[str, ...] = ()
    payload: Json = None
    payload_base64: str | None = None

    def as_cloudevent(self) -> dict[str, Json]:
        """The event as a JSON object, CloudEvents 1.0 structured mode. Absent attributes are left out, not null."""
        data: dict[str, Json] = {
            "outcome": self.outcome.value,
            "final": self.final,
            "superseded": self.superseded,
            "flags": list(self.flags),
        }
        if self.verified_claims is not None:
            data["verified_claims"] = dict(self.verified_claims)
        if self.claims is not None:
            data["claims"] = dict(self.claims)
        data["reasons"] = list(self.reasons)
        if self.payload_base64 is None:
            data["payload"] = self.payload
        else:
            data["payload_base64"] = self.payload_base64
        event: dict[str, Json] = {
            "specversion": "1.0",
            "id": self.id,
            "source": f"/sources/{self.source}",
            "type": self.type,
            "subject": self.subject,
            "time": rfc3339(self.time),
            "datacontenttype": "application/json",
            "provider": self.provider,
            "providertype": self.provider_type,
            "providerid": self.provider_id,
            "receivedtime": rfc3339(self.received_at),
            "sequence": f"{self.sequence:0{SEQUENCE_DIGITS}d}",
            "data": data,
        }
        return {name: value for name, value in event.items() if value is not None}
