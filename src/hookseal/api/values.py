"""From the text of a query or a JSON value to a value of the domain: one reader and one schema for each kind.

A reader takes what was given and returns the value, or raises ValueError; whoever calls it tells the caller where and
that, never what. The schema beside it is what the OpenAPI document says of the same kind.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from unicodedata import category

from hookseal.api.paging import DEFAULT_LIMIT, MAX_CURSOR_CHARS, MAX_LIMIT
from hookseal.clock import Instant, parse_rfc3339
from hookseal.manage.id_prefix import MIN_DIGITS
from hookseal.model import DeliveryId, DeliveryState, EndpointId, EventId, Json, RefusalId, SourceId

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_DELIVERY = re.compile(r"msg_[0-9a-f]{32}", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,12})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_NUMBER = re.compile(r"[1-9]\d{0,3}", re.ASCII)
_MAX_TEXT = 512
_MAX_KEY = 255
_KEY = re.compile(rf"[\x20-\x7e]{{1,{_MAX_KEY}}}")
_NOT_TEXT = frozenset({"Cc", "Cs"})


@dataclass(frozen=True, slots=True)
class Kind:
    """read: text in, value out, ValueError for what is not of this kind; schema: JSON Schema 2020-12.

    remedy  what to write instead, the same whatever was given.
    """

    read: Callable[[str], Any]
    schema: Mapping[str, Json]
    remedy: str


def _text(given: str) -> str:
    """Text that may stand in a column: PostgreSQL compares no NUL, and a lone surrogate has no UTF-8."""
    if not 1 <= len(given) <= _MAX_TEXT or any(category(one) in _NOT_TEXT for one in given):
        raise ValueError("not text of 1 to 512 characters")
    return given


def _key(given: str) -> str:
    if not _KEY.fullmatch(given):
        raise ValueError("not a key of 1 to 255 visible characters of ASCII")
    return given


def _time(given: str) -> Instant:
    """RFC 3339. A "+" that nobody escaped arrives as a blank; a blank before an offset can be nothing else."""
    text = re.sub(r" (?=\d\d:\d\d$)", "+", given)
    if not _TIME.fullmatch(text):
        raise ValueError("not an RFC 3339 time")
    try:
        return parse_rfc3339(text.upper())
    except OverflowError:
        raise ValueError("not a time that we can hold") from None


def _limit(given: str) -> int:
    if not _NUMBER.fullmatch(given) or int(given) > MAX_LIMIT:
        raise ValueError("not a number from 1 to 1000")
    return int(given)


def _event(given: str) -> EventId:
    if not _UUID.fullmatch(given):
        raise ValueError("not an event's id")
    return EventId(given)


def _delivery(given: str) -> DeliveryId:
    if not _DELIVERY.fullmatch(given):
        raise ValueError("not a delivery's id")
    return DeliveryId(given)


def _refusal(given: str) -> RefusalId:
    if not _UUID.fullmatch(given):
        raise ValueError("not a refused request's id")
    return RefusalId(given)


def _event_prefix(given: str) -> EventId:
    return EventId(_prefix(_UUID, "00000000-0000-0000-0000-000000000000", given))


def _delivery_prefix(given: str) -> DeliveryId:
    return DeliveryId(_prefix(_DELIVERY, "msg_" + 32 * "0", given))


def _refusal_prefix(given: str) -> RefusalId:
    return RefusalId(_prefix(_UUID, "00000000-0000-0000-0000-000000000000", given))


def _prefix(pattern: re.Pattern[str], example: str, given: str) -> str:
    least = example.index("0") + MIN_DIGITS
    if len(given) < least or not pattern.fullmatch(given + example[len(given) :]):
        raise ValueError("not an id, and not the first characters of one")
    return given


_UUID_SCHEMA = {"type": "string", "format": "uuid"}
_A_TEXT = f"write 1 to {_MAX_TEXT} characters, no control characters among them"
_TEXT_SCHEMA = {"type": "string", "minLength": 1, "maxLength": _MAX_TEXT}

TEXT = Kind(_text, _TEXT_SCHEMA, _A_TEXT)
TIME = Kind(_time, {"type": "string", "format": "date-time"}, "write an RFC 3339 time, such as 2026-11-21T08:00:00Z")
LIMIT = Kind(
    _limit,
    {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    f"write a whole number from 1 to {MAX_LIMIT}",
)
CURSOR = Kind(
    str,
    {"type": "string", "minLength": 1, "maxLength": MAX_CURSOR_CHARS},
    "give the `next` of an earlier page, with the same filters",
)
IDEMPOTENCY_KEY = Kind(
    _key,
    {"type": "string", "minLength": 1, "maxLength": _MAX_KEY},
    f"write 1 to {_MAX_KEY} printable characters of ASCII",
)
STATE = Kind(
    DeliveryState,
    {"type": "string", "enum": [state.value for state in DeliveryState]},
    f"write one of {', '.join(state.value for state in DeliveryState)}",
)
EVENT = Kind(_event, _UUID_SCHEMA, "write an event's id, a UUID in lower case")
DELIVERY = Kind(
    _delivery, {"type": "string", "pattern": "^msg_[0-9a-f]{32}$"}, "write a delivery's id, msg_ and 32 hex digits"
)
REFUSAL = Kind(_refusal, _UUID_SCHEMA, "write a refused request's id, a UUID in lower case")
_OR_PREFIX = f"or its first characters, at least {MIN_DIGITS} of the hexadecimal ones"
_UUID_PREFIX_SCHEMA = {"type": "string", "pattern": "^[0-9a-f]{8}[0-9a-f-]{0,28}$"}
EVENT_PREFIX = Kind(_event_prefix, _UUID_PREFIX_SCHEMA, f"{EVENT.remedy}, {_OR_PREFIX}")
DELIVERY_PREFIX = Kind(
    _delivery_prefix, {"type": "string", "pattern": "^msg_[0-9a-f]{8,32}$"}, f"{DELIVERY.remedy}, {_OR_PREFIX}"
)
REFUSAL_PREFIX = Kind(_refusal_prefix, _UUID_PREFIX_SCHEMA, f"{REFUSAL.remedy}, {_OR_PREFIX}")
SOURCE = Kind(lambda given: SourceId(_text(given)), _TEXT_SCHEMA, _A_TEXT)
ENDPOINT = Kind(lambda given: EndpointId(_text(given)), _TEXT_SCHEMA, _A_TEXT)
