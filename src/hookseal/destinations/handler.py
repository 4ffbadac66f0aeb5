"""Events to a coroutine of this process: `@gateway.on("identity.verification.completed")`.

A handler is an endpoint like any other, `handler:<module>.<name>`: its deliveries lie in the store, run after the answer
was sent, and are tried again by policy when it raises. It gets events at least once, so it must bear one twice; the
event's id is the same each time. What it raises is counted and logged by type and traceback, never by its text: that may
quote the event.
"""

import re
from collections.abc import Awaitable, Callable, Sequence

from hookseal.clock import Instant
from hookseal.delivery.endpoint import Endpoint
from hookseal.delivery.policy import POLICIES, RetryPolicy
from hookseal.destinations.port import Answered, Failed, Parcel, Sent
from hookseal.logs import get_logger, trace_of
from hookseal.model import EndpointId, Event

log = get_logger(__name__)

Handler = Callable[[Event], Awaitable[None]]

HANDLER_ERROR = "handler_error"
_NOT_OF_AN_ID = re.compile(r"[^A-Za-z0-9_.-]+", re.ASCII)


def endpoint_of(
    handler: Handler,
    types: tuple[str, ...] = ("*",),
    sources: tuple[str, ...] = ("*",),
    policy: RetryPolicy = POLICIES["standard"],
    concurrency: int = 16,
) -> Endpoint:
    """The endpoint that a handler is. Its id comes from where the function stands, so moving it makes a new endpoint."""
    name = getattr(handler, "__qualname__", type(handler).__qualname__)
    module = getattr(handler, "__module__", type(handler).__module__)
    return Endpoint(
        id=EndpointId(f"handler:{_NOT_OF_AN_ID.sub('_', f'{module}.{name}')}".lower()),
        sources=sources,
        types=types,
        policy=policy,
        concurrency=concurrency,
    )


class HandlerDestination:
    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def send_together(self, parcels: Sequence[Parcel], now: Instant) -> Sent:
        """One after the other until one fails; the earlier ones then run again, as a handler must bear."""
        sent: Sent = Answered(status=200)
        for parcel in parcels:
            sent = await self.send(parcel, now)
            if not isinstance(sent, Answered):
                break
        return sent

    async def send(self, parcel: Parcel, now: Instant) -> Sent:
        """A handler that returns has the event; 200 stands for that in the list of attempts."""
        try:
            await self._handler(parcel.event)
        except Exception as error:
            # Without the frame of this function, so that `error_at` is a place in the user's code.
            trace = None if error.__traceback__ is None else error.__traceback__.tb_next
            log.error(
                "handler raised an exception",
                endpoint=parcel.endpoint,
                event_id=parcel.event.id,
                delivery_id=parcel.delivery,
                attempt=parcel.attempt,
                trace=trace_of(trace),
                exc_info=error.with_traceback(trace),
            )
            return Failed(reason=HANDLER_ERROR)
        return Answered(status=200)
