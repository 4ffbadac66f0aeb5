"""The health checks of the process: liveness and readiness, each a list of named checks.

Any part can add a check with `HealthChecks.add_readiness`. `/healthz` and `/readyz` need no key: a check has a name, a
state and a stable code, never a value, a path, an address or personal data. An id of a registration may be named.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import isawaitable
from typing import NamedTuple, Protocol

from hookseal.logs import get_logger
from hookseal.model import Json

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check. detail: a stable code for people and alerts; never a value, path or address.

    Where registrations cannot be read it names them by their ids.
    """

    name: str
    ok: bool
    detail: str = ""


class CheckState(NamedTuple):
    """What a check function returns. A detail may also accompany `ok`, for example a count of problems."""

    ok: bool
    detail: str = ""


CheckFunction = Callable[[], CheckState | Awaitable[CheckState]]
"""Must be cheap or cache its result: every poll calls it."""


class Health(Protocol):
    async def live(self) -> Sequence[Check]:
        """Whether the process works at all. A failed check means: restart it."""
        ...

    async def ready(self) -> Sequence[Check]:
        """Whether it can receive now. A failed check means: send requests elsewhere for the moment."""
        ...


class HealthChecks:
    """A `Health` made of named checks. Checks run in the order in which they were added."""

    def __init__(self) -> None:
        self._liveness: dict[str, CheckFunction] = {}
        self._readiness: dict[str, CheckFunction] = {}

    def add_liveness(self, name: str, check: CheckFunction) -> None:
        """Add a check whose failure means that the process must be restarted. A second one of a name replaces the first."""
        self._liveness[name] = check

    def add_readiness(self, name: str, check: CheckFunction) -> None:
        """Add a check whose failure means that requests must go elsewhere. A second one of a name replaces the first."""
        self._readiness[name] = check

    async def live(self) -> Sequence[Check]:
        return await _run(self._liveness)

    async def ready(self) -> Sequence[Check]:
        return await _run(self._readiness)


async def _run(checks: Mapping[str, CheckFunction]) -> Sequence[Check]:
    # A copy: a part may add a check while another check waits.
    return [await _run_one(name, check) for name, check in list(checks.items())]


async def _run_one(name: str, check: CheckFunction) -> Check:
    try:
        state = check()
        ok, detail = await state if isawaitable(state) else state
    except Exception as error:
        log.error("health check failed", step=name, exc_info=error)
        return Check(name, False, "check_failed")
    return Check(name, ok, detail)


def told(checks: Sequence[Check]) -> list[Json]:
    return [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in checks]
