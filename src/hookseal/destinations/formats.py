"""One event as the bytes of one POST: `cloudevents`, `json`, `xml` or `original`.

It decides the body and its content type; it does not sign, and it adds no header of the delivery. Where the provider
sent JSON, its own text is passed on without white space, so that `1.0`, big integers and the order of keys arrive as
they were sent. A payload with keys named twice is the exception: two readers may pick different ones, so it is written
again from what we read.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from hookseal.catalogue.entry import Provider
from hookseal.clock import rfc3339
from hookseal.delivery.presets import Preset
from hookseal.errors import CannotFormat
from hookseal.identity import cloudevents, xml_tree
from hookseal.identity.batch import text_of
from hookseal.identity.body import json_bytes
from hookseal.message import Headers
from hookseal.model import Event, Flag, Json
from hookseal.schemes.minify import minified
from hookseal.store.port import StoredEvent

CLOUDEVENTS_TYPE = "application/cloudevents+json; charset=utf-8"
BATCH_TYPE = "application/cloudevents-batch+json; charset=utf-8"
JSON_TYPE = "application/json"
XML_TYPE = "application/xml; charset=utf-8"

EVENT_ROOT = "event"
PAYLOAD_ROOT = "result"
"""The root of the payload alone, as ZignSec's own XML has it."""


class Format(StrEnum):
    CLOUDEVENTS = "cloudevents"
    JSON = "json"
    XML = "xml"
    ORIGINAL = "original"


@dataclass(frozen=True, slots=True)
class Rendered:
    """headers: Content-Type, and for `original` the provider's proof; in the spelling and order to send."""

    body: bytes
    headers: tuple[tuple[str, str], ...]


def render(
    format: Format | str, event: Event, stored: StoredEvent, provider: Provider | None, *, xml_root: str = EVENT_ROOT
) -> Rendered:
    """The event in one format; the same bytes each time that it is asked.

    provider  None for events of one's own.
    xml_root  `event` writes the whole normalised event, `result` its payload alone.
    CannotFormat for json, and for xml of the payload, when the body did not parse.
    """
    match Format(format):
        case Format.CLOUDEVENTS:
            return Rendered(_cloudevent(event, stored), (("Content-Type", CLOUDEVENTS_TYPE),))
        case Format.JSON:
            return Rendered(_payload(event, stored), (("Content-Type", JSON_TYPE),))
        case Format.XML:
            tree = event.as_cloudevent() if xml_root == EVENT_ROOT else _parsed(event)
            return Rendered(xml_tree.write(tree, xml_root), (("Content-Type", XML_TYPE),))
        case Format.ORIGINAL:
            return Rendered(stored.body, _original_headers(stored.headers, provider))


def render_as(
    preset: Preset, format: Format | str, event: Event, stored: StoredEvent, source: Provider | None
) -> Rendered:
    """The event as a provider posts it: the payload, in the provider's own content type.

    format  the provider's, or the one that stands in its place: json, xml (root `result`), cloudevents, original.
    source  who sent the event to us; None for events of one's own.
    """
    match Format(format):
        case Format.CLOUDEVENTS if preset.format == Format.CLOUDEVENTS:
            rendered = Rendered(_own_cloudevent(event, stored), (("Content-Type", preset.content_type),))
        case Format.JSON if preset.format == Format.JSON:
            rendered = Rendered(_payload(event, stored), (("Content-Type", preset.content_type),))
        case other:
            rendered = render(other, event, stored, source, xml_root=PAYLOAD_ROOT)
    return Rendered(rendered.body, (*_headers_as(preset, event), *rendered.headers))


def as_batch(events: Sequence[Rendered]) -> Rendered:
    """CloudEvents of one call as the JSON array that the batched content mode of their HTTP binding is. At least one."""
    headers = tuple((name, value) for name, value in events[0].headers if name != "Content-Type")
    return Rendered(b"[" + b",".join(event.body for event in events) + b"]", (*headers, ("Content-Type", BATCH_TYPE)))


