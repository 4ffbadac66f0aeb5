"""The body of `POST /api/v1/replays`: from JSON to a `Replay`, telling every fault at once."""

from collections.abc import Mapping
from typing import Any

from hookseal.api.operation import Body, Faulty
from hookseal.api.problem import Fault
from hookseal.api.schemas import ref
from hookseal.api.values import ENDPOINT, EVENT_PREFIX, STATE, TIME, Kind
from hookseal.manage.operations import MAX_REPLAYED_EVENTS
from hookseal.model import Json
from hookseal.store.port import Replay

_KINDS: Mapping[str, Kind] = {"endpoint": ENDPOINT, "since": TIME, "until": TIME, "state": STATE}


def read(given: Json) -> Replay | Faulty:
    """Members that are absent or null are not asked for; `endpoint` must be there."""
    if not isinstance(given, dict):
        return Faulty((Fault("", "not_an_object"),))
    faults: list[Fault] = []
    if given.keys() - _KINDS.keys() - {"events"}:
        faults.append(Fault("", "unknown_member"))
    values: dict[str, Any] = {}
    for name, kind in _KINDS.items():
        if given.get(name) is not None:
            values[name] = _read(kind, given[name], f"/{name}", faults)
    if given.get("endpoint") is None:
        faults.append(Fault("/endpoint", "missing"))
    if given.get("events") is not None:
        values["events"] = _read_events(given["events"], faults)
        faults += [Fault(f"/{name}", "not_with_events") for name in ("since", "until") if name in values]
    if not faults and _is_backwards(values):
        faults.append(Fault("/until", "not_after_since"))
    return Faulty(tuple(faults)) if faults else Replay(**values)


def _read(kind: Kind, given: Json, pointer: str, faults: list[Fault]) -> Any:
    if isinstance(given, str):
        try:
            return kind.read(given)
        except ValueError:
            faults.append(Fault(pointer, "invalid", kind.remedy))
    else:
        faults.append(Fault(pointer, "not_text"))
    return None


def _read_events(given: Json, faults: list[Fault]) -> tuple[Any, ...]:
    if not isinstance(given, list):
        faults.append(Fault("/events", "not_a_list"))
        return ()
    if not 1 <= len(given) <= MAX_REPLAYED_EVENTS:
        faults.append(Fault("/events", "wrong_length"))
        return ()
    return tuple(_read(EVENT_PREFIX, one, f"/events/{position}", faults) for position, one in enumerate(given))


def _is_backwards(values: Mapping[str, Any]) -> bool:
    return "since" in values and "until" in values and values["until"] <= values["since"]


BODY = Body(read, ref("Replay"))
