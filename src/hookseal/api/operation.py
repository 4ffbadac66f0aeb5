"""One row of the route table: what can be asked, what comes in, what comes back.

The server's routes, the reading of queries and bodies and the OpenAPI document are all made from these rows, so that
none of them can say something that the others do not.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hookseal.api.gate import Gate
from hookseal.api.problem import Fault, Problem, ProblemCode
from hookseal.api.schemas import Schema
from hookseal.api.values import Kind
from hookseal.model import Json
from hookseal.store.port import Cursor


@dataclass(frozen=True, slots=True)
class Parameter:
    """spans: of a path's last parameter, whether a slash is part of it."""

    name: str
    kind: Kind
    summary: str
    spans: bool = False


@dataclass(frozen=True, slots=True)
class Faulty:
    """What is wrong with a query or a body: one fault or more."""

    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class Body:
    """read: parsed JSON in; the value that the handler gets, or what is wrong. schema: None for a body without members.

    max_bytes    None for the limit of all.
    is_optional  whether there may be none; the handler then gets None.
    exact        `read` gets the bytes, which are JSON, in place of the value.
    """

    read: Callable[[Any], Any]
    schema: Schema | None = None
    max_bytes: int | None = None
    is_optional: bool = False
    exact: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request that has been read. path and query hold values of the parameters' kinds; absent ones are not there.

    limit and cursor are those of a paged operation. Any, because a table row, not a type, says what is in here.
    """

    path: Mapping[str, Any]
    query: Mapping[str, Any]
    headers: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    limit: int = 0
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """The answer of a paged operation."""

    data: list[Json]
    next: Cursor | None


@dataclass(frozen=True, slots=True)
class Document:
    """An answer of one JSON document."""

    content: Json
    status: int = 200


Answer = Rows | Document | Response | Problem
Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """name: the operationId. path: its parameters stand in braces and are those of `path_parameters`.

    schema    of a good answer; None when it is not JSON, and `media_type` says what it is.
    is_strict  whether a parameter that it does not have is a fault. Probes and scrapers add what they like.
    asked_headers  headers that it reads.
    answered_by  given in place of `handler`: reads the request itself, and says in its own words what is wrong with it.
    faulty    of such an operation: the statuses of its own errors, and the schema that they share.
    problems  the problems of its own; those that every operation has are added by `openapi.py`.
    gate      how many calls of it may be under way at once, where that is bounded.
    """

    name: str
    method: str
    path: str
    summary: str
    handler: Handler | None = None
    path_parameters: tuple[Parameter, ...] = ()
    query: tuple[Parameter, ...] = ()
    is_paged: bool = False
    body: Body | None = None
    status: int = 200
    schema: Schema | None = None
    media_type: str = "application/json"
    problems: tuple[ProblemCode, ...] = ()
    needs_key: bool = True
    is_strict: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)
    gate: Gate | None = None
    asked_headers: tuple[Parameter, ...] = ()
    answered_by: Callable[[Request], Awaitable[Response]] | None = None
    faulty: tuple[tuple[int, ...], Schema] | None = None
