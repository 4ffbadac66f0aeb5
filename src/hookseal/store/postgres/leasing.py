"""Writes what happens to deliveries after they were planned. Every statement is guarded by the lease or state it ends."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hookseal import probe
from hookseal.clock import Instant
from hookseal.errors import NotFound
from hookseal.model import AttemptReason, DeliveryId, DeliveryState, EndpointId
from hookseal.probe import Step
from hookseal.store.packing import delivery_id, pack_delivery
from hookseal.store.port import Lease, Result
from hookseal.store.postgres.connection import Connection
from hookseal.store.postgres.queries import QUERIES
from hookseal.store.postgres.writer import Transaction

NewLease = Callable[[], Lease]


@dataclass(frozen=True, slots=True)
class Claim:
    free: Mapping[EndpointId, int]
    now: Instant
    lease_until: Instant


@dataclass(frozen=True, slots=True)
class Leased:
    """A leased delivery without its event's bytes. packed, event: ids of the delivery and its event."""

    packed: bytes
    id: DeliveryId
    endpoint: EndpointId
    lease: Lease
    attempts: int
    losses: int
    unexplained_losses: int
    first_attempt_at: Instant | None
    event: bytes
    seal: bytes | None


@dataclass(frozen=True, slots=True)
class Bury:
    """Leased deliveries that can never be sent, as their events cannot be read."""

    rows: Sequence[tuple[bytes, Lease]]
    now: Instant
    reason: AttemptReason


@dataclass(frozen=True, slots=True)
class Hold:
    """Leases, and the due time to give them."""

    leases: Mapping[DeliveryId, Lease]
    due_at: Instant


@dataclass(frozen=True, slots=True)
class Cancel:
    delivery: DeliveryId
    now: Instant


@dataclass(frozen=True, slots=True)
class PendingEnd:
    """Deliveries of one endpoint that were due before an instant, at most `limit`."""

    endpoint: EndpointId
    before: Instant
    now: Instant
    limit: int


class Claiming:
    def __init__(self, new_lease: NewLease) -> None:
        self._new_lease = new_lease

    async def apply(self, transaction: Transaction, claims: Sequence[Claim]) -> Sequence[Sequence[Leased]]:
        """One after the other, so that no two take the same delivery."""
        return [await self._one(transaction, claim) for claim in claims]

    async def _one(self, transaction: Transaction, claim: Claim) -> Sequence[Leased]:
        asked = {endpoint: free for endpoint, free in claim.free.items() if free > 0}
        if not asked:
            return []
        leases = [self._new_lease() for _ in range(sum(asked.values()))]
        rows = await transaction.run(
            "claim_due", list(asked), list(asked.values()), leases, transaction.node_now, claim.now, claim.lease_until
        )
        return [Leased(row[1], delivery_id(row[1]), *row[2:]) for row in sorted(rows, key=lambda row: int(row[0]))]


def claimed_leases(_: object, leased: Sequence[Leased]) -> Mapping[DeliveryId, Lease]:
    return {one.id: one.lease for one in leased}


async def record(transaction: Transaction, results: Sequence[Result]) -> Sequence[bool]:
    """Results for one delivery are judged one after the other: of two under one lease, the first one counts."""
    recorded = [False] * len(results)
    left = list(range(len(results)))
    while left:
        turn: dict[bytes, int] = {}
        again: list[int] = []
        for index in left:
            packed = pack_delivery(results[index].delivery)
            if packed is None:
                continue  # not an id of ours: nobody holds a lease on it
            if packed in turn:
                again.append(index)
            else:
                turn[packed] = index
        if turn:
            rows = [_moved(packed, results[index]) for packed, index in sorted(turn.items())]
            columns = zip(*rows, strict=True)
            for (packed,) in await transaction.run("record_results", *columns, transaction.node_now):
                recorded[turn[packed]] = True
        left = again
    await probe.pause(Step.RECORDING)
    return recorded


def _moved(packed: bytes, result: Result) -> tuple[Any, ...]:
    tried = result.attempt
    ended_at = tried.started_at + tried.duration_ms * 1000
    due_at = result.due_at if result.state is DeliveryState.PENDING else None
    return (
        packed,
        result.lease,
        result.state.value,
        due_at,
        tried.started_at,
        ended_at,
        tried.status,
        tried.reason,
        tried.number,
        tried.duration_ms,
    )


async def renew(transaction: Transaction, holds: Sequence[Hold]) -> Sequence[Sequence[DeliveryId]]:
    kept: list[Sequence[DeliveryId]] = []
    for hold in holds:
        packed, leases = _held(hold)
        rows = await transaction.run("renew_leases", packed, leases, hold.due_at, transaction.node_now)
        still = {delivery_id(held) for (held,) in rows}
        kept.append([delivery for delivery in hold.leases if delivery in still])
    return kept


async def release(transaction: Transaction, holds: Sequence[Hold]) -> Sequence[None]:
    for hold in holds:
        packed, leases = _held(hold)
        await transaction.run("release_leases", packed, leases, hold.due_at, transaction.node_now)
    return [None] * len(holds)


async def release_adrift(transaction: Transaction, holds: Sequence[Hold]) -> Sequence[None]:
    for hold in holds:
        packed, leases = _held(hold)
        await transaction.run("release_adrift", packed, leases, hold.due_at, transaction.node_now)
    return [None] * len(holds)


def _held(hold: Hold) -> tuple[Sequence[bytes], Sequence[Lease]]:
    packed = ((pack_delivery(delivery), lease) for delivery, lease in hold.leases.items())
    held = sorted((delivery, lease) for delivery, lease in packed if delivery is not None)
    return [delivery for delivery, _ in held], [lease for _, lease in held]


async def bury(transaction: Transaction, batch: Sequence[Bury]) -> Sequence[None]:
    for one in batch:
        packed, leases = [packed for packed, _ in one.rows], [lease for _, lease in one.rows]
        await transaction.run("bury", packed, leases, one.now, one.reason.value)
    return [None] * len(batch)


async def expire_pending(transaction: Transaction, batch: Sequence[PendingEnd]) -> Sequence[Sequence[DeliveryId]]:
    ended: list[Sequence[DeliveryId]] = []
    for one in batch:
        reason = AttemptReason.PENDING_EXPIRED.value
        rows = await transaction.run("expire_pending", one.endpoint, one.before, one.now, reason, one.limit)
        ended.append([delivery_id(packed) for (packed,) in rows])
    return ended


async def pending_since(connection: Connection) -> Mapping[EndpointId, Instant]:
    return {row[0]: row[1] for row in await connection.fetch(QUERIES["pending_since"])}


async def cancel(transaction: Transaction, batch: Sequence[Cancel]) -> Sequence[bool | NotFound]:
    return [await _cancel(transaction, one) for one in batch]


async def _cancel(transaction: Transaction, one: Cancel) -> bool | NotFound:
    packed = pack_delivery(one.delivery)
    if packed is not None:
        if await transaction.run("cancel", packed, one.now):
            return True
        [(found,)] = await transaction.run("delivery_exists", packed)
        if found:
            return False
    return NotFound("there is no such delivery")
