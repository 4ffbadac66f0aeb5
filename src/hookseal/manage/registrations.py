"""Which sources and endpoints there are: those of the file, and those that were made through the API and lie in the store.

Theory of operation
- A registration of the API is one sealed value on a shelf of the store, in the grammar of the configuration file. It is
  judged by the rules of `hookseal check` before it is written, and in force on this node when the call returns.
- A node that shares the store follows the changes of other nodes through `change_feed`, and reads only what changed.
- Ids are unique over both. If a file takes an id that the store has, the file's registration is in force on the nodes that
  have this file. The other one is listed with a problem, named by `/readyz` and in the log, and can be deleted.
- A registration that this version cannot read is set aside (`stored_registrations`): its source answers 503, the
  deliveries of its endpoint wait, and it can be deleted or made again. All others are in force.
- A rotated secret ends by the clock: each node lets go of it by itself, and nothing needs to be written for that.
- A crash between writing and taking over: the next look takes over. What is written is whole or not there.
- Deleting an endpoint ends its pending deliveries as `cancelled`, or nobody would ever end them: at once, and once more
  after `SETTLED_S`, when no node plans for it any more. A mark on a shelf stands for what is left to do, over restarts.
- Of a deleted source the provider is remembered, by whose rules its events are read.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from hookseal import catalogue
from hookseal.catalogue import Provider
from hookseal.clock import Clock, Instant, plus, seconds_between
from hookseal.delivery import presets
from hookseal.egress.policy import EgressPolicy
from hookseal.errors import Conflict, NotFound, StoreError, UnfitRegistration
from hookseal.logs import get_logger
from hookseal.manage import registration
from hookseal.manage.new_secret import BYTES, new_secret
from hookseal.manage.record import MOST_LIVE, Record, Written
from hookseal.manage.stored_registrations import (
    SHELVES,
    RegistrationReader,
    Row,
    ShadowedRegistration,
    UnreadableRegistration,
)
from hookseal.model import DeliveryState, EndpointId, Json, ProviderId, SourceId
from hookseal.settings import EndpointSettings, SourceSettings
from hookseal.settings.kinds import ID
from hookseal.settings.reading import read_table
from hookseal.settings.secrets import Desk, Unfit, secret_bytes
from hookseal.settings.table import Section, rows_of
from hookseal.store.port import DeliveryFilter, Store

log = get_logger(__name__)

FORMER = "former-sources"
DELETED = "deleted-endpoints"
NAMESPACES = (*SHELVES.values(), FORMER, DELETED)
RETRY_S = 2.0
"""How long the node waits after it could not follow the registrations."""
SETTLED_S = 60.0
OVERLAP_S = 86_400
MAX_OVERLAP_S = 31_536_000
MOST = 1000
"""Sources, and endpoints, of the file and the API together."""
_CANCEL_STEP = 500
_NOWHERE = Path()

UNREADABLE_HERE = "This version of hookseal cannot read the registration; delete it, or create it again."
READ_ONLY = "What stands here comes from the configuration file, and is changed there."


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationSet:
    """All registrations as they count at a moment.

    former      the providers of sources that are no more, by whose rules their events are read.
    unreadable  those that this version cannot use.
    """

    sources: tuple[SourceSettings, ...]
    endpoints: tuple[EndpointSettings, ...]
    former: Mapping[SourceId, ProviderId]
    unreadable: tuple[UnreadableRegistration, ...] = ()


Apply = Callable[[RegistrationSet], Awaitable[None]]
"""Put these registrations in force."""


async def _nothing(_: RegistrationSet) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """secret: what was made here, to be shown once; None where it was given, or none is needed.

    warnings  key and sentence of what is possible and probably not meant.
    """

    id: str
    secret: str | None = field(default=None, repr=False)
    warnings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """secret: as in `Made`. until: until when the former ones are live, too; None when there was none."""

    id: str
    secret: str | None = field(repr=False)
    until: Instant | None


class Registrations:
    """All methods belong to one event loop. Before `open`, and without a call of it, only the file's are known."""

    def __init__(
        self,
        store: Store,
        *,
        sources: Sequence[SourceSettings],
        endpoints: Sequence[EndpointSettings],
        clock: Clock,
        egress: EgressPolicy | None = None,
        public_url: str | None = None,
        apply: Apply = _nothing,
        shared: bool = False,
    ) -> None:
        """egress: by which URLs are judged. shared: other nodes may write to the same store."""
        self._store = store
        self._file: Mapping[Section, Mapping[str, Row]] = {
            Section.SOURCE: {one.id: one for one in sources},
            Section.ENDPOINT: {one.id: one for one in endpoints},
        }
        self._clock = clock
        self._egress = egress or EgressPolicy()
        self._public_url = public_url
        self._apply = apply
        self._shared = shared
        self._reader = RegistrationReader(self._egress, public_url)
        self._written: dict[Section, dict[str, Written]] = {section: {} for section in SHELVES}
        self._undecoded: tuple[UnreadableRegistration, ...] = ()
        self._unreadable: tuple[UnreadableRegistration, ...] = ()
        self.shadowed: tuple[ShadowedRegistration, ...] = ()
        """Registrations of the API that are not in force, because the file has their ids."""
        self._rows: dict[Section, dict[str, Row]] = {section: dict(rows) for section, rows in self._file.items()}
        self._former: dict[SourceId, ProviderId] = {}
        self._in_force = self.current()
        self._merged_at = clock.now()
        """The time that `_rows` are of."""
        self._deleted: dict[EndpointId, Instant] = {}
        self._seen: tuple[Mapping[str, bytes | None], ...] = ({}, {}, {})
        self._changing = asyncio.Lock()
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.loop: asyncio.Task[None] | None = None
        """The task that runs from `start` to `stop`."""

    # --- life -------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Read what is kept, without applying it. StoreError when it cannot be read."""
        await self._look()
        self._in_force = self.current()

    def start(self) -> None:
        """Follow the clock: the ends of secrets, and what is left to do for deleted endpoints."""
        self.loop = self._spawn(self._follow())

    async def update(self) -> None:
        """Read the registrations and put in force what is new. StoreError when they cannot be read."""
        async with self._changing:
            await self._take_over()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- what there is ----------------------------------------------------------------------------------------------

    @property
    def sources(self) -> tuple[SourceSettings, ...]:
        """The file's first, in its order, then the others by their ids."""
        return tuple(one for one in self._rows[Section.SOURCE].values() if isinstance(one, SourceSettings))

    @property
    def endpoints(self) -> tuple[EndpointSettings, ...]:
        return tuple(one for one in self._rows[Section.ENDPOINT].values() if isinstance(one, EndpointSettings))

    def current(self) -> RegistrationSet:
        """Return all registrations as they count now."""
        return RegistrationSet(
            sources=self.sources,
            endpoints=self.endpoints,
            former={**self._former, **_providers_of(self._unreadable)},
            unreadable=self._unreadable,
        )

    @property
    def unreadable(self) -> tuple[UnreadableRegistration, ...]:
        """Those that this version cannot use."""
        return self._unreadable

    def unreadable_in(self, section: Section) -> tuple[UnreadableRegistration, ...]:
        return tuple(one for one in self._unreadable if one.section is section)

    def find_unreadable(self, section: Section, id: str) -> UnreadableRegistration | None:
        return next((one for one in self._unreadable if (one.section, one.id) == (section, id)), None)

    def is_of_file(self, section: Section, id: str) -> bool:
        return id in self._file[section]

    def may_change_elsewhere(self, section: Section, id: str) -> bool:
        """Return whether another node can make or change this registration. The file counts, and no API changes it."""
        return self._shared and id not in self._file[section] and ID.fullmatch(id) is not None

    # --- changing ---------------------------------------------------------------------------------------------------

    async def create(self, section: Section, table: Mapping[str, Json]) -> Made:
        """UnfitRegistration with every fault; Conflict when the id is taken. Durable and in force when it returns."""
        async with self._changing:
            await self._look_for_others()
            given = {name: value for name, value in table.items() if value is not None}
            written, secret = self._with_own_secret(Written(section, Record(table=given)).normal())
            row = self._judged(written, secret_at=_place_of_secret(given))
            id = row.id
            if id in self._rows[section]:
                raise Conflict("exists", f"There is {_a(section)} of this id already.")
            # What cannot be used may be replaced: its id is taken, and nothing else could repair it.
            replace = self.find_unreadable(section, id) is not None
            count = len(self._rows[section]) + len(self.unreadable_in(section))
            if not replace and count >= MOST:
                raise Conflict("too_many", f"There are {MOST} of them; delete one first.")
            sealed = msgspec.json.encode(written.record)
            await self._forget_deleted(section, id)
            if await self._keep(section, id, sealed, replace=replace) != sealed:
                raise Conflict("exists", f"There is {_a(section)} of this id already.")
            await self._take_over()
            return Made(id=id, secret=secret, warnings=self._warnings(row))

    async def change(self, section: Section, id: str, patch: Mapping[str, Json]) -> Made:
        """Put these keys in place of its own; null takes one away. As `create`; NotFound when there is none."""
        async with self._changing:
            before = await self._own(section, id)
            if "id" in patch and patch["id"] != id:
                raise UnfitRegistration([("id", "cannot be changed; make another one, and delete this one")])
            written, secret = self._with_own_secret(before.changed({**patch, "id": id}))
            row = self._judged(written, secret_at=_place_of_secret(patch))
            await self._keep(section, id, msgspec.json.encode(written.record))
            await self._take_over()
            return Made(id=id, secret=secret, warnings=self._warnings(row))

    async def delete(self, section: Section, id: str) -> None:
        """Delete a registration of the API. NotFound, or Conflict if there is only one of the file."""
        async with self._changing:
            if await self._delete_shadowed(section, id):
                return
            await self._must_be_own(section, id)
            if section is Section.SOURCE:
                if (provider := self._provider_of(id)) is not None:
                    await self._keep_at(FORMER, id, provider.encode())
            else:
                await self._keep_at(DELETED, id, msgspec.json.encode(self._clock.now()))
            try:
                await self._store.forget(SHELVES[section], id)
            finally:
                self._news.set()
            await self._take_over()

    async def _delete_shadowed(self, section: Section, id: str) -> bool:
        """Delete the registration of the API that has an id of the file; False if there is none.

        Deliveries stay, and no mark is left for them: they belong to the file's endpoint of the same id.
        """
        await self._look_for_others()
        if not any((one.section, one.id) == (section, id) for one in self.shadowed):
            return False
        try:
            await self._store.forget(SHELVES[section], id)
        finally:
            self._news.set()
        await self._take_over()
        return True

    async def rotate(
        self, section: Section, id: str, secret: str | None = None, overlap_s: float = OVERLAP_S
    ) -> Rotated:
        """Give it a new secret, made here unless given; the former ones are live until the overlap is over."""
        async with self._changing:
            before = await self._own(section, id)
            now = self._clock.now()
            made = None
            if secret is None:
                if (provider := self._issuer(before)) is not None:
                    raise UnfitRegistration([("secret", registration.missing_secret(provider))])
                made = secret = self._new_secret(before)
            else:
                _check_secret(secret)
            if secret is None or not before.secrets:
                raise Conflict("no_secret", "There is no secret here that could be rotated.")
            until = plus(now, overlap_s)
            written = before.rotated(secret, now, until)
            if len(written.secrets) > MOST_LIVE:
                raise Conflict("too_many_secrets", f"{MOST_LIVE} secrets are live already; wait until one has ended.")
            self._judged(written, secret_at="secret")
            await self._keep(section, id, msgspec.json.encode(written.record))
            await self._take_over()
            return Rotated(id=id, secret=made, until=until if overlap_s > 0 and len(written.secrets) > 1 else None)

    async def _own(self, section: Section, id: str) -> Written:
        """Return one that may be changed here."""
        await self._must_be_own(section, id)
        written = self._written[section].get(id)
        if written is None:
            raise Conflict("unreadable", UNREADABLE_HERE)
        return written

    async def _must_be_own(self, section: Section, id: str) -> None:
        await self._look_for_others()
        if id in self._file[section]:
            raise Conflict("read_only", READ_ONLY)
        if id not in self._written[section] and self.find_unreadable(section, id) is None:
            raise NotFound("there is no such registration")

    def _provider_of(self, source: str) -> ProviderId | None:
        row = self._rows[Section.SOURCE].get(source)
        return (
            row.provider if isinstance(row, SourceSettings) else _providers_of(self._unreadable).get(SourceId(source))
        )

    def _judged(self, written: Written, *, secret_at: str | None = None) -> Row:
        """The row as it is in force now. secret_at: where the caller gave the secret that is judged here."""
        table = written.in_force(self._clock.now())
        known = [row.name for row in rows_of(written.section)]
        if table.keys() - known:
            raise UnfitRegistration([("", f"has a key that is unknown; known are {', '.join(known)}")])
        row, faults = read_table(written.section, table)
        told = [*faults]
        if isinstance(row, EndpointSettings):
            told += registration.judge(row, self._egress, sources=self.sources, public_url=self._public_url)
        elif isinstance(row, SourceSettings):
            told += registration.judge_source(row, self._egress, public_url=self._public_url)
        elif isinstance(url := table.get("url"), str) and not any(key == "url" for key, _ in faults):
            told += [("url", problem)] if (problem := registration.url_problem(url, self._egress)) else []
        if told or row is None:
            at_secret = ("secrets[0]", "signing.secrets[0]", "signing.secret")
            raise UnfitRegistration(
                [(secret_at if secret_at and key in at_secret else key, remedy) for key, remedy in told]
            )
        return row

    def _warnings(self, row: Row) -> tuple[tuple[str, str], ...]:
        if isinstance(row, SourceSettings):
            return tuple(registration.source_warnings(row))
        return tuple(registration.warnings(row, self.sources, self._egress))

    # --- secrets of our making --------------------------------------------------------------------------------------

    def _with_own_secret(self, written: Written) -> tuple[Written, str | None]:
        """With a secret of ours where one is needed and none is given. What is wrong with the rest is told later."""
        table = written.record.table
        if table.get("unsigned") is True or "secrets" in table or (self._signing(table) or {}).get("secrets"):
            return written, None
        if written.section is Section.ENDPOINT and not self._signs_always(table):
            return written, None
        if written.section is Section.ENDPOINT and self._prover(written) is None:
            return written.with_secret("-" * BYTES), None  # of a scheme that there is not, which then is what is told
        secret = self._new_secret(written)
        return (written, None) if secret is None else (written.with_secret(secret), secret)

    def _signs_always(self, table: Mapping[str, Any]) -> bool:
        """Whether the endpoint names a scheme, or acts as a provider that never sends unsigned."""
        signing = self._signing(table)
        if signing is not None and signing.get("scheme"):
            return bool(signing["scheme"] != presets.UNSIGNED)
        acting_as = table.get("as")
        if "signing" in table or not isinstance(acting_as, str) or acting_as not in catalogue.ids():
            return False
        return presets.of(acting_as).signed

    def _new_secret(self, written: Written) -> str | None:
        """A secret made here; None where there is none, or only the provider can make it."""
        provider = self._prover(written)
        return None if provider is None or self._issuer(written) is not None else new_secret(provider)

    def _issuer(self, written: Written) -> Provider | None:
        """The provider that issues the secret of this source; None where a secret may be made here."""
        provider = self._prover(written) if written.section is Section.SOURCE else None
        return provider if provider is not None and provider.secret.issued else None

    def _prover(self, written: Written) -> Provider | None:
        """By whose scheme its requests are proven; None when that is nobody known."""
        table = written.record.table
        name: object = table.get("provider")
        if written.section is Section.ENDPOINT:
            name = (self._signing(table) or {}).get("scheme") or table.get("as")
        return catalogue.provider(name) if isinstance(name, str) and name in catalogue.ids() else None

    @staticmethod
    def _signing(table: Mapping[str, Any]) -> dict[str, Any] | None:
        signing = table.get("signing")
        return signing if isinstance(signing, dict) else None

    # --- keeping and following --------------------------------------------------------------------------------------

    async def _keep(self, section: Section, id: str, value: bytes, *, replace: bool = True) -> bytes:
        return await self._keep_at(SHELVES[section], id, value, replace=replace)

    async def _keep_at(self, shelf: str, name: str, value: bytes, *, replace: bool = True) -> bytes:
        try:
            return await self._store.keep(shelf, name, value, replace=replace)
        finally:
            self._news.set()  # whatever came of it: what stands there now is looked at

    async def _follow(self) -> None:
        while True:
            now = self._clock.now()
            # After the last merge, not after `now`: a secret that ended in between would never end.
            written = [one for rows in self._written.values() for one in rows.values()]
            ends = [end for one in written if (end := one.next_end(self._merged_at))]
            ends += [plus(at, SETTLED_S) for at in self._deleted.values()]
            waits = [max(seconds_between(now, end), 0.0) for end in ends]
            must_read = await self._clock.wait(self._news, min(waits) if waits else None)
            self._news.clear()
            try:
                async with self._changing:
                    # Before the store is read: a secret ends on time also while the store cannot be used.
                    self._merge()
                    await self._put_in_force()
                    if must_read:
                        await self._take_over()
                await self._settle_deleted()
            except Exception as error:  # what was in force stays in force; the next turn tries again
                log.warning("registrations not followed", exc_info=error)
                await self._clock.wait(asyncio.Event(), RETRY_S)
                self._news.set()

    async def _look_for_others(self) -> None:
        if self._shared:
            await self._take_over()

    async def _take_over(self) -> None:
        """Read what is kept, and put in force what is new."""
        await self._look()
        await self._put_in_force()

    async def _put_in_force(self) -> None:
        current, before = self.current(), self._in_force
        if current == before:
            return
        await self._apply(current)
        self._in_force = current
        log.info("registrations changed")
        # An endpoint that cannot be read is not gone: its deliveries wait.
        left = {one.id for one in current.endpoints} | {one.id for one in current.unreadable}
        if gone := [one.id for one in before.endpoints if one.id not in left]:
            self._spawn(self._cancel_now(gone))

    async def _look(self) -> None:
        """Read the shelves. A value that cannot be read is set aside, and the others count."""
        sources = await self._store.kept(SHELVES[Section.SOURCE])
        endpoints = await self._store.kept(SHELVES[Section.ENDPOINT])
        former = await self._store.kept(FORMER)
        deleted = await self._store.kept(DELETED)
        self._deleted = {EndpointId(id): _instant(at) for id, at in deleted.items()}
        seen = (sources, endpoints, former)
        if seen == self._seen:
            return
        undecoded: list[UnreadableRegistration] = []
        for section, shelf in ((Section.SOURCE, sources), (Section.ENDPOINT, endpoints)):
            read = {id: self._reader.read(section, id, value) for id, value in sorted(shelf.items())}
            self._written[section] = {id: one for id, one in read.items() if isinstance(one, Written)}
            undecoded += [one for one in read.values() if isinstance(one, UnreadableRegistration)]
        self._undecoded = tuple(undecoded)
        self._former = {
            SourceId(id): ProviderId(name.decode("utf-8", "replace")) for id, name in former.items() if name is not None
        }
        self._merge()
        self._seen = seen

    def _merge(self) -> None:
        """Take the rows as they count at this moment."""
        now, before = self._clock.now(), self._unreadable
        self._merged_at = now
        unreadable: list[UnreadableRegistration] = []
        shadowed: list[ShadowedRegistration] = []
        for undecoded in self._undecoded:
            if undecoded.id in self._file[undecoded.section]:
                shadowed.append(ShadowedRegistration(undecoded.section, undecoded.id, undecoded))
            else:
                unreadable.append(undecoded)
        rows: dict[Section, dict[str, Row]] = {section: dict(own) for section, own in self._file.items()}
        for section, written in self._written.items():
            for id, one in written.items():
                row = self._reader.row(id, one, now)
                if id in self._file[section]:
                    shadowed.append(ShadowedRegistration(section, id, row))
                elif isinstance(row, UnreadableRegistration):
                    unreadable.append(row)
                else:
                    rows[section][id] = row
        self._rows, self._unreadable = rows, tuple(sorted(unreadable, key=lambda one: (one.section, one.id)))
        self._note_shadowed(shadowed)
        known = {(one.section, one.id) for one in before}
        for new in self._unreadable:
            if (new.section, new.id) in known:
                continue
            if new.section is Section.SOURCE:
                log.error("source cannot be read, its requests wait", source=new.id)
            else:
                log.error("endpoint cannot be read, its deliveries wait", endpoint=new.id)

    def _note_shadowed(self, shadowed: Iterable[ShadowedRegistration]) -> None:
        known = {(one.section, one.id) for one in self.shadowed}
        self.shadowed = tuple(sorted(shadowed, key=lambda one: (one.section, one.id)))
        for new in self.shadowed:
            if (new.section, new.id) in known:
                continue
            if new.section is Section.SOURCE:
                log.error("source of the api not in force, it has an id of the file", source=new.id)
            else:
                log.error("endpoint of the api not in force, it has an id of the file", endpoint=new.id)

    async def _settle_deleted(self) -> None:
        """Cancel what was planned for deleted endpoints before every node knew that they are no more."""
        now = self._clock.now()
        due = [endpoint for endpoint, at in self._deleted.items() if now >= plus(at, SETTLED_S)]
        if not due:
            return
        async with self._changing:
            # Another node may have created an endpoint of the same id: its deliveries must not be cancelled.
            await self._look_for_others()
        for endpoint in due:
            if endpoint not in self._deleted:
                continue
            is_gone = endpoint not in self._rows[Section.ENDPOINT]
            if is_gone and self.find_unreadable(Section.ENDPOINT, endpoint) is None:
                await self._cancel_deliveries(endpoint)
            await self._forget_deleted(Section.ENDPOINT, endpoint)

    async def _forget_deleted(self, section: Section, id: str) -> None:
        if section is Section.ENDPOINT and id in self._deleted:
            await self._store.forget(DELETED, id)
            self._deleted.pop(EndpointId(id), None)

    async def _cancel_now(self, endpoints: Iterable[EndpointId]) -> None:
        for endpoint in endpoints:
            try:
                await self._cancel_deliveries(endpoint)
            except StoreError as error:
                log.warning("deliveries of a deleted endpoint not cancelled yet", endpoint=endpoint, code=error.code)

    async def _cancel_deliveries(self, endpoint: EndpointId) -> None:
        now, cursor = self._clock.now(), None
        where = DeliveryFilter(endpoint=endpoint, state=DeliveryState.PENDING)
        while True:
            page = await self._store.deliveries(where, _CANCEL_STEP, cursor)
            for row in page.rows:
                await self._store.cancel(row.id, now)
            cursor = page.next
            if cursor is None:
                return

    def _spawn(self, coroutine: "asyncio._CoroutineLike[None]") -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _providers_of(unreadable: Iterable[UnreadableRegistration]) -> dict[SourceId, ProviderId]:
    """Return the providers of sources that are readable in that part, so that their stored events can be shown."""
    named = {SourceId(one.id): one.table.get("provider") for one in unreadable if one.section is Section.SOURCE}
    return {id: ProviderId(name) for id, name in named.items() if isinstance(name, str) and name in catalogue.ids()}


def _instant(value: bytes | None) -> Instant:
    """Return when an endpoint was deleted; long ago where that cannot be read, so that the rest is done now."""
    try:
        return Instant(msgspec.json.decode(value or b"0", type=int))
    except msgspec.MsgspecError:
        return Instant(0)


def _place_of_secret(table: Mapping[str, Json]) -> str | None:
    """Where the caller wrote it: `signing.secret` stands for a list of one."""
    signing = table.get("signing")
    return "signing.secret" if isinstance(signing, dict) and "secret" in signing else None


def _check_secret(secret: str) -> None:
    try:
        secret_bytes(secret, Desk(folder=_NOWHERE, environ={}, distant=True))
    except Unfit as unfit:
        raise UnfitRegistration([("secret", unfit.remedy)]) from None


def _a(section: Section) -> str:
    return "a source" if section is Section.SOURCE else "an endpoint"
