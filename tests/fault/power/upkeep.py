"""What a store is asked beside its work as it grows old: to let go of what is too old, and to change its key.

Each is done step by step, one step with each round of the work, so that a life that ends early leaves it half done.
"""

import random
from collections.abc import Callable
from typing import Protocol

from power.audit import all_events, all_refusals, seals
from power.ledger import NOW, Expiring, Gone, Keys, Ledger

from hookseal.clock import plus
from hookseal.sealing import Keyring
from hookseal.store.port import BODY_EXPIRED, Cursor, Cutoffs
from hookseal.store.sqlite import SqliteStore

DAY_S = 86_400.0
MOMENTS = (plus(NOW, -300 * DAY_S), plus(NOW, -40 * DAY_S), plus(NOW, 2 * DAY_S))
"""Before which things are too old; the last is after all that the work ends."""


class Upkeep(Protocol):
    """hurry: how often the work delivers all that is due, 0 to 1. What has not ended, retention cannot let go."""

    hurry: float

    async def step(self) -> None: ...


class Resting:
    hurry = 0.0

    async def step(self) -> None:
        return


class Retaining:
    """Sweeps with one set of ages after the other, and notes what it sees gone."""

    hurry = 0.7

    def __init__(self, store: SqliteStore, ledger: Ledger, dice: random.Random, position: Callable[[], int]) -> None:
        self._store = store
        self._ledger = ledger
        self._dice = dice
        self._position = position
        self._before: Cutoffs | None = None
        self._cursor: Cursor | None = None

    async def step(self) -> None:
        for _ in range(self._dice.randint(1, 4)):
            await self._slice()
        await self._see()

    async def _slice(self) -> None:
        if self._before is None or self._cursor is None:
            bodies, dedupe, refusals = (self._dice.choice(MOMENTS) for _ in range(3))
            metadata = self._dice.choice([moment for moment in MOMENTS if moment <= bodies])
            self._before = Cutoffs(bodies=bodies, metadata=metadata, dedupe=dedupe, refusals=refusals)
            self._ledger.expiring.append(Expiring(self._position(), self._before))
        one = await self._store.expire(self._before, self._dice.choice((3, 10, 40)), self._cursor)
        self._cursor = one.next

    async def _see(self) -> None:
        """What a reader sees is durable: SQLite shows a commit when its log is synced."""
        events, refusals = await all_events(self._store), await all_refusals(self._store)
        known = {event for one in self._ledger.accepted for event in one.new}
        bare = {id for id, event in events.items() if BODY_EXPIRED in event.row.flags}
        self._ledger.gone.append(
            Gone(
                self._position(),
                frozenset(bare),
                frozenset(known - events.keys()),
                frozenset({one.refusal.id for one in self._ledger.refused} - refusals.keys()),
            )
        )


class Rotating:
    """A new key, a walk that moves all to it, the old key dropped; then the next. The key file is durable before each."""

    hurry = 0.0

    def __init__(self, store: SqliteStore, ledger: Ledger, dice: random.Random, position: Callable[[], int]) -> None:
        self._store = store
        self._ledger = ledger
        self._dice = dice
        self._position = position
        self._cursor: Cursor | None = None

    async def step(self) -> None:
        is_new = len(self._ledger.keyring.keys) == 1
        if is_new:
            fresh = (self._ledger.keyring.next_kid(), self._dice.randbytes(32))
            await self._use(Keyring((fresh, *self._ledger.keyring.keys)))
        for _ in range(self._dice.randint(1, 4)):
            one = await self._store.rewrap(self._dice.choice((5, 20, 60)), self._cursor)
            self._cursor = one.next
            if self._cursor is None and not is_new:  # what was sealed before this round is in the store by now
                await self._prune()
                return

    async def _use(self, keyring: Keyring) -> None:
        self._ledger.keys.append(Keys(self._position(), keyring))
        await self._store.use_keyring(keyring)

    async def _prune(self) -> None:
        """Drop the keys that seal nothing any more, from the store's notes first."""
        keyring = self._ledger.keyring
        idle = set(keyring.kids[1:]) - await seals(self._store)
        for kid in idle:
            await self._store.drop_key(kid)
        if idle:
            await self._use(Keyring(tuple((kid, key) for kid, key in keyring.keys if kid not in idle)))


def upkeep(kind: str, store: SqliteStore, ledger: Ledger, dice: random.Random, position: Callable[[], int]) -> Upkeep:
    if kind == "retention":
        return Retaining(store, ledger, dice, position)
    if kind == "rotation":
        return Rotating(store, ledger, dice, position)
    return Resting()
