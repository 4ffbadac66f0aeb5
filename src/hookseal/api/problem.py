"""The one shape in which the management side says no: RFC 9457 `application/problem+json`.

It decides which problem has which status and words. It refuses to know what was asked: nothing of a request is ever
put into a problem, neither a value nor the name of a key that the caller made up.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from http import HTTPStatus

import msgspec
from starlette.responses import Response

from hookseal.errors import Conflict, HooksealError, Invalid, NotFound, UnfitRegistration
from hookseal.model import Json

INVALID_WEBHOOK = "INVALID_WEBHOOK"
MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 10
"""What every 503 asks for. Whoever calls us here is the operator's own, so there is no herd to spread out."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a request.

    pointer  a JSON pointer into the body (RFC 6901), or the name of a query parameter or header of ours.
    code     stable, snake_case; `INVALID_WEBHOOK`, ZignSec's word, for a URL that cannot be registered.
    detail   what to do about it, where that is more than the code says. Of a URL it may name the address.
    """

    pointer: str
    code: str
    detail: str | None = None


# Keys are the caller's words: one that no key of ours could be is not repeated.
_PARTS = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_UNKNOWN = re.compile(r"unknown key .* (?=in this table)", re.DOTALL)


class ProblemCode(StrEnum):
    """Every problem that the management side has, but for the codes of `errors.HooksealError`."""

    MALFORMED_REQUEST = "malformed_request"
    MALFORMED_JSON = "malformed_json"
    UNSUPPORTED_JSON = "unsupported_json"
    KEY_REQUIRED = "key_required"
    API_OFF = "api_off"
    FOREIGN_ORIGIN = "foreign_origin"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    BODY_TIMEOUT = "body_timeout"
    STILL_REFUSED = "still_refused"
    SOURCE_GONE = "source_gone"
    AMBIGUOUS_ID = "ambiguous_id"
    CONFLICT = "conflict"
    BODY_TOO_LARGE = "body_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    UNSUPPORTED_CONTENT_ENCODING = "unsupported_content_encoding"
    INVALID = "invalid"
    INTERNAL = "internal"
    NOT_INSTALLED = "not_installed"
    UNAVAILABLE = "unavailable"


_WORDS: Mapping[ProblemCode, tuple[int, str]] = {
    ProblemCode.MALFORMED_REQUEST: (400, "The request is malformed"),
    ProblemCode.MALFORMED_JSON: (400, "The body is not JSON"),
    ProblemCode.UNSUPPORTED_JSON: (400, "The body holds JSON that this API does not accept"),
    ProblemCode.KEY_REQUIRED: (401, "A valid API key is required"),
    ProblemCode.API_OFF: (403, "The management API is off, because no API key is configured"),
    ProblemCode.FOREIGN_ORIGIN: (403, "Without an API key the management API answers this machine only"),
    ProblemCode.NOT_FOUND: (404, "There is no such thing"),
    ProblemCode.METHOD_NOT_ALLOWED: (405, "This method is not offered here"),
    ProblemCode.BODY_TIMEOUT: (408, "The body did not arrive completely in time"),
    ProblemCode.STILL_REFUSED: (409, "The request is refused with today's secrets, too"),
    ProblemCode.SOURCE_GONE: (409, "The source of the request is configured no more"),
    ProblemCode.AMBIGUOUS_ID: (409, "Several ids begin with these characters"),
    ProblemCode.CONFLICT: (409, "This does not go with how things stand"),
    ProblemCode.BODY_TOO_LARGE: (413, "The body is larger than this API takes"),
    ProblemCode.UNSUPPORTED_MEDIA_TYPE: (415, "The body must be application/json"),
    ProblemCode.UNSUPPORTED_CONTENT_ENCODING: (415, "The body must not be compressed"),
    ProblemCode.INVALID: (422, "The request asks for something that cannot be"),
    ProblemCode.INTERNAL: (500, "Something went wrong in hookseal"),
    ProblemCode.NOT_INSTALLED: (501, "hookseal was installed without the libraries that this takes"),
    ProblemCode.UNAVAILABLE: (503, "hookseal cannot serve this at the moment"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """extra: members of the problem's own, such as the reason of a refusal; never anything that came with the request."""

    status: int
    code: str
    title: str
    detail: str | None = None
    errors: tuple[Fault, ...] = ()
    extra: Mapping[str, Json] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def problem(
    code: ProblemCode,
    *,
    detail: str | None = None,
    errors: Sequence[Fault] = (),
    extra: Mapping[str, Json] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Problem:
    status, title = _WORDS[code]
    return Problem(
        status=status,
        code=code.value,
        title=title,
        detail=detail,
        errors=tuple(errors),
        extra=extra or {},
        headers=headers or {},
    )


def from_error(error: HooksealError) -> Problem:
    """Of an error's own words only those for the caller are told: of `Invalid` and `Conflict`, which hold no value."""
    if isinstance(error, UnfitRegistration):
        return problem(ProblemCode.INVALID, errors=[_fault(key, remedy) for key, remedy in error.faults])
    if isinstance(error, Conflict):
        is_listed = error.kind == ProblemCode.AMBIGUOUS_ID
        conflict = problem(ProblemCode(error.kind) if is_listed else ProblemCode.CONFLICT, detail=error.problem)
        return replace(conflict, code=error.kind)
    if isinstance(error, Invalid):
        return problem(ProblemCode.INVALID, detail=error.problem, errors=[Fault(error.pointer, "invalid")])
    if isinstance(error, NotFound):
        return problem(ProblemCode.NOT_FOUND)
    unavailable = problem(ProblemCode.UNAVAILABLE)
    return Problem(status=unavailable.status, code=error.code, title=unavailable.title)


def pointer_of(key: str) -> str:
    """The JSON pointer of a key of the configuration file: `types[2]` → `/types/2`."""
    return "".join(f"/{part}" for part in _PARTS.findall(key))


def _told(fault: Fault) -> dict[str, Json]:
    more = {} if fault.detail is None else {"detail": fault.detail}
    return {"pointer": fault.pointer, "code": fault.code, **more}


def _fault(key: str, remedy: str) -> Fault:
    """From a key of the configuration file: `types[2]` → `/types/2`. What the file says of `env:` is left out."""
    is_own = not key.startswith("[")
    pointer = pointer_of(key) if is_own else "/provider"
    code = INVALID_WEBHOOK if key == "url" else "missing" if remedy.startswith("is missing") else "invalid"
    words = _UNKNOWN.sub("unknown key ", remedy.replace(", such as env:NAME", "")) if is_own else f"{key} {remedy}"
    return Fault(pointer, code, words)


def answer(said: Problem, request_id: str) -> Response:
    """The HTTP answer. 401 has a challenge and 503 a Retry-After, whoever forgot to say so."""
    document: dict[str, Json] = {
        "type": f"/problems/{said.code.replace('_', '-')}",
        "title": said.title,
        "status": said.status,
    }
    if said.detail is not None:
        document["detail"] = said.detail
    if said.errors:
        document["errors"] = [_told(fault) for fault in said.errors]
    document.update(said.extra)
    document["request_id"] = request_id
    headers = dict(said.headers)
    if said.status == HTTPStatus.UNAUTHORIZED:
        headers.setdefault("WWW-Authenticate", 'Bearer realm="hookseal"')
    if said.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.setdefault("Retry-After", str(RETRY_AFTER_S))
    return Response(msgspec.json.encode(document), said.status, headers, MEDIA_TYPE)
