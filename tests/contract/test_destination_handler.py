"""Handlers of this process keep the contract of destinations."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from destination_contract import NOW, DestinationContract, Pair, Sample

from hookseal.delivery.policy import POLICIES
from hookseal.destinations.handler import HandlerDestination, endpoint_of
from hookseal.destinations.port import Answered, Failed
from hookseal.logs import configure
from hookseal.model import Event


class Service:
    """A handler that does as it is told."""

    def __init__(self) -> None:
        self.taken = 0
        self.arrived, self.left = asyncio.Event(), asyncio.Event()
        self.events: list[Event] = []
        self._behaviour = "accept"

    def will(self, behaviour: str) -> None:
        self._behaviour = behaviour

    async def handle(self, event: Event) -> None:
        self.taken += 1
        self.events.append(event)
        self.arrived.set()
        if self._behaviour == "fail":
            raise RecursionError("quotes the event")
        if self._behaviour == "hang":
            try:
                await asyncio.Event().wait()
            finally:
                self.left.set()


class TestHandler(DestinationContract):
    def pair(self) -> AbstractAsyncContextManager[Pair]:
        @asynccontextmanager
        async def made() -> AsyncIterator[Pair]:
            service = Service()
            yield Pair(HandlerDestination(service.handle), service)

        return made()


async def test_a_handler_gets_the_normalised_event() -> None:
    service = Service()
    parcel = Sample().parcel()
    await HandlerDestination(service.handle).send(parcel, NOW)
    assert service.events == [parcel.event]


async def test_a_handler_that_raises_is_a_handler_error_and_nothing_of_what_it_raised() -> None:
    service = Service()
    service.will("fail")
    assert await HandlerDestination(service.handle).send(Sample().parcel(), NOW) == Failed(reason="handler_error")


def fail_inside(subject: str) -> None:
    raise ValueError(f"no such customer: {subject}")


async def fail_deeper(event: Event) -> None:
    try:
        {}[str(event.subject)]
    except KeyError:
        fail_inside(str(event.payload))


async def test_what_a_handler_raises_is_logged_with_its_traceback_and_without_values() -> None:
    """Before, a handler that failed left `handler_error` and nothing to find the defect by."""
    stream = io.StringIO()
    undo = configure(stream=stream, strict=True)
    try:
        parcel = Sample().parcel()
        assert await HandlerDestination(fail_deeper).send(parcel, NOW) == Failed(reason="handler_error")
    finally:
        undo()
    [line] = [json.loads(text) for text in stream.getvalue().splitlines()]
    assert (line["level"], line["event"]) == ("error", "handler raised an exception")
    assert (line["error_type"], line["cause_type"]) == ("ValueError", "KeyError")
    assert (line["endpoint"], line["delivery_id"]) == (parcel.endpoint, parcel.delivery)
    assert line["event_id"] == parcel.event.id
    outer, inner = line["trace"].split(" ")
    assert outer.startswith("contract/test_destination_handler.py:")
    assert outer.endswith(":fail_deeper")
    assert inner.startswith("contract/test_destination_handler.py:")
    assert inner.endswith(":fail_inside")
    assert line["error_at"] == inner.rpartition(":")[0]
    assert "customer" not in stream.getvalue()
    assert str(parcel.event.payload) not in stream.getvalue()


async def test_the_traceback_of_endless_recursion_is_bounded() -> None:
    async def recurse(event: Event) -> None:
        await recurse(event)

    stream = io.StringIO()
    undo = configure(stream=stream, strict=True)
    try:
        await HandlerDestination(recurse).send(Sample().parcel(), NOW)
    finally:
        undo()
    [line] = [json.loads(text) for text in stream.getvalue().splitlines()]
    assert line["error_type"] == "RecursionError"
    assert 1 < len(line["trace"].split(" ")) <= 20


async def opened(event: Event) -> None: ...


def test_a_handlers_endpoint_is_named_for_where_it_stands_and_retried_by_standard() -> None:
    endpoint = endpoint_of(opened, types=("identity.*",))
    assert endpoint.id == "handler:test_destination_handler.opened"
    assert endpoint.policy is POLICIES["standard"]
    assert endpoint.takes(Sample().parcel().event.source, "identity.verification.completed")
    assert not endpoint.takes(Sample().parcel().event.source, "other")


def test_a_handler_within_a_function_or_a_class_has_a_plain_id() -> None:
    async def inner(event: Event) -> None: ...

    assert endpoint_of(inner).id == (
        "handler:test_destination_handler.test_a_handler_within_a_function_or_a_class_has_a_plain_id._locals_.inner"
    )
    assert endpoint_of(Service().handle).id == "handler:test_destination_handler.service.handle"


async def test_several_at_once_run_in_turn_and_are_answered_as_one() -> None:
    service = Service()
    destination = HandlerDestination(service.handle)
    parcels = [Sample().parcel(), Sample().parcel()]
    assert await destination.send_together(parcels, NOW) == Answered(status=200)
    assert service.events == [parcel.event for parcel in parcels]
    service.will("fail")
    assert isinstance(await destination.send_together(parcels, NOW), Failed)
    assert service.taken == 3, "none is begun behind one that failed"
