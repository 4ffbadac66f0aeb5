"""What every destination must do. A test module hands over a factory and inherits the cases.

The engine builds on four promises: one try for one call, an outcome and never an exception, being cancelled at any
moment, and the parcel's id as the one that the receiver can tell repeats by.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

import pytest

from hookseal.clock import Instant, parse_rfc3339
from hookseal.destinations.port import Answered, Destination, Failed, Parcel
from hookseal.model import DeliveryId, EndpointId, Event, EventId, Outcome, ProviderId, SourceId
from hookseal.store.port import EventRow, StoredEvent

NOW = parse_rfc3339("2026-11-21T08:00:00Z")
HANG_S = 20.0

ZIGNSEC_BODY = b'{"id": "d6a2", "status": "FINISHED",\n "amount": 1.0}'


class Other(Protocol):
    """The other side of a destination."""

    def will(self, behaviour: str) -> None:
        """From now on: "accept", "fail" (and say so), or "hang"."""
        ...

    @property
    def taken(self) -> int:
        """How many tries it has taken or is taking."""
        ...

    @property
    def arrived(self) -> asyncio.Event:
        """Set when a try is there."""
        ...

    @property
    def left(self) -> asyncio.Event:
        """Set when a try that hung has been given up by us."""
        ...


@dataclass
class Pair:
    destination: Destination
    other: Other


Factory = Callable[[], AbstractAsyncContextManager[Pair]]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """An event as it would be stored."""

    provider: str = "zignsec"
    body: bytes = ZIGNSEC_BODY
    headers: tuple[tuple[bytes, bytes], ...] = field(
        default=((b"content-type", b"application/json"), (b"x-zignsec-hmac-sha256", b"c2ln"), (b"x-other", b"1"))
    )
    payload: object = field(default_factory=lambda: {"id": "d6a2", "status": "FINISHED", "amount": 1.0})

    def parcel(self, attempt: int = 1) -> Parcel:
        id, source = EventId("0199aaaa-0000-7000-8000-000000000001"), SourceId("zs")
        row = EventRow(
            id=id,
            source=source,
            sequence=17,
            item=0,
            type="identity.verification.completed",
            received_at=NOW,
            provider_type=None,
            provider_id=None,
            subject=None,
            time=None,
            flags=(),
            conflicts=0,
        )
        event = Event(
            id=id,
            source=source,
            type=row.type,
            time=NOW,
            received_at=NOW,
            provider=ProviderId(self.provider),
            sequence=17,
            outcome=Outcome.APPROVED,
            final=True,
            payload=self.payload,
        )
        return Parcel(
            delivery=DeliveryId("msg_0199aaaa000070008000000000000002"),
            endpoint=EndpointId("core"),
            attempt=attempt,
            event=event,
            stored=StoredEvent(row=row, headers=self.headers, body=self.body, siblings=1),
        )


class DestinationContract:
    """Inherit, and give `pair`."""

    def pair(self) -> AbstractAsyncContextManager[Pair]:
        raise NotImplementedError

    async def test_what_is_accepted_is_answered_with_a_success(self) -> None:
        async with self.pair() as pair:
            pair.other.will("accept")
            sent = await pair.destination.send(Sample().parcel(), NOW)
            assert sent == Answered(status=200)
            assert pair.other.taken == 1

    async def test_a_failure_of_the_other_side_is_an_outcome_and_one_try(self) -> None:
        async with self.pair() as pair:
            pair.other.will("fail")
            sent = await pair.destination.send(Sample().parcel(), NOW)
            assert isinstance(sent, Failed) or (isinstance(sent, Answered) and sent.status == 500)
            assert pair.other.taken == 1

    async def test_a_try_can_be_cut_off_and_the_next_one_is_whole(self) -> None:
        async with self.pair() as pair, asyncio.timeout(HANG_S):
            pair.other.will("hang")
            trying = asyncio.create_task(pair.destination.send(Sample().parcel(), NOW))
            await pair.other.arrived.wait()
            trying.cancel()
            with pytest.raises(asyncio.CancelledError):
                await trying
            await pair.other.left.wait()
            pair.other.will("accept")
            assert await pair.destination.send(Sample().parcel(attempt=2), Instant(NOW + 1)) == Answered(status=200)

    async def test_many_tries_may_be_under_way_at_once(self) -> None:
        async with self.pair() as pair:
            pair.other.will("accept")
            sent = await asyncio.gather(*(pair.destination.send(Sample().parcel(), NOW) for _ in range(16)))
            assert sent == [Answered(status=200)] * 16
            assert pair.other.taken == 16
