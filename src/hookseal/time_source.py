"""The time, and whether it can be trusted: the wall clock compared with everything that bounds the true time.

`TimeSource` is a `Clock`. Receiving, retention, ends of secrets, health and metrics ask it. It does no I/O: other parts
report evidence to it. `docs/design/007-time-source.md` gives the reasons.

Theory of operation. The monotonic clock is the ruler. The true time is `monotonic + x`, and each piece of evidence is an
interval of x, taken at the moment of an answer and as wide as the call took. The wall clock claims one x as well. A
claim outside the interval by more than `TOLERANCE_S` contradicts the evidence. Weights of evidence:

    release date, 4       the wall clock shows a time before this release was made: certainly wrong.
    database, key set, 2  strong: one source is sufficient to doubt the wall clock.
    endpoint, 1           weak: two different hosts must show the same time. Only the newest answer of a host counts. The
                          owners of endpoints choose what their hosts show. Endpoints without a strong source therefore
                          cause a doubt only, and never correct the time.
    newest receipt        the newest time that this store was written at is later than the wall clock. The clock is wrong
                          now, or it was wrong then. It counts for `DOUBT_S`, and for `NOT_READY_S` as a contradiction, or
                          until other evidence confirms the clock.
    starting              the first evidence is still being fetched: refusals wait for it, for `AWAITED_S` at most.
    step                  the wall clock moved against the monotonic clock. See below.

Evidence from this machine (loopback, a database at the same address) can contradict the clock. It can never confirm it,
because it reads the same clock. Confirmation needs a weight of `STRONG` from other machines, and no contradiction.

States:
- `TRUSTED`.
- `DOUBTED`: the clock was set, only endpoints contradict it, or strong evidence contradicts it and equally strong evidence
  confirms it. Refusals for reasons of time are 503, retention rests.
- `CONTRADICTED`: the same, and the node is not ready.

A step of the wall clock: the doubt lasts for `SETTLE_S` at least. If the step is larger than the tolerance, it lasts until
evidence that is newer than the step confirms the clock, until the clock is set back, or for `DOUBT_S` at most. While a
machine sleeps, its monotonic clock may stand still, and the wall clock then seems to jump ahead. Therefore a step ahead
widens the intervals of all older evidence. Such evidence contradicts and confirms nothing until it is renewed.

No evidence: the wall clock is trusted after it has run evenly for `SETTLE_S`. Evidence is kept in memory only.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from hookseal.clock import Clock, Instant, plus, seconds_between, to_unix
from hookseal.released import NOT_BEFORE

TOLERANCE_S = 300.0
JUMP_S = 5.0
"""A larger difference between two looks is a step. Slewing moves a clock by 0.3 s in ten minutes at most."""
SETTLE_S = 60.0
DOUBT_S = 86_400.0
"""How long a doubt lasts that no other clock decides. Most senders retry for as long. A long doubt costs little: only
requests that look stale are answered 503."""
NOT_READY_S = 600.0
"""How long a receipt from the future keeps the node from being ready. A clock is set right within minutes of a boot; after
that time the store is more likely to be wrong."""
EVIDENCE_S = 90_000.0
"""Key sets are renewed after a day at the latest. A monotonic clock drifts by less than 10 s in that time."""
AWAITED_S = 10.0
"""A key set is fetched in 5 s, or not at all."""
FAR_S = 86_400.0
STRONG = 2
COMPARED_S = 600.0
_MOST_ENDPOINTS = 64
"""Endpoint hosts whose time is kept. All of them are compared at each request during a doubt."""


class Evidence(StrEnum):
    RELEASE = "release_date"
    RECEIPT = "newest_receipt"
    DATABASE = "database"
    KEY_SET = "key_set"
    ENDPOINT = "endpoint"
    STEP = "clock_step"
    STARTING = "starting"


WEIGHTS = {Evidence.DATABASE: 2, Evidence.KEY_SET: 2, Evidence.ENDPOINT: 1}


class Trust(StrEnum):
    TRUSTED = "trusted"
    DOUBTED = "doubted"
    CONTRADICTED = "contradicted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the evidence says of the wall clock.

    correction_s  what is added to the wall clock's time to get the best known time.
    earliest_s    what is added to get the earliest time that some evidence permits; never positive.
    is_confirmed  other machines show the same time.
    """

    trust: Trust
    cause: Evidence | None = None
    correction_s: float = 0.0
    earliest_s: float = 0.0
    is_confirmed: bool = False


