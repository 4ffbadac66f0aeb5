"""From what is stored to the normalised event, for whoever shows or sends it.

It decides by which provider's rules a stored event is read: by those of its source as it is configured today. A source
that was taken out of the configuration leaves events behind; they are shown as they were stored, with their bytes.
"""

import base64
from collections.abc import Callable, Sequence

from hookseal import catalogue
from hookseal.identity import normalise
from hookseal.logs import get_logger
from hookseal.model import Event, ProviderId
from hookseal.settings import SourceSettings
from hookseal.store.port import UNREADABLE, StoredEvent

log = get_logger(__name__)

UNKNOWN_PROVIDER = ProviderId("unknown")


def event_reader(sources: Sequence[SourceSettings]) -> Callable[[StoredEvent], Event]:
    """Looks the providers up now: CatalogueError when an entry is wrong. What it returns is total."""
    providers = {source.id: catalogue.provider(source.provider) for source in sources}

    def read(stored: StoredEvent) -> Event:
        provider = providers.get(stored.row.source)
        if provider is None:
            return _as_stored(stored)
        return normalise.event(provider, stored.row, stored.headers, stored.body)

    return read


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
        flags=(*row.flags, *more_flags),
        payload_base64=base64.b64encode(stored.body).decode(),
    )
