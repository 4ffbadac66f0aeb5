"""One request on its way from the rim to the answer: decide, store, answer.

Theory of operation. `receive` judges (pure, see `core`), plans the deliveries, and hands request, events, dedupe keys
and deliveries to the store as one transaction. The answer exists only after the commit. The deliveries that this node
took a lease on go to the engine with the event still in memory, so that the happy path never reads back. What happens
on a crash:
- before the commit: nothing is stored, no answer was sent, the sender tries again.
- after the commit, before the answer: the sender tries again and is told 2xx as a duplicate.
- after the answer: the deliveries stand in the store; their leases lapse or are voided at the next start.
When the answer takes too long we say 503 and leave the write alone: should it commit after all, the event is there, its
leases lapse, and the sender's next try is a duplicate.
"""

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from hookseal import probe
from hookseal.clock import Clock, Instant
from hookseal.egress.port import Egress, Reply
from hookseal.errors import StoreBusy, StoreError
from hookseal.identity.batch import keep_texts
from hookseal.identity.extract import Item
from hookseal.ids import RandomBytes, new_event_id, new_refusal_id
from hookseal.logs import get_logger, kind_of, would_write
from hookseal.message import Headers, RawRequest, Request
from hookseal.model import Reason, SourceId
from hookseal.probe import Step
from hookseal.receive import answers, core
from hookseal.receive.answers import Answer, Case
from hookseal.receive.handshake import callback_in, consent, rate_of
from hookseal.receive.keys import Absent, Found, KeySets, Unavailable
from hookseal.receive.quarantine_limit import QuarantineLimit
from hookseal.receive.rate import RateLimit
from hookseal.receive.source import Source
from hookseal.schemes.verdict import Keys
from hookseal.steps import STEP_ITEMS, Steps, finish, finish_in_turns
from hookseal.store.port import (
    EventRow,
    NewDelivery,
    NewEvent,
    NewRequest,
    Refusal,
    Store,
    Stored,
    StoredEvent,
    place_deliveries,
)
from hookseal.time_source import TimeSource

log = get_logger(__name__)

T = TypeVar("T")

_OF_TIME = frozenset({Reason.TIMESTAMP_STALE, Reason.TOKEN_EXPIRED, Reason.TOKEN_NOT_YET_VALID})
_NEVER_KEPT = frozenset({b"cookie", b"proxy-authorization"})
CALLBACK_WAITS_S = (1.0, 10.0, 60.0)
"""Before each call of a handshake's callback; the first lets the answer go out before it."""
_CONSENTING_MOST = 16
_LARGE_BYTES = 64 * 1024
"""From this size on a body is decided on in steps."""
_QUARANTINE_WAITING, _QUARANTINE_BYTES = 64, 16 * 1024 * 1024
"""Refused requests that may wait to be quarantined, and their bytes; beyond it they are only counted."""


Refresh = Callable[[SourceId], Awaitable[None]]
"""Return when the receiver knows a source as it was at or after this call. Raises when that is not possible now."""


async def _is_current(source: SourceId) -> None:
    """The `Refresh` of a node that makes every change itself."""


class Planner(Protocol):
    """What the delivery engine does for the receiving side."""

    def plan(self, source: SourceId, types: Sequence[str]) -> tuple[tuple[NewDelivery, ...], ...]:
        """Return the deliveries of each event of one request. Several events may name the same delivery.

        Those with a lease hold a slot until one of the next two is called with them, once for each delivery.
        """
        ...

    def plan_each(self, source: SourceId, types: Sequence[str]) -> Iterator[tuple[NewDelivery, ...]]:
        """The same, event by event as the caller asks for them."""
        ...

    def stored(self, event: StoredEvent, deliveries: Sequence[NewDelivery]) -> None: ...

    def abandoned(self, deliveries: Sequence[NewDelivery]) -> None: ...


class Observer(Protocol):
    """Who counts. Names are of our own closed sets, never of a sender."""

    def answered(self, source: str, status: int) -> None: ...

    def refused(self, source: str, reason: str) -> None: ...

    def stored(self, source: str, new: int, duplicates: int, conflicts: int) -> None: ...


