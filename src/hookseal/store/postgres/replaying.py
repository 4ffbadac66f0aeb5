"""Writes deliveries anew, one bounded slice of events at a time, so that a replay of all holds nobody up."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hookseal.clock import Instant
from hookseal.model import DeliveryId, DeliveryState, EndpointId
from hookseal.store.event_seal import EventSealer
from hookseal.store.packing import must, pack_delivery
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
    def __init__(self, new_delivery_id: NewDeliveryId, sealer: EventSealer) -> None:
        self._sealer = sealer
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
        if not rows:
            return 0
        in_place: dict[bytes, bytes] = {}  # by request, where one delivery stands for all of its events
        if one.once_per_request:
            in_place = dict(await transaction.run("replay_pending", sorted({row[1] for row in rows}), one.endpoint))
        chosen: list[bytes] = []
        ids: list[bytes] = []
        replayed: list[bytes] = []
        for event, request in rows:
            if not one.once_per_request or request not in in_place:
                chosen.append(event)
                ids.append(must(pack_delivery(self._new_delivery_id(one.now)), "a new delivery's id"))
                in_place[request] = ids[-1]
            replayed.append(in_place[request])
        if chosen:
            seals = [self._sealer.delivery_seal(id, event, one.endpoint) for id, event in zip(ids, chosen, strict=True)]
            await transaction.run("insert_deliveries", ids, chosen, one.endpoint, one.now, transaction.node_now, seals)
        await transaction.run("mark_replayed", [row[0] for row in rows], replayed, one.endpoint)
        return len(chosen)
