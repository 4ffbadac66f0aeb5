"""Makes a request ready to be written, on the caller's side: sealed, its ids packed. Both stores share it."""

from dataclasses import dataclass
from typing import NamedTuple

from hookseal.steps import STEP_ITEMS, Steps
from hookseal.store.event_seal import Bound, EventSealer, Facts
from hookseal.store.packing import must, pack_delivery, pack_flags, pack_uuid, storable
from hookseal.store.port import NewEvent, NewRequest

KEY_BYTES = 32


class PackedDelivery(NamedTuple):
    id: bytes
    seal: bytes


class PackedEvent(NamedTuple):
    """standing: the event's order, where it has a subject."""

    id: bytes
    type: str
    flags: str
    outcome: str | None
    subject_hash: bytes | None
    standing: int | None
    facts: bytes
    deliveries: tuple[PackedDelivery, ...]


@dataclass(frozen=True, slots=True)
class Prepared:
    """`events` are in the order of the request's events. mapping: the number of its rules."""

    request: NewRequest
    sealed: bytes
    events: tuple[PackedEvent, ...]
    mapping: int | None

    @property
    def id(self) -> bytes:
        """The request's id: that of its first event."""
        return self.events[0].id


def prepare(request: NewRequest, sealed: bytes, mapping: int | None, sealer: EventSealer) -> Steps[Prepared]:
    """Check, pack and encrypt a request, in steps. StoreError when an id or a dedupe key is not what a store can keep."""
    first = must(pack_uuid(request.events[0].id), "a request's first event")
    events: list[PackedEvent] = []
    for event in request.events:
        events.append(_packed(event, request, first, sealer))
        if len(events) % STEP_ITEMS == 0:
            yield
    return Prepared(request, sealed, tuple(events), mapping)


def _packed(event: NewEvent, request: NewRequest, first: bytes, sealer: EventSealer) -> PackedEvent:
    must(event.dedupe_key if len(event.dedupe_key) == KEY_BYTES else None, "a dedupe key")
    id = must(pack_uuid(event.id), "an event's id")
    facts = Facts(storable(event.provider_type), storable(event.provider_id), storable(event.subject))
    type, flags = storable(event.type) or "", pack_flags(event.flags)
    outcome = None if event.outcome is None else event.outcome.value
    subject_hash = None if facts.subject is None else sealer.subject_hash(facts.subject)
    standing = None if facts.subject is None else event.order
    bound = Bound(
        id=id,
        request=first,
        source=request.source,
        item=event.item,
        received_at=request.received_at,
        type=type,
        time=event.time,
        flags=flags,
        content=event.content,
        standing=standing,
        outcome=outcome,
        final=event.final,
        provider=None if request.mapping is None else request.mapping.provider,
        revision=None if request.mapping is None else request.mapping.revision,
        subject_hash=subject_hash,
    )
    deliveries = (
        (must(pack_delivery(delivery.id), "a delivery's id"), delivery.endpoint) for delivery in event.deliveries
    )
    return PackedEvent(
        id=id,
        type=type,
        flags=flags,
        outcome=outcome,
        subject_hash=subject_hash,
        standing=standing,
        facts=sealer.seal(facts, bound),
        deliveries=tuple(
            PackedDelivery(packed, sealer.delivery_seal(packed, id, endpoint)) for packed, endpoint in deliveries
        ),
    )
