"""Which endpoints an event goes to. Pure; who holds what, and when it is sent, is the engine's."""

from collections.abc import Iterable

from hookseal.delivery.endpoint import Endpoint
from hookseal.model import SourceId

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
