"""The key sets of issuers, kept so that a token can be judged without waiting, and fetched so that a refusal is certain.

It decides when to fetch and what may be said meanwhile; it knows no token and no scheme. URLs come from the
configuration only, so there are as many sets as the operator has configured.

Theory of operation. Each URL has a `_KeptSet`: the last good set, when its fetch began, when it should be renewed, and
at most one fetch under way, which everyone who needs one shares.

- A set is renewed in the background after its time to live (an hour, or what Cache-Control says within bounds). Nobody
  waits for that, and the old set serves on for a day if the issuer is down. A failed fetch changes no set.
- A key id that is not in the set asks for a fetch. Only a fetch that began after the request had arrived can prove the
  key absent: an older one may have read the issuer's set just before the key was published, and a 401 is final for some
  senders. Such a fetch is followed by a cool-down, so that random key ids cannot make us flood the issuer; what arrives
  within it and names an unknown key is told to come again. The first fetch and the renewals start no cool-down.
- While fetches fail, the next one waits 1, 2, 4, ... 30 s; whoever needs it before is told to come again.

Whoever waits may leave at any time; the fetch goes on for the others.
"""

import asyncio
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from hookseal.clock import Clock
from hookseal.egress.port import Egress, Failure
from hookseal.schemes.verdict import PublicKey

KeySet = Mapping[str, tuple[PublicKey, ...]]

