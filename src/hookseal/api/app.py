"""The management API as an ASGI app: the route table put behind access control, limits and one shape of error.

The order is the order of what a stranger may learn: first who asks (401 and 403 tell nothing of what is here), then
where (404, 405), then what (query, body), then the operation. Whatever is raised ends in `_Rim` as a problem; nobody
sees a traceback, and the log line has the place of an unforeseen error, not its text, which may quote the input.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPMethod
from typing import Any
from uuid import uuid4

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hookseal.api import paging, wire
from hookseal.api.access import Access
from hookseal.api.health import Health
from hookseal.api.metrics import Metrics
from hookseal.api.openapi import openapi
from hookseal.api.operation import Answer, Call, Document, Faulty, Operation, Rows
from hookseal.api.problem import Fault, Problem, ProblemCode, answer, from_error, problem
from hookseal.api.routes import operations
from hookseal.api.unreadable_json import unreadable
from hookseal.api.values import CURSOR, LIMIT
from hookseal.errors import HooksealError
from hookseal.logs import get_logger
from hookseal.manage.operations import Management
from hookseal.message import media_type
from hookseal.model import Json
from hookseal.receive.framing import declared_length, is_ambiguous
from hookseal.store.port import Cursor

log = get_logger(__name__)

MAX_BODY_BYTES = 256 * 1024
BODY_TIMEOUT_S = 10.0

_PAGING_NAMES = ("limit", "cursor")
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def create_app(
    management: Management,
    keys: tuple[bytes, ...],
    open_access: bool,
    health: Health,
    metrics: Metrics,
    *,
    metrics_need_key: bool = True,
    body_timeout_s: float = BODY_TIMEOUT_S,
    new_request_id: Callable[[], str] = lambda: str(uuid4()),
) -> Starlette:
    """The app with `/api/v1`, `/healthz`, `/readyz` and `/metrics`.

    keys              bearer keys; with none of them the API is off (403), unless
    open_access       says that programs of this machine need no key: only for a loopback listener with --dev.
    metrics_need_key  False where management has a listener of its own.
    """

    def document() -> Json:
        return openapi(table)

    table = operations(management, health, metrics, document, metrics_need_key=metrics_need_key)
    open_paths = frozenset(operation.path for operation in table if not operation.needs_key)
    app = Starlette(
        routes=_routes(table, body_timeout_s),
        middleware=[Middleware(_Rim, access=Access(keys, open_access), open_paths=open_paths, new_id=new_request_id)],
        exception_handlers={HTTPException: _not_routed},
    )
    app.router.redirect_slashes = False
    app.state.operations = table
    return app


class _Rim:
    """Gives every request an id, asks who it is from, and turns whatever is raised into a problem."""

    def __init__(self, app: ASGIApp, access: Access, open_paths: frozenset[str], new_id: Callable[[], str]) -> None:
        self._app = app
        self._access = access
        self._open_paths = open_paths
        self._new_id = new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope.setdefault("state", {})["request_id"] = self._new_id()
        has_begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers["X-Request-Id"] = request_id
            await send(message)

        try:
            refused = self._judge(scope)
            if refused is None:
                await self._app(scope, receive, send_with_headers)
                return
        except ClientDisconnect:
            if has_begun:
                return
            # The client may have ended its side only. Without an answer the server would send 500 in plain text.
            refused = problem(ProblemCode.BODY_TIMEOUT, headers={"Connection": "close"})
        except Exception as error:
            if has_begun:
                raise
            refused = _of_exception(error, request_id)
        await answer(refused, request_id)(scope, receive, send_with_headers)

    def _judge(self, scope: Scope) -> Problem | None:
        if is_ambiguous(scope["headers"], scope.get("http_version", "1.1")):
            return problem(ProblemCode.MALFORMED_REQUEST, headers={"Connection": "close"})
        if scope["path"] in self._open_paths:
            return None
        client = scope.get("client")
        return self._access.judge(scope["headers"], client[0] if client else None)


def _of_exception(error: Exception, request_id: str) -> Problem:
    if isinstance(error, HooksealError):
        said = from_error(error)
        if said.status >= 500:
            log.warning("management request not served", request_id=request_id, exc_info=error)
        return said
    log.error("management request failed", request_id=request_id, exc_info=error)
    return problem(ProblemCode.INTERNAL)


async def _not_routed(request: Request, error: Exception) -> Response:
    """404 and 405 as the router raises them."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        said = problem(ProblemCode.METHOD_NOT_ALLOWED, headers=error.headers)
    else:
        said = problem(ProblemCode.NOT_FOUND)
    return answer(said, request.state.request_id)


