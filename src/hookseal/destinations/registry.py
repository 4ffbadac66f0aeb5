"""Which kind of destination an endpoint has: a handler of this process by its id, a URL otherwise."""

from collections.abc import Iterable, Mapping

from hookseal.delivery.endpoint import Endpoint
from hookseal.destinations.handler import Handler, HandlerDestination
from hookseal.destinations.http import HttpDestination, IssuerKeys
from hookseal.destinations.port import Destination, Destinations
from hookseal.egress.port import Egress
from hookseal.model import EndpointId


def destinations(
    endpoints: Iterable[Endpoint],
    egress: Egress,
    handlers: Mapping[EndpointId, Handler] | None = None,
    issuer: IssuerKeys | None = None,
) -> Destinations:
    """One destination for each endpoint. ConfigurationError when one cannot be made.

    issuer  the key of our own issuer, for endpoints that are sent tokens.
    """
    by_id = handlers or {}
    made: dict[EndpointId, Destination] = {}
    for endpoint in endpoints:
        handler = by_id.get(endpoint.id)
        made[endpoint.id] = (
            HttpDestination(endpoint, egress, issuer=issuer) if handler is None else HandlerDestination(handler)
        )
    return made
