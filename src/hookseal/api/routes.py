"""The route table of the management API: every operation with its parameters, its answer and its handler.

Handlers translate, call `Management` once, and translate back. Whatever is wrong with a request was told before one of
them is called, but for what only `Management` can know.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from starlette.responses import Response

from hookseal.api import keys, own_events, provider_test_call, registrations, replays, subjects, visual_signatures, wire
from hookseal.api.health import Check, Health, told
from hookseal.api.metrics import CONTENT_TYPE, Metrics
from hookseal.api.operation import Answer, Body, Call, Document, Faulty, Operation, Parameter, Rows
from hookseal.api.problem import Fault, Problem, ProblemCode, problem
from hookseal.api.schemas import page_of, ref
from hookseal.api.values import DELIVERY_PREFIX, ENDPOINT, EVENT_PREFIX, REFUSAL_PREFIX, SOURCE, STATE, TEXT, TIME
from hookseal.errors import NotFound
from hookseal.manage.id_prefix import MIN_DIGITS
from hookseal.manage.operations import Management
from hookseal.manage.release import SourceGone, StillRefused
from hookseal.model import Json
from hookseal.store.port import DeliveryFilter, EventFilter

PREFIX = "/api/v1"
OPENAPI_PATH = f"{PREFIX}/openapi.json"

T = TypeVar("T")

_MAX_CONTENT_TYPE = 256


def operations(
    management: Management, health: Health, metrics: Metrics, document: Callable[[], Json], *, metrics_need_key: bool
) -> tuple[Operation, ...]:
    """The table. document: makes the OpenAPI document, which is made from this table."""
    return (
        *_events(management),
        own_events.operation(management, f"{PREFIX}/events"),
        subjects.operation(management, f"{PREFIX}/subjects"),
        *_deliveries(management),
        *_quarantine(management),
        *registrations.operations(management, PREFIX),
        visual_signatures.operation(management, f"{PREFIX}/visual-signatures"),
        *(
            ()
            if management.rotation is None
            else keys.operations(management.rotation, management.rotate_issuer, f"{PREFIX}/keys")
        ),
        provider_test_call.operation(management),
        _openapi(document),
        *_health(health),
        _metrics(management, metrics, metrics_need_key),
    )


# --- events ---------------------------------------------------------------------------------------------------------

_OR_PREFIX = f"or its first characters, if no other id begins with them; at least {MIN_DIGITS} hexadecimal digits"
_EVENT_ID = Parameter("id", EVENT_PREFIX, f"the event's id, {_OR_PREFIX}")
_DELIVERY_ID = Parameter("id", DELIVERY_PREFIX, f"the delivery's id, {_OR_PREFIX}")
_REFUSAL_ID = Parameter("id", REFUSAL_PREFIX, f"the refused request's id, {_OR_PREFIX}")
_SINCE = Parameter("since", TIME, "received at this time or later")
_UNTIL = Parameter("until", TIME, "received before this time")


def _events(management: Management) -> tuple[Operation, ...]:
    async def list_events(call: Call) -> Answer:
        page = await management.events(EventFilter(**call.query), call.limit, call.cursor)
        return Rows([wire.event(one) for one in page.rows], page.next)

    async def get_event(call: Call) -> Answer:
        return Document(wire.event(await management.event(await management.event_id(call.path["id"]))))

    async def get_raw(call: Call) -> Answer:
        raw = await management.raw(await management.event_id(call.path["id"]))
        headers = _as_file(raw.event)
        original = next((value for name, value in raw.headers if name == b"content-type"), None)
        if original is not None and _fits_header(original):
            headers["X-Hookseal-Content-Type"] = original.decode("ascii")
        return Response(raw.body, headers=headers, media_type="application/octet-stream")

    return (
        Operation(
            name="listEvents",
            method="GET",
            path=f"{PREFIX}/events",
            summary="Whole events, newest first.",
            handler=list_events,
            query=(
                Parameter("source", SOURCE, "the source's id"),
                Parameter("type", TEXT, "the normalised type"),
                Parameter("subject", TEXT, "the provider's own reference"),
                _SINCE,
                _UNTIL,
            ),
            is_paged=True,
            schema=page_of("Event"),
        ),
        Operation(
            name="getEvent",
            method="GET",
            path=f"{PREFIX}/events/{{id}}",
            summary="One event.",
            handler=get_event,
            path_parameters=(_EVENT_ID,),
            problems=(ProblemCode.AMBIGUOUS_ID,),
            schema=ref("Event"),
        ),
        Operation(
            name="getEventRaw",
            method="GET",
            path=f"{PREFIX}/events/{{id}}/raw",
            summary="The exact bytes of the request that brought the event; its content type is a header of the answer.",
            handler=get_raw,
            path_parameters=(_EVENT_ID,),
            problems=(ProblemCode.AMBIGUOUS_ID,),
            media_type="application/octet-stream",
            headers={"X-Hookseal-Content-Type": "the Content-Type of the request, where it is plain text"},
        ),
    )


def _as_file(name: str) -> dict[str, str]:
    """Never with the sender's own media type: a browser must not show HTML of a sender as a page of the gateway."""
    return {
        "Content-Disposition": f'attachment; filename="{name}.bin"',
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }


