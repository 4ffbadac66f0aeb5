"""Decides which leased deliveries may be sent, whichever the store."""

from typing import Protocol

from hookseal.logs import get_logger
from hookseal.model import AttemptReason, DeliveryId, EndpointId
from hookseal.store.event_seal import EventSealer
from hookseal.store.packing import must, pack_delivery, pack_uuid
from hookseal.store.port import StoredEvent

log = get_logger(__name__)

ReadEvent = StoredEvent | AttemptReason
"""An event, or why it cannot be sent."""


class LeasedDelivery(Protocol):
    @property
    def id(self) -> DeliveryId: ...

    @property
    def endpoint(self) -> EndpointId: ...

    @property
    def seal(self) -> bytes | None: ...


def sendable(sealer: EventSealer, leased: LeasedDelivery, event: ReadEvent | None) -> ReadEvent:
    """Return the event of a leased delivery, or why the delivery can never be sent. event: None where its row is gone."""
    if event is None:
        event = AttemptReason.CONFIG_ERROR
    elif isinstance(event, StoredEvent):
        ids = must(pack_delivery(leased.id), "a delivery's id"), must(pack_uuid(event.row.id), "an event's id")
        if not sealer.is_of(leased.seal, *ids, leased.endpoint):
            event = AttemptReason.SEAL_BROKEN
    if event is AttemptReason.SEAL_BROKEN:
        log.error("stored delivery or event was altered, not sent", delivery_id=leased.id, endpoint=leased.endpoint)
    return event
