"""Is this a CloudEvents 1.0 envelope? JSON format, structured or batch.

It refuses only what can never become valid: the senders drop an event for ever when they are told so. Null attributes,
unknown extensions and attributes that it does not need are left alone, and `data` is never looked into.
Source: CloudEvents 1.0.2, spec.md §REQUIRED Attributes and formats/json-format.md §3, §4 (batch; "may be empty").
"""

import base64
import binascii
from dataclasses import dataclass

from hookseal.identity.body import Body, is_json, json_bytes
from hookseal.identity.values import is_rfc3339
from hookseal.message import media_type
from hookseal.model import Json

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"

_CHARSETS = ("", "utf-8", "utf8", "us-ascii")


@dataclass(frozen=True, slots=True)
class EnvelopeInvalid:
    """The envelope can never be valid. what: a short sentence for the operator, without a value of the sender's."""

    what: str = ""


@dataclass(frozen=True, slots=True)
class UnsupportedMedia:
    """Another media type, or another charset, than the two that are spoken here."""


@dataclass(frozen=True, slots=True)
class Unread:
    """It may well be a valid envelope, but not one that we read: nested too deep, or holding values that we do not keep."""


def read(
    raw: bytes, body: Body, content_type: bytes | None
) -> tuple[Json, ...] | EnvelopeInvalid | UnsupportedMedia | Unread:
    """The event objects of a proven request, in order; all of them are valid, or none is given.

    body  what `body.parse` made of `raw`. An empty batch is valid and gives no events.
    """
    media = media_type(content_type)
    if media not in (STRUCTURED, BATCH) or not is_utf8(content_type):
        return UnsupportedMedia()
    if not body.parsed or not body.is_json:
        return Unread() if is_json(json_bytes(raw)) else EnvelopeInvalid("the body is not JSON")
    if media == STRUCTURED:
        wrong = problem_of(body.tree)
        return (body.tree,) if wrong is None else EnvelopeInvalid(wrong)
    if not isinstance(body.tree, list):
        return EnvelopeInvalid("a batch is a list")
    for one in body.tree:
        wrong = problem_of(one)
        if wrong is not None:
            return EnvelopeInvalid(wrong)
    return tuple(body.tree)


def is_utf8(content_type: bytes | None) -> bool:
    """Return whether the content type names no charset, or one whose bytes are UTF-8."""
    return _charset(content_type) in _CHARSETS


def is_valid(event: Json) -> bool:
    """Whether one JSON value is a valid event object."""
    return problem_of(event) is None


def problem_of(event: Json) -> str | None:
    """Return why a JSON value can never be a valid event object; None if it is one."""
    if not isinstance(event, dict):
        return "an event is an object"
    if event.get("specversion") != "1.0":
        return 'specversion is not "1.0"'
    for name in ("type", "source", "id"):
        value = event.get(name)
        if not isinstance(value, str) or not value:
            return f"{name} is not a non-empty string"
    time = event.get("time")
    if time is not None and not (isinstance(time, str) and is_rfc3339(time)):
        return "time is not an RFC 3339 time"
    encoded = event.get("data_base64")
    if encoded is None:
        return None
    if event.get("data") is not None:
        return "data and data_base64 exclude each other"
    return None if _is_base64(encoded) else "data_base64 is not base64"


def _is_base64(value: Json) -> bool:
    if not isinstance(value, str):
        return False
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _charset(content_type: bytes | None) -> str:
    for parameter in (content_type or b"").lower().split(b";")[1:]:
        name, _, value = parameter.partition(b"=")
        if name.strip() == b"charset":
            return value.strip().strip(b'"').decode("latin-1")
    return ""
