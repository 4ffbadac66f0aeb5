"""The objects of the management API in JSON Schema 2020-12, as OpenAPI 3.1 has it: `components.schemas`.

Objects of ours are closed, so that a member that `wire.py` gains or loses fails a test until it stands here as well.
`data` of an event is open where the provider's own body stands in it.
"""

from collections.abc import Mapping

from hookseal.api.values import ENDPOINT, EVENT, EVENT_PREFIX, STATE, TEXT, TIME
from hookseal.destinations.subscriptions import State
from hookseal.manage.operations import MAX_REPLAYED_EVENTS
from hookseal.manage.registered import Origin
from hookseal.manage.registrations import MAX_OVERLAP_S, OVERLAP_S
from hookseal.model import EventType, Flag, Json, Outcome, Reason
from hookseal.settings.table import Section, rows_of
from hookseal.store.port import BODY_EXPIRED, UNREADABLE

Schema = Mapping[str, Json]

_FLAGS: list[Json] = [*(one.value for one in Flag), UNREADABLE, BODY_EXPIRED]

_STRING: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_BOOLEAN: Schema = {"type": "boolean"}
_TIME = TIME.schema
_STRINGS: Schema = {"type": "array", "items": _STRING}
_OPEN: Schema = {"type": "object"}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def page_of(name: str) -> Schema:
    """`{"data": [...], "next": cursor|null}`"""
    return _closed({"data": {"type": "array", "items": ref(name)}, "next": _or_null(_STRING)})


def _closed(properties: Mapping[str, Schema], optional: tuple[str, ...] = ()) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


_EVENT: Mapping[str, Schema] = {
    "specversion": {"const": "1.0"},
    "id": EVENT.schema,
    "source": {"type": "string", "format": "uri-reference"},
    "type": {"type": "string", "examples": [one.value for one in EventType]},
    "subject": _STRING,
    "time": _TIME,
    "datacontenttype": {"const": "application/json"},
    "provider": _STRING,
    "providertype": _STRING,
    "providerid": _STRING,
    "receivedtime": _TIME,
    "sequence": {"type": "string", "pattern": "^[0-9]{20}$"},
    "data": ref("EventData"),
}
_EVENT_OPTIONAL = ("subject", "providertype", "providerid")

_DELIVERY: Mapping[str, Schema] = {
    "id": _STRING,
    "event": EVENT.schema,
    "source": _STRING,
    "type": _STRING,
    "endpoint": _STRING,
    "state": STATE.schema,
    "attempt_count": _COUNT,
    "created_at": _TIME,
    "due_at": _or_null(
        {**_TIME, "description": "when it is tried next; while it is being tried, the end of the lease"}
    ),
    "ended_at": _or_null(_TIME),
    "last_status": _or_null(_COUNT),
    "last_reason": _or_null(_STRING),
    "replayed_as": _or_null(
        {**_STRING, "description": "of a `replayed` delivery: the delivery that a replay made in its place"}
    ),
}

_REFUSAL: Mapping[str, Schema] = {
    "id": {"type": "string", "format": "uuid"},
    "source": _STRING,
    "received_at": _TIME,
    "reason": {"type": "string", "examples": [one.value for one in Reason]},
    "method": _STRING,
    "url": _or_null(_STRING),
    "remote": _or_null(_STRING),
    "content_type": _or_null(_STRING),
    "body_bytes": _COUNT,
    "released_at": _or_null(_TIME),
    "held": {**_BOOLEAN, "description": "proven but too old, and answered as accepted: it waits for a release"},
}

_PROBLEM: Schema = {
    "anyOf": [_STRING, {"type": "null"}],
    "description": "why the registration is not in force: this version of hookseal cannot read it, or the file has its id",
}

_SOURCE: Mapping[str, Schema] = {
    "id": _STRING,
    "provider": _STRING,
    "origin": {"type": "string", "enum": [one.value for one in Origin]},
    "path": _STRING,
    "url": _or_null(_STRING),
    "secrets": _COUNT,
    "retired_secrets": _COUNT,
    "unsigned": _BOOLEAN,
    "addresses": _STRINGS,
    "max_age_s": _or_null(_COUNT),
    "stale": _STRING,
    "max_body_bytes": _or_null(_COUNT),
    "options": _OPEN,
    "options_in_force": _OPEN,
    "problem": _PROBLEM,
}

_ENDPOINT: Mapping[str, Schema] = {
    "id": _STRING,
    "origin": {"type": "string", "enum": [one.value for one in Origin]},
    "url": _or_null(_STRING),
    "sources": _STRINGS,
    "types": _STRINGS,
    "format": _STRING,
    "signing": _STRING,
    "secrets": _COUNT,
    "retry": _STRING,
    "retry_policy": _or_null(
        _closed(
            {
                "delays_s": {"type": "array", "items": {"type": "number"}},
                "delays_from": {"type": "string", "enum": ["first_attempt", "last_attempt"]},
                "jitter": {"type": "array", "items": {"type": "number"}},
                "window_s": _or_null({"type": "number"}),
                "success": _STRINGS,
                "permanent": _STRINGS,
            }
        )
    ),
    "timeout_s": {"type": "number"},
    "concurrency": _COUNT,
    "headers": _STRINGS,
    "as": _or_null(_STRING),
    "handshake": _STRING,
    "rate_per_min": _or_null(_COUNT),
    "batch": _COUNT,
    "audience": _or_null(_STRING),
    "issuer": _or_null(_STRING),
    "tenant": _or_null(_STRING),
    "consent": _or_null({"type": "string", "enum": [one.value for one in State]}),
    "consent_problem": _or_null(_STRING),
    "consent_rate_per_min": _or_null(_COUNT),
    "consent_next_at": _or_null(_TIME),
    "problem": _PROBLEM,
}

