"""What a store must be able to do, in the words of the domain. SQLite and PostgreSQL keep the same contract suite.

The promises (each is a test in `tests/contract/store_contract.py`):
- When `accept` returns, the request, its events, their dedupe keys and their deliveries are durable, in one transaction.
- One dedupe key makes one event, also when the same key arrives many times at once, on any number of nodes.
- A delivery is leased to one holder at a time. Whoever holds no lease records nothing: `record` says which results
  it refused.
- Nothing raises but the errors of `hookseal.errors`: StoreUnavailable when it may pass, StoreMismatch when it will not.

A pending delivery is *due* at `due_at`; taking a lease moves `due_at` to the lease's end, so that a lapsed lease is due
by itself. A lease is a token, new for every claim: a result that carries another token is stale.

Instants are given by the node's clock. A store that several nodes share adds the difference to its own clock when it
keeps `due_at`, and takes it away again in `next_due_at`, so that nodes with wrong clocks agree on what is due; the
`due_at` of a listed delivery is by the store's clock.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Generic, NewType, Protocol, TypeVar

from hookseal.clock import Instant
from hookseal.message import Headers, RawRequest
from hookseal.model import DeliveryId, DeliveryState, EndpointId, EventId, MappingRevision, Outcome, RefusalId, SourceId
from hookseal.sealing import Keyring

T = TypeVar("T")

Lease = NewType("Lease", int)
"""A fencing token: 63 random bits, never 0."""

Cursor = NewType("Cursor", str)
"""Where the next page starts; opaque outside the store."""

UNREADABLE = "unreadable"
"""A flag of a listed event whose bytes do not open under the keyring: it has none then."""

BODY_EXPIRED = "body_expired"
"""A flag of an event whose request's bytes were let go by retention: it has none then, and cannot be sent again."""


