"""Everything that a store is asked to do in its life, a few hundred times, by several that ask at once.

Requests of one to three events and of many sizes; the same sent again, also while the first is under way, also with
other content; claims, results, cancellations, leases renewed and given back; refusals; replays; the store closed and
opened again; and beside all that what is done to a store as it ages, see `upkeep`. The log is moved into the database
all the time, because its bounds are small.
"""

import asyncio
import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from power.crash_disk import CrashDisk
from power.ledger import NOW, Accepted, Ending, Ledger, Moved, Refused, Replayed
from power.upkeep import DAY_S, Upkeep, upkeep

from hookseal import probe
from hookseal.clock import plus
from hookseal.errors import NotFound
from hookseal.ids import new_delivery_id, new_event_id, new_refusal_id
from hookseal.model import DeliveryId, DeliveryState, EndpointId, SourceId
from hookseal.probe import Step
from hookseal.store.port import AttemptRow, Claimed, NewDelivery, NewEvent, NewRequest, Refusal, Replay, Result
from hookseal.store.sqlite import SqliteStore

CORE, AUDIT, LATER = EndpointId("core"), EndpointId("audit"), EndpointId("later")
_SOURCES = (SourceId("zignsec"), SourceId("idenfy"), SourceId("sealid"))
_BOUNDS: dict[str, Any] = {
    "dedupe_capacity": 40,
    "dedupe_buffered": 12,
    "log_start_pages": 24,
    "log_bound_pages": 60,
}


@dataclass(frozen=True, slots=True)
class Extent:
    """rounds: each of some requests at once and what follows them. lives: how often the store is opened. upkeep: what is
    done beside, `retention`, `rotation` or nothing."""

    rounds: int = 8
    lives: int = 2
    upkeep: str = ""


async def live(folder: Path, disk: CrashDisk, vfs: str, ledger: Ledger, seed: int, extent: Extent) -> None:
    """Use a store in `folder` through the VFS, and write down in `ledger` what it acknowledged."""
    committed = disk.position

    def note_commit(step: Step) -> None:
        nonlocal committed
        if step is Step.COMMITTED:
            committed = disk.position

    leave = probe.listen(note_commit)
    try:
        for life in range(extent.lives):
            store = SqliteStore(folder / "hookseal.db", ledger.keyring, vfs=vfs, **_BOUNDS)
            await store.open()
            dice = random.Random(f"{seed} {life}")
            beside = upkeep(extent.upkeep, store, ledger, dice, lambda: disk.position)
            using = _Using(store, ledger, dice, lambda: committed, beside, lambda: disk.position)
            await store.void_leases(NOW)
            for number in range(extent.rounds):
                await using.round(number)
            await store.close()
    finally:
        leave()


