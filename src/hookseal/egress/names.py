"""Names to addresses, without stopping the loop and without trusting the answer.

The system's resolver blocks, for half a minute when its servers are silent. So each look-up has a daemon thread (one
that hangs does not hold up our exit), there are at most `MAX_LOOKUPS` of them, and callers who ask for a name that is
being looked up share the look-up: an endpoint whose name server is dead occupies one thread, not all. Nothing is kept
once a look-up has ended; the connection pool is what makes look-ups rare.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence

from hookseal.egress.reasons import CallFailed
from hookseal.model import AttemptReason

MAX_LOOKUPS = 32

Lookup = Callable[[str], Sequence[str]]
"""Host name in, addresses as text out, best first. Blocks. socket.gaierror when there are none."""

_NO_SUCH_NAME = {
    getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY") if hasattr(socket, name)
}


def system_lookup(host: str) -> Sequence[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(address[0]) for *_, address in found]


class Names:
    """Looks names up for one event loop."""

    def __init__(self, lookup: Lookup, timeout_s: float) -> None:
        self._lookup = lookup
        self._timeout_s = timeout_s
        self._asked: dict[str, asyncio.Future[Sequence[str]]] = {}

    async def addresses(self, host: str) -> Sequence[str]:
        """At least one address. CallFailed with `dns_nxdomain`, `dns_timeout` or `dns_error`."""
        answer = self._asked.get(host) or self._ask(host)
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await asyncio.shield(answer)
        except TimeoutError as error:
            raise CallFailed(AttemptReason.DNS_TIMEOUT) from error
        except socket.gaierror as error:
            raise CallFailed(_reason(error)) from error
        except (OSError, UnicodeError) as error:
            raise CallFailed(AttemptReason.DNS_ERROR) from error
        if not found:
            raise CallFailed(AttemptReason.DNS_NXDOMAIN)
        return found

    def _ask(self, host: str) -> asyncio.Future[Sequence[str]]:
        if len(self._asked) >= MAX_LOOKUPS:
            raise CallFailed(AttemptReason.DNS_ERROR)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[str]] = loop.create_future()
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())  # its askers may all have left
        self._asked[host] = answer

        def settle(found: Sequence[str], error: BaseException | None) -> None:
            self._asked.pop(host, None)
            if error is None:
                answer.set_result(found)
            else:
                answer.set_exception(error)

        def look_up() -> None:
            found: Sequence[str] = ()
            error: BaseException | None = None
            try:
                found = self._lookup(host)
            except Exception as raised:  # noqa: BLE001 — handed to the askers
                error = raised
            try:
                loop.call_soon_threadsafe(settle, found, error)
            except RuntimeError:  # the loop is closed: nobody is left to be told
                return

        threading.Thread(target=look_up, name=f"hookseal-name-{host[:32]}", daemon=True).start()
        return answer


def _reason(error: socket.gaierror) -> AttemptReason:
    return AttemptReason.DNS_NXDOMAIN if error.errno in _NO_SUCH_NAME else AttemptReason.DNS_ERROR