# --- receiving ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDelivery:
    """One planned delivery. `lease` and `lease_until` are set together: it is then leased to the storing node at insert.

    Several events of one request may name the same delivery. It is stored for the first of them that is new.
    """

    id: DeliveryId
    endpoint: EndpointId
    due_at: Instant
    lease: Lease | None = None
    lease_until: Instant | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """One event to be stored; what is needed to list, find and dedupe it. The rest is in the request's bytes.

    item        which item of the request's body, from 0.
    dedupe_key  32 bytes, made of the source's id and of proven bytes only.
    content     32 bytes, SHA-256 of this item's own data: another content under the same key is a conflict.
    order       place among the states of its subject, 0 to 2**63 - 1, the later state the greater; None: it has none.
    outcome     what the provider decided, by the rules of the request's mapping; None where no rules were applied.
    final       whether the provider says that the outcome will not change.
    """

    id: EventId
    item: int
    type: str
    dedupe_key: bytes
    content: bytes
    provider_type: str | None = None
    provider_id: str | None = None
    subject: str | None = None
    time: Instant | None = None
    flags: tuple[str, ...] = ()
    order: int | None = None
    outcome: Outcome | None = None
    final: bool = False
    deliveries: tuple[NewDelivery, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRequest:
    """One accepted request. `headers` hold no credentials. All events of it are stored, or none.

    mapping  the rules that its events were made by. None where they are not known.
    """

    source: SourceId
    received_at: Instant
    headers: Headers
    body: bytes
    events: tuple[NewEvent, ...]
    mapping: MappingRevision | None = None

    @property
    def leases(self) -> Mapping[DeliveryId, Lease]:
        """Those that its deliveries are born with."""
        planned = (delivery for event in self.events for delivery in event.deliveries)
        return {delivery.id: delivery.lease for delivery in planned if delivery.lease is not None}


def place_deliveries(new: Iterable[NewEvent]) -> Iterator[tuple[NewDelivery, ...]]:
    """Yield the deliveries of each new event of one request, in order: each delivery once, with the first event."""
    placed: set[DeliveryId] = set()
    for event in new:
        mine = tuple(delivery for delivery in event.deliveries if delivery.id not in placed)
        placed.update(delivery.id for delivery in mine)
        yield mine


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of one `NewEvent`.

    event       the id of the stored event: the new one, or the earlier one that it duplicates.
    conflict    a duplicate whose content differs; the earlier event now carries the flag `conflict`.
    superseded  a new event; one of the same source and subject with a greater order was stored before. It stays so.
    """

    event: EventId
    sequence: int
    duplicate: bool
    conflict: bool = False
    superseded: bool = False


# --- what was stored ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """One stored event without its bytes.

    mapping  the rules that it was made by, and its provider. None for an event that was stored before mappings were,
             by a source that nobody knows any more.
    outcome  as it was decided when the event was stored; None for an event that was stored before outcomes were.
    """

    id: EventId
    source: SourceId
    sequence: int
    item: int
    type: str
    received_at: Instant
    provider_type: str | None
    provider_id: str | None
    subject: str | None
    time: Instant | None
    flags: tuple[str, ...]
    conflicts: int
    superseded: bool = False
    mapping: MappingRevision | None = None
    outcome: Outcome | None = None
    final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """One stored event with the request that brought it.

    siblings  how many events of that request are stored.
    raw       the same headers and body, one object for all events of the request that are in memory. None where the
              event was made alone.
    """

    row: EventRow
    headers: Headers
    body: bytes
    siblings: int
    raw: RawRequest | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """The state in force of one subject: the event with the greatest order, of equal ones the one stored last.

    An event with an order stands over every one without. events: how many the subject has at this source, all kinds;
    superseded: how many of them were late when they came.
    """

    event: StoredEvent
    events: int
    superseded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow:
    """One listed delivery.

    attempts     attempts that were made and recorded.
    losses       leases that ended without a result.
    replayed_as  the delivery that a replay made in place of this dead one. Its state is REPLAYED then.
    """

    id: DeliveryId
    event: EventId
    source: SourceId
    type: str
    endpoint: EndpointId
    state: DeliveryState
    attempts: int
    losses: int
    created_at: Instant
    due_at: Instant | None
    ended_at: Instant | None
    last_status: int | None
    last_reason: str | None
    replayed_as: DeliveryId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """One recorded try. status: the answer's, None when there was none; reason: None when it delivered."""

    number: int
    started_at: Instant
    duration_ms: int
    status: int | None
    reason: str | None


# --- delivering -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """One delivery that this node may try now, with the event to send.

    attempts            tries recorded so far.
    unexplained_losses  leases that ended without a result since the last recorded attempt.
    first_attempt_at    when the first of them began; None before the first. Windows such as 48 h count from here.
    """

    id: DeliveryId
    endpoint: EndpointId
    lease: Lease
    attempts: int
    losses: int
    first_attempt_at: Instant | None
    event: StoredEvent
    unexplained_losses: int = 0


SUSPECT_LOSSES = 2
"""Unexplained losses that make a delivery a crash suspect. The number is written in the SQL of both stores too."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A crash suspect that is due. isolated_losses: unexplained losses while it was alone in flight in its process."""

    delivery: DeliveryId
    endpoint: EndpointId
    isolated_losses: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one try came to. state: PENDING with `due_at` to try again, or a final state with `due_at` None."""

    delivery: DeliveryId
    lease: Lease
    attempt: AttemptRow
    state: DeliveryState
    due_at: Instant | None


# --- quarantine -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One refused request. `headers` hold no credentials but the proof itself, sealed, so that it can be judged again.

    held  it is proven, and its sender was told that it is accepted; it waits for a person to release it.
    """

    id: RefusalId
    source: SourceId
    received_at: Instant
    reason: str
    method: str
    url: str | None
    remote: str | None
    headers: Headers
    body: bytes
    released_at: Instant | None = None
    held: bool = False


# --- reading --------------------------------------------------------------------------------------------------------


class IdKind(StrEnum):
    """Whose ids `Store.find_ids` looks for."""

    EVENT = "event"
    DELIVERY = "delivery"
    REFUSAL = "refusal"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """None means any. since is inclusive, until exclusive, both of `received_at`."""

    source: SourceId | None = None
    type: str | None = None
    subject: str | None = None
    since: Instant | None = None
    until: Instant | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """None means any. since and until are of the event's receipt."""

    endpoint: EndpointId | None = None
    state: DeliveryState | None = None
    event: EventId | None = None
    since: Instant | None = None
    until: Instant | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page, newest first, and where the next one starts (None at the end)."""

    rows: Sequence[T]
    next: Cursor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Which events go again to one endpoint: those named, or those that the filters leave.

    state             only events whose delivery to this endpoint is in this state; None: all that match, delivered or
                      never planned.
    once_per_request  of the events of one request only the first match goes again, and none while a delivery of any
                      event of the request is pending.
    """

    endpoint: EndpointId
    events: tuple[EventId, ...] | None = None
    since: Instant | None = None
    until: Instant | None = None
    state: DeliveryState | None = None
    once_per_request: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """For metrics: pending deliveries by endpoint, and the age of the oldest that is due."""

    pending: Mapping[EndpointId, int]
    dead: Mapping[EndpointId, int]
    quarantined: int


# --- retention ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutoffs:
    """What was last needed before these instants may go. An event is needed at its receipt and until its last delivery
    has ended; a pending delivery is needed for ever. See `expire_pending`.

    bodies    bytes of requests, all events of which were last needed before.
    metadata  events with their deliveries and attempts, where the bytes are gone; not later than `bodies`.
    dedupe    dedupe keys, by their receipt. A store may keep them longer, never shorter.
    refusals  the quarantine, by receipt.
    """

    bodies: Instant
    metadata: Instant
    dedupe: Instant
    refusals: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """What one slice let go, and where the next one starts (None: there is no more for now)."""

    bodies: int = 0
    events: int = 0
    dedupe_keys: int = 0
    refusals: int = 0
    next: Cursor | None = None


@dataclass(frozen=True, slots=True)
class DatabaseTime:
    """The time of a database server's own clock. is_local: the server runs on this machine, and so reads our clock."""

    now: Instant
    is_local: bool


# --- keys -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Seals:
    """What one slice of a walk over all sealed values found.

    by_key  how many values each key sealed, as they were found.
    moved   how many of them are sealed under the active key now.
    broken  how many did not open under their key.
    next    where the next slice starts; None at the end.
    """

    by_key: Mapping[str, int]
    moved: int = 0
    broken: int = 0
    next: Cursor | None = None


class StoreObserver(Protocol):
    """Receives the counts of a store, and is notified when a part of it has ended. Names are of closed sets."""

    def committed(self, seconds: float) -> None:
        """A transaction was committed; seconds: from its begin to the end of its commit. Called on any thread."""
        ...

    def part_ended(self, part: str) -> None:
        """A thread or task that the store needs ended before `close`. Called on the event loop."""
        ...


class IgnoredStore:
    """A `StoreObserver` that does nothing."""

    def committed(self, seconds: float) -> None: ...

    def part_ended(self, part: str) -> None: ...


class Store(Protocol):
    parts: ClassVar[Sequence[str]]
    """The threads and tasks that the store needs: the names that `StoreObserver.part_ended` is called with."""
    created: bool
    """Whether `open` found no store and created a new, empty one."""

    async def open(self) -> None:
        """Take the store: lock, migrate, check the keyring. StoreLocked or StoreMismatch when it cannot be had."""
        ...

    async def close(self) -> None:
        """Finish what is queued, then let go. Leases are not touched; see `release`."""
        ...

    async def probe(self) -> None:
        """Write and commit a small value, as durably as an event. StoreError when the store could not accept one now."""
        ...

    # receiving
    async def accept(self, request: NewRequest) -> tuple[Stored, ...]:
        """Store one request; returns when it is durable, one `Stored` for each event in order."""
        ...

    async def quarantine(self, refusal: Refusal) -> None:
        """Store a refused request; returns when it is durable.

        Best effort: when the quarantine is full, the oldest requests of the peer that has most, of the source that has most,
        give way.
        """
        ...

    async def assign_mapping(self, source: SourceId, mapping: MappingRevision, limit: int) -> int:
        """Give the mapping to at most `limit` events of the source that have none; return how many got it.

        Events that were stored before mappings were have none.
        """
        ...

    async def hold(self, refusal: Refusal, dedupe_keys: Sequence[bytes]) -> None:
        """Store a request that is verified but too old; returns when it is durable.

        dedupe_keys  Of the events that it would make. If all of them are stored, or the same request is held already,
                     nothing is stored.
        StoreBusy if too many held requests wait for a release.
        """
        ...

    # delivering
    async def claim_due(self, free: Mapping[EndpointId, int], now: Instant, lease_until: Instant) -> Sequence[Claimed]:
        """Lease deliveries that are due, the longest due first, at most `free[endpoint]` of each endpoint.

        Crash suspects are left out: `claim_suspect` leases them one at a time.
        """
        ...

    async def next_due_at(self, endpoints: Sequence[EndpointId]) -> Instant | None:
        """When the earliest pending delivery of these endpoints is due; leased ones count with their lease's end.

        Crash suspects are left out.
        """
        ...

    async def next_suspect_at(self, endpoints: Sequence[EndpointId]) -> Instant | None:
        """Return when the earliest crash suspect of these endpoints is due; leased ones count with their lease's end."""
        ...

    async def due_suspects(self, endpoints: Sequence[EndpointId], now: Instant, limit: int) -> Sequence[Suspect]:
        """Count lapsed leases of crash suspects as losses, then return the suspects that are due, the longest due first."""
        ...

    async def claim_suspect(
        self, delivery: DeliveryId, now: Instant, lease_until: Instant, due_if_lost: Instant
    ) -> Claimed | None:
        """Lease a crash suspect for an attempt during which nothing else is in flight in this process.

        If the lease is lost, that counts as an isolated loss, and the delivery is due at `due_if_lost`. None if the
        delivery is no due suspect any more, or if its event cannot be read.
        """
        ...

    async def end_suspect(self, delivery: DeliveryId, now: Instant) -> bool:
        """End a crash suspect that is not leased: dead, `worker_lost`, without an attempt. False if it is none."""
        ...

    async def pending_since(self) -> Mapping[EndpointId, Instant]:
        """Return the endpoints that have pending deliveries, each with when its oldest one is or was due."""
        ...

    async def expire_pending(
        self, endpoint: EndpointId, before: Instant, now: Instant, limit: int
    ) -> Sequence[DeliveryId]:
        """End at most `limit` pending deliveries of one endpoint that were due before an instant: dead, `pending_expired`.

        No attempt is written down. Return which deliveries ended.
        """
        ...

    async def record(self, result: Result) -> bool:
        """Write one try down and move the delivery on. False, with nothing written, when the lease is not held."""
        ...

    async def renew(self, leases: Mapping[DeliveryId, Lease], until: Instant) -> Sequence[DeliveryId]:
        """Extend leases; returns the deliveries that are still held."""
        ...

    async def release(self, leases: Mapping[DeliveryId, Lease], due_at: Instant) -> None:
        """Give leases back untried: nothing is counted, the deliveries are due at `due_at`."""
        ...

    async def void_leases(self, now: Instant) -> int:
        """A former process of an embedded store is dead: its leases end now, each counted as a loss; returns how many.

        A store that nodes share does nothing: other nodes are alive, and leases of a dead one end within their 60 s.
        """
        ...

    # operating
    async def replay(self, replay: Replay, now: Instant) -> int:
        """Make deliveries due now: a new one for each matching event, none where one is pending. Return how many."""
        ...

    async def cancel(self, delivery: DeliveryId, now: Instant) -> bool:
        """Cancel a pending delivery; False when it had ended."""
        ...

    async def mark_released(self, refusal: RefusalId, now: Instant) -> None: ...

    # the life of the data
    async def expire(self, before: Cutoffs, limit: int, cursor: Cursor | None = None) -> Expired:
        """Let go of what is too old: one slice of at most about `limit` rows, in one short transaction.

        Pass the answer's `next` back until it is None. Harmless on several nodes at once: one works, the others are
        told that there is no more.
        """
        ...

    async def newest_receipt(self) -> Instant | None:
        """Return the greatest `received_at` of all stored events; None without events."""
        ...

    async def database_time(self) -> DatabaseTime | None:
        """Return the time of the store's own clock; None if the store has none and reads this machine's."""
        ...

    @property
    def keyring(self) -> Keyring:
        """The keys that values are opened with now; the first one seals."""
        ...

    async def use_keyring(self, keyring: Keyring) -> None:
        """Note every key of it in the store, and only then seal under its first one.

        StoreMismatch, with nothing written, when it lacks a key that values of the store may need.
        """
        ...

    async def drop_key(self, kid: str) -> None:
        """The store may be opened without this key from now on. It must seal nothing any more: see `seals`."""
        ...

    async def seals(self, limit: int, cursor: Cursor | None = None) -> Seals:
        """Look at the next sealed values."""
        ...

    async def rewrap(self, limit: int, cursor: Cursor | None = None) -> Seals:
        """The same, and seal under the active key what is sealed under another. A value that changed meanwhile is left."""
        ...

    # what the gateway keeps for itself
    async def keep(self, shelf: str, name: str, value: bytes, *, replace: bool = True) -> bytes:
        """Keep a value, sealed, under a name; returns what stands there now.

        replace  False leaves a value that is there already: of several nodes that make a key, one wins. SealBroken when
                 that value does not open.
        """
        ...

    async def kept(self, shelf: str) -> Mapping[str, bytes | None]:
        """Return all values of one shelf by name. A value that does not open under the keyring is None."""
        ...

    async def forget(self, shelf: str, name: str) -> None:
        """Drop a value; nothing happens when there is none."""
        ...

    async def kv_versions(self) -> Mapping[str, int]:
        """Return the version of each namespace (`shelf`). Each committed change of one of its values changes it.

        A namespace that was never written is absent. Read the versions first and the values after them: the values are
        then at least as new as the versions.
        """
        ...

    def on_kv_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` on the event loop after values may have changed.

        Best effort: a notification can be lost, so compare the versions from time to time. A store that only one
        process can open never calls it, because that process makes every change.
        """
        ...

    # reading
    async def event(self, event: EventId) -> StoredEvent:
        """NotFound when there is none."""
        ...

    async def events(self, where: EventFilter, limit: int, cursor: Cursor | None) -> Page[StoredEvent]: ...

    async def in_force(self, source: SourceId, subject: str) -> InForce:
        """The state in force of one subject; NotFound when no event of it is stored."""
        ...

    async def delivery(self, delivery: DeliveryId) -> tuple[DeliveryRow, Sequence[AttemptRow]]:
        """NotFound when there is none."""
        ...

    async def deliveries(self, where: DeliveryFilter, limit: int, cursor: Cursor | None) -> Page[DeliveryRow]: ...

    async def refusal(self, refusal: RefusalId) -> Refusal:
        """NotFound when there is none."""
        ...

    async def refusals(self, source: SourceId | None, limit: int, cursor: Cursor | None) -> Page[Refusal]: ...

    async def find_ids(self, kind: IdKind, prefix: str, limit: int) -> Sequence[str]:
        """Return the first `limit` ids that begin with the prefix, in order. An empty prefix is of no id."""
        ...

    async def counts(self) -> Counts: ...
