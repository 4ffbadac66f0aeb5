"""One endpoint's share of the engine: what it holds, what it may still take, what may be sent next. Never waits.

Every delivery that this node has leased is a `Held` in exactly one lane. It waits, is being sent, or has been sent and
is being recorded. The bound of a lane is on all three together, and on the slots reserved for deliveries that are being
stored at the moment; it is the lane's own, so that a dead endpoint fills its own lane and nobody else's.
"""

import asyncio
from collections import deque

from hookseal.clock import Instant
from hookseal.delivery.endpoint import Endpoint
from hookseal.delivery.slow_start import SlowStart
from hookseal.destinations.port import Destination
from hookseal.model import Event
from hookseal.store.port import Claimed, Lease


class Shared:
    """The normalised event, for all deliveries of it that this process holds."""

    __slots__ = ("event", "users")

    def __init__(self) -> None:
        self.event: Event | None = None
        self.users = 0


class Held:
    """A leased delivery in this process.

    until     when the lease ends, as last renewed.
    suspect   holders have died with it; no second such delivery is in flight in its lane.
    started   monotonic time at which sending began; None before and after.
    overdue   the try has passed every deadline and is being cut off.
    gone      the lease is lost or given back: whatever comes of the try, it is not ours to record.
    """

    __slots__ = ("bytes", "claim", "gone", "lane", "lease", "overdue", "shared", "started", "suspect", "task", "until")

    def __init__(self, claim: Claimed, lane: "Lane", shared: Shared, until: Instant, suspect: bool) -> None:
        self.claim = claim
        self.lane = lane
        self.shared = shared
        self.lease: Lease = claim.lease
        self.until = until
        self.suspect = suspect
        self.bytes = len(claim.event.body)
        self.started: float | None = None
        self.overdue = False
        self.gone = False
        self.task: asyncio.Task[None] | None = None


class Lane:
    """See the module head.

    more      the store may hold work for this endpoint that is due and not leased.
    careful   the last claim brought a suspect: claim one at a time, and none while one is held.
    """

    def __init__(self, endpoint: Endpoint, destination: Destination, backlog: int, budget_bytes: int) -> None:
        self.endpoint = endpoint
        self.destination = destination
        self.waiting: deque[Held] = deque()
        self.sending = 0
        self.reserved = 0
        self.more = True
        self.careful = False
        self.suspects = 0
        self.slow_start = SlowStart()
        self._backlog = backlog
        self._budget_bytes = budget_bytes
        self._held = 0
        self._bytes = 0

    @property
    def has_slot(self) -> bool:
        """Whether one more try may run at once with those that do."""
        return self.sending < self.slow_start.width(self.endpoint.concurrency)

    @property
    def room(self) -> int:
        """How many more deliveries may be held. Large bodies close the backlog early, the slots never."""
        taken = self._held + self.reserved
        backlog = self._backlog if self._bytes < self._budget_bytes else 0
        return max(self.endpoint.concurrency + backlog - taken, 0)

    @property
    def appetite(self) -> int:
        """How many to claim now. Waits until half the room is free, so that a claim is worth its transaction."""
        if not self.more:
            return 0
        if self.careful:
            return 0 if self.suspects or not self.room else 1
        room = self.room
        full = self.endpoint.concurrency + self._backlog
        return room if room * 2 >= full or not self.waiting else 0

    def give_place_back(self) -> None:
        """A reserved slot is taken or free again. None is reserved where the lane was made anew in between."""
        self.reserved = max(self.reserved - 1, 0)

    def hold(self, held: Held) -> None:
        self._held += 1
        self._bytes += held.bytes
        self.suspects += held.suspect
        self.waiting.append(held)

    def let_go(self, held: Held) -> None:
        """Once for each `hold`, when the delivery is recorded, given back or lost. It must not be waiting any more."""
        self._held -= 1
        self._bytes -= held.bytes
        self.suspects -= held.suspect
