"""Detects that a part has ended which must run as long as the gateway: a background task, or a thread of the store.

A gateway without such a part accepts connections and does nothing, or does half of its work. It cannot repair itself, so
the process ends and its supervisor restarts it (`cli/serve.py`). A gateway that is mounted in another application cannot
end that application's process: there `/healthz` and `/readyz` fail.
"""

import asyncio

from hookseal.api.health import CheckState, HealthChecks
from hookseal.logs import get_logger

log = get_logger(__name__)

RUNNING, ENDED = "running", "ended"


class Supervisor:
    """All methods belong to one event loop.

    ended       set when a part has ended.
    ended_part  the name of the first part that ended.
    """

    def __init__(self, health: HealthChecks) -> None:
        self.ended = asyncio.Event()
        self.ended_part: str | None = None
        self._health = health
        self._parts: set[str] = set()
        self._ended_parts: set[str] = set()
        self._stopping = False
        health.add_liveness("process", lambda: CheckState(self.ended_part is None, self.ended_part or ""))

    def expect(self, name: str) -> None:
        """Show this part in `/readyz`. It is a thread or a task that reports its end with `note_end`."""
        self._parts.add(name)
        self._health.add_readiness(name, lambda: self._state_of(name))

    def watch(self, name: str, task: "asyncio.Task[None] | None") -> None:
        """Supervise a task that runs until `begin_stop`."""
        self.expect(name)
        if task is None:
            self.note_end(name)
        else:
            task.add_done_callback(lambda done: self.note_end(name, _error_of(done)))

    def note_end(self, name: str, error: BaseException | None = None) -> None:
        """The part has ended. That is normal after `begin_stop` only."""
        if self._stopping:
            return
        log.critical("a part of the gateway ended, restart the process", step=name, exc_info=error)
        self._ended_parts.add(name)
        self.ended_part = self.ended_part or name
        self.ended.set()

    def begin_start(self) -> None:
        """Forget the parts of a former start."""
        self._stopping = False
        self._ended_parts.clear()
        self.ended_part = None
        self.ended.clear()

    def begin_stop(self) -> None:
        """From now on parts end because the gateway stops."""
        self._stopping = True

    def _state_of(self, name: str) -> CheckState:
        ended = name in self._ended_parts
        return CheckState(not ended, ENDED if ended else RUNNING)


def _error_of(done: "asyncio.Task[None]") -> BaseException | None:
    return None if done.cancelled() else done.exception()
