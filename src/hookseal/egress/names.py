"""Names to addresses, without stopping the loop and without trusting the answer.

Theory of operation. The system's resolver blocks, for half a minute when its servers are silent. So each look-up has a
daemon thread (one that hangs does not hold up our exit), and callers who ask for a name that is being looked up share
the look-up. Nothing is kept once a look-up has ended; the connection pool is what makes look-ups rare.

There are only so many places for look-ups. A name that finds none stands in line for as long as its callers wait: that
many names are asked for at once is no fault of theirs. What must not happen is that names whose servers are silent sit
in all places. So there are two lines. A look-up that takes longer than `SLOW_S` moves over to the places of the slow
ones, where there is room; and a name that was slow the last time begins there, until it has been quick again.
"""

import asyncio
import errno
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hookseal.egress.reasons import CallFailed
from hookseal.model import AttemptReason

MAX_LOOKUPS = 64
MAX_SLOW = 128
"""At a time, of quick names and of slow ones."""
SLOW_S = 0.5
_SLOW_KNOWN = 4096

Lookup = Callable[[str], Sequence[str]]
"""Host name in, addresses as text out, best first. Blocks. socket.gaierror when there are none."""

_NO_SUCH_NAME = {
    getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY") if hasattr(socket, name)
}


def system_lookup(host: str) -> Sequence[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(address[0]) for *_, address in found]


@dataclass(slots=True)
class _Line:
    """Look-ups that wait for one of `most` places."""

    most: int
    taken: int = 0
    waiting: "deque[_Asked]" = field(default_factory=deque)

    @property
    def has_place(self) -> bool:
        return self.taken < self.most


@dataclass(slots=True, eq=False)
class _Asked:
    """One look-up. line: where it waits or has its place. askers: how many wait for it."""

    host: str
    line: _Line
    begun: asyncio.Future[None]
    answer: asyncio.Future[Sequence[str]]
    askers: int = 0
    began: float = 0.0
    slow_timer: asyncio.TimerHandle | None = None


class Names:
    """Looks names up for one event loop. timeout_s: how long an asker waits once the look-up has begun."""

    def __init__(self, lookup: Lookup, timeout_s: float) -> None:
        self._lookup = lookup
        self._timeout_s = timeout_s
        self._asked: dict[str, _Asked] = {}
        self._known_slow: dict[str, None] = {}
        self._quick, self._slow = _Line(MAX_LOOKUPS), _Line(MAX_SLOW)
        self._overstaying: deque[_Asked] = deque()
        """Slow ones that have a place of the quick ones, because the slow ones' were taken."""

    async def addresses(self, host: str) -> Sequence[str]:
        """At least one address. CallFailed with `dns_nxdomain`, `dns_timeout` or `dns_error`.

        The wait for a place has no bound here; the call has one.
        """
        asked = self._asked.get(host) or self._ask(host)
        asked.askers += 1
        try:
            await asyncio.shield(asked.begun)
            async with asyncio.timeout(self._timeout_s):
                found = await asyncio.shield(asked.answer)
        except TimeoutError as error:
            raise CallFailed(AttemptReason.DNS_TIMEOUT) from error
        except socket.gaierror as error:
            raise CallFailed(_reason(error)) from error
        except (OSError, UnicodeError) as error:
            raise CallFailed(AttemptReason.DNS_ERROR) from error
        finally:
            asked.askers -= 1
        if not found:
            raise CallFailed(AttemptReason.DNS_NXDOMAIN)
        return found

    def _ask(self, host: str) -> _Asked:
        loop = asyncio.get_running_loop()
        line = self._slow if host in self._known_slow else self._quick
        asked = _Asked(host, line, loop.create_future(), loop.create_future())
        asked.answer.add_done_callback(lambda done: done.cancelled() or done.exception())  # its askers may have left
        self._asked[host] = asked
        line.waiting.append(asked)
        loop.call_soon(self._begin)  # not before its first asker is counted
        return asked

    def _begin(self) -> None:
        """Begin what there is a place for."""
        while self._overstaying and self._slow.has_place:
            self._move(self._overstaying.popleft(), self._slow)
        for line in (self._quick, self._slow):
            while line.waiting and line.has_place:
                asked = line.waiting.popleft()
                if not asked.askers:  # they have all left meanwhile
                    del self._asked[asked.host]
                    continue
                line.taken += 1
                asked.began = asyncio.get_running_loop().time()
                asked.slow_timer = asyncio.get_running_loop().call_later(SLOW_S, self._note_slow, asked)
                asked.begun.set_result(None)
                self._start_thread(asked)

    def _note_slow(self, asked: _Asked) -> None:
        asked.slow_timer = None
        self._known_slow[asked.host] = None
        if len(self._known_slow) > _SLOW_KNOWN:
            del self._known_slow[next(iter(self._known_slow))]
        if asked.line is self._quick:
            self._overstaying.append(asked)
            self._begin()

    def _move(self, asked: _Asked, line: _Line) -> None:
        asked.line.taken -= 1
        line.taken += 1
        asked.line = line

    def _start_thread(self, asked: _Asked) -> None:
        loop = asyncio.get_running_loop()

        def look_up() -> None:
            found: Sequence[str] = ()
            error: BaseException | None = None
            try:
                found = self._lookup(asked.host)
            except Exception as raised:  # noqa: BLE001 — handed to the askers
                error = raised
            try:
                loop.call_soon_threadsafe(self._settle, asked, found, error)
            except RuntimeError:  # the loop is closed: nobody is left to be told
                return

        thread = threading.Thread(target=look_up, name=f"hookseal-name-{asked.host[:32]}", daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:  # the system gives no more threads
            loop.call_soon(self._settle, asked, (), OSError(errno.EAGAIN, type(error).__name__))

    def _settle(self, asked: _Asked, found: Sequence[str], error: BaseException | None) -> None:
        del self._asked[asked.host]
        asked.line.taken -= 1
        if asked.slow_timer is not None:
            asked.slow_timer.cancel()
            self._known_slow.pop(asked.host, None)
        elif asked in self._overstaying:
            self._overstaying.remove(asked)
        if _is_passing(error) and asyncio.get_running_loop().time() - asked.began >= self._timeout_s:
            error = TimeoutError()  # who came late to a silent name is told what the first one was
        if error is None:
            asked.answer.set_result(found)
        else:
            asked.answer.set_exception(error)
        self._begin()


def _is_passing(error: BaseException | None) -> bool:
    """The resolver's word for a server that failed, and for one that it has waited for in vain."""
    return isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN


def _reason(error: socket.gaierror) -> AttemptReason:
    return AttemptReason.DNS_NXDOMAIN if error.errno in _NO_SUCH_NAME else AttemptReason.DNS_ERROR
