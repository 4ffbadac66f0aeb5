"""What an operator may do with a running gateway, once, whoever asks: the HTTP API, the dashboard or the command line.

It decides what is a possible thing to ask (`Invalid` where it is not, `NotFound` where there is nothing), how much is
read at a time, and that a release is judged before it is believed. It knows neither HTTP nor how a request is proven.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from hookseal.clock import Clock, Instant
from hookseal.delivery.endpoint import Endpoint
from hookseal.delivery.endpoint import build as build_endpoint
from hookseal.destinations.issuer import IssuerRotation
from hookseal.destinations.port import Destination
from hookseal.destinations.subscriptions import Subscription
from hookseal.errors import CannotDecide, Conflict, Invalid, NotFound
from hookseal.manage import id_prefix, registered
from hookseal.manage.provider_test_call import ProviderTestCall
from hookseal.manage.registrations import UNREADABLE_HERE, Registrations
from hookseal.manage.release import JudgeAgain, Released, ReleaseOutcome
from hookseal.manage.rotation import KeyRotation
from hookseal.manage.shown_refusal import ShownRefusal, show
from hookseal.manage.stored_registrations import UnreadableRegistration
from hookseal.manage.tryout import Judged, Tried, Tryouts
from hookseal.message import Headers, RawRequest
from hookseal.model import DeliveryId, EndpointId, Event, EventId, RefusalId, SourceId
from hookseal.receive.own_events import OwnEvent, Published
from hookseal.settings import EndpointSettings, SourceSettings
from hookseal.settings.table import Section
from hookseal.store.port import (
    BODY_EXPIRED,
    AttemptRow,
    Counts,
    Cursor,
    DeliveryFilter,
    DeliveryRow,
    EventFilter,
    Page,
    Refusal,
    Replay,
    Store,
    StoredEvent,
)

R = TypeVar("R")
S = TypeVar("S")

ReadEvent = Callable[[StoredEvent], Event]
"""Normalises one stored event. Total: what cannot be read becomes an event with its raw bytes, never an error."""

Publish = Callable[[OwnEvent, str | None], Awaitable[Published]]

MAX_REPLAYED_EVENTS = 1000
"""How many events one replay may name."""

_STEP = 25
_PAGE_BYTES = 8 * 1024 * 1024
"""Whole events are read in steps of 25, and a page ends early once their bodies come to 8 MiB: what is held at a time
stays near 25 bodies, whatever limit was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """The request that brought an event, as it came; `headers` hold no credentials."""

    event: EventId
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The event that is in force, and how many events the subject has; superseded: how many came too late."""

    event: Event
    events: int
    superseded: int


class Management:
    """Safe to share: it keeps nothing but what it was given."""

    def __init__(
        self,
        store: Store,
        *,
        sources: Sequence[SourceSettings] = (),
        endpoints: Sequence[EndpointSettings] = (),
        read: ReadEvent,
        judge_again: JudgeAgain,
        clock: Clock,
        public_url: str | None = None,
        wake: Callable[[], None] = lambda: None,
        handlers: Sequence[Endpoint] = (),
        consent: Callable[[EndpointId], Subscription | None] = lambda endpoint: None,
        registrations: Registrations | None = None,
        publish: Publish | None = None,
        tryouts: Tryouts | None = None,
        destination_of: Callable[[EndpointId], Destination] | None = None,
        test_call: ProviderTestCall | None = None,
        rotation: KeyRotation | None = None,
        suspended: Callable[[EndpointId], Endpoint | None] = lambda endpoint: None,
        rotate_issuer: Callable[[], Awaitable[IssuerRotation]] | None = None,
    ) -> None:
        """handlers: the endpoints that are functions of this process.

        consent: where an endpoint with a handshake stands; None for any other.
        registrations: in place of `sources` and `endpoints`, which are then not looked at.
        publish, tryouts, destination_of, test_call, rotate_issuer: without them CannotDecide is all that is said.
        suspended: an endpoint that this version cannot read, as the delivery engine has it; None for any other.
        wake: tells the delivery engine of this process that something has become due.
        """
        self._store = store
        self.rotation = rotation
        self.registrations = registrations or Registrations(
            store, sources=sources, endpoints=endpoints, clock=clock, public_url=public_url
        )
        self._handlers = {one.id: one for one in handlers}
        self._read = read
        self._judge_again = judge_again
        self._clock = clock
        self._public_url = public_url
        self._wake = wake
        self._consent = consent
        self._publish = publish
        self._tryouts = tryouts
        self._destination_of = destination_of
        self._test_call = test_call
        self._suspended = suspended
        self._rotate_issuer = rotate_issuer

    def now(self) -> Instant:
        """The time as everything here takes it."""
        return self._clock.now()

    # --- ids ---------------------------------------------------------------------------------------------------------

    async def event_id(self, given: str) -> EventId:
        """Return the id that is or begins with `given`. NotFound, or Conflict if there are several."""
        return await id_prefix.event_id(self._store, given)

    async def delivery_id(self, given: str) -> DeliveryId:
        return await id_prefix.delivery_id(self._store, given)

    async def refusal_id(self, given: str) -> RefusalId:
        return await id_prefix.refusal_id(self._store, given)

    # --- events -----------------------------------------------------------------------------------------------------

    async def events(self, where: EventFilter, limit: int, cursor: Cursor | None) -> Page[Event]:
        """Whole events, newest first. A page may be shorter than `limit` and still have a next one; see `_PAGE_BYTES`."""

        async def step(size: int, start: Cursor | None) -> Page[StoredEvent]:
            return await self._store.events(where, size, start)

        held: RawRequest | None = None

        def take(stored: StoredEvent) -> tuple[Event, int]:
            # Kept until the next request, so that the store finds it in memory at the next step. Its bytes count once.
            nonlocal held
            size = 0 if held is not None and stored.raw is held else len(stored.body)
            held = stored.raw
            return self._read(stored), size

        return await _stepwise(step, take, limit, cursor)

    async def event(self, event: EventId) -> Event:
        return self._read(await self._store.event(event))

    async def in_force(self, source: SourceId, subject: str) -> Subject:
        """The state in force of one subject. NotFound when no event of it is stored."""
        found = await self._store.in_force(source, subject)
        return Subject(event=self._read(found.event), events=found.events, superseded=found.superseded)

    async def raw(self, event: EventId) -> Raw:
        """NotFound when there is no such event, or its bytes were let go by retention."""
        stored = await self._store.event(event)
        if BODY_EXPIRED in stored.row.flags:
            raise NotFound("its bytes were let go by retention")
        return Raw(event=event, headers=stored.headers, body=stored.body)

    # --- deliveries -------------------------------------------------------------------------------------------------

    async def deliveries(self, where: DeliveryFilter, limit: int, cursor: Cursor | None) -> Page[DeliveryRow]:
        return await self._store.deliveries(where, limit, cursor)

    async def delivery(self, delivery: DeliveryId) -> tuple[DeliveryRow, Sequence[AttemptRow]]:
        return await self._store.delivery(delivery)

    async def replay(self, replay: Replay) -> int:
        """Send events again to one endpoint; returns how many deliveries that made.

        An event whose delivery to the endpoint is pending is left alone. Events that are named go whatever the endpoint
        asked for, and so do those picked by the state of a delivery that they had; a replay of a time range keeps to
        the endpoint's sources and types, or an endpoint would get what it never asked for. Events whose bytes were let go
        by retention are left out. Invalid when the endpoint or a named event does not exist, or a named one has no bytes
        any more.
        """
        endpoint = self._built(replay.endpoint)
        if endpoint is None:
            raise Invalid("/endpoint", "there is no such endpoint")
        if replay.events is not None:
            replay = replace(replay, events=await self._named(replay.events))
        replay = replace(replay, once_per_request=endpoint.once_per_request)
        if replay.events is not None or replay.state is not None:
            made = await self._store.replay(replay, self._clock.now())
        else:
            made = await self._replay_range(replay, endpoint)
        if made:
            self._wake()
        return made

    async def _named(self, events: Sequence[EventId]) -> tuple[EventId, ...]:
        """Return the whole ids of events that are there with their bytes. Invalid for any other."""
        if not 1 <= len(events) <= MAX_REPLAYED_EVENTS:
            raise Invalid("/events", f"names 1 to {MAX_REPLAYED_EVENTS} events")
        whole: list[EventId] = []
        for position, event in enumerate(events):
            try:
                stored = await self._store.event(await self.event_id(event))
            except NotFound:
                raise Invalid(f"/events/{position}", "there is no such event") from None
            except Conflict:
                raise Invalid(
                    f"/events/{position}", "several ids begin with these characters; give more characters"
                ) from None
            if BODY_EXPIRED in stored.row.flags:
                raise Invalid(f"/events/{position}", "its bytes were deleted by retention")
            whole.append(stored.row.id)
        return tuple(whole)

    async def _replay_range(self, replay: Replay, endpoint: Endpoint) -> int:
        """Step by step, each its own transaction: a long range holds up nobody who receives."""
        now = self._clock.now()
        where = EventFilter(since=replay.since, until=replay.until)
        made = 0
        cursor: Cursor | None = None
        last_request: tuple[SourceId, Instant, bytes] | None = None
        while True:
            page = await self._store.events(where, _STEP, cursor)
            asked_for: list[EventId] = []
            for stored in page.rows:
                if not endpoint.takes(stored.row.source, stored.row.type):
                    continue
                # Events of one request stand side by side; an endpoint that gets the request itself gets it once.
                request = (stored.row.source, stored.row.received_at, stored.body) if stored.siblings > 1 else None
                if not (endpoint.once_per_request and request is not None and request == last_request):
                    asked_for.append(stored.row.id)
                last_request = request
            if asked_for:
                step = Replay(endpoint=endpoint.id, events=tuple(asked_for), once_per_request=endpoint.once_per_request)
                made += await self._store.replay(step, now)
            cursor = page.next
            if cursor is None:
                return made

    # --- quarantine -------------------------------------------------------------------------------------------------

    async def refusals(self, source: SourceId | None, limit: int, cursor: Cursor | None) -> Page[Refusal]:
        """Refused requests, newest first. Pages are bounded as those of `events` are."""

        async def step(size: int, start: Cursor | None) -> Page[Refusal]:
            return await self._store.refusals(source, size, start)

        return await _stepwise(step, lambda refusal: (refusal, len(refusal.body)), limit, cursor)

    async def refusal(self, refusal: RefusalId) -> ShownRefusal:
        """Return one refused request. NotFound when there is none."""
        now = self.registrations.current()
        providers = {**now.former, **{one.id: one.provider for one in now.sources}}
        return show(await self._store.refusal(refusal), providers)

    async def refusal_body(self, refusal: RefusalId) -> bytes:
        """NotFound when there is no such request."""
        return (await self._store.refusal(refusal)).body

    async def release(self, refusal: RefusalId) -> ReleaseOutcome:
        """Judge a refused request again, and store it when it now holds. NotFound when there is none.

        Dying between the storing and the mark leaves a stored request that looks unreleased; releasing it again finds
        the duplicate and sets the mark.
        """
        outcome = await self._judge_again(await self._store.refusal(refusal))
        if isinstance(outcome, Released):
            await self._store.mark_released(refusal, self._clock.now())
        return outcome

    # --- registrations ----------------------------------------------------------------------------------------------

    def sources(self) -> tuple[registered.Source, ...]:
        """Those that are not in force are the last: this version cannot read them, or the file has their ids."""
        shown = [self._shown_source(one) for one in self.registrations.sources]
        unreadable = self.registrations.unreadable_in(Section.SOURCE)
        shadowed = [one for one in self.registrations.shadowed if one.section is Section.SOURCE]
        return (
            *shown,
            *(registered.unreadable_source(one, self._public_url) for one in unreadable),
            *(registered.shadowed_source(one, self._public_url) for one in shadowed),
        )

    def source(self, source: SourceId) -> registered.Source:
        for one in self.registrations.sources:
            if one.id == source:
                return self._shown_source(one)
        if (unreadable := self.registrations.find_unreadable(Section.SOURCE, source)) is not None:
            return registered.unreadable_source(unreadable, self._public_url)
        raise NotFound("no such source")

    def endpoints(self) -> tuple[registered.Endpoint, ...]:
        """Those that are not in force follow the others of the API; see `sources`."""
        shown = [self._shown_endpoint(one) for one in self.registrations.endpoints]
        unreadable = self.registrations.unreadable_in(Section.ENDPOINT)
        handlers = [registered.handler(one) for one in self._handlers.values()]
        shadowed = [one for one in self.registrations.shadowed if one.section is Section.ENDPOINT]
        return (
            *shown,
            *(self._shown_unreadable(one) for one in unreadable),
            *(registered.shadowed_endpoint(one) for one in shadowed),
            *handlers,
        )

    def endpoint(self, endpoint: EndpointId) -> registered.Endpoint:
        if endpoint in self._handlers:
            return registered.handler(self._handlers[endpoint])
        for one in self.registrations.endpoints:
            if one.id == endpoint:
                return self._shown_endpoint(one)
        if (unreadable := self.registrations.find_unreadable(Section.ENDPOINT, endpoint)) is not None:
            return self._shown_unreadable(unreadable)
        raise NotFound("no such endpoint")

    def is_handler(self, endpoint: EndpointId) -> bool:
        """A function of this process, which is changed in its code."""
        return endpoint in self._handlers

    async def test_endpoint(self, endpoint: EndpointId) -> Tried:
        """Send a test event now, once. NotFound, or Conflict when that may not be."""
        self._must_be_readable(Section.ENDPOINT, endpoint)
        built = self._built(endpoint)
        if built is None:
            raise NotFound("no such endpoint")
        if self._tryouts is None or self._destination_of is None:
            raise CannotDecide("nothing is sent from here")
        return await self._tryouts.endpoint(built, self._destination_of(endpoint))

    async def test_source(self, source: SourceId) -> Judged:
        """Judge a good request for the source, without storing it."""
        self._must_be_readable(Section.SOURCE, source)
        self.source(source)
        if self._tryouts is None:
            raise CannotDecide("nothing is received here")
        return await self._tryouts.source(source)

    @property
    def test_call(self) -> ProviderTestCall:
        if self._test_call is None:
            raise CannotDecide("nothing is sent from here")
        return self._test_call

    async def rotate_issuer(self) -> IssuerRotation:
        """Let another key of our own issuer follow. Invalid where it has none."""
        if self._rotate_issuer is None:
            raise CannotDecide("nothing is sent from here")
        return await self._rotate_issuer()

    async def publish(self, event: OwnEvent, idempotency_key: str | None) -> Published:
        """Conflict when the key was used for another event."""
        if self._publish is None:
            raise CannotDecide("nothing is delivered from here")
        published = await self._publish(event, idempotency_key)
        if published.conflict:
            raise Conflict("key_reused", "This key or id was used before, for another event; nothing was published.")
        return published

    def _shown_source(self, one: SourceSettings) -> registered.Source:
        return registered.source(one, self._public_url, self._origin(Section.SOURCE, one.id))

    def _shown_endpoint(self, one: EndpointSettings) -> registered.Endpoint:
        shown = registered.endpoint(one, self._origin(Section.ENDPOINT, one.id))
        return registered.with_consent(shown, self._consent(one.id))

    def _shown_unreadable(self, one: UnreadableRegistration) -> registered.Endpoint:
        return registered.unreadable_endpoint(one, self._suspended(EndpointId(one.id)))

    def _must_be_readable(self, section: Section, id: str) -> None:
        if self.registrations.find_unreadable(section, id) is not None:
            raise Conflict("unreadable", UNREADABLE_HERE)

    def _origin(self, section: Section, id: str) -> registered.Origin:
        is_of_file = self.registrations.is_of_file(section, id)
        return registered.Origin.FILE if is_of_file else registered.Origin.API

    def _built(self, endpoint: EndpointId) -> Endpoint | None:
        if endpoint in self._handlers:
            return self._handlers[endpoint]
        if (suspended := self._suspended(endpoint)) is not None:
            return suspended
        return next((build_endpoint(one) for one in self.registrations.endpoints if one.id == endpoint), None)

    # --- figures ----------------------------------------------------------------------------------------------------

    async def counts(self) -> Counts:
        return await self._store.counts()


async def _stepwise(
    step: Callable[[int, Cursor | None], Awaitable[Page[R]]],
    take: Callable[[R], tuple[S, int]],
    limit: int,
    cursor: Cursor | None,
) -> Page[S]:
    """One page out of several short ones. take: what to keep of a row, and how many bytes its body had."""
    taken: list[S] = []
    held = 0
    while True:
        page = await step(min(_STEP, limit - len(taken)), cursor)
        for row in page.rows:
            one, size = take(row)
            taken.append(one)
            held += size
        cursor = page.next
        if cursor is None or len(taken) >= limit or held >= _PAGE_BYTES:
            return Page(taken, cursor)
        await asyncio.sleep(0)  # normalising is our own work; those who wait for an answer go between two steps
