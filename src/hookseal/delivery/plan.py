"""Which endpoints the events of one request go to. Pure; who holds what, and when it is sent, is the engine's."""

from collections.abc import Iterable, Sequence

from hookseal.delivery.endpoint import Endpoint
from hookseal.model import EndpointId, SourceId

_REMEMBERED = 4096


class Plan:
    """The matching of events to endpoints, remembered by source and type: both come from small sets."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._endpoints = tuple(endpoints)
        self._known: dict[tuple[SourceId, str], tuple[Endpoint, ...]] = {}

    def takers(self, source: SourceId, event_type: str) -> tuple[Endpoint, ...]:
        """The endpoints that one event goes to, in the order of the settings."""
        key = (source, event_type)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _REMEMBERED:  # free types of published events could be without number
                self._known.clear()
            known = self._known[key] = tuple(one for one in self._endpoints if one.takes(source, event_type))
        return known

    def of(self, source: SourceId, types: Sequence[str]) -> tuple[tuple[EndpointId, ...], ...]:
        """Return the endpoints of each event of one request, by its type, in order.

        An endpoint that gets the request itself is listed with every event that it takes: only the store knows which of
        them are new. The engine plans one delivery of the request for it.
        """
        return tuple(tuple(one.id for one in self.takers(source, event_type)) for event_type in types)
