"""Where an event goes. One try in, one of four outcomes out; the delivery engine does the rest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from hookseal.clock import Instant
from hookseal.model import DeliveryId, EndpointId, Event
from hookseal.store.port import StoredEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One try of one delivery.

    event    the normalised event; `stored` has the provider's bytes beside it, for the format `original`.
    attempt  1 for the first try.
    """

    delivery: DeliveryId
    endpoint: EndpointId
    attempt: int
    event: Event
    stored: StoredEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The other side answered with a status; what it means is the endpoint's retry policy's to say.

    retry_after  the raw header, if any.
    """

    status: int
    retry_after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """There was no answer that counts.

    reason  a code of `AttemptReason`, or a handler's own `handler_error`.
    status  of a redirect, for the operator to see: it is not followed.
    """

    reason: str
    status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """This can never be sent (it cannot be formatted, the endpoint cannot take it): dead at once, told to the operator."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """We are stopping: no try is counted."""


Sent = Answered | Failed | Rejected | Stopped


class Destination(Protocol):
    async def send(self, parcel: Parcel, now: Instant) -> Sent:
        """Try once. Never raises but CancelledError, which counts as Stopped."""
        ...

    async def send_together(self, parcels: Sequence[Parcel], now: Instant) -> Sent:
        """Try several in one call, whose outcome is that of each; asked only where the endpoint has a `batch`."""
        ...


Destinations = Mapping[EndpointId, Destination]
