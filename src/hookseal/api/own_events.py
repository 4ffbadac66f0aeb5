"""`POST /api/v1/events`: an event of one's own, stored and delivered like one that was received.

The body is read as JSON, but `data` is passed on in the very bytes that it was written in.
"""

from typing import Any

import msgspec

from hookseal.api.operation import Answer, Body, Call, Document, Faulty, Operation, Parameter
from hookseal.api.problem import Fault, ProblemCode
from hookseal.api.schemas import ref
from hookseal.api.values import IDEMPOTENCY_KEY, TEXT, TIME, Kind
from hookseal.manage.operations import Management
from hookseal.model import SEQUENCE_DIGITS, Json
from hookseal.receive.own_events import OWN_SOURCE, OwnEvent

MAX_BYTES = 2_097_152
KEY_HEADER = "Idempotency-Key"

_KINDS: dict[str, Kind] = {"type": TEXT, "subject": TEXT, "time": TIME, "id": TEXT}


def operation(management: Management, path: str) -> Operation:
    async def publish(call: Call) -> Answer:
        event: OwnEvent = call.body
        published = await management.publish(event, call.headers.get(KEY_HEADER))
        told: Json = {
            "id": published.id,
            "source": f"/sources/{OWN_SOURCE}",
            "type": event.type,
            "sequence": f"{published.sequence:0{SEQUENCE_DIGITS}d}",
        }
        return Document(told, status=202)

    return Operation(
        name="publishEvent",
        method="POST",
        path=path,
        summary="Publishes an event of one's own, to the endpoints that take its type and the source `api`.",
        handler=publish,
        body=Body(read, ref("OwnEvent"), max_bytes=MAX_BYTES, exact=True),
        asked_headers=(
            Parameter(
                KEY_HEADER, IDEMPOTENCY_KEY, "the same key with the same body publishes once and is answered alike"
            ),
        ),
        status=202,
        schema=ref("Published"),
        problems=(ProblemCode.CONFLICT,),
    )


def read(given: bytes) -> OwnEvent | Faulty:
    """given: JSON. Members that are null are absent, but for `data`, which may be null and must be there."""
    try:
        members = msgspec.json.decode(given, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, ValueError):
        return Faulty((Fault("", "not_an_object"),))
    faults: list[Fault] = []
    if members.keys() - _KINDS.keys() - {"data"}:
        faults.append(Fault("", "unknown_member"))
    values: dict[str, Any] = {}
    for name, kind in _KINDS.items():
        value = msgspec.json.decode(members[name]) if name in members else None
        if value is None:
            continue
        try:
            values[name] = kind.read(value) if isinstance(value, str) else _not_text()
        except ValueError:
            is_text = isinstance(value, str)
            faults.append(Fault(f"/{name}", "invalid" if is_text else "not_text", kind.remedy if is_text else None))
    faults += [Fault(f"/{name}", "missing") for name in ("type", "data") if members.get(name) is None]
    if "type" not in values and "type" in members and not any(one.pointer == "/type" for one in faults):
        faults.append(Fault("/type", "missing"))
    return Faulty(tuple(faults)) if faults else OwnEvent(**values, data=bytes(members["data"]))


def _not_text() -> str:
    raise ValueError
