"""Writes deliveries anew, one bounded slice of events at a time, so that a replay of all holds nobody up."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hookseal.clock import Instant
from hookseal.model import DeliveryId, DeliveryState, EndpointId
from hookseal.store.packing import must, pack_delivery
from hookseal.store.postgres.connection import Row
from hookseal.store.postgres.writer import Transaction

NewDeliveryId = Callable[[Instant], DeliveryId]

SLICE = 1000
"""Events that one operation looks at."""

Place = tuple[Instant, bytes]
"""When an event was received, and its id: where it stands among all events."""


@dataclass(frozen=True, slots=True)
class Span:
    """Events behind one place, up to another one that is included."""

    behind: Place
    last: Place


@dataclass(frozen=True, slots=True)
class Named:
    events: Sequence[bytes]
    since: Instant
    until: Instant


@dataclass(frozen=True, slots=True)
class ReplaySlice:
    endpoint: EndpointId
    events: Span | Named
    state: DeliveryState | None
    now: Instant
    once_per_request: bool = False


class Replaying:
    def __init__(self, new_delivery_id: NewDeliveryId) -> None:
        self._new_delivery_id = new_delivery_id

    async def apply(self, transaction: Transaction, batch: Sequence[ReplaySlice]) -> Sequence[int]:
        await transaction.run("share_retention")
        for endpoint in sorted({one.endpoint for one in batch}):
            await transaction.run("lock_replay", endpoint)
        return [await self._one(transaction, one) for one in batch]

    async def _one(self, transaction: Transaction, one: ReplaySlice) -> int:
        state = None if one.state is None else one.state.value
        match one.events:
            case Span(behind, last):
                rows = await transaction.run("replay_span", *behind, *last, state, one.endpoint)
            case Named(events, since, until):
                rows = await transaction.run("replay_named", events, one.endpoint, since, until, state)
        if one.once_per_request:
            rows = await _first_of_each_request(transaction, rows, one.endpoint)
        found = [row[0] for row in rows]
        ids = [must(pack_delivery(self._new_delivery_id(one.now)), "a new delivery's id") for _ in found]
        if found:
            await transaction.run("insert_deliveries", ids, found, one.endpoint, one.now, transaction.node_now)
        return len(found)


async def _first_of_each_request(transaction: Transaction, rows: Sequence[Row], endpoint: EndpointId) -> Sequence[Row]:
    """Return the first row of each request that has no pending delivery at the endpoint."""
    first: dict[bytes, Row] = {}
    for row in rows:
        first.setdefault(row[1], row)
    pending = await transaction.run("replay_pending", sorted(first), endpoint)
    for (request,) in pending:
        del first[request]
    return list(first.values())
