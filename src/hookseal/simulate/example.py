"""The words of an example: something that happens at a provider, the calls that it makes of it, what should come of them.

Values only. What each provider has is `repertoire`; how a new event is made out of an example is `examples`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Expected:
    """One event that a receiver should make of a call.

    mark     the id inside the body that tells this event from all others ever sent; "" where the example has none.
    outcome  None where it does not matter.
    """

    mark: str
    type: str
    outcome: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to send: everything but the proof.

    example  the name of the example that it is made of.
    number   counts the calls of one example, from 1.
    headers  beside Content-Type and the proof, in the provider's spelling.
    """

    example: str
    number: int = 1
    body: bytes
    content_type: str
    headers: tuple[tuple[str, str], ...] = ()
    expected: tuple[Expected, ...] = ()


class Form(StrEnum):
    """How a place in an example is written, and so what may stand there instead."""

    UUID = "uuid"
    RFC3339 = "rfc3339"  # with any number of fraction digits, and the offset that it has
    ISO_BASIC = "iso_basic"  # 20221115T090914Z
    UNIX = "unix"  # ten digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One call of an example. file: in the provider's folder; content_type: None for what the provider always sends."""

    file: str
    expected: tuple[Expected, ...]
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """Something that happens at the provider: one call, or several about one subject in their order.

    fresh       texts in the bodies that differ from event to event. Times move together, so that the latest is now.
    is_variant  a status, a kind or a shape of body beyond what everyone meets; a demonstration leaves it out.
    """

    name: str
    about: str
    drafts: tuple[Draft, ...]
    fresh: Mapping[str, Form] = field(default_factory=dict)
    is_variant: bool = False
