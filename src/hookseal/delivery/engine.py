"""The one loop: claim what is due, send it, record what came of it.

Theory of operation
- Each endpoint has a lane (`lane.py`). Lanes share nothing but the store: a dead endpoint harms itself only.
- A delivery gets here on two ways. The receiving side asks for a plan before it commits; where the lane has room, a
  slot is reserved and the delivery is *born leased* to this process, so that after the commit it is sent from memory.
  All else (no room, retries, replays, what a dead process left) lies in the store, is due by time, and is claimed.
- The loop sleeps until the next delivery is due, a lane has room again while work waits for it, or somebody wakes it.
  It also looks by itself every few seconds, since another node may have made work of which nobody here knows.
- No transaction is open while something is sent. When a try is over its slot is free at once; recording the result
  does not hold the next try up, but it does hold the lane's bound.
- Everything held is leased for 60 s and renewed every 10 s. It is renewed before a claim too when the wall clock ran
  ahead or this process was frozen: what it claimed for having lapsed would count as lost by a holder that died. A try
  starts only when its lease covers all of it, and one that passes every deadline of its own is cut off before the lease
  ends. A lease that is lost takes its result along: the store refuses it (`record` is False), and that is counted.
- A crash loses nothing: leases lapse (or are voided at the next start of an embedded store) and the deliveries are due
  again. What had been sent and not recorded is sent twice; receivers tell by `webhook-id`.
- An endpoint with `batch` is sent what waits for it in one call; the answer counts for each delivery of it. When such a
  call is refused for good, nothing is recorded and each goes by itself, so that none is buried for its neighbour.
- A lane with a rate leases no more than a minute's worth; `_open_lanes` starts the next try when its turn comes. The
  rate is this process's: it is not remembered over a restart, and of several nodes each has its own.
- A lane whose endpoint has not consented leases nothing: its deliveries wait in the store until `admit`.
- A delivery that was leased twice when its process ended is attempted alone (`isolation.py`); no claim returns it.
- The receiving side must end each plan with `stored` or `abandoned`, or the reserved slots are lost to it.
"""

import asyncio
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from random import Random

from hookseal.clock import Clock, Instant, plus, seconds_between, to_unix
from hookseal.delivery.endpoint import LONGEST_TRY_S, Endpoint
from hookseal.delivery.isolation import Isolation
from hookseal.delivery.lane import Held, Lane, Shared, Try
from hookseal.delivery.observer import Observer, Silence
from hookseal.delivery.outcome import endpoint_lives, is_final, judge
from hookseal.delivery.plan import Plan
from hookseal.delivery.policy import RetryPolicy
from hookseal.destinations.port import Answered, Destinations, Failed, Parcel, Rejected, Sent, Stopped
from hookseal.errors import StoreError, StoreUnavailable
from hookseal.ids import RandomBytes, new_delivery_id, random_63_bits
from hookseal.model import AttemptReason, DeliveryId, EndpointId, Event, EventId, SourceId
from hookseal.probe import Step, reach
from hookseal.steps import Steps, finish_in_turns
from hookseal.store.port import SUSPECT_LOSSES, Claimed, Lease, NewDelivery, Result, Store, StoredEvent

LEASE_S = 60.0
HEARTBEAT_S = 10.0
COVER_S = 5.0
"""What a lease must have left beyond the endpoint's timeout when a try starts."""
OVERDUE_S = LONGEST_TRY_S + 10.0
"""A try that runs longer is cut off; looked at with each heartbeat, so at the latest 50 s after its start."""
POLL_S = 5.0
CLAIM_MOST = 256
BACKLOG_MOST, BACKLOG_LEAST, BACKLOG_ALL = 512, 16, 16_384
BUDGET_BYTES = 64 * 1024 * 1024
_IDLE_S = 0.05
_RECORD_TRIES = 20
_LAST_S = 5.0
"""After the grace: for what was cut off to be given back, and for results on their way into the store."""

_LARGE_BYTES = 64 * 1024
"""From this size on a request's body is read ahead in steps."""