def _routes(table: Sequence[Operation], body_timeout_s: float) -> list[Route]:
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in table:
        path = operation.path
        for parameter in operation.path_parameters:
            if parameter.spans:
                path = path.replace(f"{{{parameter.name}}}", f"{{{parameter.name}:path}}")
        by_path.setdefault(path, {})[operation.method] = operation
    return [Route(path, _Path(methods, body_timeout_s)) for path, methods in by_path.items()]


class _Path:
    """All that can be asked of one path. Finding the method is ours, so that `Allow` names every one of them."""

    def __init__(self, methods: Mapping[str, Operation], body_timeout_s: float) -> None:
        self._methods = dict(methods)
        if HTTPMethod.GET in methods:
            self._methods.setdefault(HTTPMethod.HEAD, methods[HTTPMethod.GET])
        self._body_timeout_s = body_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        said = await self._answer(request)
        response = answer(said, request.state.request_id) if isinstance(said, Problem) else said
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response | Problem:
        operation = self._methods.get(request.method)
        if operation is None:
            allow = {"Allow": ", ".join(sorted(self._methods))}
            return problem(ProblemCode.METHOD_NOT_ALLOWED, headers=allow)
        if operation.gate is None:
            return await self._judged(operation, request)
        if not operation.gate.enter():
            return problem(ProblemCode.UNAVAILABLE, headers={"Connection": "close"})
        try:
            return await self._judged(operation, request)
        finally:
            operation.gate.leave()

    async def _judged(self, operation: Operation, request: Request) -> Response | Problem:
        if operation.answered_by is not None:
            return await operation.answered_by(request)
        called = _read_address(operation, request)
        return called if isinstance(called, Problem) else await self._called(operation, called, request)

    async def _called(self, operation: Operation, called: "_Address", request: Request) -> Response | Problem:
        body = await _read_body(operation, request, self._body_timeout_s)
        if isinstance(body, Problem):
            return body
        call = Call(
            path=called.path,
            query=called.query,
            headers=called.headers,
            body=body,
            limit=called.limit,
            cursor=called.cursor,
        )
        assert operation.handler is not None, "an operation has a handler, or answers by itself"
        return _written(await operation.handler(call), operation, called.filters)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Address:
    """What path and query came to. filters: the query's own text, without paging; a cursor belongs to it."""

    path: Mapping[str, Any]
    query: Mapping[str, Any]
    headers: Mapping[str, Any]
    filters: Mapping[str, str]
    limit: int
    cursor: Cursor | None


def _read_address(operation: Operation, request: Request) -> _Address | Problem:
    path: dict[str, Any] = {}
    for parameter in operation.path_parameters:
        try:
            path[parameter.name] = parameter.kind.read(request.path_params[parameter.name])
        except ValueError:
            # What cannot be an id is the id of nothing.
            return problem(ProblemCode.NOT_FOUND, detail=parameter.kind.remedy)
    faults: list[Fault] = []
    given = _given_once(operation, request.query_params.multi_items(), faults)
    query: dict[str, Any] = {}
    for parameter in operation.query:
        if parameter.name in given:
            try:
                query[parameter.name] = parameter.kind.read(given[parameter.name])
            except ValueError:
                faults.append(Fault(parameter.name, "invalid", parameter.kind.remedy))
    headers = _read_headers(operation, request, faults)
    filters = {name: text for name, text in given.items() if name not in _PAGING_NAMES}
    limit, cursor = _read_paging(operation, given, filters, faults)
    if faults:
        return problem(ProblemCode.INVALID, errors=faults)
    return _Address(path=path, query=query, headers=headers, filters=filters, limit=limit, cursor=cursor)


