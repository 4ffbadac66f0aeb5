"""Which endpoints have consented to be called, and asking those that have not.

Theory of operation
- An endpoint with a handshake is `validating`, `active` or `failed`. Only while it is active is its lane open; the
  gate (the delivery engine) keeps all others shut, so that no event is posted before the consent.
- What was answered is kept in the store, for the URL and the name that we asked by: a restart asks only those that have
  not consented, or whose URL has changed. Another node's changes are read there, too: when the store tells of one
  (`update`), before a callback is answered (`refresh`), and every `LOOK_S` while an endpoint has not consented.
- `failed` is asked again after 1 min, 5 min, 30 min, 1 h, then every 6 h, and whenever the operator says so.
- With `callback` the request carries a URL of ours with a token in it. An answer that consents to nothing then leaves
  the endpoint `validating` until the token is used, once, or is over; then it is asked anew. Of the token only a hash
  is kept. Whoever has read it can consent in the receiver's name: it is sent to the endpoint's own URL and to nobody else.
- A crash between asking and keeping: it is asked again. Two nodes that ask at once: the later answer stands.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import StrEnum
from typing import Protocol

import msgspec

from hookseal.clock import Clock, Instant, plus, seconds_between
from hookseal.delivery.consent import Consent, rate_in
from hookseal.delivery.endpoint import Endpoint
from hookseal.destinations import handshake
from hookseal.egress.port import Egress
from hookseal.errors import NotFound, StoreError
from hookseal.logs import get_logger
from hookseal.model import EndpointId
from hookseal.store.port import Store

log = get_logger(__name__)

SHELF = "subscriptions"
WAITS_S = (60.0, 300.0, 1800.0, 3600.0, 21_600.0)
CALLBACK_S = 86_400.0
LOOK_S = 30.0
_AT_ONCE = 8
_TOKEN_BYTES = 32


class State(StrEnum):
    VALIDATING = "validating"
    ACTIVE = "active"
    FAILED = "failed"


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """Where one endpoint stands. Fields are only ever added, with a default: it is what lies in the store.

    url, origin     what was asked, and by which name.
    rate_per_min    what was granted; None is any rate.
    status, reason  of the last answer; reason where there was none.
    problem         why it is no consent, as a sentence.
    failures        answers in a row that were none.
    next_at         when it is asked again by itself.
    token           SHA-256 of the callback's token, hex, while it may be used; until `next_at`.
    """

    url: str
    origin: str
    state: State = State.VALIDATING
    rate_per_min: int | None = None
    status: int | None = None
    reason: str | None = None
    problem: str = ""
    failures: int = 0
    asked_at: int | None = None
    next_at: int | None = None
    token: str = ""


class Callback(StrEnum):
    """What came of a call to the callback URL."""

    GRANTED = "granted"
    UNKNOWN = "unknown"  # no such token, used before, or over
    RATE_MALFORMED = "rate_malformed"


class Gate(Protocol):
    """Who sends."""

    def admit(self, endpoint: EndpointId, per_minute: int | None) -> None: ...

    async def close(self, endpoint: EndpointId) -> None: ...


async def _is_current() -> None:
    """The `refresh` of a process that makes every change itself."""


class Subscriptions:
    """All methods belong to one event loop.

    public_url  what others reach us by: the name that we ask by, and where callbacks go.
    new_token   makes the secret part of a callback's URL.
    refresh     calls `update` if another node has changed something. It must be cheap, because anyone can cause it.
    """

    def __init__(
        self,
        store: Store,
        egress: Egress,
        gate: Gate,
        clock: Clock,
        *,
        public_url: str | None = None,
        new_token: Callable[[], str] = lambda: secrets.token_urlsafe(_TOKEN_BYTES),
        refresh: Callable[[], Awaitable[None]] = _is_current,
    ) -> None:
        self._store = store
        self._egress = egress
        self._gate = gate
        self._clock = clock
        self._public_url = public_url.rstrip("/") if public_url else None
        self._new_token = new_token
        self._refresh = refresh
        self._endpoints: dict[EndpointId, Endpoint] = {}
        self._known: dict[EndpointId, Subscription] = {}
        self._writes: dict[EndpointId, int] = {}
        self._asking: dict[EndpointId, asyncio.Lock] = {}
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._news = asyncio.Event()
        self._ended = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.loop: asyncio.Task[None] | None = None
        """The task that runs from `start` to `stop`."""

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self, endpoints: Iterable[Endpoint]) -> None:
        """Let those through that have consented before; begin to ask the others, without waiting for their answers."""
        await self.reconfigure(endpoints)
        self.loop = self._spawn(self._run())

    async def stop(self) -> None:
        self._ended = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def reconfigure(self, endpoints: Iterable[Endpoint]) -> None:
        """Go on with these endpoints; those that need no consent are left out. The gate must know them already."""
        self._endpoints = {one.id: one for one in endpoints if one.needs_consent}
        self._known = {id: one for id, one in self._known.items() if id in self._endpoints and self._is_of(one, id)}
        await self._look()
        for id in self._endpoints:
            self._known.setdefault(id, self._fresh(id))
        for id in list(self._known):
            await self._apply(id)
        self._news.set()

    async def update(self) -> None:
        """Read the consents again: another node may have changed them. StoreError when they cannot be read."""
        writes = dict(self._writes)
        await self._take_over(await self._store.kept(SHELF), writes)

    # --- asked from outside -----------------------------------------------------------------------------------------

    def states(self) -> Mapping[EndpointId, Subscription]:
        return dict(self._known)

    def state(self, endpoint: EndpointId) -> State | None:
        """None for an endpoint that needs no consent."""
        found = self._known.get(endpoint)
        return None if found is None else found.state

    async def ask(self, endpoint: EndpointId) -> Subscription:
        """Ask now, whatever was answered before. NotFound for an endpoint that needs no consent."""
        if endpoint not in self._endpoints:
            raise NotFound("there is no such endpoint, or it needs no consent")
        async with self._asking.setdefault(endpoint, asyncio.Lock()), self._places:
            return await self._ask(endpoint)

    async def call_back(self, token: str, rate: str | None) -> Callback:
        """The callback URL was called: the endpoint has consented. rate: the header WebHook-Allowed-Rate.

        StoreError when it cannot be kept: the token is not used up then. Without a rate, the one that was asked for.
        """
        digest = _digest(token)
        # Another node may have made the token, or seen it used. Nothing is decrypted for a token that nobody made.
        await self._refresh()
        now = self._clock.now()
        for id, one in self._known.items():
            if not one.token or not hmac.compare_digest(one.token, digest):
                continue
            if one.next_at is not None and one.next_at <= now:
                return Callback.UNKNOWN
            try:
                granted = self._endpoints[id].handshake.request_rate if rate is None else rate_in(rate)
            except ValueError:
                return Callback.RATE_MALFORMED
            active = msgspec.structs.replace(
                one, state=State.ACTIVE, rate_per_min=granted, problem="", failures=0, next_at=None, token=""
            )
            await self._keep(id, active)
            await self._apply(id)
            log.info("endpoint consented by callback", endpoint=id)
            return Callback.GRANTED
        return Callback.UNKNOWN

    # --- asking -----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while not self._ended:
            self._news.clear()
            await self._look()
            now = self._clock.now()
            waiting = {id: one for id, one in self._known.items() if one.state is not State.ACTIVE}
            for id, one in waiting.items():
                lock = self._asking.setdefault(id, asyncio.Lock())
                if (one.next_at is None or one.next_at <= now) and not lock.locked():
                    self._spawn(self._ask_by_itself(id))
            later = [seconds_between(now, Instant(one.next_at)) for one in waiting.values() if one.next_at is not None]
            wait_s = min([LOOK_S, *(one for one in later if one > 0)]) if waiting else None
            await self._clock.wait(self._news, wait_s)

    async def _ask_by_itself(self, id: EndpointId) -> None:
        try:
            await self.ask(id)
        except (NotFound, StoreError) as error:
            log.warning("endpoint not asked for consent", endpoint=id, code=error.code)

    async def _ask(self, id: EndpointId) -> Subscription:
        endpoint = self._endpoints.get(id)
        if endpoint is None:
            raise NotFound("the endpoint was deleted meanwhile")
        before = self._known.get(id) or self._fresh(id)
        if (fault := handshake.problem(endpoint, self._public_url)) is not None:
            return await self._answered(id, before, Consent(status=None, reason="config_error", problem=fault[1]))
        token = self._new_token() if endpoint.handshake.callback else ""
        now = self._clock.now()
        asked = msgspec.structs.replace(
            before,
            state=before.state if before.state is State.ACTIVE else State.VALIDATING,
            asked_at=now,
            next_at=plus(now, CALLBACK_S) if token else None,
            token=_digest(token) if token else "",
        )
        await self._keep(id, asked)  # before the call: the callback may be quicker than the answer
        consent = await handshake.ask(
            self._egress,
            endpoint.url,
            asked.origin,
            request_rate=endpoint.handshake.request_rate,
            callback=f"{self._public_url}{handshake.CALLBACK_PATH}{token}" if token else None,
        )
        if self._endpoints.get(id) is not endpoint:
            raise NotFound("the endpoint was changed meanwhile")
        if token and consent.silent:
            return self._known.get(id, asked)  # consent may still come, or has come already
        return await self._answered(id, asked, consent)

    async def _answered(self, id: EndpointId, asked: Subscription, consent: Consent) -> Subscription:
        failures = 0 if consent.granted else asked.failures + 1
        wait_s = WAITS_S[min(failures, len(WAITS_S)) - 1] if failures else None
        answered = msgspec.structs.replace(
            asked,
            state=State.ACTIVE if consent.granted else State.FAILED,
            rate_per_min=consent.rate_per_min,
            status=consent.status,
            reason=consent.reason,
            problem=consent.problem,
            failures=failures,
            next_at=None if wait_s is None else plus(self._clock.now(), wait_s),
            token="",
        )
        await self._keep(id, answered)
        await self._apply(id)
        if consent.granted:
            log.info("endpoint consented", endpoint=id, status=consent.status)
        else:
            log.warning("endpoint did not consent", endpoint=id, status=consent.status, reason=consent.reason)
        self._news.set()
        return answered

    async def _apply(self, id: EndpointId) -> None:
        """Open or shut the gate as the endpoint stands."""
        one = self._known.get(id)
        if one is None:  # deleted meanwhile
            return
        if one.state is State.ACTIVE:
            self._gate.admit(id, one.rate_per_min)
        else:
            await self._gate.close(id)

    # --- keeping ----------------------------------------------------------------------------------------------------

    async def _keep(self, id: EndpointId, one: Subscription) -> None:
        # Counted before and after the write: what is read meanwhile may be older than what is written.
        self._writes[id] = self._writes.get(id, 0) + 1
        await self._store.keep(SHELF, id, msgspec.json.encode(one))
        self._writes[id] += 1
        # The endpoint may have been changed or deleted meanwhile. A consent for another URL opens nothing.
        if id in self._endpoints and self._is_of(one, id):
            self._known[id] = one

    async def _look(self) -> None:
        """Read what is kept: by this process before its restart, or by another node."""
        try:
            await self.update()
        except StoreError as error:
            log.warning("consents cannot be read", code=error.code)

    async def _take_over(self, kept: Mapping[str, bytes | None], writes: Mapping[EndpointId, int]) -> None:
        for id in list(self._endpoints):
            found = _read(kept.get(id))
            # An endpoint may be deleted while the gate of another one closes.
            if id not in self._endpoints or found is None or found == self._known.get(id) or not self._is_of(found, id):
                continue
            if writes.get(id, 0) != self._writes.get(id, 0):
                continue
            self._known[id] = found
            await self._apply(id)

    def _is_of(self, one: Subscription, id: EndpointId) -> bool:
        """Whether it is about what the endpoint is today."""
        return (one.url, one.origin) == (self._endpoints[id].url, self._origin(id))

    def _origin(self, id: EndpointId) -> str:
        return handshake.origin_of(self._endpoints[id], self._public_url) or ""

    def _fresh(self, id: EndpointId) -> Subscription:
        return Subscription(url=self._endpoints[id].url, origin=self._origin(id))

    def _spawn(self, coroutine: "asyncio._CoroutineLike[None]") -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _read(kept: bytes | None) -> Subscription | None:
    if kept is None:
        return None
    try:
        return msgspec.json.decode(kept, type=Subscription)
    except msgspec.MsgspecError:
        return None  # of a version that wrote it otherwise: ask again


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