@dataclass(slots=True)
class _Shown:
    """The interval of (true time - monotonic time) that one other clock showed."""

    least_s: float
    most_s: float
    is_local: bool
    at: float

    def difference_s(self, claimed_s: float) -> float:
        """How far the claim is outside of the interval: positive if the wall clock is ahead."""
        return max(claimed_s - self.most_s, 0.0) + min(claimed_s - self.least_s, 0.0)

    def confirms(self, claimed_s: float) -> bool:
        return not self.is_local and claimed_s - self.least_s <= TOLERANCE_S and self.most_s - claimed_s <= TOLERANCE_S

    @property
    def middle_s(self) -> float:
        return (self.least_s + self.most_s) / 2


@dataclass(slots=True)
class _Step:
    """A doubt after the clock was set. from_s: what the clock claimed before. settled_at, until: monotonic seconds."""

    from_s: float
    settled_at: float
    until: float


class EarliestClock:
    """A `Clock` that shows the earliest time that it can be: for the ends of secrets."""

    def __init__(self, source: "TimeSource") -> None:
        self._source = source
        self._is_settled = not source.compares

    def now(self) -> Instant:
        return self._source.earliest()

    def monotonic(self) -> float:
        return self._source.monotonic()

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        was_settled, self._is_settled = self._is_settled, self._source.judgement.trust is Trust.TRUSTED
        if was_settled and self._is_settled:
            return await self._source.wait(event, timeout_s)
        # New evidence moves this clock, and so does the end of a doubt: the caller has to look again.
        least_s = 0.0 if self._is_settled else 1.0
        return await self._source.wait(event, least_s if timeout_s is None else min(timeout_s, least_s))


