"""Writes what happens to deliveries after they were planned. Every statement is guarded by the lease or state it ends."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import apsw

from hookseal import probe
from hookseal.clock import Instant
from hookseal.errors import NotFound
from hookseal.model import AttemptReason, DeliveryId, DeliveryState, EndpointId
from hookseal.probe import Step
from hookseal.store.packing import delivery_id, pack_delivery
from hookseal.store.port import Lease, Result
from hookseal.store.sql import slices
from hookseal.store.sqlite.connection import fetch
from hookseal.store.sqlite.migrate import QUERIES

NewLease = Callable[[], Lease]


@dataclass(frozen=True, slots=True)
class Claim:
    free: Mapping[EndpointId, int]
    now: Instant
    lease_until: Instant


@dataclass(frozen=True, slots=True)
class Leased:
    """A leased delivery without its event's bytes. key, event: keys of their rows."""

    key: int
    id: DeliveryId
    endpoint: EndpointId
    lease: Lease
    attempts: int
    losses: int
    unexplained_losses: int
    first_attempt_at: Instant | None
    event: int
    seal: bytes | None


@dataclass(frozen=True, slots=True)
class Bury:
    """Leased deliveries that can never be sent, as their events cannot be read: key and lease."""

    rows: Sequence[tuple[int, Lease]]
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

    def apply(self, connection: apsw.Connection, claims: Sequence[Claim]) -> Sequence[Sequence[Leased]]:
        """One after the other, so that no two take the same delivery."""
        return [self._one(connection, claim) for claim in claims]

    def _one(self, connection: apsw.Connection, claim: Claim) -> Sequence[Leased]:
        order: list[int] = []
        for endpoint, free in claim.free.items():
            if free > 0:
                due = {"endpoint": endpoint, "now": claim.now, "free": free}
                order += [key for (key,) in connection.execute(QUERIES["find_due"], due)]
        leased: dict[int, Leased] = {}
        for some in slices(order):
            rows = [value for key in some for value in (key, self._new_lease(), claim.lease_until)]
            connection.execute(QUERIES.rows("lease_due", len(some)), rows)
            for row in connection.execute(QUERIES.rows("read_leased", len(some)), some):
                leased[row[0]] = Leased(row[0], delivery_id(row[1]), *row[2:])
        return [leased[key] for key in order]


def record(connection: apsw.Connection, results: Sequence[Result]) -> Sequence[bool]:
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
        for index in _record(connection, results, turn):
            recorded[index] = True
        left = again
    probe.reach(Step.RECORDING)
    return recorded


def _record(connection: apsw.Connection, results: Sequence[Result], turn: Mapping[bytes, int]) -> Sequence[int]:
    done: list[int] = []
    attempts: list[tuple[Any, ...]] = []
    for some in slices(list(turn.items())):
        values: list[Any] = []
        for packed, index in some:
            values += (packed, *_moved(results[index]))
        for packed, key in fetch(connection, QUERIES.rows("record_results", len(some)), values):
            index = turn[packed]
            tried = results[index].attempt
            attempts.append((key, tried.number, tried.started_at, tried.duration_ms, tried.status, tried.reason))
            done.append(index)
    for few in slices(attempts):
        connection.execute(QUERIES.rows("insert_attempts", len(few)), list(chain.from_iterable(few)))
    return done


def _moved(result: Result) -> tuple[Any, ...]:
    tried = result.attempt
    ended_at = tried.started_at + tried.duration_ms * 1000
    due_at = result.due_at if result.state is DeliveryState.PENDING else None
    return (result.lease, result.state.value, due_at, tried.started_at, ended_at, tried.status, tried.reason)


def renew(connection: apsw.Connection, holds: Sequence[Hold]) -> Sequence[Sequence[DeliveryId]]:
    kept: list[Sequence[DeliveryId]] = []
    for hold in holds:
        still: set[DeliveryId] = set()
        for some in slices(_held(hold)):
            rows = connection.execute(QUERIES.rows("renew_leases", len(some)), list(chain.from_iterable(some)))
            still.update(delivery_id(packed) for (packed,) in rows)
        kept.append([delivery for delivery in hold.leases if delivery in still])
    return kept


def claimed_leases(_: object, claimed: Sequence[Leased]) -> Mapping[DeliveryId, Lease]:
    return {one.id: one.lease for one in claimed}


def release(connection: apsw.Connection, holds: Sequence[Hold]) -> Sequence[None]:
    for hold in holds:
        for some in slices(_held(hold)):
            connection.execute(QUERIES.rows("release_leases", len(some)), list(chain.from_iterable(some)))
    return [None] * len(holds)


def _held(hold: Hold) -> list[tuple[bytes, Lease, Instant]]:
    packed = ((pack_delivery(delivery), lease) for delivery, lease in hold.leases.items())
    return [(delivery, lease, hold.due_at) for delivery, lease in packed if delivery is not None]


def void(connection: apsw.Connection, nows: Sequence[Instant]) -> Sequence[int]:
    return [len(fetch(connection, QUERIES["void_leases"], {"now": now})) for now in nows]


def bury(connection: apsw.Connection, batch: Sequence[Bury]) -> Sequence[None]:
    for one in batch:
        for key, lease in one.rows:
            values = {"key": key, "lease": lease, "now": one.now, "reason": one.reason.value}
            connection.execute(QUERIES["bury"], values)
    return [None] * len(batch)


def expire_pending(connection: apsw.Connection, batch: Sequence[PendingEnd]) -> Sequence[Sequence[DeliveryId]]:
    return [_expire_pending(connection, one) for one in batch]


def _expire_pending(connection: apsw.Connection, one: PendingEnd) -> Sequence[DeliveryId]:
    values = {
        "endpoint": one.endpoint,
        "before": one.before,
        "now": one.now,
        "limit": one.limit,
        "reason": AttemptReason.PENDING_EXPIRED.value,
    }
    return [delivery_id(packed) for (packed,) in fetch(connection, QUERIES["expire_pending"], values)]


def pending_since(connection: apsw.Connection) -> Mapping[EndpointId, Instant]:
    return dict(fetch(connection, QUERIES["pending_since"]))


def cancel(connection: apsw.Connection, batch: Sequence[Cancel]) -> Sequence[bool | NotFound]:
    return [_cancel(connection, one) for one in batch]


def _cancel(connection: apsw.Connection, one: Cancel) -> bool | NotFound:
    packed = pack_delivery(one.delivery)
    if packed is not None:
        if fetch(connection, QUERIES["cancel"], {"id": packed, "now": one.now}):
            return True
        if connection.execute(QUERIES["delivery_exists"], {"id": packed}).get:
            return False
    return NotFound("there is no such delivery")
