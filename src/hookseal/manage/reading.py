"""From what is stored to the normalised event, for whoever shows or sends it.

It decides by which rules a stored event is read: by those that were in force when it was stored, which are stored with
it. What happens to its source, to the catalogue or to the provider's file later does not change its meaning.
An event that was stored before mappings were is read by the rules of its source as it is configured today, and is
returned as it was stored, with its bytes, when there is no such source. An event whose bytes were deleted by retention
has no payload, claims and reasons.
"""

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from hookseal import catalogue
from hookseal.catalogue.revisions import HasRules, load_rules
from hookseal.errors import CatalogueError
from hookseal.identity import normalise
from hookseal.identity.batch import read_parts
from hookseal.identity.body import parse
from hookseal.logs import get_logger
from hookseal.model import Event, MappingRevision, Outcome, ProviderId, SourceId
from hookseal.receive.own_events import OWN_MAPPING, OWN_PROVIDER, OWN_SOURCE
from hookseal.settings import SourceSettings
from hookseal.steps import Steps
from hookseal.store.port import BODY_EXPIRED, UNREADABLE, StoredEvent

log = get_logger(__name__)

UNKNOWN_PROVIDER = ProviderId("unknown")


class EventReader:
    """Reads stored events. What it returns is total."""

    def __init__(self, sources: Iterable[SourceSettings]) -> None:
        self._providers: dict[SourceId, HasRules] = {}
        self._rules: dict[MappingRevision, HasRules] = {}
        self.use(sources)

    def use(self, sources: Iterable[SourceSettings], former: Mapping[SourceId, ProviderId] | None = None) -> None:
        """Go on with these sources. CatalogueError when there is no such provider, or its entry is wrong.

        former  the providers of deleted sources. One that the catalogue does not have any more is left out.
        """
        self._mappings = mappings_of(sources, former or {})
        self._providers = {id: catalogue.provider(mapping.provider) for id, mapping in self._mappings.items()}

    @property
    def mappings(self) -> Mapping[SourceId, MappingRevision]:
        """The rules of each source as they are today, for events that have none. Events of our own are included."""
        return {OWN_SOURCE: OWN_MAPPING, **self._mappings}

    def read_ahead(self, stored: StoredEvent) -> Steps[None]:
        """Do what reading this event needs once for all events of its request. Nothing is left to do where that is done."""
        mapping = stored.row.mapping
        if stored.raw is None or (None if mapping is None else mapping.provider) == OWN_PROVIDER:
            return
        provider = self._providers.get(stored.row.source) if mapping is None else self._rules_of(mapping)
        if provider is not None:
            yield from read_parts(stored.raw, provider.event, stored.headers)

    def __call__(self, stored: StoredEvent) -> Event:
        row = stored.row
        if UNREADABLE in row.flags:
            return _as_stored(stored)
        provider = self._providers.get(row.source) if row.mapping is None else None
        if BODY_EXPIRED in row.flags:
            event = _as_stored(stored)
            if row.mapping is None and row.source == OWN_SOURCE:
                return replace(event, provider=OWN_PROVIDER)
            return event if provider is None else replace(event, provider=provider.id)
        if row.source == OWN_SOURCE if row.mapping is None else row.mapping.provider == OWN_PROVIDER:
            return _published(stored)
        if row.mapping is not None:
            provider = self._rules_of(row.mapping)
        if provider is None:
            return _as_stored(stored)
        return normalise.event(provider, row, stored.headers, stored.body, stored.raw)

    def _rules_of(self, mapping: MappingRevision) -> HasRules:
        """CatalogueError when this version cannot load them."""
        rules = self._rules.get(mapping)
        if rules is None:
            rules = self._rules[mapping] = load_rules(mapping)
        return rules


def mappings_of(
    sources: Iterable[SourceSettings], former: Mapping[SourceId, ProviderId]
) -> dict[SourceId, MappingRevision]:
    mappings: dict[SourceId, MappingRevision] = {}
    for id, provider in former.items():
        try:
            mappings[id] = catalogue.provider(provider).mapping
        except CatalogueError:
            log.warning("provider of a deleted source is not in the catalogue", source=id)
    mappings.update((source.id, catalogue.provider(source.provider).mapping) for source in sources)
    return mappings


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
        provider=UNKNOWN_PROVIDER if row.mapping is None else row.mapping.provider,
        sequence=row.sequence,
        subject=row.subject,
        provider_type=row.provider_type,
        provider_id=row.provider_id,
        superseded=row.superseded,
        outcome=row.outcome or Outcome.UNKNOWN,
        final=row.final,
        flags=(*row.flags, *more_flags),
        payload_base64=None if BODY_EXPIRED in row.flags else base64.b64encode(stored.body).decode(),
    )
