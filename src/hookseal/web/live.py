"""What changes while the gateway runs: sources and endpoints, built from their rows and handed to the parts that use them.

`begin` builds them for the start, before there is anybody to hand them to; from `connect` on, `use` puts others in
force at once. All is built before anything is changed, so that what cannot be built changes nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hookseal.api.metrics import Metrics
from hookseal.delivery.endpoint import Endpoint
from hookseal.delivery.endpoint import build as build_endpoint
from hookseal.delivery.engine import Engine
from hookseal.destinations.issuer import KeptIssuer
from hookseal.destinations.port import Destination, Destinations
from hookseal.destinations.signing import signs_with_tokens, tenant_of
from hookseal.destinations.subscriptions import Subscriptions
from hookseal.errors import NotFound
from hookseal.manage.reading import EventReader
from hookseal.manage.registrations import Registrations, RegistrationSet
from hookseal.manage.stored_registrations import UnreadableRegistration
from hookseal.model import EndpointId, SourceId
from hookseal.receive import source
from hookseal.receive.keys import KeySets
from hookseal.receive.service import Receiver
from hookseal.receive.source import Source
from hookseal.settings.table import Section
from hookseal.store.port import Store

_ASSIGNED_AT_ONCE = 1000
"""Events in one transaction: some milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Whom changes are told."""

    receiver: Receiver
    engine: Engine
    subscriptions: Subscriptions
    key_sets: KeySets


class Live:
    def __init__(
        self,
        store: Store,
        issuer: KeptIssuer,
        metrics: Metrics,
        handlers: Sequence[Endpoint],
        make: Callable[[Sequence[Endpoint]], Destinations],
        max_body_bytes: int,
    ) -> None:
        """handlers: the endpoints that are functions of this process. make: one destination for each endpoint."""
        self.sources: Mapping[SourceId, Source] = {}
        self.unreadable_sources: frozenset[SourceId] = frozenset()
        self.endpoints: tuple[Endpoint, ...] = ()
        self.destinations: Destinations = {}
        self.tenants: frozenset[str] = frozenset()
        """The tenants in whose name tokens are sent."""
        self.read = EventReader(())
        self._store = store
        self._issuer = issuer
        self._make = make
        self._metrics = metrics
        self._handlers = tuple(handlers)
        self._max_body_bytes = max_body_bytes
        self._parts: Parts | None = None

    async def begin(self, registrations: Registrations) -> None:
        await self.use(registrations.current())
        await self._assign_mappings()

    async def _assign_mappings(self) -> None:
        """Events that were stored before mappings were keep the rules of today from now on. Usually there are none."""
        for id, mapping in self.read.mappings.items():
            while await self._store.assign_mapping(id, mapping, _ASSIGNED_AT_ONCE):
                pass

    def connect(self, parts: Parts) -> None:
        self._parts = parts

    async def use(self, registered: RegistrationSet) -> None:
        """Go on with these, and the handlers. ConfigurationError, with nothing changed, when one cannot be built."""
        built = {row.id: source.build(row, self._max_body_bytes) for row in registered.sources}
        waiting = [one for one in registered.unreadable if one.section is Section.ENDPOINT]
        ends = (
            *(build_endpoint(row) for row in registered.endpoints),
            *(self._suspended(one) for one in waiting),
            *self._handlers,
        )
        await self._issuer.open(make=any(signs_with_tokens(one.signing.scheme) for one in ends))
        made = self._make(ends)
        tenants = frozenset(tenant for one in ends if (tenant := tenant_of(one.signing)) is not None)
        self.read.use(registered.sources, registered.former)
        self._metrics.know_sources(built)
        self._metrics.know_endpoints(one.id for one in ends)
        self.sources, self.endpoints, self.destinations, self.tenants = built, ends, made, tenants
        self.unreadable_sources = frozenset(
            SourceId(one.id) for one in registered.unreadable if one.section is Section.SOURCE
        )
        if self._parts is not None:
            self._parts.key_sets.start(self.key_set_urls)
            self._parts.receiver.use(built, self.unreadable_sources)
            await self._parts.engine.reconfigure(ends, made)
            await self._parts.subscriptions.reconfigure(ends)

    def _suspended(self, registration: UnreadableRegistration) -> Endpoint:
        """Return an endpoint whose deliveries are stored and wait.

        It takes what the registration says that it takes. Where that cannot be read, it takes what it took before, and
        after a start nothing: an event must not be stored for a receiver that may not have asked for it.
        """
        id = EndpointId(registration.id)
        before = next((one for one in self.endpoints if one.id == id), None)
        if before is None:
            before = Endpoint(id=id, sources=(), types=())
        if registration.written is not None:
            table = registration.table
            before = replace(
                before,
                sources=_globs(table, "sources"),
                types=_globs(table, "types"),
                format=str(table.get("format", before.format)),
            )
        return replace(before, suspended=True)

    @property
    def key_set_urls(self) -> set[str]:
        return {one.jwks_url for one in self.sources.values() if one.jwks_url is not None}

    def suspended(self, endpoint: EndpointId) -> Endpoint | None:
        """Return an endpoint whose registration cannot be read; None for any other."""
        return next((one for one in self.endpoints if one.id == endpoint and one.suspended), None)

    def destination_of(self, endpoint: EndpointId) -> Destination:
        try:
            return self.destinations[endpoint]
        except KeyError:
            raise NotFound("no such endpoint") from None


def _globs(table: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return the globs of a registration; none where they cannot be read."""
    globs = table.get(name, ["*"])
    if isinstance(globs, list) and all(isinstance(glob, str) for glob in globs):
        return tuple(globs)
    return ()
