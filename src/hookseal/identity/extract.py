"""What storing needs to know of a proven request, and no more: it stands on the road between the sender and its answer.

It decides how many events a request holds, what each is called and what makes it the same event when it comes again.
Outcome and finality are decided here, once. Claims and reasons are read later, from the stored bytes (`normalise`). A
provider without an envelope always gives exactly one event, whatever the body. Nothing here raises.
"""

import hashlib
from dataclasses import dataclass

import msgspec

from hookseal.catalogue.entry import Provider
from hookseal.catalogue.event_rules import Dedupe, Envelope, EventRules
from hookseal.clock import Instant
from hookseal.identity import cloudevents
from hookseal.identity.batch import Texts, parse_text, split_batch
from hookseal.identity.body import Body, parse
from hookseal.identity.cloudevents import EnvelopeInvalid, Unread, UnsupportedMedia
from hookseal.identity.order import place_in_order
from hookseal.identity.reading import Reading
from hookseal.identity.rule_compiler import compile_rules
from hookseal.message import Headers, Request
from hookseal.model import Json, Outcome
from hookseal.schemes.minify import minified
from hookseal.schemes.verdict import Proven
from hookseal.steps import STEP_ITEMS, Steps, finish

__all__ = ["EnvelopeInvalid", "Item", "UnsupportedMedia", "items"]

_ENCODER = msgspec.json.Encoder(order="deterministic")
_OWN_DATA = ("type", "subject", "data", "data_base64")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One event of a request.

    index       which one, from 0.
    dedupe_key  32 bytes, of proven bytes only; the source's id is not in it yet.
    content     32 bytes, SHA-256 of this event's own data: another content under the same key is a conflict.
    order       its place among the states of its subject; None: nothing is said of it. See `order`.
    """

    index: int
    type: str
    dedupe_key: bytes
    content: bytes
    provider_type: str | None = None
    provider_id: str | None = None
    subject: str | None = None
    time: Instant | None = None
    flags: tuple[str, ...] = ()
    order: int | None = None
    outcome: Outcome = Outcome.UNKNOWN
    final: bool = False


@dataclass(frozen=True, slots=True)
class Extracted:
    """texts: of a batch, the text of each item; None for every other request."""

    items: tuple[Item, ...]
    texts: Texts | None = None


def items(provider: Provider, request: Request, proof: Proven) -> tuple[Item, ...] | EnvelopeInvalid | UnsupportedMedia:
    """Return the events of one proven request. Empty only for an empty CloudEvents batch."""
    found = finish(extract(provider, request, proof))
    return found.items if isinstance(found, Extracted) else found


def extract(
    provider: Provider, request: Request, proof: Proven
) -> Steps[Extracted | EnvelopeInvalid | UnsupportedMedia]:
    """Return the events of one proven request, in steps: the work for a batch grows with its events."""
    rules = provider.event
    content_type = request.value(b"content-type")
    if rules.envelope is Envelope.NONE:
        return Extracted((_whole(rules, request, parse(request.body, content_type, rules.numbers), proof),))
    if _is_coded(request):
        return UnsupportedMedia()
    texts = yield from split_batch(request.body, content_type)
    if isinstance(texts, EnvelopeInvalid):
        return texts
    if texts is None:
        found = _unsplit(rules, request, proof)
        return Extracted(found) if isinstance(found, tuple) else found
    batch: list[Item] = []
    for index, text in enumerate(texts):
        # Parsed a second time: to keep all trees of the first time would take 10 to 20 times the memory of the body.
        batch.append(_item(rules, request.headers, parse_text(text).tree, index))
        if index % STEP_ITEMS == STEP_ITEMS - 1:
            yield
    return Extracted(tuple(batch), texts)


def _unsplit(
    rules: EventRules, request: Request, proof: Proven
) -> tuple[Item, ...] | EnvelopeInvalid | UnsupportedMedia:
    """Return the events of a request that is read as a whole."""
    body = parse(request.body, request.value(b"content-type"), rules.numbers)
    match cloudevents.read(request.body, body, request.value(b"content-type")):
        case Unread():
            return (_whole(rules, request, body, proof),)
        case EnvelopeInvalid() | UnsupportedMedia() as wrong:
            return wrong
        case events:
            return tuple(_item(rules, request.headers, event, index) for index, event in enumerate(events))


def _is_coded(request: Request) -> bool:
    """Whether a content coding is named that we do not undo. Coded bytes are no broken envelope, which would be final."""
    return any(value.lower() not in (b"", b"identity") for value in request.values(b"content-encoding"))


def _whole(rules: EventRules, request: Request, body: Body, proof: Proven) -> Item:
    match rules.dedupe:
        case Dedupe.CONTENT:
            covered = proof.content if proof.content is not None else request.body
            key = hashlib.sha256(minified(covered)).digest()
        case _:
            key = hashlib.sha256(request.body).digest()
    return _read(Reading(compile_rules(rules), body.tree, request.headers), 0, key, key, body.flags)


def _item(rules: EventRules, headers: Headers, event: dict[str, Json], index: int) -> Item:
    source = event["source"].encode()
    # The length first, so that no two pairs of source and id can run together to the same bytes.
    key = hashlib.sha256(b"%d|%b|%b" % (len(source), source, event["id"].encode())).digest()
    own = {name: event[name] for name in _OWN_DATA if event.get(name) is not None}
    content = hashlib.sha256(_ENCODER.encode(own)).digest()
    return _read(Reading(compile_rules(rules), event, headers), index, key, content, ())


def _read(reading: Reading, index: int, key: bytes, content: bytes, flags: tuple[str, ...]) -> Item:
    provider_type = reading.type
    kind = reading.kind(provider_type)
    subject = reading.subject
    return Item(
        index=index,
        type=kind.type.value,
        dedupe_key=key,
        content=content,
        provider_type=provider_type,
        provider_id=reading.id,
        subject=subject,
        time=reading.time,
        flags=flags,
        order=None if subject is None else place_in_order(reading, kind),
        outcome=reading.outcome(kind),
        final=reading.is_final(kind),
    )