def _read_headers(operation: Operation, request: Request, faults: list[Fault]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for parameter in operation.asked_headers:
        given = request.headers.getlist(parameter.name)
        if len(given) > 1:
            faults.append(Fault(parameter.name, "repeated"))
        elif given:
            try:
                read[parameter.name] = parameter.kind.read(given[0])
            except ValueError:
                faults.append(Fault(parameter.name, "invalid", parameter.kind.remedy))
    return read


def _given_once(operation: Operation, items: Sequence[tuple[str, str]], faults: list[Fault]) -> dict[str, str]:
    """The query's parameters that have a value. `?source=` asks for nothing, as forms send it."""
    known = {parameter.name for parameter in operation.query}
    if operation.is_paged:
        known.update(_PAGING_NAMES)
    given: dict[str, str] = {}
    for name, text in items:
        if name not in known:
            if not operation.is_strict:
                continue
            faults.append(Fault("", "unknown_parameter"))
        elif name in given:
            faults.append(Fault(name, "repeated"))
        elif text:
            given[name] = text
    return given


def _read_paging(
    operation: Operation, given: Mapping[str, str], filters: Mapping[str, str], faults: list[Fault]
) -> tuple[int, Cursor | None]:
    limit, cursor = paging.DEFAULT_LIMIT, None
    try:
        if "limit" in given:
            limit = LIMIT.read(given["limit"])
    except ValueError:
        faults.append(Fault("limit", "invalid", LIMIT.remedy))
    try:
        if "cursor" in given:
            cursor = paging.unwrap(given["cursor"], operation.name, filters)
    except ValueError:
        faults.append(Fault("cursor", "invalid", CURSOR.remedy))
    return limit, cursor


async def _read_body(operation: Operation, request: Request, timeout_s: float) -> Any | Problem:
    """The value of the body. An operation without a body takes none, but leaves alone what comes all the same."""
    if operation.body is None:
        return None
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        return problem(ProblemCode.UNSUPPORTED_CONTENT_ENCODING, headers={"Accept-Encoding": "identity"})
    try:
        async with asyncio.timeout(timeout_s):
            given = await _bytes_of(request, operation.body.max_bytes or MAX_BODY_BYTES)
    except TimeoutError:
        return problem(ProblemCode.BODY_TIMEOUT, headers={"Connection": "close"})
    if given is None:
        return problem(ProblemCode.BODY_TOO_LARGE)
    if not given and (operation.body.schema is None or operation.body.is_optional):
        return None
    if media_type(request.headers.get("content-type", "").encode("latin-1")) != "application/json":
        return problem(ProblemCode.UNSUPPORTED_MEDIA_TYPE)
    try:
        document = msgspec.json.decode(given)
    except (ValueError, RecursionError):
        return unreadable(given)
    value = operation.body.read(given if operation.body.exact else document)
    return problem(ProblemCode.INVALID, errors=value.faults) if isinstance(value, Faulty) else value


async def _bytes_of(request: Request, limit: int) -> bytes | None:
    """The body; None when it is longer than `limit`, which then is not read to its end."""
    if declared_length(request.headers.get("content-length", "").encode("latin-1")) > limit:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            return None
    return bytes(body)


def _written(said: Answer, operation: Operation, filters: Mapping[str, str]) -> Response | Problem:
    if isinstance(said, Problem | Response):
        return said
    if isinstance(said, Rows):
        following = None if said.next is None else paging.wrap(said.next, operation.name, filters)
        said = Document({"data": said.data, "next": following})
    return Response(wire.encode(said.content), said.status, media_type="application/json")
