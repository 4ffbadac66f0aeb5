"""The SQLite store: what the port promises, by one writer thread, one checkpoint thread and a few reading threads.

This file seals what goes in, opens what comes out and hands work to the right thread; what is written is in
`accepting`, `leasing`, `quarantining` and `replaying`, what is read in `reading`.

On a crash: the log holds every committed batch, and SQLite takes it up at the next open. The lock ends with its
process. Leases stay until `void_leases` or their end.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import apsw

from hookseal import probe
from hookseal.clock import Clock, Instant, SystemClock
from hookseal.errors import StoreError, StoreMismatch, StoreUnavailable
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
from hookseal.store.old_rows import MIGRATION
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
from hookseal.store.preparing import Prepared, prepare
from hookseal.store.quarantine_rows import prepare_refusal
from hookseal.store.quarantine_shares import HELD_BYTES, HELD_ROWS
from hookseal.store.rewrapping import Move, Sealed, begin, follow, look, plan
from hookseal.store.rows import NOT_CREATED, PROBE_SHELF, kept_label, request_label, standing_value
from hookseal.store.sql import slices
from hookseal.store.sqlite import expiring, keeping, leasing, mapping, quarantining, rewrapping, suspects
from hookseal.store.sqlite.accepting import Accepting
from hookseal.store.sqlite.checkpoint import BOUND_PAGES, START_PAGES, Checkpointer, begin_log_anew
from hookseal.store.sqlite.connection import (
    check_library,
    create_file,
    fetch,
    open_checkpointer,
    open_onlooker,
    open_reader,
    open_writer,
    undo_unfinished,
)
from hookseal.store.sqlite.expiring import Expiring
from hookseal.store.sqlite.faults import fault_of
from hookseal.store.sqlite.keeping import Keep
from hookseal.store.sqlite.leasing import Bury, Cancel, Claim, Claiming, Hold, Leased
from hookseal.store.sqlite.lock import Lock
from hookseal.store.sqlite.mapping import AssignMapping
from hookseal.store.sqlite.migrate import QUERIES, inspect, migrate, migrations, note_keyring
from hookseal.store.sqlite.positions import Positions
from hookseal.store.sqlite.quarantining import Quarantining, Release
from hookseal.store.sqlite.readers import Readers
from hookseal.store.sqlite.reading import Reading
from hookseal.store.sqlite.recent import Recent
from hookseal.store.sqlite.replaying import SLICE, NewDeliveryId, Replaying, ReplaySlice
from hookseal.store.sqlite.room import RESERVE_BYTES, Room
from hookseal.store.sqlite.sealing_old_rows import seal_old_rows
from hookseal.store.sqlite.writer import Handler, Writer
from hookseal.store.waiting import LARGE_EVENTS

_READERS = 2
"""For listings, replays and rotation; claims have one of their own."""
_NAMED_AT_ONCE = 64
"""Named events that one replay has in the writer's queue at a time."""


def _random_lease() -> Lease:
    return Lease(random_63_bits())


