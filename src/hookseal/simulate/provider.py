"""One provider, played against one URL: consent first where it asks for it, then events, each tried by its policy.

Everything that a receiver could tell it from the real one by is here: a proof made anew for each try (a token lives an
hour, a retry may come after a day), the provider's own headers, its deadline, its reading of statuses, its waits. How
the proof is made stands in the scheme, what is sent in `examples`, the waits in the delivery policies.

Events go at the same time up to `concurrency`; the calls of one event go one after another, as they happen.
"""

import asyncio
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from hookseal.catalogue import Provider
from hookseal.clock import Clock, Instant, plus, seconds_between
from hookseal.delivery import retry_after
from hookseal.delivery.consent import Consent as Consent
from hookseal.delivery.consent import consent_in as consent_in
from hookseal.delivery.pace import Pace
from hookseal.delivery.policy import RetryPolicy, of_provider
from hookseal.delivery.schedule import next_attempt_at
from hookseal.destinations import handshake
from hookseal.egress.port import Egress, Failure, Reply
from hookseal.message import Request, headers_of
from hookseal.schemes.verdict import Scheme, SigningKeys
from hookseal.simulate.examples import Call

_LONGEST_CALL_S = 30.0
_LONGEST_VISIT_S = 60.0


class Fate(StrEnum):
    """What a try came to, in the provider's eyes."""

    ACKNOWLEDGED = "acknowledged"
    AGAIN = "again"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One POST and what came of it.

    number   from 1, for one call.
    status   None when there was no answer; `reason` then says why.
    title    of the problem that the receiver answered, "" where it told none.
    seconds  how long it took.
    wait_s   with AGAIN: how long the provider waits before the next try.
    rest_s   with AGAIN: how long its whole schedule still takes, jitter and wishes of the receiver left out.
    is_last  the simulator does not try again, whatever the provider would do.
    is_visit the next attempt is not a retry of the provider: the receiver is not ready, and asked for it.
    """

    call: Call
    number: int
    status: int | None
    reason: str | None
    title: str
    seconds: float
    fate: Fate
    wait_s: float | None = None
    rest_s: float | None = None
    is_last: bool = False
    is_visit: bool = False


class Watcher(Protocol):
    """Who looks on. Called on the event loop, at once."""

    def consented(self, consent: Consent) -> None: ...

    def tried(self, attempt: Try) -> None: ...


class Rate:
    """At most so many starts in any minute, and so many in a second; retries count as everything else does."""

    def __init__(self, clock: Clock, per_second: float | None = None) -> None:
        self._minute = Pace()
        self._per_second = per_second
        self._clock = clock
        self._turn = asyncio.Lock()
        self._next: Instant | None = None

    @property
    def per_minute(self) -> int | None:
        return self._minute.per_minute

    @per_minute.setter
    def per_minute(self, granted: int | None) -> None:
        self._minute.per_minute = granted

    async def turn(self) -> None:
        """Wait until one more may start."""
        async with self._turn:
            now = self._clock.now()
            free = max(self._next or now, self._minute.free_at(now))
            if free > now:
                await pause(self._clock, seconds_between(now, free))
            if self._per_second is not None:
                self._next = plus(free, 1 / self._per_second)
            self._minute.note(free)


class Simulator:
    """One provider that has one URL registered.

    keys        secrets or the issuer's private key.
    policy      None takes the provider's own.
    retries     whether a refused event is sent again by the policy. If not, each event is sent once.
    visits      how often an event is sent again all the same if the receiver answers 429 or 503 with `Retry-After`: it
                may have to fetch the key set of an issuer that has only just begun to serve one.
    speed       divides the waits between tries: with 60 a minute takes a second. The rate is not touched.
    per_second  how many requests are begun in a second at most, beside the rate that the receiver grants.
    jitter      numbers between 0 and 1, as `next_attempt_at` takes them.
    """

    def __init__(
        self,
        *,
        provider: Provider,
        scheme: Scheme,
        keys: SigningKeys,
        url: str,
        egress: Egress,
        clock: Clock,
        watcher: Watcher,
        jitter: Callable[[], float],
        policy: RetryPolicy | None = None,
        retries: bool = True,
        visits: int = 0,
        speed: float = 1.0,
        per_second: float | None = None,
        concurrency: int = 8,
    ) -> None:
        self.provider = provider
        self.url = url
        self.policy = policy if policy is not None else of_provider(provider)
        self._scheme = scheme
        self._keys = keys
        self._egress = egress
        self._clock = clock
        self._watcher = watcher
        self._jitter = jitter
        self._speed = speed
        self._retries = retries
        self._visits = visits
        self.rate = Rate(clock, per_second)
        self._places = asyncio.Semaphore(concurrency)
        self._timeout_s = min(provider.sending.timeout_s, _LONGEST_CALL_S)

    async def play(self, events: Iterable[Callable[[], tuple[Call, ...]]]) -> bool:
        """Ask for consent where the provider does, then send all events. True when every call was acknowledged.

        events  each makes the calls of one event; called when its turn comes, so that its times are of that moment.
        """
        if not await self.subscribe():
            return False
        acknowledged: list[bool] = []
        async with asyncio.TaskGroup() as group:
            for event in events:
                await self._places.acquire()
                group.create_task(self._play_one(event, acknowledged))
        return all(acknowledged)

    async def subscribe(self) -> bool:
        """The handshake, where the provider has one. Without consent nothing may be sent."""
        if self.provider.handshake is None:
            return True
        consent = await self._ask(self.provider.handshake.origins[0])
        self.rate.per_minute = consent.rate_per_min
        self._watcher.consented(consent)
        return consent.granted

    async def send(self, call: Call) -> bool:
        """Send one call, with its retries if there are any; return whether it was acknowledged."""
        first_at = None
        number = 0
        waited_s = 0.0
        while True:
            await self.rate.turn()
            number += 1
            begun = self._clock.monotonic()
            now = self._clock.now()
            first_at = now if first_at is None else first_at
            answer = await self.post(call, now)
            # The provider's time: what was slept through at `speed` counts in full, so that windows hold.
            slept_s = waited_s - waited_s / self._speed
            attempt = self._judged(call, number, answer, begun, first_at, plus(self._clock.now(), slept_s))
            visit_s = None if self._retries or number > self._visits else _asked_for_s(answer, self._clock.now())
            if not self._retries and attempt.fate is Fate.AGAIN:
                attempt = replace(attempt, wait_s=visit_s or attempt.wait_s, is_last=visit_s is None, is_visit=True)
            self._watcher.tried(attempt)
            if attempt.wait_s is None or attempt.is_last:
                return attempt.fate is Fate.ACKNOWLEDGED
            if visit_s is not None:  # the receiver's own time, so `speed` does not count
                await pause(self._clock, visit_s)
                continue
            waited_s += attempt.wait_s
            await pause(self._clock, attempt.wait_s / self._speed)

    def signed(self, call: Call, now: Instant) -> list[tuple[str, str]]:
        """All headers of one try, the proof made now."""
        headers = [("Content-Type", call.content_type), *call.headers]
        request = Request(method="POST", headers=headers_of(headers), body=call.body, url=self.url)
        return headers + self._scheme.sign(request, self._keys, now)

    async def post(self, call: Call, now: Instant) -> Reply | Failure:
        """One POST, without a second try."""
        headers = self.signed(call, now)
        return await self._egress.call("POST", self.url, headers=headers, body=call.body, timeout_s=self._timeout_s)

    async def _play_one(self, event: Callable[[], tuple[Call, ...]], acknowledged: list[bool]) -> None:
        try:
            for call in event():
                acknowledged.append(await self.send(call))  # noqa: PERF401 — each waits for the one before
        finally:
            self._places.release()

    async def _ask(self, origin: str) -> Consent:
        """OPTIONS with the origin and nothing else: the sender shows no token to a server that it does not know yet."""
        return await handshake.ask(self._egress, self.url, origin)

    def _judged(
        self, call: Call, number: int, answer: Reply | Failure, begun: float, first_at: Instant, ended_at: Instant
    ) -> Try:
        status = answer.status if isinstance(answer, Reply) else None
        wish = retry_after.parse(answer.headers.get("retry-after"), ended_at) if isinstance(answer, Reply) else None
        fate, wait_s = fate_of(self.policy, status, number, first_at, ended_at, wish, self._jitter())
        rest_s = None if wait_s is None else wait_s + self._rest_s(number + 1, first_at, plus(ended_at, wait_s))
        return Try(
            call=call,
            number=number,
            status=status,
            reason=answer.reason.value if isinstance(answer, Failure) else None,
            title=_title(answer) if isinstance(answer, Reply) else "",
            seconds=self._clock.monotonic() - begun,
            fate=fate,
            wait_s=wait_s,
            rest_s=rest_s,
        )

    def _rest_s(self, number: int, first_at: Instant, at: Instant) -> float:
        """Return the seconds from attempt `number` at `at` to the last one, without jitter, if all of them fail."""
        middle = 0.5 if self.policy.jitter[0] < 0 < self.policy.jitter[1] else 0.0
        end = at
        while (due := next_attempt_at(self.policy, number, first_at, end, None, middle)) is not None:
            end, number = due, number + 1
        return seconds_between(at, end)


def _asked_for_s(answer: Reply | Failure, now: Instant) -> float | None:
    """Return how many seconds a receiver that is not ready asks to wait, at most `_LONGEST_VISIT_S`; None if it is."""
    if not isinstance(answer, Reply) or answer.status not in (429, 503):
        return None
    wish_s = retry_after.parse(answer.headers.get("retry-after"), now)
    return None if wish_s is None else min(max(float(wish_s), 0.0), _LONGEST_VISIT_S)


def fate_of(
    policy: RetryPolicy,
    status: int | None,
    number: int,
    first_at: Instant,
    ended_at: Instant,
    wish_s: float | None,
    jitter: float,
) -> tuple[Fate, float | None]:
    """What a provider with this policy does after a try, and with AGAIN how many seconds it waits before the next.

    status  None when there was no answer; the rest as `next_attempt_at` takes it.
    """
    if status in policy.success:
        return Fate.ACKNOWLEDGED, None
    if status not in policy.permanent:
        due = next_attempt_at(policy, number, first_at, ended_at, wish_s, jitter)
        if due is not None:
            return Fate.AGAIN, seconds_between(ended_at, due)
    return Fate.GIVEN_UP, None


async def pause(clock: Clock, seconds: float) -> None:
    """Let time pass by this clock."""
    if seconds > 0:
        await clock.wait(asyncio.Event(), seconds)


_TITLE = re.compile(rb'"title"\s*:\s*"([\x20\x21\x23-\x5b\x5d-\x7e]{1,80})"')


def _title(reply: Reply) -> str:
    """The title of an RFC 9457 problem; anything else in a stranger's body is not worth showing."""
    if not reply.headers.get("content-type", "").startswith("application/problem+json"):
        return ""
    found = _TITLE.search(reply.body)
    return found[1].decode("ascii") if found else ""
