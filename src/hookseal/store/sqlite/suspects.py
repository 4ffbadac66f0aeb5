"""Writes of crash suspects: deliveries with several unexplained lease losses. See `delivery/isolation.py`."""

from collections.abc import Sequence
from dataclasses import dataclass

import apsw
import msgspec

from hookseal.clock import Instant
from hookseal.model import AttemptReason, DeliveryId, EndpointId
from hookseal.store.packing import delivery_id, pack_delivery
from hookseal.store.port import Suspect
from hookseal.store.sqlite.connection import fetch
from hookseal.store.sqlite.leasing import Leased, NewLease
from hookseal.store.sqlite.migrate import QUERIES


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


def find(connection: apsw.Connection, batch: Sequence[DueSuspects]) -> Sequence[Sequence[Suspect]]:
    return [_find(connection, search) for search in batch]


def _find(connection: apsw.Connection, search: DueSuspects) -> Sequence[Suspect]:
    connection.execute(QUERIES["void_suspects"], {"now": search.now})
    where = {"endpoints": as_array(search.endpoints), "now": search.now, "limit": search.limit}
    rows = fetch(connection, QUERIES["due_suspects"], where)
    return [Suspect(delivery_id(packed), endpoint, losses) for packed, endpoint, losses in rows]


class ClaimingSuspects:
    def __init__(self, new_lease: NewLease) -> None:
        self._new_lease = new_lease

    def apply(self, connection: apsw.Connection, batch: Sequence[SuspectClaim]) -> Sequence[Sequence[Leased]]:
        return [self._claim(connection, claim) for claim in batch]

    def _claim(self, connection: apsw.Connection, claim: SuspectClaim) -> Sequence[Leased]:
        values = {
            "id": pack_delivery(claim.delivery),
            "lease": self._new_lease(),
            "now": claim.now,
            "lease_until": claim.lease_until,
            "due_if_lost": claim.due_if_lost,
        }
        rows = fetch(connection, QUERIES["claim_suspect"], values)
        return [Leased(row[0], delivery_id(row[1]), *row[2:]) for row in rows]


def end(connection: apsw.Connection, batch: Sequence[SuspectEnd]) -> Sequence[bool]:
    return [
        bool(
            fetch(
                connection,
                QUERIES["end_suspect"],
                {"id": pack_delivery(one.delivery), "now": one.now, "reason": AttemptReason.WORKER_LOST.value},
            )
        )
        for one in batch
    ]


def next_due_at(connection: apsw.Connection, endpoints: Sequence[EndpointId]) -> Instant | None:
    due: Instant | None = connection.execute(QUERIES["next_suspect_at"], {"endpoints": as_array(endpoints)}).get
    return due


def as_array(endpoints: Sequence[EndpointId]) -> str:
    return msgspec.json.encode(list(endpoints)).decode()
