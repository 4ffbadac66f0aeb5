"""Events of one's own: published through the API, stored and delivered like any other.

They have no provider and no proof: whoever holds a key of the API has said so. The payload is kept as the bytes that it
was written in. Theory of operation as in `service`: plan, one transaction, then the answer.
"""

import hashlib
import os
from dataclasses import dataclass

import msgspec

from hookseal.clock import Clock, Instant
from hookseal.ids import RandomBytes, new_event_id
from hookseal.model import EventId, MappingRevision, ProviderId, SourceId
from hookseal.receive.service import Observer, Planner, stored_event
from hookseal.store.port import NewEvent, NewRequest, Store

OWN_SOURCE = SourceId("api")
"""The source of these events, for the globs of endpoints; no registration may be named so."""

OWN_PROVIDER = ProviderId("hookseal")

OWN_MAPPING = MappingRevision.of(OWN_PROVIDER, b"")
"""No rules: the payload is what was published."""

_HEADERS = ((b"content-type", b"application/json"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnEvent:
    """type: free text. data: JSON, in the bytes that it was written in. id: the publisher's own name of the event."""

    type: str
    data: bytes
    subject: str | None = None
    time: Instant | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """conflict: the key was used before, for another event; nothing was published."""

    id: EventId
    sequence: int
    conflict: bool = False


class Publisher:
    """Publishes for one node."""

    def __init__(
        self,
        store: Store,
        planner: Planner,
        clock: Clock,
        observer: Observer,
        random_bytes: RandomBytes = os.urandom,
    ) -> None:
        self._store = store
        self._planner = planner
        self._clock = clock
        self._observer = observer
        self._random = random_bytes

    async def publish(self, event: OwnEvent, idempotency_key: str | None) -> Published:
        """Store one event with its deliveries; returns when it is durable. Raises StoreError.

        idempotency_key  the same one makes one event, for as long as dedupe keys are remembered. Without one the
                         event's own `id` does that, where it has one.
        """
        now = self._clock.now()
        [plan] = self._planner.plan(OWN_SOURCE, [event.type])
        try:
            new = NewEvent(
                id=new_event_id(now, self._random),
                item=0,
                type=event.type,
                dedupe_key=self._dedupe_key(event, idempotency_key),
                content=_content(event),
                provider_id=event.id,
                subject=event.subject,
                time=event.time,
                deliveries=plan,
            )
            request = NewRequest(
                source=OWN_SOURCE,
                received_at=now,
                headers=_HEADERS,
                body=event.data,
                events=(new,),
                mapping=OWN_MAPPING,
            )
            [stored] = await self._store.accept(request)
        except BaseException:
            self._planner.abandoned(plan)
            raise
        if stored.duplicate:
            self._planner.abandoned(plan)
        else:
            self._planner.stored(stored_event(request, new, stored, 1), plan)
        self._observer.stored(OWN_SOURCE, int(not stored.duplicate), int(stored.duplicate), int(stored.conflict))
        return Published(id=stored.event, sequence=stored.sequence, conflict=stored.conflict)

    def _dedupe_key(self, event: OwnEvent, idempotency_key: str | None) -> bytes:
        """Names of two kinds never meet; what has no name is met by nothing."""
        if idempotency_key is not None:
            named = b"key|" + idempotency_key.encode()
        elif event.id is not None:
            named = b"id|" + event.id.encode()
        else:
            named = b"new|" + self._random(32)
        return hashlib.sha256(b"published|" + named).digest()


def _content(event: OwnEvent) -> bytes:
    """What tells one event from another; the spelling of its data counts."""
    told = [event.type, event.subject, event.time, event.id]
    return hashlib.sha256(msgspec.json.encode(told) + b"\n" + event.data).digest()
