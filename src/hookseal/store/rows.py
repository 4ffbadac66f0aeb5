"""Stored rows in the words of the port: which column is which, and how sealed bytes are opened. Both stores share it.

A list never fails for one row: an event whose bytes do not open is listed without them and carries the flag UNREADABLE.
One whose bytes were let go by retention carries BODY_EXPIRED.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakValueDictionary

from hookseal import probe
from hookseal.errors import SealBroken, StoreUnavailable
from hookseal.logs import get_logger
from hookseal.message import Headers, RawRequest
from hookseal.model import AttemptReason, DeliveryState, Flag, MappingRevision, Outcome
from hookseal.probe import Step
from hookseal.sealing import Sealer
from hookseal.store.event_seal import NO_FACTS, Bound, EventSealer, Facts, Purpose
from hookseal.store.mappings import Mappings
from hookseal.store.packing import delivery_id, event_id, refusal_id, unpack_flags, unpack_refusal, unpack_request
from hookseal.store.port import BODY_EXPIRED, UNREADABLE, AttemptRow, DeliveryRow, EventRow, Refusal, StoredEvent

log = get_logger(__name__)

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


def refusal_label(packed: bytes, source: str, received_at: int, reason: str, held: bool) -> str:
    """What a refused request is bound to. The source is last, so that the parts cannot run together."""
    return f"refusal|{packed.hex()}|{received_at}|{int(held)}|{reason}|{source}"


def old_refusal_label(packed: bytes) -> str:
    """What a refused request was bound to before schema 10 (SQLite) and 11 (PostgreSQL)."""
    return f"refusal|{packed.hex()}"


def kept_label(shelf: str, name: str) -> str:
    return f"kept|{shelf}|{name}"


class Opening:
    """Opens what rows hold sealed.

    A request that was opened is shared by its events for as long as one of them is in memory. Safe to use from several
    threads: at worst two of them open the same request.
    """

    def __init__(self, sealer: Sealer, events: EventSealer, mappings: Mappings) -> None:
        self._sealer = sealer
        self._events = events
        self._mappings = mappings
        self._opened: WeakValueDictionary[bytes, RawRequest] = WeakValueDictionary()

    def facts(self, row: Row) -> "OpenedFacts":
        """SealBroken when the facts, or anything that is bound with them, was altered."""
        mapping = self._mappings.get(row[17])
        return OpenedFacts(self._events.open(row[7], bound_of(row, mapping)), mapping)

    def event(self, row: Row) -> StoredEvent:
        """SealBroken when the event was altered, or its bytes are there and do not open."""
        facts = self.facts(row)
        if row[15] is None:
            return _bare(row, facts, BODY_EXPIRED)
        raw = self.opened(row[13]) or self.open(row[13], row[15], row[14])
        return _whole(row, facts, raw)

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
        """Return the event with its request's bytes. SealBroken when it was altered."""
        return _whole(row, self.facts(row), raw)

    def listed_event(self, row: Row) -> StoredEvent:
        """Nothing is returned of an event that was altered but what finds it: id, source, type and time of receipt."""
        facts = None
        try:
            facts = self.facts(row)
            return self.event(row)
        except SealBroken:
            log.error("event does not open", event_id=event_id(row[1]), code=SealBroken.code)
            return _bare(row, facts, UNREADABLE)

    def delivery(self, row: Row) -> DeliveryRow:
        """SealBroken when the delivery is not the one of its event and endpoint."""
        if not self._events.is_of(row[17], row[1], row[2], row[7]):
            raise SealBroken("a delivery was altered")
        return _delivery_row(row)

    def listed_delivery(self, row: Row) -> DeliveryRow:
        """One that was altered has the reason `seal_broken`, so that a list never fails for one row."""
        try:
            return self.delivery(row)
        except SealBroken:
            log.error("delivery does not open", delivery_id=delivery_id(row[1]), code=SealBroken.code)
            return replace(_delivery_row(row), last_reason=AttemptReason.SEAL_BROKEN.value)

    def refusal(self, row: Row) -> Refusal:
        label = refusal_label(row[1], row[2], row[3], row[4], bool(row[7]))
        request = unpack_refusal(self._sealer.unseal(row[6], label))
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


@dataclass(frozen=True, slots=True)
class OpenedFacts:
    facts: Facts
    mapping: MappingRevision | None


def bound_of(row: Row, mapping: MappingRevision | None) -> Bound:
    """What a row says of the columns that the facts are bound to."""
    return Bound(
        id=row[1],
        request=row[13],
        source=row[2],
        item=row[4],
        received_at=row[6],
        type=row[5],
        time=row[10],
        flags=row[11],
        content=row[8],
        standing=row[20],
        outcome=row[18],
        final=bool(row[19]),
        provider=None if mapping is None else mapping.provider,
        revision=None if mapping is None else mapping.revision,
        subject_hash=row[9],
    )


def with_mapping(sealer: EventSealer, row: Row, mapping: MappingRevision) -> bytes | None:
    """Return the facts of an event without rules, sealed with these rules. None if it was altered."""
    bound = bound_of(row, None)
    try:
        facts = sealer.open(row[7], bound)
    except SealBroken:
        return None
    return sealer.seal(facts, bound._replace(provider=mapping.provider, revision=mapping.revision), Purpose.ASSIGNED)


def _event_row(row: Row, opened: OpenedFacts | None, *more_flags: str) -> EventRow:
    facts = NO_FACTS if opened is None else opened.facts
    flags = unpack_flags(row[11])
    conflict = (Flag.CONFLICT.value,) if row[12] and Flag.CONFLICT.value not in flags else ()
    return EventRow(
        id=event_id(row[1]),
        source=row[2],
        sequence=row[3],
        item=row[4],
        type=row[5],
        received_at=row[6],
        provider_type=facts.provider_type,
        provider_id=facts.provider_id,
        subject=facts.subject,
        time=row[10],
        flags=(*flags, *conflict, *more_flags),
        conflicts=row[12],
        superseded=bool(row[16]),
        mapping=None if opened is None else opened.mapping,
        outcome=None if opened is None or row[18] is None else Outcome(row[18]),
        final=opened is not None and bool(row[19]),
    )


def _whole(row: Row, opened: OpenedFacts, raw: RawRequest) -> StoredEvent:
    event = _event_row(row, opened)
    return StoredEvent(row=event, headers=raw.headers, body=raw.body, siblings=row[14], raw=raw)


def _bare(row: Row, opened: OpenedFacts | None, flag: str) -> StoredEvent:
    return StoredEvent(row=_event_row(row, opened, flag), headers=(), body=b"", siblings=row[14] or 1)


def _delivery_row(row: Row) -> DeliveryRow:
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
