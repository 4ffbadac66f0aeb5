"""Gives a store a new key while it is at work, moves its values to it, and lets go of keys that seal nothing any more.

Theory of operation. `rotate` makes a key and puts it first in the key file, durably, before the store notes it, and the
store notes it before anything is sealed under it: at any moment the file has every key that the store may need, and a
process that lacks one does not open the store. From then on a walk moves what older keys sealed, a slice at a time and
as slowly as `pace` says. Killed at any moment, the next start finds more than one key in the file and walks again; what
was moved is passed over. `prune` counts first: it drops a key only when a whole walk found nothing sealed under it, from
the store's notes first and then from the file, because a key too many harms nobody.

A database that several nodes share is not given a key by one of them, which the others would lack: there the operator
hands the new key file to all of them first, and `rotate` takes up what the file says. The steps are in
`docs/operating.md`.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hookseal.clock import Clock
from hookseal.errors import Invalid, StoreError
from hookseal.logs import get_logger
from hookseal.manage.pace import Pace
from hookseal.store.keyfile import add_key, drop_keys, read
from hookseal.store.port import Cursor, Store

log = get_logger(__name__)

_AGAIN_S = 5.0
"""How long the walk waits where the store cannot be used."""
_COUNT = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """values: how many it seals. broken: of those that it should open, how many did not when the walk met them."""

    id: str
    fingerprint: str
    is_active: bool
    values: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """is_new: a key was made, or taken up from the file; False when the last rotation is still under way."""

    active: str
    is_new: bool


class KeyRotation:
    """keyfile      None when the keyring is given in another way, and so cannot be changed from here.
    is_shared     other nodes have the store too.
    """

    def __init__(self, store: Store, keyfile: Path | None, clock: Clock, *, is_shared: bool) -> None:
        self._store = store
        self._keyfile = keyfile
        self._clock = clock
        self._is_shared = is_shared
        self._stopping = asyncio.Event()
        self._walk: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()
        self.moved = 0
        self.broken = 0

    @property
    def is_under_way(self) -> bool:
        return self._walk is not None and not self._walk.done()

    def start(self) -> None:
        """Go on with a rotation that a former process did not finish."""
        if len(self._store.keyring.keys) > 1:
            self._begin()

    async def stop(self) -> None:
        """Ends after the slice under way."""
        self._stopping.set()
        if self._walk is not None:
            await self._walk

    async def finished(self) -> None:
        """When the walk under way has moved all that it can."""
        if self._walk is not None:
            await asyncio.shield(self._walk)

    async def keys(self) -> Sequence[Key]:
        """The keys of the ring, the active one first, and what each seals: a look at every sealed value."""
        keyring = self._store.keyring
        values = await self._count()
        return [
            Key(id=kid, fingerprint=keyring.fingerprint(kid), is_active=kid == keyring.active, values=values[kid])
            for kid in keyring.kids
        ]

    async def rotate(self) -> Rotated:
        """Seal under a new key from now on. Invalid where there is no key file, or a shared one has no new key."""
        async with self._one_at_a_time:
            if self.is_under_way:
                return Rotated(active=self._store.keyring.active, is_new=False)
            keyfile = self._changeable()
            if self._is_shared:
                keyring = await asyncio.to_thread(read, keyfile)
                if keyring.active == self._store.keyring.active:
                    raise Invalid("", "put the new key first in the key file of every node, then ask again")
            else:
                keyring = await asyncio.to_thread(add_key, keyfile)
            await self._store.use_keyring(keyring)
            log.info("a new key seals from now on")
            self._begin()
            return Rotated(active=keyring.active, is_new=True)

    async def prune(self) -> Sequence[str]:
        """Drop the keys that seal nothing any more; their ids."""
        async with self._one_at_a_time:
            keyfile = self._changeable()
            values = await self._count()
            idle = [kid for kid in self._store.keyring.kids[1:] if not values[kid]]
            if not idle:
                return ()
            for kid in idle:
                await self._store.drop_key(kid)
            keyring = await asyncio.to_thread(drop_keys, keyfile, idle)
            await self._store.use_keyring(keyring)
            return tuple(idle)

    def _changeable(self) -> Path:
        if self._keyfile is None:
            raise Invalid("", "the keyring is not in a file; change it where it is given, and restart")
        return self._keyfile

    async def _count(self) -> Counter[str]:
        found: Counter[str] = Counter()
        cursor: Cursor | None = None
        while True:
            one = await self._store.seals(_COUNT, cursor)
            found.update(one.by_key)
            cursor = one.next
            if cursor is None:
                return found

    # --- the walk ---

    def _begin(self) -> None:
        self.moved = self.broken = 0
        self._walk = asyncio.get_running_loop().create_task(self._run(), name="hookseal-rotation")

    async def _run(self) -> None:
        """Walk until a whole walk moved nothing: what was being stored when the key changed may come behind the first."""
        while not self._stopping.is_set():
            before = self.moved
            try:
                await self._walk_once()
            except Exception as error:
                log.error("the rotation stopped, it goes on at the next start", exc_info=error)
                return
            if self.moved == before:
                break
        if self.moved:
            log.info("values are sealed under the new key", count=self.moved)
        if self.broken:
            log.error("values did not open and keep their key", count=self.broken)

    async def _walk_once(self) -> None:
        pace = Pace(self._clock)
        cursor: Cursor | None = None
        self.broken = 0
        while not self._stopping.is_set():
            pace.begin()
            try:
                one = await self._store.rewrap(pace.limit, cursor)
            except StoreError as error:
                log.warning("the rotation waits for the store", code=error.code)
                await self._clock.wait(self._stopping, _AGAIN_S)
                continue
            self.moved += one.moved
            self.broken += one.broken
            cursor = one.next
            if cursor is None:
                return
            await pace.rest(self._stopping)
