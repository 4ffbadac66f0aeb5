"""What may become of a quarantined request that is judged again, and who judges it.

The judging itself is the receiving side's: it has the sources, their secrets of today and the road into the store.
Here stands only what the management side needs to know of the answer.
"""

from dataclasses import dataclass
from typing import Protocol

from hookseal.model import Reason
from hookseal.store.port import Refusal, Stored


@dataclass(frozen=True, slots=True)
class Released:
    """The proof holds with today's secrets, and the request is stored: one `Stored` for each event, in order.

    A request that had arrived again in the meantime, or that was released before, gives duplicates and nothing new.
    """

    stored: tuple[Stored, ...]


@dataclass(frozen=True, slots=True)
class StillRefused:
    """The proof does not hold with today's secrets either; nothing was written."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class SourceGone:
    """The source that refused the request is configured no more, so there is nothing to judge it by."""


ReleaseOutcome = Released | StillRefused | SourceGone


class JudgeAgain(Protocol):
    async def __call__(self, refusal: Refusal) -> ReleaseOutcome:
        """Judge a refused request with today's secrets as of `refusal.received_at`, and store it when it holds.

        Storing is the accept path of receiving: the same dedupe keys, the same deliveries, in one transaction; the
        events carry the flag `released`. CannotDecide and StoreUnavailable when it cannot be said or stored now.
        """
        ...
