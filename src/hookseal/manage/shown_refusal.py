"""What an operator is shown of one refused request: everything as it came, but for the values of credentials.

A request that was refused may hold any credential in any header: nobody has shown who sent it. The values of headers that
the provider's entry declares as credentials are hidden, and those whose names read like one. Where the provider is not
known, only headers that describe the body are shown.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from hookseal import catalogue
from hookseal.errors import CatalogueError
from hookseal.model import ProviderId, SourceId
from hookseal.store.port import Refusal

_CREDENTIAL = re.compile(rb"auth|token|secret|passw|cookie|api-?key|session|credential")
_PLAIN = re.compile(rb"(?:accept|content)(?:-.*)?|host|date|user-agent|transfer-encoding")


@dataclass(frozen=True, slots=True)
class ShownRefusal:
    """headers: name and value in order; None for a value that is hidden."""

    refusal: Refusal
    headers: tuple[tuple[bytes, bytes | None], ...]


def show(refusal: Refusal, providers: Mapping[SourceId, ProviderId]) -> ShownRefusal:
    """providers: of all sources that there are or were."""
    credentials = _credentials(providers.get(refusal.source))

    def is_hidden(name: bytes) -> bool:
        if credentials is None:
            return _PLAIN.fullmatch(name) is None
        return name in credentials or _CREDENTIAL.search(name) is not None

    return ShownRefusal(refusal, tuple((name, None if is_hidden(name) else value) for name, value in refusal.headers))


def _credentials(provider: ProviderId | None) -> frozenset[bytes] | None:
    """Return the headers that hold credentials of this provider; None if it is not known."""
    if provider is None:
        return None
    try:
        return frozenset(catalogue.provider(provider).credentials)
    except CatalogueError:
        return None