class SqliteStore:
    """A `Store` in one file.

    path                 the database; `-wal`, `-shm` and `.lock` stand beside it.
    keyring              a keyring, or a sealer that has one.
    max_waiting          operations that may wait for the writer; beyond it StoreBusy. max_waiting_bytes: their bytes.
    dedupe_capacity      keys of one dedupe partition; dedupe_max_days: the days that one may span.
    dedupe_buffered      keys held in memory before they are put in order; about 350 bytes each.
    quarantine_rows      the most refused requests kept; quarantine_bytes: the most bytes of them, sealed.
    held_rows            the most held requests that wait for a release; held_bytes: the most bytes of them, sealed.
    log_start_pages      how much the log grows before it is moved; log_bound_pages: beyond it the writer helps.
    reserve_bytes        free space below which nothing new is accepted, see `room`.
    observer             is notified of commits, and of a thread that ended.
    create               False refuses a file that is not there or is empty: StoreMismatch.
    vfs                  the name of an SQLite VFS, for tests that pull the plug.
    """

    parts: ClassVar[Sequence[str]] = ("store_writer", "store_checkpoint")

    def __init__(
        self,
        path: Path | str,
        keyring: Keyring | Sealer,
        *,
        clock: Clock | None = None,
        max_waiting: int = 4096,
        max_waiting_bytes: int = 64 * 1024 * 1024,
        dedupe_capacity: int = 1_000_000,
        dedupe_max_days: int = 50,
        dedupe_buffered: int = 32_768,
        quarantine_rows: int = 10_000,
        quarantine_bytes: int = 256 * 1024 * 1024,
        held_rows: int = HELD_ROWS,
        held_bytes: int = HELD_BYTES,
        log_start_pages: int = START_PAGES,
        log_bound_pages: int = BOUND_PAGES,
        reserve_bytes: int = RESERVE_BYTES,
        new_lease: Callable[[], Lease] = _random_lease,
        new_delivery_id: NewDeliveryId = new_delivery_id,
        observer: StoreObserver | None = None,
        create: bool = True,
        vfs: str | None = None,
    ) -> None:
        self.created = False
        self._create = create
        self._observer: StoreObserver = observer or IgnoredStore()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._path = Path(path)
        self._sealer = keyring if isinstance(keyring, Sealer) else Sealer(keyring)
        self._encrypting = Encrypting(self._sealer)
        self._large = asyncio.Lock()
        self._clock = clock or SystemClock()
        self._vfs = vfs
        self._positions = Positions(dedupe_capacity, dedupe_max_days)
        self._recent = Recent(self._positions, dedupe_buffered)
        self._quarantining = Quarantining(
            quarantine_rows, quarantine_bytes, self._recent.find, held_rows=held_rows, held_bytes=held_bytes
        )
        self._encrypting_refusals = Encrypting(self._sealer)
        self._checkpointer = Checkpointer(
            lambda: open_checkpointer(self._path, vfs),
            start=log_start_pages,
            bound=log_bound_pages,
            crashed=lambda: self._note_end("store_checkpoint"),
        )
        self._remembered = _Remembered(self._positions, self._recent, self._quarantining)
        self._writer = Writer(
            lambda: open_writer(self._path, vfs),
            self._remembered,
            self._checkpointer.between,
            self._give_back,
            monotonic=self._clock.monotonic,
            committed=self._observer.committed,
            crashed=lambda: self._note_end("store_writer"),
            max_waiting=max_waiting,
            max_waiting_bytes=max_waiting_bytes,
        )
        self._lock = Lock(self._path.with_name(self._path.name + ".lock"))
        self._mappings = Mappings()
        self._events = EventSealer()
        self._reading = Reading(self._sealer, self._events, self._mappings)
        self._claiming = Readers(1)
        self._looking = Readers(_READERS)
        replaying = Replaying(self._positions, new_delivery_id, self._events)
        room = Room(self._path.parent, reserve_bytes)
        self._accept = Handler(
            "accept",
            0,
            room.or_refuse(Accepting(self._positions, self._recent).apply),
            leases=lambda one, _: one.request.leases,
        )
        self._record = Handler("record", 1, leasing.record, Step.RECORDED)
        self._quarantine = Handler("quarantine", 2, room.or_refuse(self._quarantining.apply))
        self._renew = Handler("renew", 3, leasing.renew)
        self._release = Handler("release", 4, leasing.release)
        self._void = Handler("void_leases", 5, leasing.void, Step.LEASES_VOIDED)
        self._cancel = Handler("cancel", 6, leasing.cancel)
        self._bury = Handler("bury", 7, leasing.bury)
        self._replay = Handler("replay", 8, room.or_refuse(replaying.apply))
        self._released = Handler("mark_released", 9, quarantining.mark_released)
        self._keep = Handler("keep", 11, keeping.apply)
        self._expire = Handler("expire", 12, Expiring(self._positions, self._quarantining).apply, Step.EXPIRED)
        self._rewrap = Handler("rewrap", 13, rewrapping.rewrap, Step.REWRAPPED)
        self._note_keys = Handler("note_keys", 14, rewrapping.note)
        self._probe = Handler("probe", 15, room.or_refuse(keeping.probe))
        self._keep_mapping = Handler("keep_mapping", 16, mapping.keep)
        self._assign_mapping = Handler("assign_mapping", 17, mapping.Assigning(self._events).apply)
        self._claim = Handler("claim_due", 10, Claiming(new_lease).apply, leases=leasing.claimed_leases)
        self._find_suspects = Handler("due_suspects", 30, suspects.find)
        self._claim_suspect = Handler(
            "claim_suspect", 31, suspects.ClaimingSuspects(new_lease).apply, leases=leasing.claimed_leases
        )
        self._end_suspect = Handler("end_suspect", 32, suspects.end)
        self._expire_pending = Handler("expire_pending", 33, leasing.expire_pending)

    # --- opening and closing ---

    async def open(self) -> None:
        connection = await asyncio.to_thread(self._take)
        self._loop = asyncio.get_running_loop()
        self._writer.start(self._loop, connection)
        self._checkpointer.start()
        self._claiming.start()
        self._looking.start()

    def _take(self) -> apsw.Connection:
        check_library(apsw.sqlite_lib_version())
        self._lock.take()
        try:
            return self._prepare_file()
        except BaseException as error:
            self._close_readers()
            self._lock.release()
            if isinstance(error, apsw.Error):
                raise fault_of(error, f"opening {self._path}") from error
            raise

    def _prepare_file(self) -> apsw.Connection:
        known = migrations()
        version = 0
        undo_unfinished(self._path, self._vfs)
        if self._path.exists() and self._path.stat().st_size:
            # Looked at through a connection that cannot write: a store that is not ours is left as it is.
            with contextlib.closing(open_onlooker(self._path, self._vfs)) as looking:
                version = inspect(looking, self._sealer.keyring, known)
        if version == 0 and not self._create:
            raise StoreMismatch(f"{self._path}: {NOT_CREATED}")
        self.created = version == 0
        create_file(self._path)
        connection = open_writer(self._path, self._vfs)
        try:
            begin_log_anew(connection)
            steps = {MIGRATION: lambda connection: seal_old_rows(connection, self._sealer)}
            migrate(connection, version, known, self._clock.now(), steps)
            note_keyring(connection, self._sealer.keyring)
            self._events.use(event_secret(self._reading.kept(connection, SECRET_SHELF), str(self._path)))
            self._remembered.recover(connection)
            for readers in (self._claiming, self._looking):
                readers.connect(lambda: open_reader(self._path, self._vfs))
        except BaseException:
            connection.close(True)
            raise
        return connection

    async def close(self) -> None:
        await asyncio.to_thread(self._let_go)

    def _let_go(self) -> None:
        """The writer's connection closes last: only one that may write can move the log and take it away."""
        self._close_readers()
        self._checkpointer.stop()
        self._writer.stop()
        self._encrypting.close()
        self._encrypting_refusals.close()
        self._lock.release()

    def _close_readers(self) -> None:
        self._claiming.close()
        self._looking.close()

    async def probe(self) -> None:
        """The same conditions as `accept`: a disk that is nearly full fails the probe."""
        await self._writer.submit(self._probe, Keep(PROBE_SHELF, secrets.token_hex(), b""))

    def _note_end(self, part: str) -> None:
        """On the thread that ends."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: no caller waits any more
                self._loop.call_soon_threadsafe(self._observer.part_ended, part)

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
            self._give_back({one.id: one.lease for one in leased})
            raise

    async def _opened(self, leased: Sequence[Leased], now: Instant) -> Sequence[Claimed]:
        order = [one.event for one in in_turns(leased)]
        events = await self._claiming.read(self._reading.events_of, order)
        unopened = {one.id: one.lease for one in leased if one.event not in events}
        if unopened:
            # Awaited, so that the engine finds them due when it asks for the next due time.
            await self._writer.submit(self._release, Hold(unopened, now))
        read = {one.id: sendable(self._events, one, events[one.event]) for one in leased if one.event in events}
        for reason in (AttemptReason.CONFIG_ERROR, AttemptReason.SEAL_BROKEN):
            unreadable = [(one.key, one.lease) for one in leased if read.get(one.id) is reason]
            if unreadable:
                await self._writer.submit(self._bury, Bury(unreadable, now, reason))
        probe.reach(Step.CLAIMED)
        return [_claimed(one, event) for one in leased if isinstance(event := read.get(one.id), StoredEvent)]

    async def next_due_at(self, endpoints: Sequence[EndpointId]) -> Instant | None:
        return await self._claiming.read(self._reading.next_due_at, endpoints)

    async def next_suspect_at(self, endpoints: Sequence[EndpointId]) -> Instant | None:
        return await self._claiming.read(suspects.next_due_at, endpoints)

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
        return await self._looking.read(leasing.pending_since)

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

    def _give_back(self, leases: Mapping[DeliveryId, Lease]) -> None:
        """Of requests and claims whose caller has given up. When it cannot be written, they lapse by themselves."""
        with contextlib.suppress(StoreError):
            released = self._writer.submit(self._release, Hold(dict(leases), self._clock.now()))
            released.add_done_callback(lambda done: done.exception())

    async def void_leases(self, now: Instant) -> int:
        voided: int = await self._writer.submit(self._void, now)
        return voided

    # --- operating ---

    async def replay(self, replay: Replay, now: Instant) -> int:
        since = Instant(-FOREVER) if replay.since is None else replay.since
        until = Instant(FOREVER) if replay.until is None else replay.until
        if replay.events is None:
            spans, at_once = await self._looking.read(_slices_between, since, until), 1
        else:
            spans, at_once = await self._looking.read(_named, replay.events), _NAMED_AT_ONCE
        made = 0
        for some in range(0, len(spans), at_once):
            futures = [
                self._writer.submit(
                    self._replay,
                    ReplaySlice(replay.endpoint, first, last, since, until, replay.state, now, replay.once_per_request),
                )
                for first, last in spans[some : some + at_once]
            ]
            made += sum(await asyncio.gather(*futures))
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
        return await self._looking.read(self._reading.newest_receipt)

    async def database_time(self) -> DatabaseTime | None:
        """None: an embedded store has no clock of its own."""
        return None

    @property
    def keyring(self) -> Keyring:
        return self._sealer.keyring

    async def use_keyring(self, keyring: Keyring) -> None:
        await self._writer.submit(self._note_keys, rewrapping.Noting(keyring))
        self._sealer.use(keyring)

    async def drop_key(self, kid: str) -> None:
        await self._writer.submit(self._note_keys, rewrapping.Noting(None, kid))

    async def seals(self, limit: int, cursor: Cursor | None = None) -> Seals:
        shelf, after = begin(cursor)
        values: Sequence[Sealed] = await self._looking.read(rewrapping.find, shelf, after, limit)
        found = look(shelf, values)
        return Seals(by_key=found.by_key, next=follow(shelf, values, found, limit, _place(values, found.looked)))

    async def rewrap(self, limit: int, cursor: Cursor | None = None) -> Seals:
        shelf, after = begin(cursor)
        values: Sequence[Sealed] = await self._looking.read(rewrapping.find, shelf, after, limit)
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
        return await self._looking.read(self._reading.kept, shelf)

    async def forget(self, shelf: str, name: str) -> None:
        await self._writer.submit(self._keep, Keep(shelf, name, None))

    async def kv_versions(self) -> Mapping[str, int]:
        return await self._looking.read(self._reading.kv_versions)

    def on_kv_change(self, listener: Callable[[], None]) -> None:
        """Never called: the lock keeps other processes out, so that this one makes every change."""

    # --- reading ---

    async def event(self, event: EventId) -> StoredEvent:
        return await self._looking.read(self._reading.event, event)

    async def events(self, where: EventFilter, limit: int, cursor: Cursor | None) -> Page[StoredEvent]:
        return await self._looking.read(self._reading.events, where, limit, cursor)

    async def in_force(self, source: SourceId, subject: str) -> InForce:
        return await self._looking.read(self._reading.in_force, source, subject)

    async def delivery(self, delivery: DeliveryId) -> tuple[DeliveryRow, Sequence[AttemptRow]]:
        return await self._looking.read(self._reading.delivery, delivery)

    async def deliveries(self, where: DeliveryFilter, limit: int, cursor: Cursor | None) -> Page[DeliveryRow]:
        return await self._looking.read(self._reading.deliveries, where, limit, cursor)

    async def refusal(self, refusal: RefusalId) -> Refusal:
        return await self._looking.read(self._reading.refusal, refusal)

    async def refusals(self, source: SourceId | None, limit: int, cursor: Cursor | None) -> Page[Refusal]:
        return await self._looking.read(self._reading.refusals, source, limit, cursor)

    async def find_ids(self, kind: IdKind, prefix: str, limit: int) -> Sequence[str]:
        return await self._looking.read(self._reading.find_ids, kind, prefix, limit)

    async def counts(self) -> Counts:
        return await self._looking.read(self._reading.counts)


class _Remembered:
    """All that the handlers remember; see `writer.Memory`."""

    def __init__(self, positions: Positions, recent: Recent, quarantining: Quarantining) -> None:
        self._positions = positions
        self._recent = recent
        self._quarantining = quarantining

    def recover(self, connection: apsw.Connection) -> None:
        self._recent.recover(connection)
        self.undo(connection)

    def keep(self) -> None:
        self._recent.keep()

    def undo(self, connection: apsw.Connection) -> None:
        self._recent.drop()
        self._positions.recover(connection)
        self._quarantining.recover(connection)


def _place(values: Sequence[Sealed], looked: int) -> int:
    """The number of the place that was looked at last; 0 for values that are kept by name."""
    last = values[looked - 1].place if looked else 0
    return 0 if isinstance(last, tuple) else int(last)


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


def _named(connection: apsw.Connection, events: Sequence[EventId]) -> Sequence[tuple[int, int]]:
    """Spans of keys to replay: each of the named events that there are, alone."""
    packed = {one for one in map(pack_uuid, events) if one is not None}
    keys: list[int] = []
    for some in slices(sorted(packed)):
        keys += [key for (key,) in fetch(connection, QUERIES.rows("replay_keys", len(some)), some)]
    return [(key, key) for key in sorted(keys)]


def _slices_between(connection: apsw.Connection, since: Instant, until: Instant) -> Sequence[tuple[int, int]]:
    """Spans of keys that hold all events received between the two. What is stored from now on is not replayed."""
    [(first, last)] = fetch(connection, QUERIES["replay_bounds"], {"since": since, "until": until})
    if first is None:
        return []
    return [(start, min(start + SLICE - 1, last)) for start in range(first, last + 1, SLICE)]
