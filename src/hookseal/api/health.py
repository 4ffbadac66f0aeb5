"""What the process says of itself to whoever watches it. Which checks there are is the gateway's to say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hookseal.model import Json


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. detail: a stable code for people and alerts; never a value, path or address."""

    name: str
    ok: bool
    detail: str = ""


class Health(Protocol):
    async def live(self) -> Sequence[Check]:
        """Whether the process works at all. A failed check means: restart it."""
        ...

    async def ready(self) -> Sequence[Check]:
        """Whether it can receive now. A failed check means: send requests elsewhere for the moment."""
        ...


def told(checks: Sequence[Check]) -> list[Json]:
    return [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in checks]
