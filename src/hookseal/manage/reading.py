"""From what is stored to the normalised event, for whoever shows or sends it.

It decides by which provider's rules a stored event is read: by those of its source as it is configured today. A source
that was taken out of the configuration leaves events behind; they are shown as they were stored, with their bytes.
"""

import base64
from collections.abc import Callable, Sequence

from hookseal import catalogue
from hookseal.identity import normalise
from hookseal.model import Event, ProviderId
from hookseal.settings import SourceSettings
from hookseal.store.port import StoredEvent

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


def _as_stored(stored: StoredEvent) -> Event:
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
        flags=row.flags,
        payload_base64=base64.b64encode(stored.body).decode(),
    )
