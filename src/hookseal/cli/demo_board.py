"""What the demo has seen of each event: sent, answered, arrived. Counts, and knows when everything is there.

It believes nothing before it was seen: an event is accepted when the gateway's 2xx is back, and delivered when the sink
has checked the signature of a POST that carries it. It draws nothing; `Show` is told what has become known.
"""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from hookseal.clock import Clock
from hookseal.model import Json
from hookseal.simulate.examples import Call, Expected
from hookseal.simulate.provider import Consent, Fate, Try
from hookseal.simulate.sink import Arrival


@dataclass(slots=True)
class Counts:
    sent: int = 0
    accepted: int = 0
    delivered: int = 0

    def as_json(self) -> dict[str, int]:
        return {"sent": self.sent, "accepted": self.accepted, "delivered": self.delivered}


@dataclass(slots=True, kw_only=True)
class Passage:
    """One event on its way. begun, done: monotonic seconds; None until known. event: as the sink got it."""

    provider: str
    call: Call
    expected: Expected
    status: int | None = None
    begun: float | None = None
    done: float | None = None
    event: dict[str, Json] | None = None

    @property
    def is_over(self) -> bool:
        return self.status is not None and self.event is not None

    @property
    def seconds(self) -> float:
        return self.done - self.begun if self.done is not None and self.begun is not None else 0.0


class Show(Protocol):
    def consented(self, provider: str, consent: Consent) -> None: ...

    def passed(self, passage: Passage) -> None: ...

    def failed(self, provider: str, attempt: Try) -> None: ...

    def surprised(self, provider: str, what: str) -> None:
        """Something arrived that must not, or cannot be believed."""
        ...

    def visited(self, event: dict[str, Json]) -> None:
        """An event that the demo did not send: the user's own."""
        ...


@dataclass(slots=True)
class Board:
    """surprises: deliveries that must not have happened."""

    clock: Clock
    show: Show
    providers: dict[str, Counts]
    surprises: int = 0
    refused: int = 0
    _waiting: dict[str, list[Passage]] = field(default_factory=dict)
    _of_call: dict[int, list[Passage]] = field(default_factory=dict)
    _forged: set[str] = field(default_factory=set)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    # --- told by the simulators

    def expect(self, provider: str, calls: Iterable[Call]) -> None:
        """These are about to be sent."""
        for call in calls:
            passages = [Passage(provider=provider, call=call, expected=one) for one in call.expected]
            self._of_call[id(call)] = passages
            for passage in passages:
                self._waiting.setdefault(passage.expected.mark, []).append(passage)

    def forge(self, call: Call) -> None:
        """This is about to be sent with a proof that does not hold; it must arrive nowhere."""
        self._forged.update(one.mark for one in call.expected)

    def consented(self, provider: str, consent: Consent) -> None:
        self.show.consented(provider, consent)

    def tried(self, provider: str, attempt: Try) -> None:
        passages = self._of_call[id(attempt.call)]
        counts = self.providers[provider]
        if attempt.number == 1:
            counts.sent += len(passages)
        if attempt.fate is not Fate.ACKNOWLEDGED:
            self.show.failed(provider, attempt)
            if attempt.fate is Fate.GIVEN_UP:
                del self._of_call[id(attempt.call)]
            return
        del self._of_call[id(attempt.call)]
        counts.accepted += len(passages)
        for passage in passages:
            passage.status = attempt.status
            passage.begun = self.clock.monotonic() - attempt.seconds
            self._tell(passage)

    # --- told by the sink

    def arrived(self, arrival: Arrival) -> None:
        if arrival.repeat:
            return
        event = arrival.event
        if self._forged & {event.get("providerid"), event.get("subject")}:
            self.surprises += 1
            self.show.surprised(str(event.get("provider")), "a forged event was delivered")
            return
        passage = self._passage_of(event)
        if passage is None:
            self.show.visited(event)
            return
        passage.event = event
        passage.done = self.clock.monotonic()
        self.providers[passage.provider].delivered += 1
        self._tell(passage)

    def unproven(self) -> None:
        self.surprises += 1
        self.show.surprised("", "the sink got a delivery whose signature does not hold")

    # --- asked

    @property
    def is_settled(self) -> bool:
        """Nothing that was accepted is still on its way."""
        return all(counts.accepted <= counts.delivered for counts in self.providers.values())

    async def settled(self, timeout_s: float) -> bool:
        """Wait until everything that was accepted has arrived; False when it takes longer."""
        end = self.clock.monotonic() + timeout_s
        while not self.is_settled:
            self._changed.clear()
            left = end - self.clock.monotonic()
            if left <= 0 or not await self.clock.wait(self._changed, left):
                return self.is_settled
        return True

    @property
    def missing(self) -> list[Passage]:
        """What was accepted and has not arrived."""
        return [one for waiting in self._waiting.values() for one in waiting if one.status is not None]

    @property
    def total(self) -> Counts:
        rows = self.providers.values()
        return Counts(
            sum(one.sent for one in rows), sum(one.accepted for one in rows), sum(one.delivered for one in rows)
        )

    def as_json(self) -> dict[str, Json]:
        return {**self.total.as_json(), "providers": {id: one.as_json() for id, one in self.providers.items()}}

    def _tell(self, passage: Passage) -> None:
        self._changed.set()
        if passage.is_over:
            self.show.passed(passage)

    def _passage_of(self, event: dict[str, Json]) -> Passage | None:
        """Which of the events sent this is: by its id, and where several calls share one, by the body."""
        for mark in (event.get("providerid"), event.get("subject")):
            waiting = self._waiting.get(str(mark), [])
            found = next((one for one in waiting if _is_of(one.call, event)), None)
            if found is not None:
                waiting.remove(found)
                if not waiting:
                    del self._waiting[str(mark)]
                return found
        return None


def _is_of(call: Call, event: dict[str, Json]) -> bool:
    if not call.content_type.startswith("application/json"):
        return True
    return bool(json.loads(call.body) == event["data"].get("payload"))
