"""Writes deliveries anew, one bounded slice of events at a time, so that a replay of all holds nobody up."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import apsw

from hookseal.clock import Instant
from hookseal.model import DeliveryId, DeliveryState, EndpointId
from hookseal.store.event_seal import EventSealer
from hookseal.store.packing import must, pack_delivery
from hookseal.store.sql import slices
from hookseal.store.sqlite.connection import fetch
from hookseal.store.sqlite.migrate import QUERIES
from hookseal.store.sqlite.positions import Positions

NewDeliveryId = Callable[[Instant], DeliveryId]

SLICE = 1000
"""Events that one operation looks at; keys of events are dense."""


@dataclass(frozen=True, slots=True)
class ReplaySlice:
    """Events with keys from `first` to `last`, both included."""

    endpoint: EndpointId
    first: int
    last: int
    since: Instant
    until: Instant
    state: DeliveryState | None
    now: Instant
    once_per_request: bool = False


class Replaying:
    def __init__(self, positions: Positions, new_delivery_id: NewDeliveryId, sealer: EventSealer) -> None:
        self._positions = positions
        self._sealer = sealer
        self._new_delivery_id = new_delivery_id

    def apply(self, connection: apsw.Connection, batch: Sequence[ReplaySlice]) -> Sequence[int]:
        counts = [self._one(connection, one) for one in batch]
        self._positions.save(connection)
        return counts

    def _one(self, connection: apsw.Connection, one: ReplaySlice) -> int:
        where = {
            "first": one.first,
            "last": one.last,
            "since": one.since,
            "until": one.until,
            "endpoint": one.endpoint,
            "state": None if one.state is None else one.state.value,
        }
        rows = []
        replayed: list[tuple[int, EndpointId, bytes]] = []
        by_request: dict[int, bytes] = {}
        for event, request, id in fetch(connection, QUERIES["replay_span"], where):
            if one.once_per_request:
                # The delivery of one event stands for all events of its request, and for their dead deliveries.
                if request not in by_request:
                    asked = {"request": request, "endpoint": one.endpoint}
                    by_request.update(
                        (request, pending) for (pending,) in fetch(connection, QUERIES["replay_pending"], asked)
                    )
                if request in by_request:
                    replayed.append((event, one.endpoint, by_request[request]))
                    continue
            packed = must(pack_delivery(self._new_delivery_id(one.now)), "a new delivery's id")
            seal = self._sealer.delivery_seal(packed, id, one.endpoint)
            key = self._positions.take("delivery")
            rows.append((key, packed, event, one.endpoint, one.now, one.now, None, seal))
            replayed.append((event, one.endpoint, packed))
            by_request[request] = packed
        for some in slices(rows):
            connection.execute(QUERIES.rows("insert_deliveries", len(some)), list(chain.from_iterable(some)))
        for chunk in slices(replayed):
            connection.execute(QUERIES.rows("mark_replayed", len(chunk)), list(chain.from_iterable(chunk)))
        return len(rows)