Normalise = Callable[[StoredEvent], Event]
ReadAhead = Callable[[StoredEvent], Steps[None]]


class Engine:
    """Delivers. All methods belong to one event loop.

    normalise     makes the event of section 6 from what is stored; called once for each event and process, as a rule.
    read_ahead    does in steps what `normalise` would do once for each request.
    random        for jitter, which needs no secrecy.
    random_bytes  for ids of deliveries and for leases. From the operating system: receivers see the ids.
    """

    def __init__(
        self,
        store: Store,
        endpoints: Iterable[Endpoint],
        destinations: Destinations,
        *,
        normalise: Normalise,
        read_ahead: ReadAhead | None = None,
        clock: Clock,
        random: Random,
        random_bytes: RandomBytes = os.urandom,
        observer: Observer | None = None,
    ) -> None:
        self._store = store
        self._normalise = normalise
        self._read_ahead = read_ahead
        self._reading_ahead = asyncio.Lock()
        self._clock = clock
        self._random = random
        self._random_bytes = random_bytes
        self._observer: Observer = Silence() if observer is None else observer
        self._plan = Plan(())
        self._lanes: dict[EndpointId, Lane] = {}
        self._held: dict[DeliveryId, Held] = {}
        self._tries: set[Try] = set()
        self._shared: dict[EventId, Shared] = {}
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._quiet = asyncio.Event()
        self._paced = asyncio.Event()
        self._isolation = Isolation(self, store, clock, self._observer, lease_s=LEASE_S, poll_s=POLL_S)
        self._busy = 0
        """Claims under way, and calls whose results are not recorded."""
        self._calm = asyncio.Event()
        self._claims = 0
        self._asleep_until: Instant | None = None
        self._renewed, self._least_ahead_s = clock.monotonic(), to_unix(clock.now()) - clock.monotonic()
        """When leases were renewed, and the least by which the wall clock was ahead of the monotonic one since."""
        self._running = False
        self._hurried = False
        self._tasks: list[asyncio.Task[None]] = []
        self._lay(tuple(endpoints), destinations)

    # --- the receiving side -----------------------------------------------------------------------------------------

    def plan(self, source: SourceId, types: Sequence[str]) -> tuple[tuple[NewDelivery, ...], ...]:
        """Return the deliveries of one request: of each of its events, by normalized type, in order.

        Slots are reserved for those leased at insert until `stored` or `abandoned`. For an endpoint that gets the
        request itself there is one delivery, listed with each event that the endpoint takes: it is stored for the first
        of them that is new.
        """
        return tuple(self.plan_each(source, types))

    def plan_each(self, source: SourceId, types: Sequence[str]) -> Iterator[tuple[NewDelivery, ...]]:
        """Yield what `plan` returns, event by event: a slot is reserved when its event is asked for.

        The endpoints may change between two events of a large request. Each event is planned for those of its moment.
        """
        now = self._clock.now()
        shared: dict[EndpointId, NewDelivery] = {}
        for event_type in types:
            takers = self._plan.takers(source, event_type)
            yield tuple(self._planned(self._lanes[taker.id], now, shared) for taker in takers)

    def _planned(self, lane: Lane, now: Instant, shared: dict[EndpointId, NewDelivery]) -> NewDelivery:
        if not lane.endpoint.once_per_request:
            return self._new(lane, now)
        delivery = shared.get(lane.endpoint.id)
        if delivery is None:
            delivery = shared[lane.endpoint.id] = self._new(lane, now)
        return delivery

    def _new(self, lane: Lane, now: Instant) -> NewDelivery:
        endpoint, delivery = lane.endpoint.id, new_delivery_id(now, self._random_bytes)
        # If older deliveries wait in the store, this one waits there too. During an isolated attempt nothing else is leased.
        if not self._running or self._isolation.is_active or lane.more or lane.room == 0:
            return NewDelivery(id=delivery, endpoint=endpoint, due_at=now)
        lane.reserved += 1
        until = plus(now, LEASE_S)
        lease = Lease(random_63_bits(self._random_bytes))
        return NewDelivery(id=delivery, endpoint=endpoint, due_at=until, lease=lease, lease_until=until)

    def stored(self, event: StoredEvent, deliveries: Sequence[NewDelivery]) -> None:
        """The deliveries of one event are durable: send those that were born leased, and see to the others."""
        for delivery in deliveries:
            lane = self._lanes.get(delivery.endpoint)
            if lane is None or self._ended.is_set():
                continue  # the endpoint was taken away meanwhile, or we are: a lease lapses
            if delivery.lease is None or delivery.lease_until is None:
                lane.more = True
                self._roomier(lane)
                continue
            lane.give_place_back()
            if not lane.is_open:
                continue  # its consent ended while the event was being stored: the lease lapses
            if delivery.id in self._held:
                # The lease ended before this call: the process stood still, or the wall clock was set. This process has
                # claimed the delivery since. The place of a second entry would never be free again.
                continue
            self._take(_claim(delivery, delivery.lease, event), lane, delivery.lease_until)
            self._feed(lane)

    def abandoned(self, deliveries: Sequence[NewDelivery]) -> None:
        """The deliveries were not stored (the commit failed, or the event is a duplicate): their slots are free again."""
        for delivery in deliveries:
            lane = self._lanes.get(delivery.endpoint)
            if lane is not None and delivery.lease is not None:
                lane.give_place_back()
                self._roomier(lane)

    # --- the operator's side ----------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Something may have become due: a replay, a released request, work of another process."""
        for lane in self._lanes.values():
            lane.more = True
        self._wake.set()

    def admit(self, endpoint: EndpointId, per_minute: int | None) -> None:
        """The endpoint has consented to that rate (None: any): what waits for it may be sent."""
        lane = self._lanes.get(endpoint)
        if lane is not None and lane.endpoint.needs_consent:
            lane.grant(per_minute)
            lane.more = True
            self._wake.set()
            self._paced.set()

    async def close(self, endpoint: EndpointId) -> None:
        """The endpoint has not consented, or no longer: what waits is given back, what is being sent finishes."""
        lane = self._lanes.get(endpoint)
        if lane is not None and lane.endpoint.needs_consent:
            lane.is_open = False
            await self._release(self._drop_waiting(lane))

    def begin(self, endpoint: EndpointId) -> bool:
        """A call outside of the deliveries is about to be made: it counts for the rate. False when that is used up."""
        lane, now = self._lanes.get(endpoint), self._clock.now()
        if lane is None or not lane.may_start(now):
            return False
        lane.note_start(now)
        return True

    @property
    def loops(self) -> Mapping[str, asyncio.Task[None]]:
        """Return the tasks that run from `start` to `stop`, by name. If one of them ends, deliveries stop."""
        return dict(zip(("claim_loop", "lease_loop", "rate_loop", "suspect_loop"), self._tasks, strict=False))

    async def start(self) -> None:
        """Begin. Before this, the caller has voided what a dead process of an embedded store had leased."""
        self._running = True
        self._tasks = [
            asyncio.create_task(one)
            for one in (self._run(), self._keep_leases(), self._open_lanes(), self._isolation.run())
        ]

    async def stop(self, grace_s: float) -> None:
        """Claim nothing more, let what is being sent finish for `grace_s`, then cut it off and give all leases back."""
        if not self._running:
            return
        self._running = False
        self._wake.set()
        self._stopping.set()
        self._isolation.stop()
        self._calm.set()
        # A loop that crashed was reported when it ended. Its exception must not keep us from giving leases back.
        await asyncio.gather(self._tasks[0], return_exceptions=True)
        await self._release([held for lane in self._lanes.values() for held in self._drop_waiting(lane)])
        if not await self._settled(grace_s):
            self._hurried = True
            await asyncio.sleep(0)  # a task that has not begun could not clean up after itself
            for one in self._tries:
                if one.task is not None:
                    one.task.cancel()
            await self._settled(_LAST_S)
        await self._release([held for lane in self._lanes.values() for held in self._drop_waiting(lane)])
        self._ended.set()
        self._paced.set()
        await asyncio.gather(*self._tasks[1:], return_exceptions=True)
        reach(Step.DRAINED)

    async def reconfigure(self, endpoints: Iterable[Endpoint], destinations: Destinations) -> None:
        """Go on with these endpoints. What waits for one that is gone or suspended is given back.

        What is being sent to it finishes.
        """
        before = self._lanes
        self._lay(tuple(endpoints), destinations)
        gone = [
            lane
            for endpoint, lane in before.items()
            if endpoint not in self._lanes or self._lanes[endpoint].endpoint.suspended
        ]
        await self._release([held for lane in gone for held in self._drop_waiting(lane)])
        self.wake()

    def _lay(self, endpoints: tuple[Endpoint, ...], destinations: Destinations) -> None:
        count = max(len(endpoints), 1)
        backlog = max(BACKLOG_LEAST, min(BACKLOG_MOST, BACKLOG_ALL // count))
        lanes: dict[EndpointId, Lane] = {}
        for endpoint in endpoints:
            lane = self._lanes.get(endpoint.id)
            if lane is None:
                lane = Lane(endpoint, destinations[endpoint.id], backlog, BUDGET_BYTES // count)
            else:
                lane.use(endpoint, destinations[endpoint.id])
            lanes[endpoint.id] = lane
        self._lanes = lanes
        self._plan = Plan(endpoints)

    # --- claim ------------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        pause_s = _IDLE_S
        while self._running:
            self._wake.clear()
            try:
                wait_s = await self._round()
                pause_s = _IDLE_S
            except Exception as error:  # noqa: BLE001 - whatever the store does, the loop goes on
                self._observer.broke(None, "claim", type(error).__name__)
                pause_s = min(pause_s * 2, POLL_S)
                # Not `_wake`: requests and results that the store refuses set it all the time, and none makes the
                # next claim succeed. Only the stop ends this pause early.
                await self._clock.wait(self._stopping, pause_s)
                continue
            if wait_s > 0:
                self._asleep_until = plus(self._clock.now(), wait_s)
                await self._clock.wait(self._wake, wait_s)
                self._asleep_until = None

    async def _round(self) -> float:
        """Claim once, and say for how many seconds there is nothing to do."""
        if self._may_have_lapsed():
            await self._renew()
            for lane in self._lanes.values():
                self._feed(lane)
        now = self._clock.now()
        asked = self._asked()
        claimed: Sequence[Claimed] = ()
        if asked:
            for endpoint in asked:
                self._lanes[endpoint].more = False  # before the claim: what is told meanwhile sets it again
            self._claims += 1
            self._busy += 1
            try:
                claimed = await self._store.claim_due(asked, now, plus(now, LEASE_S))
                await self._taken(claimed, asked, plus(now, LEASE_S))
            except BaseException:
                # Without waking this loop, which waits before it tries again.
                for endpoint in asked:
                    if endpoint in self._lanes:
                        self._lanes[endpoint].more = True
                raise
            finally:
                self._end_work()
            if claimed and self._asked():
                return 0.0
        known = [endpoint for endpoint, lane in self._lanes.items() if not lane.more and lane.is_open]
        due = await self._store.next_due_at(known) if known else None
        missed = bool(asked) and not claimed and due is not None and due <= now
        now = self._clock.now()
        if due is None:
            return POLL_S
        if due > now:
            return min(seconds_between(now, due), POLL_S)
        for endpoint in known:
            if endpoint in self._lanes:
                self._lanes[endpoint].more = True
        if not self._asked():
            return POLL_S  # no lane has room; one that gets some wakes us
        return _IDLE_S if missed else 0.0  # was due at the claim and yet not claimed: another is at it, do not spin

    def _asked(self) -> dict[EndpointId, int]:
        """How many to claim for each lane that wants any; the share of each is the same, whatever the others' backlog."""
        if self._isolation.is_active:
            return {}
        hungry = [(endpoint, appetite) for endpoint, lane in self._lanes.items() if (appetite := lane.appetite)]
        if not hungry:
            return {}
        share = max(CLAIM_MOST // len(hungry), 1)
        # Each claim begins with another endpoint. A claim is bounded by bytes: large bodies of the first endpoints can use
        # all of it, and the last ones then get nothing.
        first = self._claims % len(hungry)
        return {endpoint: min(appetite, share) for endpoint, appetite in hungry[first:] + hungry[:first]}

    async def _taken(self, claimed: Sequence[Claimed], asked: Mapping[EndpointId, int], until: Instant) -> None:
        brought = dict.fromkeys(asked, 0)
        lost = {claim.endpoint for claim in claimed if claim.unexplained_losses}
        for endpoint in asked:
            if endpoint in self._lanes:
                self._lanes[endpoint].careful = endpoint in lost
        back: dict[DeliveryId, Lease] = {}
        for claim in claimed:
            brought[claim.endpoint] = brought.get(claim.endpoint, 0) + 1
            lane = self._lanes.get(claim.endpoint)
            held = self._held.get(claim.id)
            if held is not None:  # our own lease had lapsed while we held it: go on with the new one, never send beside
                held.lease, held.until, held.gone = claim.lease, until, False
            elif lane is None or not lane.is_open or not self._running:
                back[claim.id] = claim.lease
            elif claim.unexplained_losses >= SUSPECT_LOSSES:  # its lease lapsed and was counted by this claim
                back[claim.id] = claim.lease
                self._isolation.wake()
            elif lane.careful and not lane.room:
                back[claim.id] = claim.lease
                lane.more = True
            else:
                self._take(claim, lane, until)
        for endpoint, number in brought.items():
            lane = self._lanes.get(endpoint)
            if lane is not None:
                lane.more = lane.more or number >= asked.get(endpoint, 0)
                self._feed(lane)
        if back:
            await self._store.release(back, self._clock.now())

    def _end_work(self) -> None:
        self._busy -= 1
        if not self._busy:
            self._calm.set()

    # --- crash suspects ---------------------------------------------------------------------------------------------

    def called_endpoints(self) -> Collection[EndpointId]:
        """Return the endpoints that deliveries are sent to now."""
        return {endpoint for endpoint, lane in self._lanes.items() if lane.is_open}

    def endpoints_for_suspects(self) -> Mapping[EndpointId, RetryPolicy]:
        """Return the endpoints that may be called now, each with its retry policy."""
        now = self._clock.now()
        return {
            endpoint: lane.endpoint.policy
            for endpoint, lane in self._lanes.items()
            if lane.is_open and lane.is_free(now)
        }

    async def clear(self) -> bool:
        """Wait until nothing is in flight, and release what is queued. False if the engine is stopping."""
        while self._busy and self._running:
            self._calm.clear()
            await self._calm.wait()
        await self._release([held for lane in self._lanes.values() for held in self._drop_waiting(lane)])
        return self._running

    async def attempt_isolated(self, claim: Claimed, lease_until: Instant) -> None:
        """Attempt the delivery and return when its result is recorded."""
        lane, now = self._lanes.get(claim.endpoint), self._clock.now()
        # Released too if the claim took so long that its lease covers no whole attempt.
        covers = lane is not None and seconds_between(now, lease_until) >= lane.endpoint.timeout_s + COVER_S
        if lane is None or not covers or not lane.is_open or not self._running or not lane.is_free(now):
            await self._store.release({claim.id: claim.lease}, now)
            return
        held = self._take(claim, lane, lease_until)
        lane.put_first(held)
        call = self._start(lane, [held], now)
        # Not awaited itself: `stop` may cancel it, and it handles its own errors.
        await asyncio.wait([call])

    def resume(self) -> None:
        """Claim and dispatch again after an isolated attempt."""
        for lane in self._lanes.values():
            self._feed(lane)
        self.wake()

    # --- send -------------------------------------------------------------------------------------------------------

    def _take(self, claim: Claimed, lane: Lane, until: Instant) -> Held:
        shared = self._shared.get(claim.event.row.id)
        if shared is None:
            shared = self._shared[claim.event.row.id] = Shared()
        shared.users += 1
        held = Held(claim, lane, shared, until)
        self._held[claim.id] = held
        lane.hold(held)
        reach(Step.CLAIMED)
        return held

    def _feed(self, lane: Lane) -> None:
        """Start tries while the lane has free slots."""
        while self._running and lane.is_open and lane.waiting and lane.has_slot and not self._isolation.is_active:
            now = self._clock.now()
            together = lane.next(now, COVER_S)
            if not together:
                return
            if not lane.may_start(now):
                self._paced.set()
                return
            self._start(lane, together, now)

    def _start(self, lane: Lane, together: Sequence[Held], now: Instant) -> asyncio.Task[None]:
        one = lane.begin(together, now, self._clock.monotonic())
        self._tries.add(one)
        self._busy += 1
        one.task = asyncio.create_task(self._carry(one))
        return one.task

    async def _open_lanes(self) -> None:
        """Start tries that a rate held up, as their turns come."""
        while not self._ended.is_set():
            self._paced.clear()
            now = self._clock.now()
            for lane in self._lanes.values():
                if lane.opens_at is not None and lane.opens_at <= now:
                    lane.opens_at = None
                    self._feed(lane)
            opening = [lane.opens_at for lane in self._lanes.values() if lane.opens_at is not None]
            wait_s = seconds_between(now, min(opening)) if opening else None
            await self._clock.wait(self._paced, wait_s)

    async def _carry(self, one: Try) -> None:
        """One call from its slot to the records of what it carried."""
        lane = one.lane
        mine: Sequence[Held] = one.carried
        try:
            try:
                sent = await self._send(one)
            finally:
                self._tries.discard(one)
                lane.sending -= 1
                self._feed(lane)
            if isinstance(sent, Stopped):
                await self._release(mine)
            elif len(mine) > 1 and is_final(lane.endpoint.policy, sent):
                mine, apart = (), mine
                await self._part(lane, apart)
            else:
                await self._settle(one, sent)
        except Exception as error:  # noqa: BLE001 - a fault of ours with one call; its leases lapse
            self._observer.broke(lane.endpoint.id, "carry", type(error).__name__)
        finally:
            for held in mine:
                self._let_go(held)
            self._end_work()

    async def _part(self, lane: Lane, apart: Sequence[Held]) -> None:
        """Send each by itself what was refused together."""
        if not self._running or not lane.is_open or self._lanes.get(lane.endpoint.id) is not lane:
            await self._release(apart)
            return
        for held in apart:
            if held.gone:
                self._let_go(held)
        lane.wait_alone([held for held in apart if not held.gone])
        self._feed(lane)

    async def _settle(self, one: Try, sent: Answered | Failed | Rejected) -> None:
        """Record what came of the call for each delivery of it. Those of a batch come due again at the same time."""
        ended_at, seconds = self._clock.now(), self._clock.monotonic() - one.started
        jitter = self._random.random()
        results = [
            judge(
                one.lane.endpoint.policy,
                held.claim,
                sent,
                lease=held.lease,
                started_at=one.started_at,
                ended_at=ended_at,
                seconds=seconds,
                jitter=jitter,
            )
            for held in one.carried
        ]
        await asyncio.gather(*map(self._conclude, one.carried, results, repeat(seconds)))

    async def _conclude(self, held: Held, result: Result, seconds: float) -> None:
        if await self._record(held, result):
            self._let_go(held)
            self._observer.attempted(held.claim.endpoint, held.claim.id, result.state, result.attempt.reason, seconds)
            self._note_due(result.due_at)

    async def _send(self, one: Try) -> Sent:
        lane = one.lane
        try:
            if self._read_ahead is not None and not await self._prepare(one, self._read_ahead):
                return Stopped()
            now = one.started_at
            parcels = [self._parcel(held) for held in one.carried]
            reach(Step.SENDING)
            if len(parcels) == 1:
                sent = await lane.destination.send(parcels[0], now)
            else:
                sent = await lane.destination.send_together(parcels, now)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if one.overdue and task is not None:
                task.uncancel()
                sent = Failed(reason=AttemptReason.RESPONSE_TIMEOUT)
            elif not self._running and task is not None:
                task.uncancel()
                return Stopped()
            else:
                raise
        except Exception as error:  # noqa: BLE001 - one delivery's fault is one failed try, never the loop's end
            self._observer.broke(lane.endpoint.id, "send", type(error).__name__)
            # Of several, nobody knows whose fault it is until each has been sent by itself.
            broken = Failed if len(one.carried) == 1 else Rejected
            sent = broken(reason=AttemptReason.CONFIG_ERROR)
        reach(Step.SENT)
        lane.slow_start.note(lives=endpoint_lives(sent), allowed=lane.endpoint.concurrency)
        return sent

    def _parcel(self, held: Held) -> Parcel:
        claim = held.claim
        return Parcel(
            delivery=claim.id,
            endpoint=claim.endpoint,
            attempt=claim.attempts + 1,
            event=self._normalised(held),
            stored=claim.event,
        )

    async def _prepare(self, one: Try, read_ahead: ReadAhead) -> bool:
        """Read large bodies in steps, so that normalizing their events does not stop the event loop.

        Bodies are read one at a time, so this can take longer than the call. Return False if a lease does not cover the
        call any more.
        """
        large = [held for held in one.carried if len(held.claim.event.body) >= _LARGE_BYTES]
        if not large:
            return True
        one.preparing = True
        try:
            for held in large:
                async with self._reading_ahead:
                    await finish_in_turns(read_ahead(held.claim.event))
                    # One delivery for each turn of the event loop. Without this, all slots of a queue begin in one turn:
                    # 12 ms of CPU time for 16 slots and items of 350 bytes, in which nothing is received.
                    await asyncio.sleep(0)
        finally:
            one.preparing = False
        # The call begins now: neither its deadline nor the recorded attempt includes the preparation.
        one.started, one.started_at = self._clock.monotonic(), self._clock.now()
        least_s = one.lane.endpoint.timeout_s + COVER_S
        return not any(held.gone or seconds_between(one.started_at, held.until) < least_s for held in one.carried)

    def _normalised(self, held: Held) -> Event:
        """The event, made once though it goes to many endpoints."""
        shared = held.shared
        if shared.event is None:
            shared.event = self._normalise(held.claim.event)
        return shared.event

    # --- record -----------------------------------------------------------------------------------------------------

    async def _record(self, held: Held, result: Result) -> bool:
        """Write the result down, again and again while the lease lasts and the store cannot. True when it stands."""
        claim, pause_s = held.claim, 0.05
        for _ in range(_RECORD_TRIES):
            lease = held.lease
            try:
                if await self._store.record(_under(result, lease)):
                    return True
                if held.lease == lease:
                    self._observer.fenced(claim.endpoint, claim.id)
                    return False
                continue  # re-leased to ourselves in between
            except StoreUnavailable:
                if self._hurried or held.until <= self._clock.now():
                    break
            except Exception as error:  # noqa: BLE001 - the delivery is due again when its lease ends
                self._observer.broke(claim.endpoint, "record", type(error).__name__)
                break
            await self._clock.wait(self._ended, pause_s)
            pause_s = min(pause_s * 2, 5.0)
        self._observer.unrecorded(claim.endpoint, claim.id)
        return False

    def _let_go(self, held: Held) -> None:
        """The delivery is no longer this process's business."""
        held.trying = None  # the two would keep each other, and the event's bytes, until the collector comes: seldom
        if self._held.pop(held.claim.id, None) is None:
            return
        held.shared.users -= 1
        if not held.shared.users:
            del self._shared[held.claim.event.row.id]
        held.lane.let_go(held)
        self._roomier(held.lane)
        if not self._held:
            self._quiet.set()

    def _roomier(self, lane: Lane) -> None:
        if lane.more and lane.appetite:
            self._wake.set()

    def _note_due(self, due_at: Instant | None) -> None:
        """A retry is due earlier than the loop would wake by itself."""
        if due_at is not None and (self._asleep_until is None or due_at < self._asleep_until):
            self._asleep_until = due_at
            self._wake.set()

    # --- leases -----------------------------------------------------------------------------------------------------

    async def _keep_leases(self) -> None:
        while not await self._clock.wait(self._ended, HEARTBEAT_S):
            self._cut_off_overdue()
            try:
                await self._renew()
            except Exception as error:  # noqa: BLE001 - the next heartbeat tries again; a lease has six of them
                self._observer.broke(None, "renew", type(error).__name__)
            for lane in self._lanes.values():
                self._feed(lane)

    def _may_have_lapsed(self) -> bool:
        """Whether a lease that we hold may have ended before its heartbeat."""
        monotonic = self._clock.monotonic()
        ahead_s = to_unix(self._clock.now()) - monotonic
        self._least_ahead_s = min(self._least_ahead_s, ahead_s)
        return ahead_s > self._least_ahead_s + HEARTBEAT_S or monotonic > self._renewed + 2 * HEARTBEAT_S

    async def _renew(self) -> None:
        now, monotonic = self._clock.now(), self._clock.monotonic()
        ageing = plus(now, LEASE_S - HEARTBEAT_S)
        leases = {held.claim.id: held.lease for held in self._held.values() if held.until <= ageing and not held.gone}
        until = plus(now, LEASE_S)
        kept = frozenset(await self._store.renew(leases, until)) if leases else frozenset()
        self._renewed, self._least_ahead_s = monotonic, to_unix(now) - monotonic
        for delivery, lease in leases.items():
            held = self._held.get(delivery)
            if held is None or held.gone or held.lease != lease:
                # Recorded, released or claimed again during the renewal. Over two connections a release can commit first;
                # `_release` then removes the delivery.
                continue
            if delivery in kept:
                held.until = until
                continue
            held.gone = True
            if held.trying is None:
                held.lane.waiting.remove(held)
                self._let_go(held)

    def _cut_off_overdue(self) -> None:
        limit = self._clock.monotonic() - OVERDUE_S
        for one in self._tries:
            if one.started <= limit and one.task is not None and not one.overdue and not one.preparing:
                one.overdue = True
                one.task.cancel()

    def _drop_waiting(self, lane: Lane) -> list[Held]:
        dropped = list(lane.waiting)
        lane.waiting.clear()
        return dropped

    async def _release(self, given_back: Collection[Held]) -> None:
        """Give leases back untried. When the store cannot, they lapse by themselves."""
        leases = {held.claim.id: held.lease for held in given_back if not held.gone}
        for held in given_back:
            held.gone = True
        try:
            if leases:
                await self._store.release(leases, self._clock.now())
        except StoreError as error:
            self._observer.broke(None, "release", type(error).__name__)
        finally:
            for held in given_back:
                self._let_go(held)

    async def _settled(self, within_s: float) -> bool:
        self._quiet.clear()
        return not self._held or await self._clock.wait(self._quiet, within_s)


def _under(result: Result, lease: Lease) -> Result:
    if result.lease == lease:
        return result
    return Result(
        delivery=result.delivery, lease=lease, attempt=result.attempt, state=result.state, due_at=result.due_at
    )


def _claim(delivery: NewDelivery, lease: Lease, event: StoredEvent) -> Claimed:
    """A delivery that was born leased, as if it had been claimed."""
    return Claimed(
        id=delivery.id,
        endpoint=delivery.endpoint,
        lease=lease,
        attempts=0,
        losses=0,
        first_attempt_at=None,
        event=event,
    )