class _Using:
    """committed, position: where the log stands as of the last commit, and where it stands."""

    def __init__(
        self,
        store: SqliteStore,
        ledger: Ledger,
        dice: random.Random,
        committed: Callable[[], int],
        beside: Upkeep,
        position: Callable[[], int],
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._dice = dice
        self._committed = committed
        self._beside = beside
        self._position = position

    async def round(self, number: int) -> None:
        requests = [self._request() for _ in range(self._dice.randint(1, 8))]
        again = self._dice.sample(self._ledger.sent, min(2, len(self._ledger.sent)))
        twins = [self._twin(one) for one in (*requests[:1], *again)]
        await asyncio.gather(
            *(self._accept(one) for one in (*requests, *twins)),
            self._deliver(),
            self._refuse(),
            self._cancel(),
            self._beside.step(),
        )
        if number % 5 == 4:
            await self._replay()

    def _request(self) -> NewRequest:
        body = self._dice.randbytes(self._dice.choice((20, 300, 1500, 6000)))
        events = tuple(self._event(body, item) for item in range(self._dice.choice((1, 1, 1, 3))))
        return NewRequest(
            source=self._dice.choice(_SOURCES),
            received_at=plus(NOW, self._dice.choice((0, 0, 90_000, -100 * DAY_S, -500 * DAY_S))),
            headers=((b"content-type", b"application/json"),),
            body=body,
            events=events,
        )

    def _event(self, body: bytes, item: int) -> NewEvent:
        key = hashlib.sha256(b"%d %b" % (item, body)).digest()
        return NewEvent(
            id=new_event_id(NOW),
            item=item,
            type="identity.verification.completed",
            dedupe_key=key,
            content=hashlib.sha256(body).digest(),
            provider_id=key.hex(),
            subject=f"person {body[0]}",
            deliveries=self._plan(),
        )

    def _plan(self) -> tuple[NewDelivery, ...]:
        lease = (
            {"lease": self._dice.getrandbits(60) + 1, "lease_until": plus(NOW, 60)} if self._dice.random() < 0.5 else {}
        )
        return tuple(
            NewDelivery(id=new_delivery_id(NOW), endpoint=endpoint, due_at=NOW, **lease) for endpoint in (CORE, AUDIT)
        )

    def _twin(self, request: NewRequest) -> NewRequest:
        """The request as it arrives again; sometimes its content was changed, which is a conflict."""
        content = self._dice.random() < 0.2
        events = tuple(
            NewEvent(
                id=new_event_id(NOW),
                item=event.item,
                type=event.type,
                dedupe_key=event.dedupe_key,
                content=hashlib.sha256(b"other").digest() if content else event.content,
                provider_id=event.provider_id,
                subject=event.subject,
                deliveries=self._plan(),
            )
            for event in request.events
        )
        return NewRequest(
            source=request.source,
            received_at=request.received_at,
            headers=request.headers,
            body=request.body,
            events=events,
        )

    async def _accept(self, request: NewRequest) -> None:
        self._ledger.sent.append(request)
        stored = await self._store.accept(request)
        new = frozenset(one.event for one in stored if not one.duplicate)
        self._ledger.accepted.append(Accepted(self._committed(), request, tuple(one.event for one in stored), new))

    async def _deliver(self) -> None:
        late = plus(NOW, self._dice.choice((0, 0, 120)))
        free = 60 if self._dice.random() < self._beside.hurry else 6
        claimed = await self._store.claim_due({CORE: free, AUDIT: free, LATER: free}, late, plus(late, 60))
        held = {one.id: one.lease for one in claimed[:2]}
        if held:
            await self._store.renew(held, plus(late, 90))
        await asyncio.gather(*(self._record(one) for one in claimed[1:]))
        if claimed and self._dice.random() < 0.5:
            await self._store.release({claimed[0].id: claimed[0].lease}, NOW)

    async def _record(self, one: Claimed) -> None:
        state = self._dice.choice(
            (DeliveryState.DELIVERED, DeliveryState.DELIVERED, DeliveryState.PENDING, DeliveryState.DEAD)
        )
        ok = state is DeliveryState.DELIVERED
        started_at = plus(NOW, self._dice.choice((0, -50 * DAY_S)))
        attempt = AttemptRow(
            number=one.attempts + 1,
            started_at=started_at,
            duration_ms=12,
            status=200 if ok else 503,
            reason=None if ok else "http_503",
        )
        due = plus(NOW, 5) if state is DeliveryState.PENDING else None
        result = Result(delivery=one.id, lease=one.lease, attempt=attempt, state=state, due_at=due)
        if state is not DeliveryState.PENDING:
            self._ledger.ending.append(Ending(self._position(), one.id, plus(started_at, 0.012)))
        if await self._store.record(result):
            self._ledger.moved.append(Moved(self._committed(), one.id, state, one.attempts + 1))

    async def _refuse(self) -> None:
        refusal = Refusal(
            id=new_refusal_id(NOW),
            source=self._dice.choice(_SOURCES),
            received_at=plus(NOW, self._dice.choice((0, -100 * DAY_S))),
            reason="signature_mismatch",
            method="POST",
            url=None,
            remote="192.0.2.7",
            headers=(),
            body=self._dice.randbytes(self._dice.choice((10, 900))),
        )
        await self._store.quarantine(refusal)
        self._ledger.refused.append(Refused(self._committed(), refusal))

    async def _cancel(self) -> None:
        plans: Sequence[NewDelivery] = [
            plan
            for one in self._ledger.accepted[-3:]
            for event in one.request.events
            if event.id in one.new
            for plan in event.deliveries
        ]
        if plans and self._dice.random() < 0.3:
            plan = self._dice.choice(plans)
            self._ledger.ending.append(Ending(self._position(), plan.id, NOW))
            if await self._cancelled(plan.id):
                self._ledger.moved.append(Moved(self._committed(), plan.id, DeliveryState.CANCELLED, 0))

    async def _cancelled(self, delivery: DeliveryId) -> bool:
        try:
            return await self._store.cancel(delivery, NOW)
        except NotFound:  # let go by retention meanwhile; the audit says whether it might
            return False

    async def _replay(self) -> None:
        made = await self._store.replay(Replay(endpoint=LATER), NOW)
        before = self._ledger.replayed[-1].made if self._ledger.replayed else 0
        self._ledger.replayed.append(Replayed(self._committed(), LATER, before + made))