def _own_cloudevent(event: Event, stored: StoredEvent) -> bytes:
    """An event as its publisher writes it: `data` is the payload itself, not what we read in it.

    A payload that is such an event already (it came from that provider) goes as it is: its source and id are what its
    receivers know it by.
    """
    tree = event.payload
    if event.payload_base64 is None and cloudevents.is_valid(tree):
        return _payload(event, stored)
    envelope: dict[str, Json] = {
        "specversion": "1.0",
        "id": event.id,
        "source": f"/sources/{event.source}",
        "type": event.type,
        "time": rfc3339(event.time),
    }
    if event.subject:
        envelope["subject"] = event.subject
    if event.payload_base64 is not None:
        return msgspec.json.encode({**envelope, "data_base64": event.payload_base64})
    data = msgspec.Raw(_payload(event, stored))
    return msgspec.json.encode({**envelope, "datacontenttype": "application/json", "data": data})


def _headers_as(preset: Preset, event: Event) -> tuple[tuple[str, str], ...]:
    """The provider's own headers. One that names the event names this one, where it is of the provider's naming."""
    naming = {place.header for place in preset.provider.event.type if place.header is not None}
    theirs = event.provider == preset.provider.id
    name = event.provider_type if theirs else event.type
    if name is None or not _PROVIDERS_NAME.fullmatch(name):
        return preset.headers
    return tuple((header, name if header.lower().encode() in naming else value) for header, value in preset.headers)


# Ours are lower case with dots; a name in capitals, such as IDENTIFICATION_AUTO_FINISHED, is a provider's.
_PROVIDERS_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}", re.ASCII)


def _cloudevent(event: Event, stored: StoredEvent) -> bytes:
    envelope = event.as_cloudevent()
    data: dict[str, Json] = envelope["data"]
    if "payload" in data:
        data["payload"] = msgspec.Raw(_payload(event, stored))
    return msgspec.json.encode(envelope)


def _payload(event: Event, stored: StoredEvent) -> bytes:
    tree = _parsed(event)
    sent = None if Flag.DUPLICATE_KEYS in event.flags else _sent_json(tree, stored)
    return msgspec.json.encode(tree) if sent is None else minified(sent)


def _parsed(event: Event) -> Json:
    if event.payload_base64 is not None:
        raise CannotFormat("the body did not parse")
    return event.payload


def _sent_json(tree: Json, stored: StoredEvent) -> bytes | None:
    """The text that the provider wrote for this tree, or None when it wrote no JSON, or the event is not of its body."""
    body = json_bytes(stored.body)
    try:
        # The events of a batch were split before. Nothing of the size of the batch is done for one of them.
        own = text_of(stored.raw, stored.row.item)
        if own is not None and msgspec.json.decode(own) == tree:
            return own
        whole = msgspec.json.decode(body)
        if whole == tree:
            return body
        at = stored.row.item
        if isinstance(whole, list) and at < len(whole) and whole[at] == tree:
            return bytes(msgspec.json.decode(body, type=list[msgspec.Raw])[at])
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return None


def _original_headers(headers: Headers, provider: Provider | None) -> tuple[tuple[str, str], ...]:
    """Content type, proof and the provider's name of the event, as received; credentials never, whoever stored them."""
    wanted: Mapping[bytes, str] = {b"content-type": "Content-Type"}
    if provider is not None:
        named = (place.header for place in provider.event.type if place.header is not None)
        wanted = {**wanted, **{name: name.decode("ascii") for name in (*provider.proof_headers, *named)}}
        wanted = {name: spelled for name, spelled in wanted.items() if name not in provider.credentials}
    # Bytes beyond ASCII have no agreed spelling in a header, and no proof that held has any.
    return tuple((wanted[name], value.decode("ascii")) for name, value in headers if name in wanted and value.isascii())