class Receiver:
    """Receives for all sources of one node."""

    def __init__(
        self,
        *,
        sources: Mapping[SourceId, Source],
        store: Store,
        planner: Planner,
        key_sets: KeySets,
        clock: Clock,
        time: TimeSource | None = None,
        observer: Observer,
        answer_timeout_s: float = 5.0,
        random_bytes: RandomBytes = os.urandom,
        egress: Egress | None = None,
        refresh: Refresh = _is_current,
        unreadable: frozenset[SourceId] = frozenset(),
    ) -> None:
        """unreadable: sources that exist, and that cannot be judged: requests that name one are answered 503."""
        self.sources = sources
        self.unreadable = unreadable
        self._refresh = refresh
        self._store = store
        self._planner = planner
        self._key_sets = key_sets
        self._clock = clock
        self._time = time or TimeSource(clock, compare=False)
        self._observer = observer
        self._answer_timeout_s = answer_timeout_s
        self._random = random_bytes
        self._rates: dict[SourceId, tuple[int, RateLimit]] = {}
        self._quarantining: set[asyncio.Task[None]] = set()
        self._quarantine_bytes = 0
        self._quarantine_limit = QuarantineLimit()
        self._egress = egress
        self._stopping = asyncio.Event()
        self._large = asyncio.Lock()
        self._handing_over: set[asyncio.Task[None]] = set()
        self._consenting: set[asyncio.Task[None]] = set()
        self.use(sources, unreadable)

    def use(self, sources: Mapping[SourceId, Source], unreadable: frozenset[SourceId] = frozenset()) -> None:
        """Use these sources from now on. A rate that did not change keeps its count. Requests under way keep their source."""
        rates: dict[SourceId, tuple[int, RateLimit]] = {}
        for id, source in sources.items():
            if (rate := source.allowed_rate) is not None:
                known = self._rates.get(id)
                rates[id] = known if known is not None and known[0] == rate else (rate, RateLimit(rate))
        self._rates = rates
        self.sources, self.unreadable = sources, unreadable
        self._accepted_kinds = {id: kind_of(__name__, "info", "accepted", source=id) for id in sources}

    async def receive(self, source: Source, request: Request) -> Answer:
        """Judge and store one request. Never raises but CancelledError; a fault of ours is 503."""
        try:
            async with asyncio.timeout(self._answer_timeout_s):
                result = await self._receive(source, request)
        except TimeoutError:
            log.warning("answer took too long", source=source.id)
            result = answers.answer(Case.OVERLOADED)
        except StoreBusy as error:
            log.warning("store busy", source=source.id, code=error.code)
            result = answers.answer(Case.OVERLOADED)
        except StoreError as error:
            log.warning("store unavailable", source=source.id, code=error.code)
            result = answers.answer(Case.STORE_UNAVAILABLE)
        except Exception as error:  # the certainty rule: whatever we did not foresee is a doubt of ours
            log.error("receive failed", source=source.id, exc_info=error)
            result = answers.answer(Case.INTERNAL)
        probe.reach(Step.ACKED)
        self._observer.answered(source.id, result.status)
        return result

    async def look_up(self, id: SourceId) -> Source | Answer:
        """Return a source as it was at or after this call, or the answer to a request that names it.

        To be asked before a final refusal, because another node may have changed the source. Never raises but
        CancelledError.
        """
        try:
            async with asyncio.timeout(self._answer_timeout_s):
                await self._refresh(id)
        except (TimeoutError, StoreError) as error:
            log.warning("registrations cannot be looked at, not refusing", code=getattr(error, "code", "timeout"))
            return answers.answer(Case.STORE_UNAVAILABLE)
        except Exception as error:
            log.error("registrations not applied, not refusing", exc_info=error)
            return answers.answer(Case.INTERNAL)
        source = self.sources.get(id)
        if source is not None:
            return source
        return answers.answer(Case.SOURCE_UNREADABLE if id in self.unreadable else Case.UNKNOWN_SOURCE)

    def handshake(self, source: Source, request: Request) -> Answer:
        """Answer an OPTIONS request: consent where the provider has such a handshake and asks rightly, else 405."""
        result = consent(source, request)
        callback = callback_in(source, request) if result.case is Case.HANDSHAKE else None
        if callback is not None and self._egress is not None and len(self._consenting) < _CONSENTING_MOST:
            task = asyncio.get_running_loop().create_task(self._consent_later(self._egress, source, callback))
            self._consenting.add(task)
            task.add_done_callback(self._consenting.discard)
        self._observer.answered(source.id, result.status)
        return result

    async def _consent_later(self, egress: Egress, source: Source, callback: str) -> None:
        """Call the sender back; it is tried again where it cannot be reached, and given up as the sender will ask again."""
        headers = [("WebHook-Allowed-Rate", rate_of(source))]
        for wait_s in CALLBACK_WAITS_S:
            await self._clock.wait(self._stopping, wait_s)
            came = await egress.call("GET", callback, headers=headers)
            if isinstance(came, Reply) and came.status < 500:
                log.info("consented by callback", source=source.id, status=came.status)
                return
        log.warning("callback of a handshake not reached", source=source.id)

    async def judge(self, source: Source, request: Request, at: Instant) -> core.Decision | Unavailable:
        """Decide, fetching the issuer's keys where they are needed. at: the time that the proof is judged at."""
        url = source.jwks_url
        if url is None:
            return await self._decide(source, request, source.keys, at)
        arrived = self._clock.monotonic()
        at_hand = Keys(source.keys.secrets, self._key_sets.at_hand(url))
        decision = await self._decide(source, request, at_hand, at)
        if not isinstance(decision, core.Undecided):
            return decision
        match await self._key_sets.keys(url, decision.kid, arrived):
            case Unavailable() as unavailable:
                return unavailable
            case Absent():
                return core.Refusal(Reason.TOKEN_KEY_UNKNOWN)
            case Found(key_set):
                decision = await self._decide(source, request, Keys(source.keys.secrets, key_set), at)
                if isinstance(decision, core.Undecided):
                    return core.Refusal(Reason.TOKEN_KEY_UNKNOWN)
                return decision

    async def _decide(self, source: Source, request: Request, keys: Keys, at: Instant) -> core.Decision:
        if len(request.body) < _LARGE_BYTES:
            return core.decide(source, request, keys, at)
        # One large request at a time: each takes a step in every turn of the event loop, and all others wait for them.
        async with self._large:
            return await finish_in_turns(core.deciding(source, request, keys, at))

    async def store(
        self, source: Source, request: Request, genuine: core.Genuine, received_at: Instant, flags: tuple[str, ...] = ()
    ) -> tuple[Stored, ...]:
        """Store a genuine request with its deliveries; hand over what is leased. Raises StoreError."""
        # The same list grows while the request is planned: what was planned until a failure is given back.
        plans: list[tuple[NewDelivery, ...]] = []
        steps = self._new_request(source, request, genuine, received_at, flags, plans)
        try:
            new = await self._in_turns(genuine, steps)
            probe.reach(Step.WRITE_QUEUED)
            stored = await self._store.accept(new)
        except BaseException:
            self._planner.abandoned(_distinct(plans))
            raise
        if len(genuine.items) < STEP_ITEMS:
            finish(self._hand_over(new, genuine, stored))
        else:
            # A task of its own, so that a caller that gives up does not keep back what is stored and leased.
            task = asyncio.get_running_loop().create_task(finish_in_turns(self._hand_over(new, genuine, stored)))
            self._handing_over.add(task)
            task.add_done_callback(self._handing_over.discard)
        duplicates = sum(one.duplicate for one in stored)
        conflicts = sum(one.conflict for one in stored)
        self._observer.stored(source.id, len(stored) - duplicates, duplicates, conflicts)
        return stored

    def would_store(
        self, source: Source, request: Request, genuine: core.Genuine, received_at: Instant
    ) -> tuple[StoredEvent, ...]:
        """What `store` would make of a genuine request, with the sequence 0. Nothing is stored."""
        events = tuple(self._new_event(source, item, received_at, (), ()) for item in genuine.items)
        new = self._request_of(source, request, received_at, events)
        return tuple(stored_event(new, event, Stored(event.id, 0, False), len(new.events)) for event in new.events)

    async def drain(self) -> None:
        """Let refused requests that are on their way into the quarantine arrive there."""
        for task in self._consenting:
            task.cancel()
        await asyncio.gather(*self._quarantining, *self._consenting, *self._handing_over, return_exceptions=True)

    async def _receive(self, source: Source, request: Request) -> Answer:
        now = self._time.look()
        received_at = self._time.corrected(now)
        decision = await self.judge(source, request, now)
        if isinstance(decision, core.Refusal):
            # Another node may have given the source a new secret or option. Only its latest state refuses for certain.
            latest = await self.look_up(source.id)
            if isinstance(latest, Answer):
                return latest
            if latest is not source:
                source, decision = latest, await self.judge(latest, request, now)
        probe.reach(Step.DECIDED)
        match decision:
            case Unavailable(retry_after_s):
                return answers.answer(Case.KEYS_UNAVAILABLE, retry_after_s=retry_after_s)
            case core.Genuine(is_stale=True) if (wait_s := self._time.doubted_for_s) > 0:
                log.warning("stale request not held, clock doubted", source=source.id)
                return answers.answer(Case.CLOCK_DOUBTED, retry_after_s=wait_s)
            case core.Refusal(reason) if reason in _OF_TIME and (wait_s := self._time.doubted_for_s) > 0:
                log.warning("stale request not refused, clock doubted", source=source.id, reason=reason.value)
                return answers.answer(Case.CLOCK_DOUBTED, retry_after_s=wait_s)
            case core.Refusal(Reason.ADDRESS_NOT_ALLOWED) if request.remote is None:
                # The caller has seen that the source has no list. The list has been added since then.
                return answers.answer(Case.ADDRESS_UNKNOWN)
            case core.Refusal(reason, media_type):
                self._refuse(source, request, reason, received_at)
                return answers.answer(Case.MEDIA_TYPE) if media_type else answers.refused(source.provider, reason)
            case core.Genuine() as genuine:
                limit = self._rates.get(source.id)
                if limit is not None and (wait_s := limit[1].take(now)) > 0:
                    return answers.answer(Case.RATE, retry_after_s=wait_s)
                if genuine.is_stale:
                    await self._hold(source, request, genuine, received_at)
                else:
                    self._note_accepted(
                        source, await self.store(source, request, genuine, received_at) if genuine.items else ()
                    )
                return answers.accepted(source.provider)
            case core.Undecided():
                return answers.answer(Case.KEYS_UNAVAILABLE)

    def _note_accepted(self, source: Source, stored: tuple[Stored, ...]) -> None:
        kind = self._accepted_kinds.get(source.id)
        if kind is None or not would_write(kind):
            return
        first = stored[0].event if stored else None
        is_duplicate = bool(stored) and all(result.duplicate for result in stored)
        outcome = "duplicate" if is_duplicate else "stored" if stored else "nothing_to_store"
        log.info("accepted", source=source.id, event_id=first, count=len(stored), outcome=outcome)

    def _new_request(
        self,
        source: Source,
        request: Request,
        genuine: core.Genuine,
        received_at: Instant,
        flags: tuple[str, ...],
        plans: list[tuple[NewDelivery, ...]],
    ) -> Steps[NewRequest]:
        """Plan the deliveries of a request and return what is to be stored. plans: gets those of each event."""
        events: list[NewEvent] = []
        planned = self._planner.plan_each(source.id, [item.type for item in genuine.items])
        for item, plan in zip(genuine.items, planned, strict=True):
            plans.append(plan)
            events.append(self._new_event(source, item, received_at, flags, plan))
            if len(events) % STEP_ITEMS == 0:
                yield
        return self._request_of(source, request, received_at, tuple(events))

    async def _in_turns(self, genuine: core.Genuine, steps: Steps[T]) -> T:
        if len(genuine.items) < STEP_ITEMS:
            return finish(steps)
        async with self._large:
            return await finish_in_turns(steps)

    def _request_of(
        self, source: Source, request: Request, received_at: Instant, events: tuple[NewEvent, ...]
    ) -> NewRequest:
        return NewRequest(
            source=source.id,
            received_at=received_at,
            headers=kept_headers(source, request.headers),
            body=request.body,
            events=events,
            mapping=source.provider.mapping,
        )

    def _new_event(
        self, source: Source, item: Item, received_at: Instant, flags: tuple[str, ...], plan: tuple[NewDelivery, ...]
    ) -> NewEvent:
        return NewEvent(
            id=new_event_id(received_at, self._random),
            item=item.index,
            type=item.type,
            dedupe_key=_of_source(source.id, item.dedupe_key),
            content=item.content,
            provider_type=item.provider_type,
            provider_id=item.provider_id,
            subject=item.subject,
            time=item.time,
            flags=item.flags + flags,
            order=item.order,
            outcome=item.outcome,
            final=item.final,
            deliveries=plan,
        )

    def _hand_over(self, new: NewRequest, genuine: core.Genuine, stored: tuple[Stored, ...]) -> Steps[None]:
        raw = RawRequest(new.headers, new.body)
        if genuine.texts is not None:
            keep_texts(raw, genuine.texts)
        fresh = [(event, result) for event, result in zip(new.events, stored, strict=True) if not result.duplicate]
        left = {delivery.id: delivery for event in new.events for delivery in event.deliveries}
        # Before the first yield: should the gateway stop in between, the slots of what was not stored are free.
        places = list(place_deliveries(event for event, _ in fresh))
        for placed in places:
            for delivery in placed:
                del left[delivery.id]
        if left:
            self._planner.abandoned(tuple(left.values()))
        for number, ((event, result), placed) in enumerate(zip(fresh, places, strict=True), 1):
            if placed:
                self._planner.stored(stored_event(new, event, result, len(fresh), raw), placed)
            if number % STEP_ITEMS == 0:
                yield

    def _refuse(self, source: Source, request: Request, reason: Reason, now: Instant) -> None:
        log.info("refused", source=source.id, reason=reason.value)
        self._observer.refused(source.id, reason.value)
        size = len(request.body)
        is_full = len(self._quarantining) >= _QUARANTINE_WAITING or self._quarantine_bytes + size > _QUARANTINE_BYTES
        if is_full or not self._quarantine_limit.take(source.id, request.remote, size, now):
            log.info("refused request not quarantined, too many at once", source=source.id)
            return
        refusal = self._refusal(source, request, reason, now)
        self._quarantine_bytes += size
        task = asyncio.get_running_loop().create_task(self._quarantine(refusal))
        self._quarantining.add(task)
        task.add_done_callback(self._quarantining.discard)

    async def _hold(self, source: Source, request: Request, genuine: core.Genuine, now: Instant) -> None:
        """Unlike a refused request this one is acknowledged, so it is durable before that. Raises StoreError."""
        if not genuine.items:
            return
        refusal = self._refusal(source, request, Reason.TIMESTAMP_STALE, now, held=True)
        await self._store.hold(refusal, [_of_source(source.id, item.dedupe_key) for item in genuine.items])
        log.info("request held, too old", source=source.id)
        self._observer.refused(source.id, Reason.TIMESTAMP_STALE.value)

    def _refusal(
        self, source: Source, request: Request, reason: Reason, now: Instant, *, held: bool = False
    ) -> Refusal:
        return Refusal(
            id=new_refusal_id(now, self._random),
            source=source.id,
            received_at=now,
            reason=reason.value,
            method=request.method,
            url=request.url,
            remote=request.remote,
            headers=tuple(pair for pair in request.headers if pair[0] not in _NEVER_KEPT),
            body=request.body,
            held=held,
        )

    async def _quarantine(self, refusal: Refusal) -> None:
        try:
            await self._store.quarantine(refusal)
        except StoreError as error:  # best effort, as promised
            log.info("not quarantined", source=refusal.source, code=error.code)
        finally:
            self._quarantine_bytes -= len(refusal.body)


