"""The events of a CloudEvents batch, each by its own text, so that the work for one event does not grow with the batch.

The batch is split and checked once for each request. What was found is kept with the request's bytes (`RawRequest`) for
as long as an event of the request is in memory. An event is then parsed from its own text. Nothing here raises.
"""

from dataclasses import dataclass

import msgspec

from hookseal.catalogue.event_rules import Envelope, EventRules
from hookseal.identity import cloudevents
from hookseal.identity.body import MAX_DEPTH, Body, json_bytes, parse_json
from hookseal.identity.cloudevents import EnvelopeInvalid
from hookseal.message import Headers, RawRequest, media_type
from hookseal.probe import Step, reach
from hookseal.steps import STEP_ITEMS, Steps, finish

Texts = tuple[msgspec.Raw, ...]

_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class _Parts:
    """What is kept with a request. texts: None where the body is not read as a batch."""

    texts: Texts | None


def parse_text(text: msgspec.Raw) -> Body:
    """Parse one event. Equal to parsing the whole batch and taking the event out of it."""
    return parse_json(bytes(text), MAX_DEPTH - 1)


def split_batch(body: bytes, content_type: bytes | None) -> Steps[Texts | EnvelopeInvalid | None]:
    """Return the texts of the events of a valid batch, in order.

    EnvelopeInvalid if all members can be parsed and one is no event. None for a body that is no batch, or that is not
    parsed as a whole: `cloudevents.read` decides on it.
    """
    if media_type(content_type) != cloudevents.BATCH or not cloudevents.is_utf8(content_type):
        return None
    try:
        texts = tuple(_split(json_bytes(body)))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    reach(Step.BATCH_SPLIT)
    problem: str | None = None
    for number, text in enumerate(texts, 1):
        parsed = parse_text(text)
        if not parsed.parsed:
            return None
        problem = problem or cloudevents.problem_of(parsed.tree)
        if number % STEP_ITEMS == 0:
            yield
    return texts if problem is None else EnvelopeInvalid(problem)


def keep_texts(raw: RawRequest, texts: Texts) -> None:
    """Keep what `split_batch` returned with the request."""
    raw.parts = _Parts(texts)


def read_parts(raw: RawRequest, rules: EventRules, headers: Headers) -> Steps[Texts | None]:
    """Return the texts of a request's events; None where it is not a batch. Split at the first call, then kept."""
    if rules.envelope is Envelope.NONE:
        return None
    if isinstance(raw.parts, _Parts):
        return raw.parts.texts
    content_type = next((value for name, value in headers if name == b"content-type"), None)
    found = yield from split_batch(raw.body, content_type)
    texts = found if isinstance(found, tuple) else None
    raw.parts = _Parts(texts)
    return texts


def text_of(raw: RawRequest | None, item: int) -> bytes | None:
    """Return the text of one event of a batch that was split before; None otherwise."""
    parts = None if raw is None else raw.parts
    if not isinstance(parts, _Parts) or parts.texts is None or item >= len(parts.texts):
        return None
    return bytes(parts.texts[item])


def parts_now(raw: RawRequest, rules: EventRules, headers: Headers) -> Texts | None:
    return finish(read_parts(raw, rules, headers))