class TimeSource:
    """The time of one process, as a `Clock`.

    compare   whether other clocks, the release date and the store are compared. False: only steps are noticed, and a step
              that lasts for `SETTLE_S` is believed. For clocks that are not the machine's, and for operators who say so.
    doubted   called when a doubt begins and when the clock is set during one, so that fresh evidence can be fetched.
    """

    def __init__(
        self, clock: Clock, *, compare: bool = True, not_before: Instant = NOT_BEFORE, jump_s: float = JUMP_S
    ) -> None:
        self._clock = clock
        self._compare = compare
        self._not_before = not_before
        self._jump_s = jump_s
        self._shown: dict[tuple[Evidence, str], _Shown] = {}
        self._independent: set[tuple[Evidence, str]] = set()
        self._began_at = clock.monotonic()
        self._receipt: tuple[Instant, float] | None = None
        self._step: _Step | None = None
        self._awaited_until = 0.0
        self._last: Judgement | None = None
        self._judged_at = 0.0
        self.doubted: Callable[[], None] = lambda: None
        self._reference(self._claimed_s(), clock.monotonic())

    # --- as a clock -------------------------------------------------------------------------------------------------

    def now(self) -> Instant:
        """The best known time: the wall clock's, corrected while evidence says by how much it is wrong."""
        return self.corrected(self.look())

    def earliest(self) -> Instant:
        """The earliest time that it can be. Secrets end by this time, so that a wrong clock ends none too early."""
        now = self.look()
        return now if self._last is None else plus(now, self._last.earliest_s)

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        return await self._clock.wait(event, timeout_s)

    @property
    def compares(self) -> bool:
        return self._compare

    # --- the judgement ----------------------------------------------------------------------------------------------

    def corrected(self, now: Instant) -> Instant:
        """Return the best known time, for a wall clock's time that `look` has just returned."""
        return now if self._last is None or self._last.correction_s == 0.0 else plus(now, self._last.correction_s)

    def look(self) -> Instant:
        """Return the wall clock's time, and compare it with the monotonic clock."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        claimed_s = to_unix(now) - monotonic
        moved_s = claimed_s - self._reference_s
        if abs(moved_s) > self._jump_s:
            self._stepped(claimed_s, moved_s, monotonic)
        elif monotonic - self._referred_at > COMPARED_S:
            self._reference(claimed_s, monotonic)
        if self._last is None or (self._last.trust is not Trust.TRUSTED and monotonic != self._judged_at):
            self._judge(claimed_s, monotonic)
        return now

    @property
    def judgement(self) -> Judgement:
        self.look()
        return self._judge(self._claimed_s(), self._clock.monotonic())

    @property
    def doubted_for_s(self) -> float:
        """When to ask again, in seconds; 0 while the clock is trusted."""
        if self.judgement.trust is Trust.TRUSTED:
            return 0.0
        left_s = 0.0 if self._step is None else self._step.settled_at - self._clock.monotonic()
        return left_s if left_s > 0 else SETTLE_S

    def difference_s(self, kind: Evidence) -> float | None:
        """By how much the wall clock is ahead of this kind of evidence, the largest difference; None without evidence."""
        claimed_s = self._claimed_s()
        if kind is Evidence.RELEASE:
            return min(seconds_between(self._not_before, self._clock.now()), 0.0) if self._compare else None
        if kind is Evidence.RECEIPT:
            if self._receipt is None:
                return None
            return min(claimed_s - (to_unix(self._receipt[0]) - self._receipt[1]), 0.0)
        differences = [shown.difference_s(claimed_s) for (each, _), shown in self._shown.items() if each is kind]
        return max(differences, key=abs, default=None)

    # --- evidence ---------------------------------------------------------------------------------------------------

    def shown(
        self,
        kind: Evidence,
        name: str,
        earliest: Instant,
        latest: Instant,
        asked: float,
        answered: float,
        *,
        is_local: bool,
    ) -> None:
        """Note the time that another clock showed.

        name                which clock of this kind: a host.
        earliest, latest    the time shown, with its resolution.
        asked, answered     monotonic seconds at the begin and the end of the call.
        """
        if not self._compare:
            return
        self.look()
        key = (kind, name)
        self._shown.pop(key, None)  # the newest is last, so that the first is the oldest
        shown = _Shown(to_unix(earliest) - answered, to_unix(latest) - asked, is_local, answered)
        if is_local and abs(shown.difference_s(self._claimed_s())) > TOLERANCE_S:
            # A fresh answer that contradicts our clock was not read from it.
            self._independent.add(key)
        shown.is_local = is_local and key not in self._independent
        self._shown[key] = shown
        # Endpoint hosts displace each other only. The strong sources are few, and answer less often.
        endpoints = [each for each in self._shown if each[0] is Evidence.ENDPOINT] if kind is Evidence.ENDPOINT else []
        if len(endpoints) > _MOST_ENDPOINTS:
            del self._shown[endpoints[0]]
            self._independent.discard(endpoints[0])
        self._judge(self._claimed_s(), self._clock.monotonic())

    def stored(self, newest: Instant) -> None:
        """Note the newest time in the store, before anything is stored by this process."""
        if self._compare:
            self._receipt = (newest, self._clock.monotonic())
            self._judge(self._claimed_s(), self._clock.monotonic())

    def await_evidence(self, seconds: float = AWAITED_S) -> None:
        """Doubt the clock until evidence has come, for so long at most. 0 ends it: nothing more is on its way."""
        if self._compare:
            self._awaited_until = self._clock.monotonic() + seconds
            self._judge(self._claimed_s(), self._clock.monotonic())

    # --- parts ------------------------------------------------------------------------------------------------------

    def _claimed_s(self) -> float:
        return to_unix(self._clock.now()) - self._clock.monotonic()

    def _reference(self, claimed_s: float, monotonic: float) -> None:
        self._reference_s, self._referred_at = claimed_s, monotonic

    def _stepped(self, claimed_s: float, moved_s: float, monotonic: float) -> None:
        for shown in self._shown.values():
            # After a sleep of the machine the true time is ahead by as much. A sleep and a step look the same here.
            shown.most_s += max(moved_s, 0.0)
        from_s = self._reference_s if self._step is None else self._step.from_s
        self._step = _Step(from_s, monotonic + SETTLE_S, monotonic + DOUBT_S)
        self._reference(claimed_s, monotonic)
        self._judge(claimed_s, monotonic)
        self.doubted()

    def _judge(self, claimed_s: float, monotonic: float) -> Judgement:
        before, self._last = self._last, self._weighed(claimed_s, monotonic)
        self._judged_at = monotonic
        was_trusted = before is None or before.trust is Trust.TRUSTED or before.cause is Evidence.STARTING
        if was_trusted and self._last.trust is not Trust.TRUSTED and self._last.cause is not Evidence.STARTING:
            self.doubted()
        return self._last

    def _weighed(self, claimed_s: float, monotonic: float) -> Judgement:
        for key in [key for key, shown in self._shown.items() if monotonic - shown.at > EVIDENCE_S]:
            del self._shown[key]
        against = self._against(claimed_s)
        confirming = sum(WEIGHTS[kind] for (kind, _), shown in self._shown.items() if shown.confirms(claimed_s))
        is_confirmed = confirming >= STRONG and against is None
        shown_s = claimed_s if against is None else against[1]
        earliest_s = min(shown_s - claimed_s, 0.0)
        is_strong = against is not None and WEIGHTS[against[2]] >= STRONG
        if self._compare and claimed_s + monotonic + TOLERANCE_S < to_unix(self._not_before):
            # The clock that contradicts may be wrong as well. A receipt stored as too old would be deleted early.
            known_s = max(shown_s, self._released_s) if is_strong else self._least_known_s()
            return Judgement(trust=Trust.CONTRADICTED, cause=Evidence.RELEASE, correction_s=known_s - claimed_s)
        if against is not None and is_strong:
            weight, _, cause = against
            if weight > confirming:
                correction_s = shown_s - claimed_s
                return Judgement(
                    trust=Trust.CONTRADICTED, cause=cause, correction_s=correction_s, earliest_s=earliest_s
                )
            return Judgement(trust=Trust.DOUBTED, cause=cause, earliest_s=earliest_s)
        judgement = self._by_own_traces(claimed_s, monotonic, is_confirmed)
        if against is None:
            return judgement
        # Endpoints weaken what follows without them. They never replace a correction, and never make the node not ready.
        if judgement.trust is Trust.TRUSTED:
            return Judgement(trust=Trust.DOUBTED, cause=against[2], earliest_s=earliest_s)
        return replace(judgement, earliest_s=min(judgement.earliest_s, earliest_s))

    def _by_own_traces(self, claimed_s: float, monotonic: float, is_confirmed: bool) -> Judgement:
        """Return what follows from the store and from steps of the wall clock."""
        behind_s = self._behind_receipt_s(claimed_s, monotonic)
        if behind_s > TOLERANCE_S and not is_confirmed:
            correction_s = behind_s if behind_s > FAR_S else 0.0
            is_new = monotonic - self._began_at < NOT_READY_S
            trust = Trust.CONTRADICTED if is_new else Trust.DOUBTED
            return Judgement(trust=trust, cause=Evidence.RECEIPT, correction_s=correction_s)
        return self._after_step(claimed_s, monotonic, is_confirmed)

    def _least_known_s(self) -> float:
        """What the clock should claim at least: by the release date and the newest receipt."""
        if self._receipt is None:
            return self._released_s
        return max(self._released_s, to_unix(self._receipt[0]) - self._receipt[1])

    @property
    def _released_s(self) -> float:
        """What the clock should claim at least by the release date."""
        return to_unix(self._not_before) - self._began_at

    def _against(self, claimed_s: float) -> tuple[int, float, Evidence] | None:
        """Return the heaviest agreement of clocks that contradict ours: weight, middle, kind. None if it is weak.

        A group that a strong clock leads is preferred to one of endpoints, however many they are.
        """
        others = [
            (shown.middle_s, WEIGHTS[kind], kind)
            for (kind, _), shown in self._shown.items()
            if abs(shown.difference_s(claimed_s)) > TOLERANCE_S
        ]
        best: tuple[int, float, Evidence] | None = None
        for middle_s, own_weight, kind in others:
            weight = sum(weight for other_s, weight, _ in others if abs(other_s - middle_s) <= TOLERANCE_S)
            if weight >= STRONG and (best is None or (own_weight, weight) > (WEIGHTS[best[2]], best[0])):
                best = (weight, middle_s, kind)
        return best

    def _behind_receipt_s(self, claimed_s: float, monotonic: float) -> float:
        if self._receipt is None:
            return 0.0
        newest, at = self._receipt
        return to_unix(newest) - at - claimed_s if monotonic - at < DOUBT_S else 0.0

    def _after_step(self, claimed_s: float, monotonic: float, is_confirmed: bool) -> Judgement:
        step = self._step
        if step is None:
            if monotonic < self._awaited_until and not is_confirmed:
                behind_s = self._behind_receipt_s(claimed_s, monotonic)
                # The store was in use at its newest time. That is the earliest time that it can be.
                earliest_s = min(behind_s, 0.0)
                return Judgement(trust=Trust.DOUBTED, cause=Evidence.STARTING, earliest_s=earliest_s)
            return Judgement(trust=Trust.TRUSTED, is_confirmed=is_confirmed)
        away_s = claimed_s - step.from_s
        # Evidence from before a step ahead was widened by it, and confirms nothing. A step back leaves it valid.
        is_over = not self._compare or abs(away_s) <= TOLERANCE_S or is_confirmed or monotonic >= step.until
        if monotonic >= step.settled_at and is_over:
            self._step = None
            return Judgement(trust=Trust.TRUSTED, is_confirmed=is_confirmed)
        # Set back by more than a day: what is stored now must not look older than it is, or retention deletes it early.
        correction_s = -away_s if away_s < -FAR_S and self._compare and not is_confirmed else 0.0
        earliest_s = 0.0 if is_confirmed else min(-away_s, 0.0)
        return Judgement(
            trust=Trust.DOUBTED,
            cause=Evidence.STEP,
            correction_s=correction_s,
            earliest_s=earliest_s,
            is_confirmed=is_confirmed,
        )
