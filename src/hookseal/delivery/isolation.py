"""Isolated attempts of crash suspects: one delivery at a time, with no other delivery in flight in this process.

Theory of operation
- A process that ends without a result loses its leases. Any of the deliveries that it had leased may be the cause, or
  none: an operator's kill, a lack of memory, a defect elsewhere. One or two losses therefore prove nothing.
- A delivery with `SUSPECT_LOSSES` (2) losses since its last recorded attempt is a crash suspect. The engine's claims
  leave it out. This loop attempts it alone: no claim, no insert with a lease and no call is started, calls under way
  finish, queued deliveries are released, and only then is the suspect claimed. The store notes in the same transaction
  that the lease is for an isolated attempt. If the process ends now, this delivery alone has an isolated loss. A delivery
  that was planned with a lease before the isolation, and is stored during it, is not sent; it has a loss as usual.
- A suspect that was lost in isolation waits as long as its retry policy waits after a failed attempt.
- A recorded attempt, successful or not, ends the suspicion: the process survived it.
- After `ISOLATED_LOSSES_MAX` (10) isolated losses in a row the delivery is dead, reason `worker_lost`. No attempt is
  recorded, because the results are unknown. Ten is the number of attempts of `standard`, so a delivery whose process
  dies gets as many attempts, over as long a time (75 h 35 min), as one whose endpoint fails. If crashes that have another
  cause hit every second isolated attempt, ten in a row have a probability of 0.001.
- An event that ends the process each time therefore causes 2 + 10 crashes. Its neighbours lose at most their leases in
  the first two.
- Isolation stops all other deliveries. After it the loop rests `REST` (4) times as long as that lasted, so that many
  suspects of a slow endpoint take at most a fifth of the time.
"""

import asyncio
from collections.abc import Mapping
from typing import Protocol

from hookseal.clock import Clock, Instant, plus, seconds_between
from hookseal.delivery.observer import Observer
from hookseal.delivery.policy import RetryPolicy
from hookseal.delivery.schedule import wait_after_loss
from hookseal.model import AttemptReason, DeliveryState, EndpointId
from hookseal.store.port import Claimed, Store, Suspect

ISOLATED_LOSSES_MAX = 10
REST = 4.0
_SLICE = 64


class Deliveries(Protocol):
    """What the engine does for an isolated attempt."""

    def endpoints_for_suspects(self) -> Mapping[EndpointId, RetryPolicy]:
        """Return the endpoints that may be called now, each with its retry policy."""
        ...

    async def clear(self) -> bool:
        """Wait until nothing is in flight, and release what is queued. False if the engine is stopping."""
        ...

    async def attempt_isolated(self, claim: Claimed, lease_until: Instant) -> None:
        """Attempt the delivery and return when its result is recorded."""
        ...

    def resume(self) -> None:
        """Claim and dispatch again."""
        ...


class Isolation:
    """The loop. `is_active` is True while the engine must start nothing else."""

    def __init__(
        self,
        deliveries: Deliveries,
        store: Store,
        clock: Clock,
        observer: Observer,
        *,
        lease_s: float,
        poll_s: float,
    ) -> None:
        self._deliveries = deliveries
        self._store = store
        self._clock = clock
        self._observer = observer
        self._lease_s = lease_s
        self._poll_s = poll_s
        self._wake = asyncio.Event()
        self._stopped = False
        self._rests_until = clock.monotonic()
        self.is_active = False

    def wake(self) -> None:
        """Look for due suspects now."""
        self._wake.set()

    def stop(self) -> None:
        self._stopped = True
        self._wake.set()

    async def run(self) -> None:
        while not self._stopped:
            self._wake.clear()
            try:
                wait_s = await self._round()
            except Exception as error:  # noqa: BLE001 - whatever the store does, the loop goes on
                self._observer.broke(None, "isolate", type(error).__name__)
                wait_s = self._poll_s
            if wait_s > 0:
                await self._clock.wait(self._wake, wait_s)

    async def _round(self) -> float:
        """Attempt at most one suspect. Return for how many seconds there is nothing to do."""
        policies = self._deliveries.endpoints_for_suspects()
        # A read first: in most stores there is no suspect, and a write costs a transaction.
        due = await self._store.next_suspect_at(list(policies)) if policies else None
        now = self._clock.now()
        if due is None:
            return self._poll_s
        if due > now:
            return min(seconds_between(now, due), self._poll_s)
        rest_s = self._rests_until - self._clock.monotonic()
        if rest_s > 0:
            return min(rest_s, self._poll_s)
        suspects = await self._store.due_suspects(list(policies), now, _SLICE)
        for suspect in suspects:
            if suspect.isolated_losses >= ISOLATED_LOSSES_MAX:
                await self._end(suspect)
        remaining = [suspect for suspect in suspects if suspect.isolated_losses < ISOLATED_LOSSES_MAX]
        if remaining:
            await self._attempt(remaining[0], policies[remaining[0].endpoint])
            return 0.0
        # Another node may be attempting the one that was due.
        return 0.0 if suspects else self._poll_s

    async def _end(self, suspect: Suspect) -> None:
        if await self._store.end_suspect(suspect.delivery, self._clock.now()):
            self._observer.ended(
                suspect.endpoint, suspect.delivery, DeliveryState.DEAD, AttemptReason.WORKER_LOST.value
            )

    async def _attempt(self, suspect: Suspect, policy: RetryPolicy) -> None:
        started = self._clock.monotonic()
        self.is_active = True
        try:
            if not await self._deliveries.clear():
                return
            now = self._clock.now()
            until = plus(now, self._lease_s)
            due_if_lost = plus(now, wait_after_loss(policy, suspect.isolated_losses + 1))
            self._observer.isolated(suspect.endpoint, suspect.delivery)
            claim = await self._store.claim_suspect(suspect.delivery, now, until, due_if_lost)
            if claim is not None:
                await self._deliveries.attempt_isolated(claim, until)
        finally:
            ended = self._clock.monotonic()
            self._rests_until = ended + REST * (ended - started)
            self.is_active = False
            self._deliveries.resume()
