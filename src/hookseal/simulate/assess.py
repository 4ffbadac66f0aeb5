"""Judges a receiver: every case is sent to it, and what it answers is set beside what a correct receiver answers.

It sees answers only. Whether an event was stored, worked on once, or lost afterwards is out of its sight; the report
says nothing of it. Cases go one after another, so that an answer belongs to its case on the slowest receiver too, and
keep to the rate that the receiver's handshake granted.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from hookseal.clock import Clock
from hookseal.delivery import retry_after
from hookseal.egress.port import Reply
from hookseal.simulate.cases import cases_of
from hookseal.simulate.cases.sender import Sender
from hookseal.simulate.cases.vocabulary import GRAVE, LEAKED, Case, Group
from hookseal.simulate.provider import Rate, consent_in, pause
from hookseal.simulate.wire import Answer, Manner, Sent, Wire

_PATIENCE_S = 15.0
_SILENT_S = 5.0
_SILENCES = 3
_VISITS = 4
_LONGEST_WAIT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One case as it came out.

    answers  what came back, in the order of the requests; `left` ones included.
    fault    what is wrong with them, as a sentence; "" when the receiver did as a correct one does.
    """

    case: Case
    answers: tuple[Answer, ...]
    fault: str

    @property
    def ok(self) -> bool:
        return not self.fault

    @property
    def grave(self) -> bool:
        return self.fault in GRAVE

    @property
    def got(self) -> str:
        """What came back, short: statuses, each once, in their order; reasons where none came."""
        said = [
            str(one.status) if one.status is not None else one.reason for one in self.answers if one.reason != "left"
        ]
        return ", ".join(dict.fromkeys(said))


class Assessor:
    """Plays one provider's cases against one receiver.

    per_second  how many requests are begun in a second at most, beside the rate that the receiver grants.
    patience_s  how long a connection that fell silent is watched.
    """

    def __init__(
        self,
        sender: Sender,
        wire: Wire,
        clock: Clock,
        *,
        per_second: float | None = None,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._sender = sender
        self._wire = wire
        self._clock = clock
        self._rate = Rate(clock, per_second)
        self._patience_s = patience_s
        self._silences = 0

    async def ready(self, waiting: Callable[[float], None]) -> None:
        """Send a good event until the receiver is able to judge one.

        It may have to fetch the key set of an issuer that has only just begun to serve one, or be starting; it then
        says when to come again, as the provider would. waiting: told how many seconds are waited.
        """
        for _ in range(_VISITS):
            now = self._clock.now()
            answer = await self._exchange(self._sender.good(self._sender.call(now), now))
            wish_s = retry_after.parse(answer.headers.get("retry-after"), self._clock.now())
            if answer.status not in (429, 503) or wish_s is None:
                return
            wait_s = min(float(wish_s), _LONGEST_WAIT_S)
            waiting(wait_s)
            await pause(self._clock, wait_s)

    async def findings(self) -> AsyncIterator[Finding]:
        """All cases in their order. One that its event cannot show is left out."""
        for case in cases_of(self._sender):
            requests = case.make(self._clock.now())
            if requests:
                answers = await self._answers(case, requests)
                finding = Finding(case=case, answers=answers, fault=fault_in(case, requests, answers))
                if case.group is Group.HANDSHAKE and finding.ok:
                    self._keep_to_granted(answers[0])
                yield finding

    async def _answers(self, case: Case, requests: Sequence[Sent]) -> tuple[Answer, ...]:
        if not case.at_once:
            return tuple([await self._exchange(sent) for sent in requests])
        return tuple(await asyncio.gather(*(self._exchange(sent) for sent in requests)))

    def _keep_to_granted(self, answer: Answer) -> None:
        handshake = self._sender.provider.handshake
        if handshake is not None and answer.status is not None:
            consent = consent_in(Reply(status=answer.status, headers=answer.headers), handshake.origins[0])
            self._rate.per_minute = consent.rate_per_min if consent.granted else self._rate.per_minute

    async def _exchange(self, sent: Sent) -> Answer:
        await self._rate.turn()
        timeout_s = self._sender.provider.sending.timeout_s
        if sent.manner is Manner.STALLED:
            timeout_s = self._patience_s
        elif self._silences >= _SILENCES:  # it does not answer at all: the rest need not take half an hour
            timeout_s = min(timeout_s, _SILENT_S)
        answer = await self._wire.exchange(sent, timeout_s)
        if sent.manner is not Manner.STALLED and answer.reason == "response_timeout":
            self._silences += 1
        return answer


def fault_in(case: Case, requests: Sequence[Sent], answers: Sequence[Answer]) -> str:
    """The first fault of a case's answers, "" when there is none. A leak is worse than a wrong code."""
    pairs = [(sent, answer) for sent, answer in zip(requests, answers, strict=True) if sent.manner is not Manner.LEFT]
    for sent, answer in pairs:
        if _leaks(sent, answer):
            return LEAKED
    if fault := next((fault for _, answer in pairs if (fault := case.expected.fault_in(answer))), ""):
        return fault
    if case.alike and len({answer.status for _, answer in pairs}) > 1:
        return "The two are answered differently: something reads the body before the proof is checked."
    return ""


def _leaks(sent: Sent, answer: Answer) -> bool:
    """What was sent may come back; what was not must not."""
    given = [value for _, value in sent.headers]
    said = [answer.body, *(value.encode("latin-1") for value in answer.headers.values())]
    return any(
        not any(telltale in value for value in given) and any(telltale in one for one in said)
        for telltale in sent.telltales
    )
