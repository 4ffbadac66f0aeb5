"""A disk on paper: what was written to each file, what was synced, and what may be left of it when the power fails.

Everything that was synced is left. Of what was not, each write falls apart into 512-byte sectors, and each sector is
kept, dropped or garbled, whatever happened to its neighbours; bytes beside a write are not touched (SQLite counts on
that: "powersafe overwrite"). Sizes, names made and names removed are there or not in the same way, until they are
synced: truncating with the file, a name with the file's first sync (which syncs the folder as well).

Theory of operation. Threads append to one log, in the order in which the operating system saw the operations. A
`Decay` walks along the log and draws, at any place of it, as many images as wanted.
"""

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import pairwise

SECTOR = 512


class Kind(Enum):
    CREATE = auto()
    WRITE = auto()
    TRUNCATE = auto()
    SYNC = auto()
    SYNC_FOLDER = auto()
    DELETE = auto()


@dataclass(frozen=True, slots=True)
class Operation:
    """offset: of a write, or the size to truncate to."""

    kind: Kind
    name: str
    offset: int = 0
    data: bytes = b""


class CrashDisk:
    """base: files that were there and durable before the log begins. syncs: False is a disk that lies."""

    def __init__(self, base: Mapping[str, bytes] | None = None, *, syncs: bool = True) -> None:
        self.base = dict(base or {})
        self.syncs = syncs
        self.log: list[Operation] = []
        self.lock = threading.RLock()
        self._names = set(self.base)

    @property
    def position(self) -> int:
        """How many operations have been done."""
        return len(self.log)

    def opened(self, name: str) -> None:
        """A file is there; if nobody knew of it, it was made just now."""
        with self.lock:
            if name not in self._names:
                self._names.add(name)
                self.log.append(Operation(Kind.CREATE, name))

    def removed(self, name: str, *, sync_folder: bool) -> None:
        with self.lock:
            self._names.discard(name)
            self.log.append(Operation(Kind.DELETE, name))
            if sync_folder and self.syncs:
                self.log.append(Operation(Kind.SYNC_FOLDER, ""))

    def do(self, act: Callable[[], object], operation: Operation) -> None:
        """Change a real file and note it, as one step: the log's order is the true one."""
        with self.lock:
            act()
            self.log.append(operation)

    def synced(self, name: str) -> None:
        if self.syncs:
            with self.lock:
                self.log.append(Operation(Kind.SYNC, name))


@dataclass(slots=True)
class _File:
    """durable: its bytes as of the last sync. pending: since then, writes (offset, data) and truncations (size, None)."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Odds:
    """How an unsynced sector fares: kept, else dropped, else garbled. name: that an unsynced change of a name is kept."""

    kept: float
    dropped: float
    name: float


FATES = (
    Odds(0.0, 1.0, 0.0),
    Odds(0.0, 1.0, 1.0),
    Odds(1.0, 0.0, 1.0),
    Odds(1.0, 0.0, 0.0),
    Odds(0.5, 0.5, 0.5),
    Odds(0.9, 0.1, 0.9),
    Odds(0.1, 0.9, 0.5),
    Odds(0.4, 0.3, 0.5),
    Odds(0.9, 0.05, 0.5),
    Odds(0.0, 0.0, 0.5),
)
"""Nothing unsynced is left, all of it is, and what lies between; the last ones garble."""


class Decay:
    """Walks along the log of a disk; `image` draws what is left if the power fails here."""

    def __init__(self, disk: CrashDisk) -> None:
        self._disk = disk
        self._at = 0
        self._seen = {name: _File(bytearray(data)) for name, data in disk.base.items()}
        self._held: dict[str, _File] = dict(self._seen)

    def advance(self, position: int) -> None:
        for operation in self._disk.log[self._at : position]:
            self._apply(operation)
        self._at = position

    def _apply(self, operation: Operation) -> None:
        name = operation.name
        if operation.kind is Kind.CREATE:
            self._seen[name] = _File()
        elif operation.kind is Kind.DELETE:
            del self._seen[name]
        elif operation.kind is Kind.WRITE:
            self._seen[name].pending.append((operation.offset, operation.data))
        elif operation.kind is Kind.TRUNCATE:
            self._seen[name].pending.append((operation.offset, None))
        elif operation.kind is Kind.SYNC_FOLDER:
            self._held = dict(self._seen)
        else:
            file = self._seen[name]
            for offset, data in file.pending:
                _write(file.durable, offset, data)
            file.pending.clear()
            if self._held.get(name) is not file:
                self._held = dict(self._seen)  # its first sync: the folder is synced with it

    def image(self, dice: random.Random) -> dict[str, bytes]:
        """The files after a power cut at this place."""
        odds = dice.choice(FATES)
        left = {}
        for name in {*self._seen, *self._held}:
            seen, held = self._seen.get(name), self._held.get(name)
            file = seen if seen is held or dice.random() < odds.name else held
            if file is not None:
                left[name] = _decayed(file, odds, dice)
        return left


def _decayed(file: _File, odds: Odds, dice: random.Random) -> bytes:
    if not file.pending:
        return bytes(file.durable)
    left = bytearray(file.durable)
    for offset, data in file.pending:
        if data is None:
            if dice.random() < odds.kept:
                _write(left, offset, None)
            continue
        for start, sector in _sectors(offset, data):
            fate = dice.random()
            if fate < odds.kept:
                _write(left, start, sector)
            elif fate >= odds.kept + odds.dropped:
                _write(left, start, dice.randbytes(len(sector)))
    return bytes(left)


def _sectors(offset: int, data: bytes) -> Sequence[tuple[int, bytes]]:
    cuts = [0, *range(SECTOR - offset % SECTOR, len(data), SECTOR), len(data)]
    return [(offset + start, data[start:end]) for start, end in pairwise(cuts)]


def _write(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        return
    if offset > len(content):
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data
