"""Reports the time that other hosts show in the `Date` header of their answers.

Of one URL a `Date` is read at most every `every_s`: answers to deliveries are on a hot path.
"""

import math
import re
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from hookseal.clock import Clock, Instant, from_datetime, plus
from hookseal.egress.networks import address_of
from hookseal.egress.port import Egress, Failure, Reply

_MAX_URLS = 1024
_IMF_FIXDATE = re.compile(r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} [12]\d{3} \d{2}:\d{2}:\d{2} GMT", re.ASCII)
_AGE = re.compile(r"\d{1,9}", re.ASCII)

DateSeen = Callable[[str, Instant, Instant, float, float, bool], None]
"""Called with: host, the earliest and the latest time shown, monotonic seconds before and after the call, is local."""


class DatedEgress:
    """An `Egress` that calls through another one, and reports the time that each answer shows."""

    def __init__(self, egress: Egress, clock: Clock, seen: DateSeen, *, every_s: float = 0.0) -> None:
        self._every_s = every_s
        self._egress = egress
        self._clock = clock
        self._seen = seen
        self._read_at: dict[str, float] = {}

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        timeout_s: float = 30.0,
        max_bytes: int = 65536,
    ) -> Reply | Failure:
        """See `egress.port.Egress.call`."""
        asked = self._clock.monotonic()
        reply = await self._egress.call(
            method, url, headers=headers, body=body, timeout_s=timeout_s, max_bytes=max_bytes
        )
        if asked - self._read_at.get(url, -math.inf) >= self._every_s and isinstance(reply, Reply):
            self._read(url, reply, asked)
        return reply

    async def close(self) -> None:
        await self._egress.close()

    def _read(self, url: str, reply: Reply, asked: float) -> None:
        if len(self._read_at) >= _MAX_URLS:
            self._read_at.clear()
        self._read_at[url] = asked
        shown = shown_by(reply)
        if shown is not None:
            host = urlsplit(url).hostname or ""
            self._seen(host, shown, plus(shown, 1), asked, self._clock.monotonic(), is_this_machine(host))


def shown_by(reply: Reply) -> Instant | None:
    """Return the time that an answer was made at, in whole seconds; None if it does not say.

    An answer from a cache has the `Date` of its first sending. Its `Age` is the time since then (RFC 9110 section 6.6.1,
    RFC 9111 section 5.1).
    """
    date = reply.headers.get("date", "")
    if not _IMF_FIXDATE.fullmatch(date):
        return None
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return None
    age = reply.headers.get("age", "0")
    return plus(from_datetime(moment), float(age)) if _AGE.fullmatch(age) else None


def is_this_machine(host: str) -> bool:
    """Whether a host of a URL is surely on this machine, so that it reads the same clock."""
    try:
        return address_of(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
