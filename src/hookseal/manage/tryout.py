"""One call now, at the operator's word: a test event to an endpoint, or a good request at a source. Nothing is stored.

It decides what a test event is, and that an endpoint which has not consented is asked first and sent nothing when it
does not consent. A call counts for the endpoint's rate, and is not tried again. For a source the provider's own example
is signed with the newest secret and judged like any other request: what would come of it is told.
"""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from hookseal.clock import Clock, Instant
from hookseal.delivery.endpoint import Endpoint
from hookseal.destinations.port import Answered, Destination, Failed, Parcel, Rejected, Stopped
from hookseal.destinations.subscriptions import State
from hookseal.errors import CannotDecide, Conflict, NotFound
from hookseal.ids import RandomBytes, new_delivery_id, new_event_id
from hookseal.message import Request
from hookseal.model import EndpointId, Event, SourceId
from hookseal.receive import core
from hookseal.receive.keys import Unavailable
from hookseal.receive.own_events import OWN_PROVIDER, OWN_SOURCE
from hookseal.receive.service import Receiver
from hookseal.receive.source import Source
from hookseal.store.port import EventRow, StoredEvent

TEST_TYPE = "hookseal.test"

Ask = Callable[[EndpointId], Awaitable[State | None]]
"""Where an endpoint's consent stands after it was asked for, now; None where none is needed."""

MakeExample = Callable[[Source, Instant], Request | None]
"""A good request as the provider would send it to this source; None when nobody but the provider can make one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """status, reason: as of an attempt."""

    endpoint: EndpointId
    delivered: bool
    status: int | None
    reason: str | None
    duration_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """reason: why the request was refused; None when it was accepted, with the events that it would have made."""

    source: SourceId
    reason: str | None
    events: tuple[Event, ...]


class Tryouts:
    def __init__(
        self,
        *,
        receiver: Receiver,
        read: Callable[[StoredEvent], Event],
        example: MakeExample,
        ask: Ask,
        begin: Callable[[EndpointId], bool],
        clock: Clock,
        random_bytes: RandomBytes = os.urandom,
    ) -> None:
        """begin: counts a call for the endpoint's rate; False, with nothing counted, when the rate is used up."""
        self._receiver = receiver
        self._read = read
        self._example = example
        self._ask = ask
        self._begin = begin
        self._clock = clock
        self._random = random_bytes

    async def endpoint(self, endpoint: Endpoint, destination: Destination) -> Tried:
        """Send a test event. Conflict when the endpoint does not consent, or its rate is used up."""
        if endpoint.needs_consent and await self._ask(endpoint.id) is not State.ACTIVE:
            raise Conflict("not_consented", "The endpoint has not consented to be sent events; it was asked again.")
        if not self._begin(endpoint.id):
            raise Conflict("rate_spent", "The endpoint's rate is used up for this minute.")
        now, begun = self._clock.now(), self._clock.monotonic()
        sent = await destination.send(self._parcel(endpoint.id, now), now)
        duration_ms = round((self._clock.monotonic() - begun) * 1000)
        status = sent.status if isinstance(sent, Answered | Failed) else None
        delivered = isinstance(sent, Answered) and sent.status in endpoint.policy.success
        match sent:
            case Answered(status=answered):
                reason = None if delivered else f"http_{answered}"
            case Failed(reason=why) | Rejected(reason=why):
                reason = why
            case Stopped():
                raise CannotDecide("the gateway is stopping")
        return Tried(endpoint=endpoint.id, delivered=delivered, status=status, reason=reason, duration_ms=duration_ms)

    async def source(self, source: SourceId) -> Judged:
        """Judge a good request. NotFound; Conflict when only the provider could make one."""
        built = self._receiver.sources.get(source)
        if built is None:
            raise NotFound("no such source")
        now = self._clock.now()
        request = self._example(built, now)
        if request is None:
            raise Conflict("not_testable", "Only the provider can make a genuine request for this source.")
        match await self._receiver.judge(built, request, now):
            case core.Genuine() as genuine:
                would = self._receiver.would_store(built, request, genuine, now)
                return Judged(source=source, reason=None, events=tuple(self._read(one) for one in would))
            case core.Refusal(reason):
                return Judged(source=source, reason=reason.value, events=())
            case Unavailable() | core.Undecided():
                raise CannotDecide("the issuer's keys cannot be had now")

    def _parcel(self, endpoint: EndpointId, now: Instant) -> Parcel:
        body = msgspec.json.encode({"test": True, "message": "A test event of hookseal."})
        row = EventRow(
            id=new_event_id(now, self._random),
            source=OWN_SOURCE,
            sequence=0,
            item=0,
            type=TEST_TYPE,
            received_at=now,
            provider_type=None,
            provider_id=None,
            subject=None,
            time=None,
            flags=(),
            conflicts=0,
        )
        stored = StoredEvent(row=row, headers=((b"content-type", b"application/json"),), body=body, siblings=1)
        event = Event(
            id=row.id,
            source=OWN_SOURCE,
            type=TEST_TYPE,
            time=now,
            received_at=now,
            provider=OWN_PROVIDER,
            payload=msgspec.json.decode(body),
        )
        return Parcel(
            delivery=new_delivery_id(now, self._random), endpoint=endpoint, attempt=1, event=event, stored=stored
        )