_HEADERS = (("Accept", "application/jwk-set+json, application/json"),)
_MAX_AGE = re.compile(r"(?:^|[,\s])max-age=\"?([0-9]{1,9})", re.IGNORECASE)
_NOT_KEPT = re.compile(r"(?:^|[,\s])no-(?:store|cache)(?:$|[,\s=])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Found:
    """The set at hand. It holds the key id that was asked for, if one was."""

    key_set: KeySet


@dataclass(frozen=True, slots=True)
class Absent:
    """A fetch that began after the request had arrived brought a set without this key: the refusal is certain."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """It cannot be said now. retry_after_s: whole seconds, at least 1."""

    retry_after_s: int


Answer = Found | Absent | Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long things take and hold, in seconds."""

    fetch_s: float = 5.0
    renew_s: float = 3600.0
    least_renew_s: float = 300.0
    most_renew_s: float = 86_400.0
    stale_s: float = 86_400.0  # how long beyond its renewal a set serves while the issuer is down
    cool_down_s: float = 30.0
    most_back_off_s: float = 30.0
    max_bytes: int = 262_144


@dataclass(slots=True)
class _KeptSet:
    """See the module head. Times are the clock's monotonic seconds; `number` counts fetches from 1."""

    url: str
    keys: KeySet | None = None
    began_at: float = -math.inf
    number: int = 0
    good_number: int = 0
    renew_at: float = -math.inf
    unusable_at: float = -math.inf
    cool_until: float = -math.inf
    failures: int = 0
    back_off_until: float = -math.inf
    last_failure: str | None = None
    fetch: asyncio.Task[None] | None = None


class KeySets:
    """All key sets of one process.

    egress  the guarded client; its policy holds for issuers as for everyone.
    parse   a key set from its document; ValueError when it is none. `schemes.jwk.parse` unless a test says otherwise.
    fetched  told after each fetch: which URL, and whether it brought a set.
    """

    def __init__(
        self,
        egress: Egress,
        clock: Clock,
        *,
        parse: Callable[[bytes], KeySet] | None = None,
        patience: Patience = Patience(),
        fetched: Callable[[str, bool], None] = lambda url, succeeded: None,
    ) -> None:
        self._fetched = fetched
        self._egress = egress
        self._clock = clock
        self._parse = parse or _parse_jwk
        self._patience = patience
        self._sets: dict[str, _KeptSet] = {}
        self._changed = asyncio.Event()
        self.loop: asyncio.Task[None] | None = None
        """The task that runs from `start` to `close`."""
        self._closed = False

    def start(self, urls: Iterable[str] = ()) -> None:
        """Renew in the background from now on, and fetch these sets so that no request has to wait for them."""
        for url in urls:
            self._kept(url)
        if self.loop is None:
            self.loop = asyncio.create_task(self._renew())

    def refresh(self) -> None:
        """Fetch every set again soon. A set in use stays in use, and no cool-down begins."""
        for kept in self._sets.values():
            kept.renew_at = -math.inf
        self._changed.set()

    async def close(self) -> None:
        """Stop. Whoever waits is told to come again."""
        self._closed = True
        tasks = [task for kept in self._sets.values() if (task := kept.fetch) is not None]
        if self.loop is not None:
            tasks.append(self.loop)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def at_hand(self, url: str) -> KeySet | None:
        """The set that may be judged with now, without waiting; None when there is none."""
        kept = self._sets.get(url)
        return None if kept is None or self._clock.monotonic() >= kept.unusable_at else kept.keys

    def last_failure(self, url: str) -> str | None:
        """Why the newest fetch failed, None when it did not."""
        kept = self._sets.get(url)
        return None if kept is None else kept.last_failure

    async def keys(self, url: str, kid_needed: str | None, arrived: float) -> Answer:
        """The set at `url`, fetched if need be.

        kid_needed  the key id that the set at hand lacks; None to ask for any set.
        arrived     the clock's monotonic seconds when the request came.
        """
        kept = self._kept(url)
        first_certain = kept.number + 1  # a fetch that begins from here on begins after the request
        while not self._closed:
            now = self._clock.monotonic()
            usable = kept.keys if now < kept.unusable_at else None
            if usable is not None:
                self._renew_if_due(kept, now)
                if kid_needed is None or kid_needed in usable:
                    return Found(usable)
                if kept.good_number >= first_certain or kept.began_at > arrived:
                    return Absent()
            if kept.fetch is None:
                wait_s = max(kept.back_off_until, kept.cool_until if usable is not None else -math.inf) - now
                if wait_s > 0:
                    return Unavailable(_whole(wait_s))
                self._begin(kept, cool_down=usable is not None)
            if kept.fetch is not None:
                await asyncio.wait((kept.fetch,))
        return Unavailable(1)

    def _kept(self, url: str) -> _KeptSet:
        kept = self._sets.get(url)
        if kept is None:
            kept = self._sets[url] = _KeptSet(url)
            self._changed.set()
        return kept

    def _renew_if_due(self, kept: _KeptSet, now: float) -> None:
        if kept.fetch is None and now >= kept.renew_at and now >= kept.back_off_until:
            self._begin(kept, cool_down=False)

    def _begin(self, kept: _KeptSet, *, cool_down: bool) -> None:
        kept.fetch = asyncio.create_task(self._fetch(kept, cool_down))

    async def _fetch(self, kept: _KeptSet, cool_down: bool) -> None:
        patience = self._patience
        kept.number += 1  # here and not in `_begin`: whoever asks before this runs has asked before the fetch
        began_at = self._clock.monotonic()
        try:
            read = await self._read(kept.url)
            now = self._clock.monotonic()
            self._fetched(kept.url, not isinstance(read, str))
            if isinstance(read, str):
                kept.last_failure = read
                kept.failures += 1
                kept.back_off_until = now + min(2.0 ** min(kept.failures - 1, 16), patience.most_back_off_s)
            else:
                kept.last_failure = None
                kept.keys, life_s = read
                kept.began_at, kept.good_number = began_at, kept.number
                kept.failures, kept.back_off_until = 0, -math.inf
                kept.renew_at = now + life_s
                kept.unusable_at = kept.renew_at + patience.stale_s
            if cool_down:
                kept.cool_until = now + patience.cool_down_s
        finally:
            kept.fetch = None
            self._changed.set()

    async def _read(self, url: str) -> tuple[KeySet, float] | str:
        """A set and for how many seconds it need not be renewed, or why there is none."""
        patience = self._patience
        try:
            reply = await self._egress.call(
                "GET", url, headers=_HEADERS, timeout_s=patience.fetch_s, max_bytes=patience.max_bytes
            )
            if isinstance(reply, Failure):
                return reply.reason.value
            if reply.status != 200:
                return f"http_{reply.status}"
            if not reply.complete:
                return "document_incomplete"
            return self._parse(reply.body), self._life_s(reply.headers.get("cache-control", ""))
        except ValueError:
            return "document_malformed"
        except Exception:  # noqa: BLE001 — a fault of ours is a doubt too: it backs off and is never a refusal
            return "internal"

    def _life_s(self, cache_control: str) -> float:
        """How long a set is not renewed. A `no-store` or a tiny max-age would have us fetch for every request."""
        patience = self._patience
        given = _MAX_AGE.search(cache_control)
        wanted = 0.0 if _NOT_KEPT.search(cache_control) else float(given[1]) if given else patience.renew_s
        return min(max(wanted, patience.least_renew_s), patience.most_renew_s)

    async def _renew(self) -> None:
        """Without this a set that nobody asked for would not learn of a removed key until after the next request."""
        while True:
            self._changed.clear()
            now = self._clock.monotonic()
            for kept in self._sets.values():
                self._renew_if_due(kept, now)
            due = [max(kept.renew_at, kept.back_off_until) for kept in self._sets.values() if kept.fetch is None]
            await self._clock.wait(self._changed, min(due) - now if due else None)


def _whole(seconds: float) -> int:
    return max(1, math.ceil(seconds))


def _parse_jwk(document: bytes) -> KeySet:
    from hookseal.schemes.jwk import parse  # it loads PyJWT, which a process without token sources does not need

    return parse(document)
