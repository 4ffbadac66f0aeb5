"""Stored rows in the words of the port: which column is which, and how sealed bytes are opened. Both stores share it.

A list never fails for one row: an event whose bytes do not open is listed without them and carries the flag UNREADABLE.
One whose bytes were let go by retention carries BODY_EXPIRED.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

from hookseal import probe
from hookseal.errors import SealBroken, StoreUnavailable
from hookseal.message import Headers, RawRequest
from hookseal.model import DeliveryState, Flag, MappingRevision, Outcome
from hookseal.probe import Step
from hookseal.sealing import Sealer
from hookseal.store.mappings import Mappings
from hookseal.store.packing import delivery_id, event_id, refusal_id, unpack_flags, unpack_refusal, unpack_request
from hookseal.store.port import BODY_EXPIRED, UNREADABLE, AttemptRow, DeliveryRow, EventRow, Refusal, StoredEvent

Row = Sequence[Any]
"""A row of the views `event_rows` and `delivery_rows`, or of the quarantine; the columns stand in the same order in each
dialect. The first one is the row's key there."""


NOT_CREATED = (
    "there is no store here, and [store] create is false; mount its volume or correct [store] url, "
    "or set [store] create = true for the first start"
)

PROBE_SHELF = "probe"
"""Of the values that `Store.probe` writes. None is ever left there."""


def request_label(packed: bytes) -> str:
    return f"request|{packed.hex()}"


def refusal_label(packed: bytes) -> str:
    return f"refusal|{packed.hex()}"


def kept_label(shelf: str, name: str) -> str:
    return f"kept|{shelf}|{name}"


class Opening:
    """Opens what rows hold sealed.

    A request that was opened is shared by its events for as long as one of them is in memory. Safe to use from several
    threads: at worst two of them open the same request.
    """

    def __init__(self, sealer: Sealer, mappings: Mappings) -> None:
        self._sealer = sealer
        self._mappings = mappings
        self._opened: WeakValueDictionary[bytes, RawRequest] = WeakValueDictionary()

    def event(self, row: Row) -> StoredEvent:
        """SealBroken when the bytes are there and do not open."""
        mapping = self._mappings.get(row[17])
        if row[13] is None:  # without the request's id only in a damaged file
            return _bare(row, mapping, UNREADABLE)
        if row[15] is None:
            return _bare(row, mapping, BODY_EXPIRED)
        raw = self.opened(row[13]) or self.open(row[13], row[15], row[14])
        return self.of_request(row, raw)

    def opened(self, request_id: bytes) -> RawRequest | None:
        """Return a request that is in memory."""
        return self._opened.get(request_id)

    def open(self, request_id: bytes, sealed: bytes, siblings: int) -> RawRequest:
        """Decrypt a request. SealBroken when its bytes do not open."""
        request = unpack_request(self._sealer.unseal(sealed, request_label(request_id)))
        probe.reach(Step.UNSEALED)
        raw = RawRequest(request.headers, request.body)
        if siblings > 1:  # nothing shares the request of a single event
            self._opened[request_id] = raw
        return raw

    def of_request(self, row: Row, raw: RawRequest) -> StoredEvent:
        event = _event_row(row, self._mappings.get(row[17]))
        return StoredEvent(row=event, headers=raw.headers, body=raw.body, siblings=row[14], raw=raw)

    def listed_event(self, row: Row) -> StoredEvent:
        try:
            return self.event(row)
        except SealBroken:
            return _bare(row, None, UNREADABLE)

    def refusal(self, row: Row) -> Refusal:
        request = unpack_refusal(self._sealer.unseal(row[6], refusal_label(row[1])))
        return _refusal(row, request.method, request.url, request.remote, request.headers, request.body)

    def listed_refusal(self, row: Row) -> Refusal:
        try:
            return self.refusal(row)
        except SealBroken:
            return _refusal(row, "", None, None)

    def kept(self, shelf: str, rows: Iterable[Row]) -> Mapping[str, bytes | None]:
        return open_kept(self._sealer, shelf, rows)


def open_kept(sealer: Sealer, shelf: str, rows: Iterable[Row]) -> Mapping[str, bytes | None]:
    """Return the values by name. A value that does not open is None, so that it does not hide the others."""
    values: dict[str, bytes | None] = {}
    for name, sealed in rows:
        try:
            values[name] = sealer.unseal(sealed, kept_label(shelf, name))
        except SealBroken:
            values[name] = None
    return values


def standing_value(values: Mapping[str, bytes | None], name: str) -> bytes:
    """Return the value that won against one that was written with `replace=False`."""
    if name not in values:
        raise StoreUnavailable("the value was dropped while it was written")
    value = values[name]
    if value is None:
        raise SealBroken("a value that is kept by name does not open")
    return value


def _event_row(row: Row, mapping: MappingRevision | None, *more_flags: str) -> EventRow:
    flags = unpack_flags(row[11])
    conflict = (Flag.CONFLICT.value,) if row[12] and Flag.CONFLICT.value not in flags else ()
    return EventRow(
        id=event_id(row[1]),
        source=row[2],
        sequence=row[3],
        item=row[4],
        type=row[5],
        received_at=row[6],
        provider_type=row[7],
        provider_id=row[8],
        subject=row[9],
        time=row[10],
        flags=(*flags, *conflict, *more_flags),
        conflicts=row[12],
        superseded=bool(row[16]),
        mapping=mapping,
        outcome=None if row[18] is None else Outcome(row[18]),
        final=bool(row[19]),
    )


def _bare(row: Row, mapping: MappingRevision | None, flag: str) -> StoredEvent:
    return StoredEvent(row=_event_row(row, mapping, flag), headers=(), body=b"", siblings=row[14] or 1)


def delivery_row(row: Row) -> DeliveryRow:
    return DeliveryRow(
        id=delivery_id(row[1]),
        event=event_id(row[2]),
        source=row[4],
        type=row[5],
        endpoint=row[7],
        state=DeliveryState(row[8]) if row[16] is None else DeliveryState.REPLAYED,
        attempts=row[9],
        losses=row[10],
        created_at=row[11],
        due_at=row[12],
        ended_at=row[13],
        last_status=row[14],
        last_reason=row[15],
        replayed_as=None if row[16] is None else delivery_id(row[16]),
    )


def attempt_row(row: Row) -> AttemptRow:
    number, started_at, duration_ms, status, reason = row
    return AttemptRow(number=number, started_at=started_at, duration_ms=duration_ms, status=status, reason=reason)


def _refusal(
    row: Row, method: str, url: str | None, remote: str | None, headers: Headers = (), body: bytes = b""
) -> Refusal:
    return Refusal(
        id=refusal_id(row[1]),
        source=row[2],
        received_at=row[3],
        reason=row[4],
        released_at=row[5],
        held=bool(row[7]),
        method=method,
        url=url,
        remote=remote,
        headers=headers,
        body=body,
    )
