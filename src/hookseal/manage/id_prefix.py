"""An id may be given by its first characters, if no other id of that kind begins with them."""

from hookseal.errors import Conflict, NotFound
from hookseal.model import DeliveryId, EventId, RefusalId
from hookseal.store.port import IdKind, Store

MIN_DIGITS = 8
"""Hexadecimal digits of the shortest prefix. The first 12 of an id are its time in milliseconds."""
AMBIGUOUS = "Give more characters of the id."

_ID_CHARS = 36
"""Characters of a whole id, of every kind."""


async def event_id(store: Store, given: str) -> EventId:
    """Return the id that is or begins with `given`. NotFound, or Conflict if there are several."""
    return EventId(await _resolve(store, IdKind.EVENT, given))


async def delivery_id(store: Store, given: str) -> DeliveryId:
    """As `event_id`."""
    return DeliveryId(await _resolve(store, IdKind.DELIVERY, given))


async def refusal_id(store: Store, given: str) -> RefusalId:
    """As `event_id`."""
    return RefusalId(await _resolve(store, IdKind.REFUSAL, given))


async def _resolve(store: Store, kind: IdKind, given: str) -> str:
    if len(given) == _ID_CHARS:
        return given
    found = await store.find_ids(kind, given, 2)
    if not found:
        raise NotFound("no id begins with these characters")
    if len(found) > 1:
        raise Conflict("ambiguous_id", AMBIGUOUS)
    return found[0]
