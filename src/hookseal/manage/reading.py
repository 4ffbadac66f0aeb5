"""From what is stored to the normalised event, for whoever shows or sends it.

It decides by which provider's rules a stored event is read: by those of its source as it is configured today. A source
that was taken out of the configuration leaves events behind; they are shown as they were stored, with their bytes. So are
events whose bytes were let go by retention, without any payload.
"""

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from hookseal import catalogue
from hookseal.catalogue import Provider
from hookseal.identity import normalise
from hookseal.identity.body import parse
from hookseal.logs import get_logger
from hookseal.model import Event, ProviderId, SourceId
from hookseal.receive.own_events import OWN_PROVIDER, OWN_SOURCE
from hookseal.settings import SourceSettings
from hookseal.store.port import BODY_EXPIRED, UNREADABLE, StoredEvent

log = get_logger(__name__)

UNKNOWN_PROVIDER = ProviderId("unknown")


class EventReader:
    """Reads stored events. What it returns is total."""

    def __init__(self, sources: Iterable[SourceSettings]) -> None:
        self._providers: dict[SourceId, Provider] = {}
        self.use(sources)

    def use(self, sources: Iterable[SourceSettings], former: Mapping[SourceId, ProviderId] | None = None) -> None:
        """Go on with these sources. CatalogueError when there is no such provider, or its entry is wrong.

        former  the providers of sources that are no more, by whose rules their events are read still.
        """
        providers = {id: catalogue.provider(provider) for id, provider in (former or {}).items()}
        providers.update((source.id, catalogue.provider(source.provider)) for source in sources)
        self._providers = providers

    def __call__(self, stored: StoredEvent) -> Event:
        provider = self._providers.get(stored.row.source)
        if BODY_EXPIRED in stored.row.flags:
            known = UNKNOWN_PROVIDER if provider is None else provider.id
            return replace(_as_stored(stored), provider=OWN_PROVIDER if stored.row.source == OWN_SOURCE else known)
        if provider is not None:
            return normalise.event(provider, stored.row, stored.headers, stored.body)
        return _published(stored) if stored.row.source == OWN_SOURCE else _as_stored(stored)


def event_reader(sources: Sequence[SourceSettings]) -> EventReader:
    """Looks the providers up now: CatalogueError when an entry is wrong."""
    return EventReader(sources)


def shown(read: Callable[[StoredEvent], Event]) -> Callable[[StoredEvent], Event]:
    """The same for showing: an event that cannot be read is shown as it was stored, and takes no list along.

    Not for sending. There a failure is a failed try, and what an endpoint has once got cannot be taken back.
    """

    def read_or_show(stored: StoredEvent) -> Event:
        try:
            return read(stored)
        except Exception as error:  # a fault of ours with one event, such as too little memory
            log.error("event not read", event_id=stored.row.id, source=stored.row.source, exc_info=error)
            return _as_stored(stored, UNREADABLE)

    return read_or_show


def _published(stored: StoredEvent) -> Event:
    """An event of one's own; its payload is what was published as `data`."""
    event = replace(_as_stored(stored), provider=OWN_PROVIDER)
    body = parse(stored.body, b"application/json")
    if not body.parsed:
        return replace(event, flags=(*event.flags, *(flag.value for flag in body.flags)))
    return replace(event, payload=body.tree, payload_base64=None)


def _as_stored(stored: StoredEvent, *more_flags: str) -> Event:
    row = stored.row
    return Event(
        id=row.id,
        source=row.source,
        type=row.type,
        time=row.received_at if row.time is None else row.time,
        received_at=row.received_at,
        provider=UNKNOWN_PROVIDER,
        sequence=row.sequence,
        subject=row.subject,
        provider_type=row.provider_type,
        provider_id=row.provider_id,
        superseded=row.superseded,
        flags=(*row.flags, *more_flags),
        payload_base64=None if BODY_EXPIRED in row.flags else base64.b64encode(stored.body).decode(),
    )
