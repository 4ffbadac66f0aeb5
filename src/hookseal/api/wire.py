"""Values of the domain as JSON objects. What is left out here is not told to anyone.

Times are RFC 3339 in UTC. A member that has no value is null; only an event follows CloudEvents, which leaves such
attributes out. `schemas.py` says the same of each object in JSON Schema, and a test holds the two together.
"""

import base64
import dataclasses
import json
from collections.abc import Sequence
from urllib.parse import urlsplit, urlunsplit

import msgspec

from hookseal.clock import Instant, rfc3339
from hookseal.manage.operations import Subject
from hookseal.manage.registered import Endpoint, Source
from hookseal.manage.release import Released
from hookseal.manage.shown_refusal import ShownRefusal
from hookseal.manage.tryout import Judged, Tried
from hookseal.message import media_type
from hookseal.model import Event, Json, RefusalId
from hookseal.store.port import AttemptRow, DeliveryRow, Refusal


def encode(document: Json) -> bytes:
    """JSON bytes. msgspec refuses what some senders' JSON holds (lone surrogates, integers beyond 64 bits)."""
    try:
        return msgspec.json.encode(document)
    except (UnicodeEncodeError, OverflowError):
        return json.dumps(document, separators=(",", ":")).encode()


def event(one: Event) -> dict[str, Json]:
    return one.as_cloudevent()


def in_force(one: Subject) -> dict[str, Json]:
    return {**event(one.event), "counts": {"events": one.events, "superseded": one.superseded}}


def delivery(row: DeliveryRow) -> dict[str, Json]:
    """`due_at` of a delivery that is being tried is the end of its lease."""
    return {
        "id": row.id,
        "event": row.event,
        "source": row.source,
        "type": row.type,
        "endpoint": row.endpoint,
        "state": row.state.value,
        "attempt_count": row.attempts,
        "created_at": rfc3339(row.created_at),
        "due_at": _time(row.due_at),
        "ended_at": _time(row.ended_at),
        "last_status": row.last_status,
        "last_reason": row.last_reason,
        "replayed_as": row.replayed_as,
    }


def delivery_with_attempts(row: DeliveryRow, attempts: Sequence[AttemptRow]) -> dict[str, Json]:
    return {**delivery(row), "attempts": [attempt(one) for one in attempts]}


def attempt(row: AttemptRow) -> dict[str, Json]:
    return {
        "number": row.number,
        "started_at": rfc3339(row.started_at),
        "duration_ms": row.duration_ms,
        "status": row.status,
        "reason": row.reason,
    }


def refusal(one: Refusal) -> dict[str, Json]:
    """A row of a list: without body and header values, which hold personal data. `shown_refusal` has them."""
    content_type = next((value for name, value in one.headers if name == b"content-type"), None)
    return {
        "id": one.id,
        "source": one.source,
        "received_at": rfc3339(one.received_at),
        "reason": one.reason,
        "method": one.method,
        "url": None if one.url is None else _without_query(one.url),
        "remote": one.remote,
        "content_type": media_type(content_type) or None,
        "body_bytes": len(one.body),
        "released_at": _time(one.released_at),
        "held": one.held,
    }


def shown_refusal(one: ShownRefusal) -> dict[str, Json]:
    """Header values are read as Latin-1, which loses no byte. `body` is null where it is not UTF-8."""
    try:
        text: str | None = one.refusal.body.decode()
    except UnicodeDecodeError:
        text = None
    return {
        **refusal(one.refusal),
        "headers": [
            {"name": name.decode("latin-1"), "value": None if value is None else value.decode("latin-1")}
            for name, value in one.headers
        ],
        "body": text,
        "body_base64": base64.b64encode(one.refusal.body).decode() if text is None else None,
    }


def released(refused: RefusalId, outcome: Released) -> dict[str, Json]:
    return {
        "id": refused,
        "released": True,
        "events": [
            {"id": one.event, "sequence": one.sequence, "duplicate": one.duplicate, "conflict": one.conflict}
            for one in outcome.stored
        ],
    }


def source(one: Source) -> dict[str, Json]:
    return dataclasses.asdict(one)


def endpoint(one: Endpoint) -> dict[str, Json]:
    next_at = None if one.consent_next_at is None else rfc3339(one.consent_next_at)
    told = {**dataclasses.asdict(one), "consent_next_at": next_at}
    return {"as" if name == "acting_as" else name: value for name, value in told.items()}


def tried(one: Tried) -> dict[str, Json]:
    return dataclasses.asdict(one)


def judged(one: Judged) -> dict[str, Json]:
    return {
        "source": one.source,
        "result": "accepted" if one.reason is None else "refused",
        "reason": one.reason,
        "events": [event(each) for each in one.events],
    }


def _time(instant: Instant | None) -> str | None:
    return None if instant is None else rfc3339(instant)


def _without_query(url: str) -> str:
    """Some senders put their token into the query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
