"""The events of claimed deliveries, within a bound on the bytes that one claim brings into memory. Both stores share it.

A store reads the rows first, without bodies, and then the bodies group by group, for as long as `ClaimedEvents` asks for
them. Each request is read and decrypted once, however many of its events were claimed, and not at all while an earlier
claim of it is in memory. What is beyond the bound stays unopened, and the store releases its leases.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from hookseal.errors import SealBroken
from hookseal.message import RawRequest
from hookseal.model import AttemptReason, EndpointId
from hookseal.store.claimed import ReadEvent
from hookseal.store.rows import Opening, Row

CLAIM_BYTES = 16 * 1024 * 1024
"""Bytes of distinct requests that one claim decrypts, and at most one request beyond it."""
READ_BYTES = 4 * 1024 * 1024
"""Encrypted bytes that are read at a time."""
_READ_ROWS = 64

K = TypeVar("K")


class _Leased(Protocol):
    @property
    def endpoint(self) -> EndpointId: ...


L = TypeVar("L", bound=_Leased)


def in_turns(leased: Iterable[L]) -> list[L]:
    """Return leased deliveries with the endpoints in turns, so that the large bodies of one leave room for the others."""
    by_endpoint: dict[EndpointId, list[L]] = {}
    for delivery in leased:
        by_endpoint.setdefault(delivery.endpoint, []).append(delivery)
    longest = max(map(len, by_endpoint.values()), default=0)
    return [mine[turn] for turn in range(longest) for mine in by_endpoint.values() if turn < len(mine)]


class ClaimedEvents(Generic[K]):
    """rows: of the claimed events, in the order in which they are opened, each with the key of its body in its table.

    They have the columns of `event_rows`, but column 15 is the length of the sealed body.
    """

    def __init__(self, opening: Opening, rows: Sequence[tuple[K, Row]]) -> None:
        self._opening = opening
        self._rows = [(key, row) for key, row in rows if row[13] is not None and row[15] is not None]
        self._lost = [row for _, row in rows if row[13] is None or row[15] is None]
        self._requests: dict[K, Row] = {}
        self._raw: dict[K, RawRequest | None] = {}
        self._bytes = 0
        for key, row in self._rows:
            if key not in self._requests:
                self._requests[key] = row
                if (raw := opening.opened(row[13])) is not None:
                    self._raw[key] = raw

    def wanted(self) -> Iterator[Sequence[K]]:
        """Yield the keys of the bodies to read next. Ask again when they were given to `open`."""
        group: list[K] = []
        size = 0
        for key, row in self._requests.items():
            if key in self._raw:
                continue
            if group and (len(group) == _READ_ROWS or size + row[15] > READ_BYTES):
                yield group
                if self._bytes >= CLAIM_BYTES:
                    return
                group, size = [], 0
            group.append(key)
            size += row[15]
        if group:
            yield group

    def open(self, group: Sequence[K], bodies: Mapping[K, bytes]) -> None:
        """Decrypt what was read of a group. A body that is gone meanwhile is left unopened."""
        for key in group:
            if self._bytes >= CLAIM_BYTES:
                return
            if key not in bodies:
                continue
            row = self._requests[key]
            try:
                raw = self._opening.open(row[13], bodies[key], row[14])
            except SealBroken:
                self._raw[key] = None
            else:
                self._raw[key] = raw
                self._bytes += len(raw.body)

    def events(self) -> Mapping[Any, ReadEvent]:
        """Return the events by the key of their row: a reason where they were altered, or their bytes are gone.

        Events that were left unopened are not in it.
        """
        found: dict[Any, ReadEvent] = {row[0]: self._why_lost(row) for row in self._lost}
        for key, row in self._rows:
            if key in self._raw:
                found[row[0]] = self._event(row, self._raw[key])
        return found

    def _event(self, row: Row, raw: RawRequest | None) -> ReadEvent:
        try:
            return AttemptReason.SEAL_BROKEN if raw is None else self._opening.of_request(row, raw)
        except SealBroken:
            return AttemptReason.SEAL_BROKEN

    def _why_lost(self, row: Row) -> AttemptReason:
        """Retention deletes bytes, and leaves the event as it is."""
        try:
            self._opening.facts(row)
        except SealBroken:
            return AttemptReason.SEAL_BROKEN
        return AttemptReason.CONFIG_ERROR
