"""Test vectors of a provider: `<id>.vectors.json` beside its file.

    {"notes": {flag: what it means}, "key_set": a JWK set, "vectors": [
      {"id", "comment", "flags", "now": unix seconds, "secrets": [...], "options": {...}, "max_age_s",
       "method", "url", "headers": [[name, value], ...], "body": text or "body_base64",
       "result": "accept" | "refuse", "reason": of a refusal, "event": what the event of an accepted one says}]}

Header values beyond Latin-1 stand for their UTF-8 bytes. `handshake_receiver` and `handshake_sender` hold tables for
providers that ask for consent; nothing here looks into them.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hookseal.clock import Instant, from_unix
from hookseal.errors import CatalogueError
from hookseal.message import Headers, Request, headers_of
from hookseal.model import Reason

_FILE_KEYS = frozenset({"notes", "key_set", "vectors", "handshake_receiver", "handshake_sender"})
_VECTOR_KEYS = frozenset(
    {
        *("id", "comment", "flags", "now", "secrets", "options", "max_age_s", "method", "url", "headers"),
        *("body", "body_base64", "result", "reason", "event"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """One request and what is to become of it. reason: None where any refusal will do. event: None when nothing is said."""

    id: str
    comment: str = ""
    flags: tuple[str, ...] = ()
    now: Instant
    secrets: tuple[bytes, ...] = ()
    options: Mapping[str, object] = field(default_factory=dict)
    max_age_s: int | None = None
    method: str = "POST"
    url: str | None = None
    headers: Headers = ()
    body: bytes = b""
    accepted: bool
    reason: Reason | None = None
    event: Mapping[str, object] | None = None

    @property
    def request(self) -> Request:
        return Request(method=self.method, headers=self.headers, body=self.body, url=self.url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """key_set: the document of the issuer's keys, None for schemes without them."""

    place: str
    vectors: tuple[Vector, ...]
    notes: Mapping[str, str] = field(default_factory=dict)
    key_set: bytes | None = None
    handshake_receiver: tuple[Mapping[str, Any], ...] = ()
    handshake_sender: tuple[Mapping[str, Any], ...] = ()


def vectors_beside(file: Path) -> Vectors | None:
    """The vectors of a provider's file, None when there are none. CatalogueError when they cannot be read."""
    path = file.with_name(f"{file.stem}.vectors.json")
    return read_vectors(path) if path.is_file() else None


def read_vectors(path: Path) -> Vectors:
    """CatalogueError names the file, the vector and what is wrong with it."""
    try:
        top = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CatalogueError(path.name, "", "cannot be read as JSON in UTF-8") from error
    if not isinstance(top, dict) or not isinstance(top.get("vectors"), list):
        raise CatalogueError(path.name, "vectors", "must be an object with a list `vectors`")
    _known(path.name, "", top, _FILE_KEYS)
    vectors = tuple(_vector(path.name, f"vectors[{place}]", row) for place, row in enumerate(top["vectors"]))
    ids = [vector.id for vector in vectors]
    for id in ids:
        if ids.count(id) > 1:
            raise CatalogueError(path.name, "vectors", f"the id {id} stands twice")
    return Vectors(
        place=path.name,
        vectors=vectors,
        notes=top.get("notes", {}),
        key_set=json.dumps(top["key_set"]).encode() if "key_set" in top else None,
        handshake_receiver=tuple(top.get("handshake_receiver", ())),
        handshake_sender=tuple(top.get("handshake_sender", ())),
    )


def _vector(place: str, key: str, row: Any) -> Vector:
    if not isinstance(row, dict):
        raise CatalogueError(place, key, "must be an object")
    _known(place, key, row, _VECTOR_KEYS)
    key = f"{key} ({row.get('id')})"
    if row.get("result") not in ("accept", "refuse"):
        raise CatalogueError(place, key, 'result must be "accept" or "refuse"')
    try:
        return Vector(
            id=str(row["id"]),
            comment=row.get("comment", ""),
            flags=tuple(row.get("flags", ())),
            now=from_unix(row["now"]),
            secrets=tuple(secret.encode() for secret in row.get("secrets", ())),
            options=dict(row.get("options", {})),
            max_age_s=row.get("max_age_s"),
            method=row.get("method", "POST"),
            url=row.get("url"),
            headers=headers_of([(name, value) for name, value in row.get("headers", ())]),
            body=base64.b64decode(row["body_base64"], validate=True)
            if "body_base64" in row
            else row.get("body", "").encode(),
            accepted=row["result"] == "accept",
            reason=Reason(row["reason"]) if "reason" in row else None,
            event=row.get("event"),
        )
    except KeyError as error:
        raise CatalogueError(place, key, f"lacks {error.args[0]}") from error
    except (TypeError, ValueError, AttributeError, binascii.Error) as error:
        raise CatalogueError(place, key, "holds a value of the wrong kind") from error


def _known(place: str, key: str, row: Mapping[str, Any], known: frozenset[str]) -> None:
    for name in row:
        if name not in known:
            raise CatalogueError(
                place, f"{key}.{name}" if key else name, f"is unknown; known are {', '.join(sorted(known))}"
            )