def kept_headers(source: Source, headers: Headers) -> Headers:
    """The headers that are stored with an event: all but credentials."""
    never = source.provider.credentials
    return tuple(pair for pair in headers if pair[0] not in _NEVER_KEPT and pair[0] not in never)


def _of_source(source: SourceId, key: bytes) -> bytes:
    """The dedupe key of one source: the same bytes at another source are another event."""
    name = source.encode()
    return hashlib.sha256(len(name).to_bytes(2) + name + key).digest()


def _distinct(plans: Iterable[Sequence[NewDelivery]]) -> tuple[NewDelivery, ...]:
    return tuple({delivery.id: delivery for plan in plans for delivery in plan}.values())


def stored_event(
    new: NewRequest, event: NewEvent, result: Stored, siblings: int, raw: RawRequest | None = None
) -> StoredEvent:
    """Return what a new event is read as, without asking the store for it. siblings: the new events of the request."""
    row = EventRow(
        id=result.event,
        source=new.source,
        sequence=result.sequence,
        item=event.item,
        type=event.type,
        received_at=new.received_at,
        provider_type=event.provider_type,
        provider_id=event.provider_id,
        subject=event.subject,
        time=event.time,
        flags=event.flags,
        conflicts=0,
        superseded=result.superseded,
        mapping=new.mapping,
        outcome=event.outcome,
        final=event.final,
    )
    return StoredEvent(row=row, headers=new.headers, body=new.body, siblings=siblings, raw=raw)