_MADE_SECRET: Schema = {**_STRING, "description": "made here; told this once"}

_MADE: Mapping[str, Schema] = {
    "secret": _or_null(_MADE_SECRET),
    "warnings": {
        "type": "array",
        "items": _closed({"pointer": _STRING, "detail": _STRING}),
        "description": "what is possible and probably not meant",
    },
}


def _table(section: Section) -> Schema:
    """A `[[source]]` or `[[endpoint]]` as JSON, in the grammar of the configuration file."""
    return _closed(
        {row.name: {"description": f"{row.kind.says}. {row.help}"} for row in rows_of(section)},
        optional=tuple(row.name for row in rows_of(section)),
    )


SCHEMAS: Mapping[str, Schema] = {
    "Event": _closed(_EVENT, optional=_EVENT_OPTIONAL),
    "Subject": _closed({**_EVENT, "counts": ref("SubjectCounts")}, optional=_EVENT_OPTIONAL),
    "SubjectCounts": _closed({"events": _COUNT, "superseded": _COUNT}),
    "EventData": _closed(
        {
            "outcome": {"type": "string", "enum": [one.value for one in Outcome]},
            "final": _BOOLEAN,
            "superseded": _BOOLEAN,
            "flags": {"type": "array", "items": {"type": "string", "enum": _FLAGS}},
            "verified_claims": {
                **_OPEN,
                "description": "OpenID Identity Assurance Schema Definition 1.0; only where the provider verified them",
            },
            "claims": _OPEN,
            "reasons": _STRINGS,
            "payload": {"description": "the provider's body as parsed"},
            "payload_base64": {"type": "string", "contentEncoding": "base64"},
        },
        optional=("verified_claims", "claims", "payload", "payload_base64"),
    ),
    "Delivery": _closed(_DELIVERY),
    "DeliveryWithAttempts": _closed({**_DELIVERY, "attempts": {"type": "array", "items": ref("Attempt")}}),
    "Attempt": _closed(
        {
            "number": {"type": "integer", "minimum": 1},
            "started_at": _TIME,
            "duration_ms": _COUNT,
            "status": _or_null(_COUNT),
            "reason": _or_null(_STRING),
        }
    ),
    "Replay": _closed(
        {
            "endpoint": ENDPOINT.schema,
            "since": _or_null(_TIME),
            "until": _or_null(_TIME),
            "state": _or_null(STATE.schema),
            "events": _or_null(
                {"type": "array", "items": EVENT_PREFIX.schema, "minItems": 1, "maxItems": MAX_REPLAYED_EVENTS}
            ),
        },
        optional=("since", "until", "state", "events"),
    ),
    "Replayed": _closed({"endpoint": _STRING, "replayed": _COUNT}),
    "Refusal": _closed(_REFUSAL),
    "RefusalWithRequest": _closed(
        {
            **_REFUSAL,
            "headers": {"type": "array", "items": ref("Header")},
            "body": _or_null({**_STRING, "description": "null where the bytes are not UTF-8"}),
            "body_base64": _or_null({"type": "string", "contentEncoding": "base64"}),
        }
    ),
    "Header": _closed(
        {"name": _STRING, "value": _or_null({**_STRING, "description": "in Latin-1; null where it is hidden"})}
    ),
    "Released": _closed(
        {"id": _STRING, "released": {"const": True}, "events": {"type": "array", "items": ref("Stored")}}
    ),
    "Stored": _closed(
        {
            "id": EVENT.schema,
            "sequence": _COUNT,
            "duplicate": _BOOLEAN,
            "conflict": _BOOLEAN,
        }
    ),
    "Source": _closed(_SOURCE),
    "Endpoint": _closed(_ENDPOINT),
    "SourceTable": _table(Section.SOURCE),
    "EndpointTable": _table(Section.ENDPOINT),
    "SourceMade": _closed({**_SOURCE, **_MADE}),
    "EndpointMade": _closed({**_ENDPOINT, **_MADE}),
    "Rotation": _closed(
        {
            "secret": _or_null({**_STRING, "description": "the new one; made here when it is absent"}),
            "overlap_s": {
                "type": "integer",
                "minimum": 0,
                "maximum": MAX_OVERLAP_S,
                "default": OVERLAP_S,
                "description": "how long the former secrets stay live",
            },
        },
        optional=("secret", "overlap_s"),
    ),
    "SecretRotated": _closed({"id": _STRING, "secret": _or_null(_MADE_SECRET), "overlap_until": _or_null(_TIME)}),
    "EndpointTested": _closed(
        {
            "endpoint": _STRING,
            "delivered": _BOOLEAN,
            "status": _or_null(_COUNT),
            "reason": _or_null(_STRING),
            "duration_ms": _COUNT,
        }
    ),
    "SourceTested": _closed(
        {
            "source": _STRING,
            "result": {"type": "string", "enum": ["accepted", "refused"]},
            "reason": _or_null(_STRING),
            "events": {"type": "array", "items": ref("Event"), "description": "what it would have made; not stored"},
        }
    ),
    "OwnEvent": _closed(
        {
            "type": TEXT.schema,
            "data": {"description": "any JSON; delivered in the very text that it has here"},
            "subject": _or_null(TEXT.schema),
            "time": _or_null(_TIME),
            "id": _or_null({**TEXT.schema, "description": "a name of your own; the same one makes one event"}),
        },
        optional=("subject", "time", "id"),
    ),
    "Published": _closed({"id": EVENT.schema, "source": _STRING, "type": _STRING, "sequence": _STRING}),
    "WebhookTest": {
        "type": "object",
        "properties": {"Url": {"type": "string", "format": "uri", "description": "`url` is taken, too"}},
        "required": ["Url"],
    },
    "WebhookTested": _closed(
        {
            "elapsed": {"type": "integer", "minimum": 0, "description": "milliseconds"},
            "statusCode": _or_null(_COUNT),
            "error": _or_null(_STRING),
            "errorMessage": _or_null(_STRING),
        }
    ),
    "WebhookErrors": _closed(
        {"errors": {"type": "array", "items": _closed({"code": _STRING, "description": _STRING})}}
    ),
    "VisualSignature": _closed(
        {
            "document": {"type": "string", "contentEncoding": "base64", "description": "a PDF of at most 10 MiB"},
            "page": {"type": "integer", "default": -1, "description": "1 is the first page, -1 the last; not 0"},
            "box": {
                "type": "array",
                "items": {"type": "number"},
                "minItems": 4,
                "maxItems": 4,
                "description": "left, bottom, right, top in points from the lower left corner of the page as shown",
            },
            "signer": ref("Signer"),
            "timestamp": {**_TIME, "description": "shown as dd.mm.yyyy, hh:mm:ss"},
            "time_zone": {**_STRING, "examples": ["Europe/Oslo", "UTC"], "description": "IANA name"},
            "image": _or_null(
                {"type": "string", "contentEncoding": "base64", "description": "PNG or JPEG; lies behind the text"}
            ),
            "signing": _or_null(ref("SigningPem")),
        },
        optional=("page", "image", "signing"),
    ),
    "SigningPem": _closed(
        {
            "key": {
                **_STRING,
                "description": "PEM private key, RSA or elliptic curve; used for this request, kept nowhere",
            },
            "certificates": {**_STRING, "description": "PEM: the key's certificate first, its chain behind it"},
            "passphrase": _or_null({**_STRING, "description": "what opens the key, if it is encrypted"}),
        },
        optional=("passphrase",),
    ),
    "Signer": {
        "description": "no name; the name submitted; or the name that verification produced, from an event or a case",
        "anyOf": [
            _closed({"kind": {"const": "none"}}),
            _closed({"kind": {"const": "initial"}, "name": _STRING}),
            _closed({"kind": {"const": "verified"}, "event": EVENT.schema}),
            _closed({"kind": {"const": "verified"}, "source": _STRING, "subject": _STRING}),
        ],
    },
    "Keys": _closed(
        {
            "keys": {"type": "array", "items": ref("Key")},
            "rotating": {**_BOOLEAN, "description": "values are being moved to the active key now"},
            "moved": {**_COUNT, "description": "of the rotation under way or, else, the last one of this process"},
            "broken": {**_COUNT, "description": "values that did not open under their key, and keep it"},
        }
    ),
    "Key": _closed({"id": _STRING, "fingerprint": _STRING, "active": _BOOLEAN, "values": _COUNT}),
    "Rotated": _closed({"active": _STRING, "new": _BOOLEAN}),
    "IssuerRotated": _closed({"id": _STRING, "new": _BOOLEAN, "signs_at": _TIME}),
    "Pruned": _closed({"dropped": _STRINGS}),
    "Health": _closed(
        {
            "status": {"type": "string", "enum": ["ok"]},
            "checks": {"type": "array", "items": ref("Check")},
        }
    ),
    "Check": _closed({"name": _STRING, "ok": _BOOLEAN, "detail": _STRING}),
    "Problem": {
        "type": "object",
        "description": "RFC 9457",
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": _STRING,
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": _STRING,
            "errors": {"type": "array", "items": ref("Fault")},
            "reason": {"type": "string", "description": "why a request that was judged again is refused still"},
            "checks": {"type": "array", "items": ref("Check")},
            "request_id": _STRING,
        },
        "required": ["type", "title", "status", "request_id"],
        "additionalProperties": False,
    },
    "Fault": _closed({"pointer": _STRING, "code": _STRING, "detail": _STRING}, optional=("detail",)),
}
