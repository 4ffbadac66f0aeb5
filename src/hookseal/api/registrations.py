"""Sources and endpoints over the API: made, read, changed, deleted, tried out and given a new secret.

Both are the same operations over two tables of the configuration file, in whose grammar they come as JSON. A secret is
written and never read; one that we made stands in the answer to the call that made it, and nowhere after.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

from starlette.responses import Response

from hookseal.api import wire
from hookseal.api.operation import Answer, Body, Call, Document, Faulty, Operation, Parameter, Rows
from hookseal.api.problem import Fault, ProblemCode, pointer_of
from hookseal.api.schemas import Schema, page_of, ref
from hookseal.api.values import ENDPOINT, SOURCE
from hookseal.clock import rfc3339
from hookseal.errors import Conflict, Invalid
from hookseal.manage.operations import Management
from hookseal.manage.registrations import MAX_OVERLAP_S, OVERLAP_S, READ_ONLY, Made
from hookseal.model import EndpointId, Json, SourceId
from hookseal.settings.table import Section
from hookseal.store.port import Cursor

T = TypeVar("T")

_MAX_SECRET = 65_536


@dataclass(frozen=True, slots=True)
class Rotation:
    """The body of `POST .../rotate`."""

    secret: str | None = None
    overlap_s: int = OVERLAP_S


def operations(management: Management, prefix: str) -> tuple[Operation, ...]:
    return (
        *_of_section(management, Section.SOURCE, f"{prefix}/sources"),
        *_of_section(management, Section.ENDPOINT, f"{prefix}/endpoints"),
    )


def _of_section(management: Management, section: Section, path: str) -> tuple[Operation, ...]:
    word = section.value.capitalize()
    id = Parameter("id", SOURCE if section is Section.SOURCE else ENDPOINT, f"the {section}'s id")
    one = f"{path}/{{id}}"
    bound = "inbound" if section is Section.SOURCE else "outbound"

    def shown(id: str) -> dict[str, Json]:
        if section is Section.SOURCE:
            return wire.source(management.source(SourceId(id)))
        return wire.endpoint(management.endpoint(EndpointId(id)))

    def written(made: Made) -> dict[str, Json]:
        warnings: list[Json] = [{"pointer": pointer_of(key), "detail": warning} for key, warning in made.warnings]
        return {**shown(made.id), "secret": made.secret, "warnings": warnings}

    async def list_all(call: Call) -> Answer:
        if section is Section.SOURCE:
            return _page(management.sources(), wire.source, call)
        return _page(management.endpoints(), wire.endpoint, call)

    async def get(call: Call) -> Answer:
        return Document(shown(call.path["id"]))

    async def create(call: Call) -> Answer:
        made = await management.registrations.create(section, call.body)
        return Document(written(made), HTTPStatus.CREATED)

    async def change(call: Call) -> Answer:
        made = await management.registrations.change(section, _own(call), call.body)
        return Document(written(made))

    async def delete(call: Call) -> Answer:
        await management.registrations.delete(section, _own(call))
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def rotate(call: Call) -> Answer:
        asked: Rotation = call.body or Rotation()
        done = await management.registrations.rotate(section, _own(call), asked.secret, asked.overlap_s)
        until = None if done.until is None else rfc3339(done.until)
        return Document({"id": done.id, "secret": done.secret, "overlap_until": until})

    async def test(call: Call) -> Answer:
        if section is Section.ENDPOINT:
            return Document(wire.tried(await management.test_endpoint(EndpointId(call.path["id"]))))
        return Document(wire.judged(await management.test_source(SourceId(call.path["id"]))))

    def _own(call: Call) -> str:
        if management.is_handler(EndpointId(call.path["id"])):
            raise Conflict("read_only", READ_ONLY)
        return str(call.path["id"])

    made: Schema = ref(f"{word}Made")
    table = Body(_read_table, ref(f"{word}Table"))
    conflict = (ProblemCode.CONFLICT,)
    return (
        Operation(
            name=f"list{word}s",
            method="GET",
            path=path,
            summary=f"The {bound} registrations. What came from the file is read only here.",
            handler=list_all,
            is_paged=True,
            schema=page_of(word),
        ),
        Operation(
            name=f"create{word}",
            method="POST",
            path=path,
            summary=f"Makes an {bound} registration, in the keys of the file's [[{section}]]. In force when it is answered.",
            handler=create,
            body=table,
            status=HTTPStatus.CREATED,
            schema=made,
            problems=conflict,
        ),
        Operation(
            name=f"get{word}",
            method="GET",
            path=one,
            summary=f"One {bound} registration.",
            handler=get,
            path_parameters=(id,),
            schema=ref(word),
        ),
        Operation(
            name=f"change{word}",
            method="PATCH",
            path=one,
            summary="Puts these keys in place of its own; null takes one away.",
            handler=change,
            path_parameters=(id,),
            body=table,
            schema=made,
            problems=conflict,
        ),
        Operation(
            name=f"delete{word}",
            method="DELETE",
            path=one,
            summary="Deletes it. What is pending for a deleted endpoint is cancelled.",
            handler=delete,
            path_parameters=(id,),
            status=HTTPStatus.NO_CONTENT,
            problems=conflict,
        ),
        Operation(
            name=f"test{word}",
            method="POST",
            path=f"{one}/test",
            summary=_TEST_SUMMARY[section],
            handler=test,
            path_parameters=(id,),
            body=Body(_read_nothing),
            schema=ref(f"{word}Tested"),
            problems=conflict,
        ),
        Operation(
            name=f"rotate{word}Secret",
            method="POST",
            path=f"{one}/rotate",
            summary="Gives it a new secret; the former ones stay live for the overlap, and end by themselves.",
            handler=rotate,
            path_parameters=(id,),
            body=Body(_read_rotation, ref("Rotation"), is_optional=True),
            schema=ref("SecretRotated"),
            problems=conflict,
        ),
    )


_TEST_SUMMARY: Mapping[Section, str] = {
    Section.SOURCE: "Judges the provider's own example, signed with the newest secret, and tells what it would have made.",
    Section.ENDPOINT: "Sends one test event now and tells what came of it; it is not tried again.",
}


def _page(rows: Sequence[T], write: Callable[[T], Mapping[str, Json]], call: Call) -> Rows:
    """A page of what is held in memory, in the file's order. The cursor is how many rows stand before it."""
    try:
        start = 0 if call.cursor is None else max(0, int(call.cursor))
    except ValueError:
        raise Invalid("cursor", "it is not one of this listing") from None
    end = start + call.limit
    return Rows([dict(write(row)) for row in rows[start:end]], Cursor(str(end)) if end < len(rows) else None)


def _read_nothing(given: Json) -> Faulty | None:
    return None if given == {} else Faulty((Fault("", "not_empty"),))


def _read_table(given: Json) -> dict[str, Any] | Faulty:
    """Its keys are judged by the rules of the file, with everything else."""
    return given if isinstance(given, dict) else Faulty((Fault("", "not_an_object"),))


def _read_rotation(given: Json) -> Rotation | Faulty:
    if not isinstance(given, dict):
        return Faulty((Fault("", "not_an_object"),))
    faults = [Fault("", "unknown_member")] if given.keys() - {"secret", "overlap_s"} else []
    secret, overlap_s = given.get("secret"), given.get("overlap_s", OVERLAP_S)
    if secret is not None and not (isinstance(secret, str) and 1 <= len(secret) <= _MAX_SECRET):
        faults.append(Fault("/secret", "invalid"))
    if not isinstance(overlap_s, int) or isinstance(overlap_s, bool) or not 0 <= overlap_s <= MAX_OVERLAP_S:
        faults.append(Fault("/overlap_s", "invalid"))
    return Faulty(tuple(faults)) if faults else Rotation(secret, overlap_s)
