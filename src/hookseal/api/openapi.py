"""The OpenAPI 3.1 document, made from the route table: what has no row is not in it, and every row is.

https://spec.openapis.org/oas/v3.1.1.html
"""

from collections.abc import Sequence
from http import HTTPStatus

from hookseal import __version__
from hookseal.api.operation import Operation, Parameter
from hookseal.api.problem import MEDIA_TYPE, ProblemCode, problem
from hookseal.api.schemas import SCHEMAS, ref
from hookseal.api.values import CURSOR, LIMIT
from hookseal.model import Json

_PAGING = (
    Parameter("limit", LIMIT, "how many rows at most"),
    Parameter("cursor", CURSOR, "`next` of the page before, with the same filters"),
)
_OF_ALL = (
    ProblemCode.MALFORMED_REQUEST,
    ProblemCode.METHOD_NOT_ALLOWED,
    ProblemCode.INVALID,
    ProblemCode.INTERNAL,
    ProblemCode.UNAVAILABLE,
)
_OF_THE_RIM = (ProblemCode.METHOD_NOT_ALLOWED, ProblemCode.INTERNAL, ProblemCode.UNAVAILABLE)
_OF_KEYS = (ProblemCode.KEY_REQUIRED, ProblemCode.API_OFF)
_OF_BODIES = (
    ProblemCode.MALFORMED_JSON,
    ProblemCode.UNSUPPORTED_JSON,
    ProblemCode.BODY_TIMEOUT,
    ProblemCode.BODY_TOO_LARGE,
    ProblemCode.UNSUPPORTED_MEDIA_TYPE,
)


def openapi(operations: Sequence[Operation]) -> Json:
    paths: dict[str, dict[str, Json]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "hookseal management API",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {name: dict(schema) for name, schema in SCHEMAS.items()},
        },
    }


def _described(operation: Operation) -> dict[str, Json]:
    described: dict[str, Json] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [
            *(_parameter(one, "path") for one in operation.path_parameters),
            *(_parameter(one, "query") for one in operation.query),
            *(_parameter(one, "query") for one in _PAGING if operation.is_paged),
            *(_parameter(one, "header") for one in operation.asked_headers),
        ],
        "responses": {str(operation.status): _good(operation), **_problems(operation)},
    }
    if operation.body is not None and operation.body.schema is not None:
        described["requestBody"] = {
            "required": not operation.body.is_optional,
            "content": {"application/json": {"schema": operation.body.schema}},
        }
    if not operation.needs_key:
        described["security"] = []
    return described


def _parameter(parameter: Parameter, place: str) -> Json:
    return {
        "name": parameter.name,
        "in": place,
        "required": place == "path",
        "description": parameter.summary,
        "schema": dict(parameter.kind.schema),
    }


def _good(operation: Operation) -> Json:
    if operation.status == HTTPStatus.NO_CONTENT:
        return {"description": HTTPStatus.NO_CONTENT.phrase}
    schema = {"type": "string"} if operation.schema is None else operation.schema
    content = (
        {} if operation.schema is None and operation.media_type == "application/octet-stream" else {"schema": schema}
    )
    good: dict[str, Json] = {
        "description": HTTPStatus(operation.status).phrase,
        "content": {operation.media_type: content},
    }
    if operation.headers:
        good["headers"] = {
            name: {"description": words, "schema": {"type": "string"}} for name, words in operation.headers.items()
        }
    return good


def _problems(operation: Operation) -> dict[str, Json]:
    """One answer for each status; its description tells the problems that have it."""
    if operation.faulty is not None:
        statuses, schema = operation.faulty
        content = {"application/json": {"schema": schema}}
        return {
            **{str(status): {"description": HTTPStatus(status).phrase, "content": content} for status in statuses},
            **_told(_OF_THE_RIM),
        }
    codes = [*_OF_ALL, *operation.problems]
    if operation.needs_key:
        codes += _OF_KEYS
    if operation.path_parameters:
        codes.append(ProblemCode.NOT_FOUND)
    if operation.body is not None:
        codes += _OF_BODIES
    return _told(codes)


def _told(codes: Sequence[ProblemCode]) -> dict[str, Json]:
    titles: dict[int, list[str]] = {}
    for code in codes:
        one = problem(code)
        titles.setdefault(one.status, []).append(one.title)
    return {
        str(status): {
            "description": ". ".join(words) + ".",
            "content": {MEDIA_TYPE: {"schema": ref("Problem")}},
        }
        for status, words in sorted(titles.items())
    }