def _fits_header(value: bytes) -> bool:
    return len(value) <= _MAX_CONTENT_TYPE and value.isascii() and value.decode("ascii").isprintable()


# --- deliveries -----------------------------------------------------------------------------------------------------


def _deliveries(management: Management) -> tuple[Operation, ...]:
    async def list_deliveries(call: Call) -> Answer:
        where = DeliveryFilter(**call.query)
        if where.event is not None:
            try:
                where = replace(where, event=await management.event_id(where.event))
            except NotFound:  # as for a whole id of no event
                return Rows([], None)
        page = await management.deliveries(where, call.limit, call.cursor)
        return Rows([wire.delivery(row) for row in page.rows], page.next)

    async def get_delivery(call: Call) -> Answer:
        delivery = await management.delivery_id(call.path["id"])
        return Document(wire.delivery_with_attempts(*await management.delivery(delivery)))

    async def replay(call: Call) -> Answer:
        made = await management.replay(call.body)
        return Document({"endpoint": call.body.endpoint, "replayed": made}, status=202)

    return (
        Operation(
            name="listDeliveries",
            method="GET",
            path=f"{PREFIX}/deliveries",
            summary="Deliveries, newest first.",
            handler=list_deliveries,
            query=(
                Parameter("endpoint", ENDPOINT, "the endpoint's id"),
                Parameter("state", STATE, "where the delivery stands"),
                Parameter("event", EVENT_PREFIX, f"the event's id, {_OR_PREFIX}"),
                _SINCE,
                _UNTIL,
            ),
            is_paged=True,
            schema=page_of("Delivery"),
            problems=(ProblemCode.AMBIGUOUS_ID,),
        ),
        Operation(
            name="getDelivery",
            method="GET",
            path=f"{PREFIX}/deliveries/{{id}}",
            summary="One delivery with its attempts.",
            handler=get_delivery,
            path_parameters=(_DELIVERY_ID,),
            problems=(ProblemCode.AMBIGUOUS_ID,),
            schema=ref("DeliveryWithAttempts"),
        ),
        Operation(
            name="replay",
            method="POST",
            path=f"{PREFIX}/replays",
            summary="Sends events again to one endpoint: those named, those whose delivery is in a state, or a time range.",
            handler=replay,
            body=replays.BODY,
            status=202,
            schema=ref("Replayed"),
        ),
    )


# --- quarantine -----------------------------------------------------------------------------------------------------


def _read_nothing(given: Json) -> Faulty | None:
    return None if given == {} else Faulty((Fault("", "not_empty"),))


