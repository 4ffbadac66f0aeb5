"""The PostgreSQL store: what the port promises, for one node or for several that share a database.

This file seals what goes in, opens what comes out and hands work to the right connection; what is written is in
`accepting`, `leasing`, `quarantining` and `replaying`, what is read in `reading`.

Theory of operation. Nothing is kept in a node's memory that another node may change: dedupe keys, sequences and leases
are judged by the database alone. Due times and the ends of leases count by the database's clock, the one clock that
all nodes share: each transaction sends what this node's clock says, and the statements add the difference. A node whose
clock is ten minutes off asks for "due in 5 s" and gets that.

On a crash: the server undoes what was not committed. Leases of a node that died end by themselves, within their 60 s;
nobody can end them earlier, because the other nodes are alive. A node that lives gives its own back: see `adrift`.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import asyncpg

from hookseal import probe
from hookseal.clock import Clock, Instant, SystemClock
from hookseal.errors import StoreMismatch, StoreUnavailable
from hookseal.ids import new_delivery_id, random_63_bits
from hookseal.model import AttemptReason, DeliveryId, EndpointId, EventId, MappingRevision, RefusalId, SourceId
from hookseal.probe import Step
from hookseal.sealing import Keyring, Sealer
from hookseal.steps import finish, finish_in_turns
from hookseal.store.claimed import sendable
from hookseal.store.claiming import in_turns
from hookseal.store.encrypting import Encrypting
from hookseal.store.event_seal import SECRET_SHELF, EventSealer, event_secret
from hookseal.store.mappings import Mappings
from hookseal.store.packing import FOREVER, SealedRequest, must, pack, pack_uuid
from hookseal.store.port import (
    AttemptRow,
    Claimed,
    Counts,
    Cursor,
    Cutoffs,
    DatabaseTime,
    DeliveryFilter,
    DeliveryRow,
    EventFilter,
    Expired,
    IdKind,
    IgnoredStore,
    InForce,
    Lease,
    NewRequest,
    Page,
    Refusal,
    Replay,
    Result,
    Seals,
    Stored,
    StoredEvent,
    StoreObserver,
    Suspect,
)
from hookseal.store.postgres import expiring, keeping, leasing, mapping, quarantining, rewrapping, suspects
from hookseal.store.postgres.accepting import accept
from hookseal.store.postgres.adrift import Adrift
from hookseal.store.postgres.changes import ChangeListener
from hookseal.store.postgres.connection import Hosts
from hookseal.store.postgres.expiring import Expiring
from hookseal.store.postgres.faults import fault_of
from hookseal.store.postgres.keeping import Keep
from hookseal.store.postgres.leasing import Bury, Cancel, Claim, Claiming, Hold, Leased
from hookseal.store.postgres.mapping import AssignMapping
from hookseal.store.postgres.migrate import bring, check_rights
from hookseal.store.postgres.quarantining import Quarantining, Release
from hookseal.store.postgres.readers import Readers
from hookseal.store.postgres.reading import Reading
from hookseal.store.postgres.replaying import Named, NewDeliveryId, Replaying, ReplaySlice, Span
from hookseal.store.postgres.writer import Handler, Writer
from hookseal.store.preparing import Prepared, prepare
from hookseal.store.quarantine_rows import prepare_refusal
from hookseal.store.quarantine_shares import HELD_BYTES, HELD_ROWS
from hookseal.store.rewrapping import Move, Sealed, begin, follow, look, plan
from hookseal.store.rows import PROBE_SHELF, kept_label, request_label, standing_value
from hookseal.store.waiting import LARGE_EVENTS

_NAMED_AT_ONCE = 1000


def _random_lease() -> Lease:
    return Lease(random_63_bits())


class PostgresStore:
    """A `Store` in the schema `hookseal` of a PostgreSQL database.

    url                `postgresql://user:password@host:port/database?options`; several hosts with commas between them.
    keyring            a keyring, or a sealer that has one.
    clock              this node's clock.
    database_time      due times and leases count by the database's clock; False takes instants as they are given, for
                       tests that give the time.
    writers, readers   connections of this node, at most.
    max_waiting        operations that may wait for a writer; beyond it StoreBusy. max_waiting_bytes: their bytes.
    quarantine_rows    the most refused requests kept; quarantine_bytes: the most bytes of them, sealed.
    held_rows          the most held requests that wait for a release; held_bytes: the most bytes of them, sealed.
    observer           is notified of commits, and of a task that ended.
    create             False refuses a database without the schema: StoreMismatch.
    """

    parts: ClassVar[Sequence[str]] = ("store_writer",)

    def __init__(
        self,
        url: str,
        keyring: Keyring | Sealer,
        *,
        clock: Clock | None = None,
        database_time: bool = True,
        writers: int = 2,
        readers: int = 4,
        max_waiting: int = 4096,
        max_waiting_bytes: int = 64 * 1024 * 1024,
        quarantine_rows: int = 10_000,
        quarantine_bytes: int = 256 * 1024 * 1024,
        held_rows: int = HELD_ROWS,
        held_bytes: int = HELD_BYTES,
        new_lease: Callable[[], Lease] = _random_lease,
        new_delivery_id: NewDeliveryId = new_delivery_id,
        observer: StoreObserver | None = None,
        create: bool = True,
    ) -> None:
        self.created = False
        self._create = create
        self._observer: StoreObserver = observer or IgnoredStore()
        self._hosts = Hosts(url)
        self._sealer = keyring if isinstance(keyring, Sealer) else Sealer(keyring)
        self._encrypting = Encrypting(self._sealer)
        self._large = asyncio.Lock()
        self._clock = clock or SystemClock()
        self._database_time = database_time
        self._quarantining = Quarantining(quarantine_rows, quarantine_bytes, held_rows=held_rows, held_bytes=held_bytes)
        self._encrypting_refusals = Encrypting(self._sealer)
        self._writer = Writer(
            self._hosts.connect,
            self._node_now,
            self._quarantining.forget,
            lambda leases: self._adrift.note(leases),
            monotonic=self._clock.monotonic,
            committed=self._observer.committed,
            crashed=lambda: self._observer.part_ended("store_writer"),
            connections=writers,
            max_waiting=max_waiting,
            max_waiting_bytes=max_waiting_bytes,
        )
        self._adrift = Adrift(self._give_back)
        self._changes = ChangeListener(self._hosts.connect)
        self._mappings = Mappings()
        self._events = EventSealer()
        self._reading = Reading(self._sealer, self._events, self._mappings)
        self._readers = Readers(self._hosts.connect, readers)
        self._accept = Handler("accept", 0, accept, leases=lambda one, _: one.request.leases)
        self._record = Handler("record", 1, leasing.record, Step.RECORDED)
        self._quarantine = Handler("quarantine", 2, self._quarantining.apply)
        self._renew = Handler("renew", 3, leasing.renew)
        self._release = Handler("release", 4, leasing.release)
        self._cancel = Handler("cancel", 6, leasing.cancel)
        self._bury = Handler("bury", 7, leasing.bury)
        self._replay = Handler("replay", 8, Replaying(new_delivery_id, self._events).apply)
        self._released = Handler("mark_released", 9, quarantining.mark_released)
        self._keep = Handler("keep", 11, keeping.apply)
        self._expire = Handler("expire", 12, Expiring(self._quarantining).apply, Step.EXPIRED)
        self._rewrap = Handler("rewrap", 13, rewrapping.rewrap, Step.REWRAPPED)
        self._note_keys = Handler("note_keys", 14, rewrapping.note)
        self._keep_mapping = Handler("keep_mapping", 17, mapping.keep)
        self._assign_mapping = Handler("assign_mapping", 18, mapping.Assigning(self._events).apply)
        self._claim = Handler("claim_due", 10, Claiming(new_lease).apply, leases=leasing.claimed_leases)
        self._probe = Handler("probe", 16, keeping.probe)
        self._find_suspects = Handler("due_suspects", 30, suspects.find)
        self._claim_suspect = Handler(
            "claim_suspect", 31, suspects.ClaimingSuspects(new_lease).apply, leases=leasing.claimed_leases
        )
        self._end_suspect = Handler("end_suspect", 32, suspects.end)
        self._expire_pending = Handler("expire_pending", 33, leasing.expire_pending)
        self._release_adrift = Handler("release_adrift", 15, leasing.release_adrift)

    def _node_now(self) -> Instant | None:
        return self._clock.now() if self._database_time else None

    # --- opening and closing ---

    async def open(self) -> None:
        connection = await self._hosts.connect()
        try:
            now = self._clock.now()
            self.created = await bring(connection, self._hosts.name, self._sealer.keyring, now, create=self._create)
            await check_rights(connection, self._hosts.name)
            self._events.use(event_secret(await self._reading.kept(connection, SECRET_SHELF), self._hosts.name))
        except BaseException as error:
            connection.terminate()
            if isinstance(error, asyncpg.InsufficientPrivilegeError):
                raise StoreMismatch(f"{self._hosts.name}: this user may not use the schema `hookseal`") from None
            if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError | OSError):
                raise fault_of(error, f"opening {self._hosts.name}") from None
            raise
        self._writer.start(connection)
        self._readers.start()
        self._changes.start()

    async def close(self) -> None:
        await self._changes.stop()
        await self._adrift.stop()
        await self._writer.stop()
        await self._readers.stop()
        self._encrypting.close()
        self._encrypting_refusals.close()

    async def probe(self) -> None:
        await self._writer.submit(self._probe, Keep(PROBE_SHELF, secrets.token_hex(), b""))

    # --- receiving ---

    async def accept(self, request: NewRequest) -> tuple[Stored, ...]:
        first = must(pack_uuid(request.events[0].id) if request.events else None, "a request's first event")
        plain = pack(SealedRequest(request.headers, request.body))
        mapping = None if request.mapping is None else await self._number_of(request.mapping)
        sealed = await self._encrypting.seal(plain, request_label(first))
        if len(request.events) < LARGE_EVENTS:
            return await self._write(finish(prepare(request, sealed, mapping, self._events)))
        # One large request at a time: each one keeps a connection busy for a tenth of a second.
        async with self._large:
            return await self._write(await finish_in_turns(prepare(request, sealed, mapping, self._events)))

    async def _write(self, prepared: Prepared) -> tuple[Stored, ...]:
        is_large = len(prepared.events) >= LARGE_EVENTS
        stored: tuple[Stored, ...] = await self._writer.submit(
            self._accept, prepared, len(prepared.sealed), is_large=is_large
        )
        return stored

    async def assign_mapping(self, source: SourceId, mapping: MappingRevision, limit: int) -> int:
        assigned: int = await self._writer.submit(
            self._assign_mapping, AssignMapping(source, await self._number_of(mapping), mapping, limit)
        )
        return assigned

    async def _number_of(self, mapping: MappingRevision) -> int:
        """The number of its row, which is durable before an event is."""
        number = self._mappings.number(mapping)
        if number is None:
            self._mappings.add(await self._writer.submit(self._keep_mapping, mapping))
            number = self._mappings.number(mapping)
        if number is None:
            raise StoreUnavailable("stored rules differ from those of their revision")
        return number

    async def quarantine(self, refusal: Refusal) -> None:
        prepared = await prepare_refusal(self._encrypting_refusals, refusal)
        await self._writer.submit(self._quarantine, prepared, len(prepared.sealed))

    async def hold(self, refusal: Refusal, dedupe_keys: Sequence[bytes]) -> None:
        prepared = await prepare_refusal(self._encrypting_refusals, refusal, dedupe_keys)
        await self._writer.submit(self._quarantine, prepared, len(prepared.sealed))

    # --- delivering ---

    async def claim_due(self, free: Mapping[EndpointId, int], now: Instant, lease_until: Instant) -> Sequence[Claimed]:
        """A delivery whose event cannot be read would be claimed for ever: it is dead at once. The reason is `seal_broken` if the
        event or the delivery was altered, `config_error` if the event's bytes are gone.
        """
        leased: Sequence[Leased] = await self._writer.submit(self._claim, Claim(dict(free), now, lease_until))
        return await self._with_events(leased, now)

    async def _with_events(self, leased: Sequence[Leased], now: Instant) -> Sequence[Claimed]:
        """Read the events of leased deliveries; a delivery without a readable one ends."""
        if not leased:
            return []
        try:
            return await self._opened(leased, now)
        except BaseException:
            # The caller does not know of these leases. Those that were released or ended meanwhile stay as they are.
            self._adrift.note({one.id: one.lease for one in leased})
            raise

    async def _opened(self, leased: Sequence[Leased], now: Instant) -> Sequence[Claimed]:
        order = [one.event for one in in_turns(leased)]
        events = await self._readers.read(self._reading.events_of, order)
        unopened = {one.id: one.lease for one in leased if one.event not in events}
        if unopened:
            # Awaited, so that the engine finds them due when it asks for the next due time.
            await self._writer.submit(self._release, Hold(unopened, now))
        read = {one.id: sendable(self._events, one, events[one.event]) for one in leased if one.event in events}
        for reason in (AttemptReason.CONFIG_ERROR, AttemptReason.SEAL_BROKEN):
            unreadable = [(one.packed, one.lease) for one in leased if read.get(one.id) is reason]
            if unreadable:
                await self._writer.submit(self._bury, Bury(unreadable, now, reason))
        probe.reach(Step.CLAIMED)
        return [_claimed(one, event) for one in leased if isinstance(event := read.get(one.id), StoredEvent)]

    async def next_due_at(self, endpoints: Sequence[EndpointId]) -> Instant | None:
        return await self._readers.read(self._reading.next_due_at, endpoints, self._node_now())

    async def next_suspect_at(self, endpoints: Sequence[EndpointId]) -> Instant | None:
        return await self._readers.read(suspects.next_due_at, endpoints, self._node_now())

    async def due_suspects(self, endpoints: Sequence[EndpointId], now: Instant, limit: int) -> Sequence[Suspect]:
        search = suspects.DueSuspects(endpoints, now, limit)
        found: Sequence[Suspect] = await self._writer.submit(self._find_suspects, search)
        return found

    async def claim_suspect(
        self, delivery: DeliveryId, now: Instant, lease_until: Instant, due_if_lost: Instant
    ) -> Claimed | None:
        claim = suspects.SuspectClaim(delivery, now, lease_until, due_if_lost)
        claimed = await self._with_events(await self._writer.submit(self._claim_suspect, claim), now)
        return claimed[0] if claimed else None

    async def end_suspect(self, delivery: DeliveryId, now: Instant) -> bool:
        ended: bool = await self._writer.submit(self._end_suspect, suspects.SuspectEnd(delivery, now))
        return ended

    async def pending_since(self) -> Mapping[EndpointId, Instant]:
        return await self._readers.read(leasing.pending_since)

    async def expire_pending(
        self, endpoint: EndpointId, before: Instant, now: Instant, limit: int
    ) -> Sequence[DeliveryId]:
        one = leasing.PendingEnd(endpoint, before, now, limit)
        ended: Sequence[DeliveryId] = await self._writer.submit(self._expire_pending, one)
        return ended

    async def record(self, result: Result) -> bool:
        recorded: bool = await self._writer.submit(self._record, result)
        return recorded

    async def renew(self, leases: Mapping[DeliveryId, Lease], until: Instant) -> Sequence[DeliveryId]:
        held: Sequence[DeliveryId] = await self._writer.submit(self._renew, Hold(dict(leases), until))
        return held

    async def release(self, leases: Mapping[DeliveryId, Lease], due_at: Instant) -> None:
        await self._writer.submit(self._release, Hold(dict(leases), due_at))

    async def _give_back(self, leases: Mapping[DeliveryId, Lease]) -> None:
        await self._writer.submit(self._release_adrift, Hold(leases, self._clock.now()))

    async def void_leases(self, now: Instant) -> int:
        """None: this store is not embedded. Other nodes hold leases, and those of a dead one lapse by themselves."""
        return 0

    # --- operating ---

    async def replay(self, replay: Replay, now: Instant) -> int:
        since = Instant(-FOREVER) if replay.since is None else replay.since
        until = Instant(FOREVER) if replay.until is None else replay.until
        slices: list[Span | Named] = []
        if replay.events is None:
            slices += await self._readers.read(self._reading.spans, since, until)
        else:
            packed = sorted({one for one in map(pack_uuid, replay.events) if one is not None})
            for start in range(0, len(packed), _NAMED_AT_ONCE):
                slices.append(Named(packed[start : start + _NAMED_AT_ONCE], since, until))
        made = 0
        for some in slices:
            part = ReplaySlice(replay.endpoint, some, replay.state, now, replay.once_per_request)
            made += await self._writer.submit(self._replay, part)
        return made

    async def cancel(self, delivery: DeliveryId, now: Instant) -> bool:
        """NotFound when there is none."""
        cancelled: bool = await self._writer.submit(self._cancel, Cancel(delivery, now))
        return cancelled

    async def mark_released(self, refusal: RefusalId, now: Instant) -> None:
        """NotFound when there is none."""
        await self._writer.submit(self._released, Release(refusal, now))

    # --- the life of the data ---

    async def expire(self, before: Cutoffs, limit: int, cursor: Cursor | None = None) -> Expired:
        expired: Expired = await self._writer.submit(self._expire, expiring.begin(before, limit, cursor))
        return expired

    async def newest_receipt(self) -> Instant | None:
        return await self._readers.read(self._reading.newest_receipt)

    async def database_time(self) -> DatabaseTime | None:
        if not self._database_time:
            return None
        return await self._readers.read(self._reading.database_time)

    @property
    def keyring(self) -> Keyring:
        return self._sealer.keyring

    async def use_keyring(self, keyring: Keyring) -> None:
        await self._writer.submit(self._note_keys, rewrapping.Noting(self._hosts.name, keyring))
        self._sealer.use(keyring)

    async def drop_key(self, kid: str) -> None:
        await self._writer.submit(self._note_keys, rewrapping.Noting(self._hosts.name, None, kid))

    async def seals(self, limit: int, cursor: Cursor | None = None) -> Seals:
        shelf, after = begin(cursor)
        values: Sequence[Sealed] = await self._readers.read(rewrapping.find, shelf, after, limit)
        found = look(shelf, values)
        return Seals(by_key=found.by_key, next=follow(shelf, values, found, limit, _place(values, found.looked)))

    async def rewrap(self, limit: int, cursor: Cursor | None = None) -> Seals:
        shelf, after = begin(cursor)
        values: Sequence[Sealed] = await self._readers.read(rewrapping.find, shelf, after, limit)
        found = plan(self._sealer, shelf, values)
        moves: Sequence[Move] = found.moves
        moved: int = await self._writer.submit(self._rewrap, moves) if moves else 0
        following = follow(shelf, values, found, limit, _place(values, found.looked))
        return Seals(by_key=found.by_key, moved=moved, broken=found.broken, next=following)

    # --- what the gateway keeps for itself ---

    async def keep(self, shelf: str, name: str, value: bytes, *, replace: bool = True) -> bytes:
        sealed = self._sealer.seal(value, kept_label(shelf, name))
        await self._writer.submit(self._keep, Keep(shelf, name, sealed, replace), len(sealed))
        return value if replace else standing_value(await self.kept(shelf), name)

    async def kept(self, shelf: str) -> Mapping[str, bytes | None]:
        return await self._readers.read(self._reading.kept, shelf)

    async def forget(self, shelf: str, name: str) -> None:
        await self._writer.submit(self._keep, Keep(shelf, name, None))

    async def kv_versions(self) -> Mapping[str, int]:
        return await self._readers.read(self._reading.kv_versions)

    def on_kv_change(self, listener: Callable[[], None]) -> None:
        self._changes.subscribe(listener)

    # --- reading ---

    async def event(self, event: EventId) -> StoredEvent:
        return await self._readers.read(self._reading.event, event)

    async def events(self, where: EventFilter, limit: int, cursor: Cursor | None) -> Page[StoredEvent]:
        return await self._readers.read(self._reading.events, where, limit, cursor)

    async def in_force(self, source: SourceId, subject: str) -> InForce:
        return await self._readers.read(self._reading.in_force, source, subject)

    async def delivery(self, delivery: DeliveryId) -> tuple[DeliveryRow, Sequence[AttemptRow]]:
        return await self._readers.read(self._reading.delivery, delivery)

    async def deliveries(self, where: DeliveryFilter, limit: int, cursor: Cursor | None) -> Page[DeliveryRow]:
        return await self._readers.read(self._reading.deliveries, where, limit, cursor)

    async def refusal(self, refusal: RefusalId) -> Refusal:
        return await self._readers.read(self._reading.refusal, refusal)

    async def refusals(self, source: SourceId | None, limit: int, cursor: Cursor | None) -> Page[Refusal]:
        return await self._readers.read(self._reading.refusals, source, limit, cursor)

    async def find_ids(self, kind: IdKind, prefix: str, limit: int) -> Sequence[str]:
        return await self._readers.read(self._reading.find_ids, kind, prefix, limit)

    async def counts(self) -> Counts:
        return await self._readers.read(self._reading.counts)


def _place(values: Sequence[Sealed], looked: int) -> int:
    """The number of the place that was looked at last; 0 for values that are kept by name."""
    last = values[looked - 1].place if looked else None
    return int.from_bytes(last) if isinstance(last, bytes) else 0


def _claimed(one: Leased, event: StoredEvent) -> Claimed:
    return Claimed(
        id=one.id,
        endpoint=one.endpoint,
        lease=one.lease,
        attempts=one.attempts,
        losses=one.losses,
        unexplained_losses=one.unexplained_losses,
        first_attempt_at=one.first_attempt_at,
        event=event,
    )
