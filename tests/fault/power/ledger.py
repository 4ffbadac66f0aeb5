"""What a store was asked, what it acknowledged and when.

*When* is a position in the log of a `CrashDisk`: the one at which the last commit before the acknowledgement had
returned. Whatever fails at that position or later must not take the fact away. What may take things away by right
(retention, the end of a delivery, another keyring) counts from the position at which it was asked.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any

from hookseal.clock import Instant
from hookseal.model import DeliveryId, DeliveryState, EndpointId, EventId, RefusalId
from hookseal.sealing import Keyring
from hookseal.store.port import Cutoffs, NewRequest, Refusal

NOW = Instant(1_763_700_000_000_000)
KEYRING = Keyring((("k1", bytes(range(32))),))
NEVER = Cutoffs(bodies=Instant(0), metadata=Instant(0), dedupe=Instant(0), refusals=Instant(0))


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request that was answered 2xx, and the ids of the events that stand for its items."""

    at: int
    request: NewRequest
    events: tuple[EventId, ...]
    new: frozenset[EventId]


@dataclass(frozen=True, slots=True)
class Moved:
    """A delivery that was recorded or cancelled. attempts: at least so many tries are written down."""

    at: int
    delivery: DeliveryId
    state: DeliveryState
    attempts: int


@dataclass(frozen=True, slots=True)
class Refused:
    at: int
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Replayed:
    """So many deliveries were made for the endpoint by replays up to here, at least."""

    at: int
    endpoint: EndpointId
    made: int


@dataclass(frozen=True, slots=True)
class Ending:
    """Somebody asked from here on for this delivery to end, as of `ended_at`."""

    at: int
    delivery: DeliveryId
    ended_at: Instant


@dataclass(frozen=True, slots=True)
class Expiring:
    """Retention was asked from here on to let go of what was last needed before."""

    at: int
    before: Cutoffs


@dataclass(frozen=True, slots=True)
class Gone:
    """Let go of, as was seen: bytes of events, events, refusals."""

    at: int
    bodies: frozenset[EventId]
    events: frozenset[EventId]
    refusals: frozenset[RefusalId]


@dataclass(frozen=True, slots=True)
class Keys:
    """What the key file holds from here on."""

    at: int
    keyring: Keyring


@dataclass(slots=True)
class Ledger:
    """sent: every request that was ever handed to the store, answered or not."""

    sent: list[NewRequest] = field(default_factory=list)
    accepted: list[Accepted] = field(default_factory=list)
    moved: list[Moved] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    replayed: list[Replayed] = field(default_factory=list)
    ending: list[Ending] = field(default_factory=list)
    expiring: list[Expiring] = field(default_factory=list)
    gone: list[Gone] = field(default_factory=list)
    keys: list[Keys] = field(default_factory=lambda: [Keys(0, KEYRING)])

    @property
    def facts(self) -> int:
        return len(self.accepted) + len(self.moved) + len(self.refused) + len(self.replayed) + len(self.gone)

    @property
    def keyring(self) -> Keyring:
        return self.keys[-1].keyring

    @property
    def cutoffs(self) -> Cutoffs:
        """What may have gone at most."""
        asked = [NEVER, *(one.before for one in self.expiring)]
        return Cutoffs(**{kind.name: max(getattr(one, kind.name) for one in asked) for kind in fields(Cutoffs)})

    def known_at(self, position: int) -> "Ledger":
        """What was acknowledged, or asked, when the log was this long."""
        return self._each(lambda facts: [one for one in facts if one.at <= position])

    def from_before(self) -> "Ledger":
        """The same facts, for a disk that begins with them."""
        return self._each(lambda facts: [replace(one, at=0) for one in facts])

    def _each(self, change: Any) -> "Ledger":
        kinds = (kind.name for kind in fields(self) if kind.name != "sent")
        return Ledger(list(self.sent), **{kind: change(getattr(self, kind)) for kind in kinds})