def _quarantine(management: Management) -> tuple[Operation, ...]:
    async def list_refusals(call: Call) -> Answer:
        page = await management.refusals(call.query.get("source"), call.limit, call.cursor)
        return Rows([wire.refusal(one) for one in page.rows], page.next)

    async def get_refusal(call: Call) -> Answer:
        refusal = await management.refusal_id(call.path["id"])
        return Document(wire.shown_refusal(await management.refusal(refusal)))

    async def get_body(call: Call) -> Answer:
        refusal = await management.refusal_id(call.path["id"])
        body = await management.refusal_body(refusal)
        return Response(body, headers=_as_file(refusal), media_type="application/octet-stream")

    async def release(call: Call) -> Answer:
        refusal = await management.refusal_id(call.path["id"])
        outcome = await management.release(refusal)
        if isinstance(outcome, StillRefused):
            return problem(ProblemCode.STILL_REFUSED, extra={"reason": outcome.reason.value})
        if isinstance(outcome, SourceGone):
            return problem(ProblemCode.SOURCE_GONE)
        return Document(wire.released(refusal, outcome))

    return (
        Operation(
            name="listQuarantine",
            method="GET",
            path=f"{PREFIX}/quarantine",
            summary="Refused requests, newest first.",
            handler=list_refusals,
            query=(Parameter("source", SOURCE, "the source's id"),),
            is_paged=True,
            schema=page_of("Refusal"),
        ),
        Operation(
            name="getRefusal",
            method="GET",
            path=f"{PREFIX}/quarantine/{{id}}",
            summary="One refused request with its headers and body. Values of headers that may be credentials are hidden.",
            handler=get_refusal,
            path_parameters=(_REFUSAL_ID,),
            schema=ref("RefusalWithRequest"),
            problems=(ProblemCode.AMBIGUOUS_ID,),
        ),
        Operation(
            name="getRefusalRaw",
            method="GET",
            path=f"{PREFIX}/quarantine/{{id}}/raw",
            summary="The exact bytes of a refused request's body.",
            handler=get_body,
            path_parameters=(_REFUSAL_ID,),
            media_type="application/octet-stream",
            problems=(ProblemCode.AMBIGUOUS_ID,),
        ),
        Operation(
            name="releaseFromQuarantine",
            method="POST",
            path=f"{PREFIX}/quarantine/{{id}}/release",
            summary="Judges a refused request again, with today's secrets at the time it was received, and stores it if it holds.",
            handler=release,
            path_parameters=(_REFUSAL_ID,),
            body=Body(_read_nothing),
            schema=ref("Released"),
            problems=(ProblemCode.STILL_REFUSED, ProblemCode.AMBIGUOUS_ID),
        ),
    )


# --- the process ----------------------------------------------------------------------------------------------------


def _openapi(document: Callable[[], Json]) -> Operation:
    async def get_openapi(call: Call) -> Answer:
        return Document(document())

    return Operation(
        name="getOpenapi",
        method="GET",
        path=OPENAPI_PATH,
        summary="This document.",
        handler=get_openapi,
        schema={"type": "object"},
    )


def _health(health: Health) -> tuple[Operation, ...]:
    async def live(call: Call) -> Answer:
        return _judged(await health.live())

    async def ready(call: Call) -> Answer:
        return _judged(await health.ready())

    return tuple(
        Operation(
            name=name,
            method="GET",
            path=path,
            summary=summary,
            handler=handler,
            schema=ref("Health"),
            needs_key=False,
            is_strict=False,
        )
        for name, path, summary, handler in (
            ("getLiveness", "/healthz", "Whether the process works.", live),
            ("getReadiness", "/readyz", "Whether it can receive now.", ready),
        )
    )


def _judged(checks: Sequence[Check]) -> Document | Problem:
    if all(check.ok for check in checks):
        return Document({"status": "ok", "checks": told(checks)})
    return problem(ProblemCode.UNAVAILABLE, extra={"checks": told(checks)})


def _metrics(management: Management, metrics: Metrics, needs_key: bool) -> Operation:
    async def get_metrics(call: Call) -> Answer:
        return Response(await metrics.page(management.counts), media_type=CONTENT_TYPE)

    return Operation(
        name="getMetrics",
        method="GET",
        path="/metrics",
        summary="Figures for Prometheus.",
        handler=get_metrics,
        media_type="text/plain",
        needs_key=needs_key,
        is_strict=False,
    )
