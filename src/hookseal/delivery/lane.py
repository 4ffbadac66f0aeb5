"""One endpoint's share of the engine: what it holds, what it may still take, what may be sent next. Never waits.

Every delivery that this node has leased is a `Held` in exactly one lane. It waits, is being sent, or has been sent and
is being recorded. The bound of a lane is on all three together, and on the slots reserved for deliveries that are being
stored at the moment; it is the lane's own, so that a dead endpoint fills its own lane and nobody else's.

A slot is one call, a `Try`. It carries one delivery, or up to `batch` where the endpoint takes several at once: those
that wait when a slot is free go together, and nothing is held back so that a batch may fill.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

from hookseal.clock import Instant, seconds_between
from hookseal.delivery.endpoint import Endpoint
from hookseal.delivery.pace import Pace
from hookseal.delivery.slow_start import SlowStart
from hookseal.destinations.port import Destination
from hookseal.model import Event
from hookseal.store.port import Claimed, Lease

BATCH_BYTES = 256 * 1024
"""What the bodies of one batch may come to, as received; of a request with several events, the share of each. A normalized
event is about three times as long (median of the providers' examples: 2.8), so that a batch usually stays below 1 MB."""


class Shared:
    """The normalised event, for all deliveries of it that this process holds."""

    __slots__ = ("event", "users")

    def __init__(self) -> None:
        self.event: Event | None = None
        self.users = 0


class Held:
    """A leased delivery in this process.

    until     when the lease ends, as last renewed.
    alone     it shares no call: a batch with it was refused for good, or it is a crash suspect.
    trying    the call that carries it, until the result is recorded; None while it waits.
    gone      the lease is lost or given back: whatever comes of the try, it is not ours to record.
    """

    __slots__ = ("alone", "bytes", "claim", "gone", "lane", "lease", "shared", "trying", "until")

    def __init__(self, claim: Claimed, lane: "Lane", shared: Shared, until: Instant) -> None:
        self.claim = claim
        self.lane = lane
        self.shared = shared
        self.lease: Lease = claim.lease
        self.until = until
        # Its share of the request. The body itself is in memory once for all events of the request: see `Lane.hold`.
        self.bytes = len(claim.event.body) // max(claim.event.siblings, 1)
        self.alone = False
        self.gone = False
        self.trying: Try | None = None


class Try:
    """One call under way, and what it carries.

    started, started_at  when it began, by the monotonic clock and by the wall clock.
    preparing            large requests that it carries are being read; it begins after that.
    overdue              it has passed every deadline and is being cut off.
    """

    __slots__ = ("carried", "lane", "overdue", "preparing", "started", "started_at", "task")

    def __init__(self, lane: "Lane", carried: Sequence[Held], started: float, started_at: Instant) -> None:
        self.lane = lane
        self.carried = carried
        self.started = started
        self.started_at = started_at
        self.preparing = False
        self.overdue = False
        self.task: asyncio.Task[None] | None = None
        for held in carried:
            held.trying = self


class Lane:
    """See the module head.

    more      the store may hold work for this endpoint that is due and not leased.
    careful   claim no more than can be sent at once. True until a claim brings no delivery that was lost before: one of
              them may end this process, and what is leased then may be suspected next.
    is_open   False while the endpoint has not consented or is suspended: nothing is leased for it, and nothing sent.
    opens_at  when the next try may begin, where the rate holds one up; None when none is held up.
    """

    def __init__(self, endpoint: Endpoint, destination: Destination, backlog: int, budget_bytes: int) -> None:
        self.endpoint = endpoint
        self.destination = destination
        self.waiting: deque[Held] = deque()
        self.sending = 0
        self.reserved = 0
        self.more = True
        self.careful = True
        self.slow_start = SlowStart()
        self.is_open = not endpoint.needs_consent and not endpoint.suspended
        self.opens_at: Instant | None = None
        self.granted_per_min: int | None = None
        self._pace = Pace(endpoint.rate_per_min)
        self._backlog = backlog
        self._budget_bytes = budget_bytes
        self._held = 0
        self._bytes = 0
        self._requests: dict[int, int] = {}
        """Deliveries held of each request with several events, by the identity of its bytes."""

    @property
    def has_slot(self) -> bool:
        """Whether one more try may run at once with those that do."""
        return self.sending < self.slow_start.width(self.endpoint.concurrency)

    @property
    def room(self) -> int:
        """How many more deliveries may be held. Large bodies close the backlog early, the slots never."""
        if not self.is_open:
            return 0
        backlog = self._backlog if self._bytes < self._budget_bytes and not self.careful else 0
        return max(self._bounded(self._slots + backlog) - self._held - self.reserved, 0)

    @property
    def _slots(self) -> int:
        return self.endpoint.concurrency * self.endpoint.batch

    def _bounded(self, places: int) -> int:
        """No more is leased than the rate lets go in a minute, so that no lease is held for much longer than that."""
        rate = self._pace.per_minute
        return places if rate is None else min(places, rate * self.endpoint.batch)

    @property
    def appetite(self) -> int:
        """How many to claim now. Waits until half the room is free, so that a claim is worth its transaction."""
        if not self.more:
            return 0
        room = self.room
        full = self._bounded(self._slots + self._backlog)
        return room if room * 2 >= full or not self.waiting else 0

    def next(self, now: Instant, cover_s: float) -> list[Held]:
        """What the next call would carry, from the head of the line. Empty also while the first must wait for the
        heartbeat that renews its lease, or finds that it is lost.

        cover_s  what a lease must have left beyond the endpoint's timeout.
        """
        together: list[Held] = []
        size = 0
        for held in self.waiting:
            if seconds_between(now, held.until) < self.endpoint.timeout_s + cover_s:
                break
            size += held.bytes
            if together and (held.alone or size > BATCH_BYTES):
                break
            together.append(held)
            if held.alone or len(together) == self.endpoint.batch:
                break
        return together

    def begin(self, together: Sequence[Held], now: Instant, started: float) -> Try:
        """The call begins with what `next` told: a slot and a place in the rate are taken."""
        for _ in together:
            self.waiting.popleft()
        self._pace.note(now)
        self.sending += 1
        return Try(self, together, started, now)

    def wait_alone(self, again: Sequence[Held]) -> None:
        """Put deliveries back to the head of the line, each to be sent by itself."""
        for held in reversed(again):
            held.trying, held.alone = None, True
            self.waiting.appendleft(held)

    def put_first(self, held: Held) -> None:
        """Let the next call carry this one alone, though others came first."""
        self.waiting.remove(held)
        self.wait_alone([held])

    def use(self, endpoint: Endpoint, destination: Destination) -> None:
        """Go on with changed settings. What was consented to for another URL counts for nothing."""
        before = self.endpoint
        if (endpoint.url, endpoint.handshake, endpoint.suspended) != (before.url, before.handshake, before.suspended):
            self.is_open = not endpoint.needs_consent and not endpoint.suspended
            self.granted_per_min = None
        self.endpoint, self.destination = endpoint, destination
        self._set_pace()

    def grant(self, per_minute: int | None) -> None:
        """The endpoint has consented. per_minute: None is any rate."""
        self.is_open, self.granted_per_min = True, per_minute
        self._set_pace()

    def _set_pace(self) -> None:
        rates = [one for one in (self.endpoint.rate_per_min, self.granted_per_min) if one is not None]
        self._pace.per_minute = min(rates, default=None)

    def is_free(self, now: Instant) -> bool:
        """Whether the rate allows a call now. Changes nothing."""
        return self._pace.free_at(now) <= now

    def may_start(self, now: Instant) -> bool:
        """Whether the rate lets one more try begin now; else `opens_at` says when to ask again."""
        free = self._pace.free_at(now)
        self.opens_at = free if free > now else None
        return self.opens_at is None

    def note_start(self, now: Instant) -> None:
        self._pace.note(now)

    def give_place_back(self) -> None:
        """A reserved slot is taken or free again. None is reserved where the lane was made anew in between."""
        self.reserved = max(self.reserved - 1, 0)

    def hold(self, held: Held) -> None:
        self._held += 1
        self._bytes += held.bytes
        raw = held.claim.event.raw
        if raw is not None and held.claim.event.siblings > 1:
            many = self._requests.get(id(raw), 0)
            self._requests[id(raw)] = many + 1
            self._bytes += 0 if many else len(raw.body)
        self.waiting.append(held)

    def let_go(self, held: Held) -> None:
        """Once for each `hold`, when the delivery is recorded, given back or lost. It must not be waiting any more."""
        self._held -= 1
        self._bytes -= held.bytes
        raw = held.claim.event.raw
        if raw is not None and held.claim.event.siblings > 1:
            left = self._requests.pop(id(raw)) - 1
            if left:
                self._requests[id(raw)] = left
            else:
                self._bytes -= len(raw.body)
