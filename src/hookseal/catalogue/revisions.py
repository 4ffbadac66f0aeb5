"""Revisions of a provider's rules: what is stored of them beside events, and how they are loaded again.

An event is read by the rules that were in force when it was stored. A revision is the text of these rules, so that it
can be loaded when the catalogue has other ones, or no such provider any more. A later version of this package must
therefore go on loading every table that an earlier one accepted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from hookseal.catalogue.event_rules import EventRules
from hookseal.errors import CatalogueError
from hookseal.model import Json, MappingRevision, ProviderId

# Sorted keys: the same rules in another order of the file are the same revision.
_encode = msgspec.json.Encoder(order="deterministic").encode
_TABLES = ("event", "claims")


class HasRules(Protocol):
    """What reading an event needs of a provider. An entry of the catalogue has it, too."""

    @property
    def id(self) -> ProviderId: ...

    @property
    def event(self) -> EventRules: ...


@dataclass(frozen=True, slots=True)
class ProviderRules:
    id: ProviderId
    event: EventRules


def revision_of(provider: ProviderId, tables: Mapping[str, Json]) -> MappingRevision:
    """Return the revision of the rules in a parsed provider file."""
    return MappingRevision.of(provider, _encode({name: tables[name] for name in _TABLES if name in tables}))


def load_rules(mapping: MappingRevision) -> ProviderRules:
    """Return the rules of a revision. CatalogueError when this version cannot load them."""
    place = f"{mapping.provider}, revision {mapping.revision}"
    try:
        tables = msgspec.json.decode(mapping.rules, type=dict[str, Json])
    except msgspec.DecodeError as error:
        raise CatalogueError(place, "", "is not JSON") from error
    return ProviderRules(mapping.provider, EventRules.from_toml(tables, place))
