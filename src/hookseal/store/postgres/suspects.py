"""Writes of crash suspects: deliveries with several unexplained lease losses. See `delivery/isolation.py`."""

from collections.abc import Sequence
from dataclasses import dataclass

from hookseal.clock import Instant
from hookseal.model import AttemptReason, DeliveryId, EndpointId
from hookseal.store.packing import delivery_id, pack_delivery
from hookseal.store.port import Suspect
from hookseal.store.postgres.connection import Connection
from hookseal.store.postgres.leasing import Leased, NewLease
from hookseal.store.postgres.queries import QUERIES
from hookseal.store.postgres.writer import Transaction


@dataclass(frozen=True, slots=True)
class DueSuspects:
    endpoints: Sequence[EndpointId]
    now: Instant
    limit: int


@dataclass(frozen=True, slots=True)
class SuspectClaim:
    delivery: DeliveryId
    now: Instant
    lease_until: Instant
    due_if_lost: Instant


@dataclass(frozen=True, slots=True)
class SuspectEnd:
    delivery: DeliveryId
    now: Instant


async def find(transaction: Transaction, batch: Sequence[DueSuspects]) -> Sequence[Sequence[Suspect]]:
    return [await _find(transaction, search) for search in batch]


async def _find(transaction: Transaction, search: DueSuspects) -> Sequence[Suspect]:
    await transaction.run("void_suspects", search.now, transaction.node_now)
    rows = await transaction.run("due_suspects", search.now, transaction.node_now, list(search.endpoints), search.limit)
    return [Suspect(delivery_id(packed), endpoint, losses) for packed, endpoint, losses in rows]


class ClaimingSuspects:
    def __init__(self, new_lease: NewLease) -> None:
        self._new_lease = new_lease

    async def apply(self, transaction: Transaction, batch: Sequence[SuspectClaim]) -> Sequence[Sequence[Leased]]:
        return [await self._claim(transaction, claim) for claim in batch]

    async def _claim(self, transaction: Transaction, claim: SuspectClaim) -> Sequence[Leased]:
        rows = await transaction.run(
            "claim_suspect",
            pack_delivery(claim.delivery),
            self._new_lease(),
            claim.now,
            claim.lease_until,
            claim.due_if_lost,
            transaction.node_now,
        )
        return [Leased(row[0], delivery_id(row[0]), *row[1:]) for row in rows]


async def end(transaction: Transaction, batch: Sequence[SuspectEnd]) -> Sequence[bool]:
    return [
        bool(
            await transaction.run("end_suspect", pack_delivery(one.delivery), one.now, AttemptReason.WORKER_LOST.value)
        )
        for one in batch
    ]


async def next_due_at(
    connection: Connection, endpoints: Sequence[EndpointId], node_now: Instant | None
) -> Instant | None:
    """node_now: this node's clock, or None when instants count as they are given."""
    due: Instant | None = await connection.fetchval(QUERIES["next_suspect_at"], list(endpoints), node_now)
    return due
