"""What the identity tests share: the vectors, and the way from bytes to a normalised event."""

import base64
import json
from pathlib import Path
from typing import Any

from hookseal import catalogue
from hookseal.clock import Instant
from hookseal.identity import extract, normalise
from hookseal.identity.extract import Item
from hookseal.message import Headers, Request, headers_of
from hookseal.model import Event, EventId, SourceId
from hookseal.schemes.verdict import Proven
from hookseal.store.port import EventRow, StoredEvent

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "vectors.json").read_text())
RECEIVED = Instant(1_763_712_000_000_000)
CLOUDEVENTS = "application/cloudevents+json; charset=utf-8"
BATCH = "application/cloudevents-batch+json"

_ROWS = {row["id"]: row for row in (*VECTORS["vectors"], *VECTORS["cloudevents"])}


def vector(id: str) -> tuple[bytes, str]:
    """(body, content type) of one row of the vectors."""
    row = _ROWS[id]
    return base64.b64decode(row["body_b64"]), row.get("content_type", "application/json")


def headers(content_type: str | None = "application/json", *more: tuple[str, str]) -> Headers:
    given = [] if content_type is None else [("content-type", content_type)]
    return headers_of([*given, *more])


def items(provider: str, body: bytes, given: Headers, content: bytes | None = None) -> Any:
    return extract.items(catalogue.provider(provider), Request(headers=given, body=body), Proven(content=content))


def row(item: Item, conflicts: int = 0) -> EventRow:
    return EventRow(
        id=EventId("01936f5e-0000-7000-8000-000000000001"),
        source=SourceId("a-source"),
        sequence=17,
        item=item.index,
        type=item.type,
        received_at=RECEIVED,
        provider_type=item.provider_type,
        provider_id=item.provider_id,
        subject=item.subject,
        time=item.time,
        flags=item.flags,
        conflicts=conflicts,
    )


def events(provider: str, body: bytes, given: Headers | None = None, conflicts: int = 0) -> list[Event]:
    """Extracted, stored and read again, as the gateway does."""
    given = headers() if given is None else given
    found = items(provider, body, given)
    assert isinstance(found, tuple), found
    return [normalise.event(catalogue.provider(provider), row(item, conflicts), given, body) for item in found]


def event(provider: str, body: Any, *more: tuple[str, str], content_type: str | None = "application/json") -> Event:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    (only,) = events(provider, raw, headers(content_type, *more))
    return only


def stored(provider: str, body: bytes, given: Headers, index: int = 0) -> tuple[Event, StoredEvent]:
    found = items(provider, body, given)
    assert isinstance(found, tuple), found
    stored = StoredEvent(row=row(found[index]), headers=given, body=body, siblings=len(found))
    return normalise.event(catalogue.provider(provider), stored.row, given, body), stored
