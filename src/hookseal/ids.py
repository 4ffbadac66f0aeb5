"""Ids that sort by time: UUIDv7 (RFC 9562 §5.7), from a given time and given randomness."""

import os
from collections.abc import Callable
from uuid import UUID

from hookseal.clock import Instant
from hookseal.model import DeliveryId, EventId, RefusalId

RandomBytes = Callable[[int], bytes]


def uuid7(now: Instant, random_bytes: RandomBytes = os.urandom) -> UUID:
    """48 bits of milliseconds, 12 bits of the rest of the microseconds scaled, 62 random bits.

    The sub-millisecond bits keep ids made in one process in order to within a quarter of a microsecond (RFC 9562 §6.2,
    method 3).
    """
    milliseconds, microseconds = divmod(max(now, 0), 1000)
    fraction = (microseconds << 12) // 1000
    noise = int.from_bytes(random_bytes(8)) & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=(milliseconds & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | noise)


def random_63_bits(random_bytes: RandomBytes = os.urandom) -> int:
    """Return a random integer from 1 to 2**63 - 1: a lease, and what fits the column of a signed integer."""
    return int.from_bytes(random_bytes(8)) >> 1 or 1


def new_event_id(now: Instant, random_bytes: RandomBytes = os.urandom) -> EventId:
    return EventId(str(uuid7(now, random_bytes)))


def new_delivery_id(now: Instant, random_bytes: RandomBytes = os.urandom) -> DeliveryId:
    return DeliveryId("msg_" + uuid7(now, random_bytes).hex)


def new_refusal_id(now: Instant, random_bytes: RandomBytes = os.urandom) -> RefusalId:
    return RefusalId(str(uuid7(now, random_bytes)))
