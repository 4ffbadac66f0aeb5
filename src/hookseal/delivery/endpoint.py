"""An endpoint as the engine works with it: checked once, ready to match and to send. Opens nothing."""

import fnmatch
from dataclasses import dataclass, field

from hookseal.delivery.policy import POLICIES, RetryPolicy, parse
from hookseal.delivery.presets import settled
from hookseal.egress.headers import check_headers
from hookseal.errors import ConfigurationError
from hookseal.model import EndpointId, ProviderId, SourceId
from hookseal.settings import EndpointSettings, HandshakeSettings, SigningSettings

LONGEST_TRY_S = 30.0
"""No try may take longer. A lease lasts twice that, so that it always covers the try that it was taken for."""

BATCH_FORMAT = "cloudevents"
"""The one format that has a form for several events: an array, `application/cloudevents-batch+json`."""

_MAX_CONCURRENCY = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where events go.

    sources, types  globs over the source's id and over the normalised type; "*" is everything, `other` included.
    format          how an event is written: cloudevents, json, xml or original.
    headers         the operator's own, sent with every try; they may hold credentials.
    acting_as       the provider that it sends as; None sends as ourselves.
    rate_per_min    how many tries may begin in any minute; a handshake may grant less.
    batch           how many events one call may carry, as a JSON array; 1 sends each by itself, as no array.
    handshake       how it consents; until it has, nothing is sent to it.
    suspended       nothing is sent to it: this version cannot read its registration. Its deliveries are stored and wait.
    """

    id: EndpointId
    url: str = ""
    sources: tuple[str, ...] = ("*",)
    types: tuple[str, ...] = ("*",)
    format: str = "cloudevents"
    signing: SigningSettings = field(default=SigningSettings(scheme="none"), repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    policy: RetryPolicy = POLICIES["standard"]
    timeout_s: float = 15.0
    concurrency: int = 16
    acting_as: ProviderId | None = None
    rate_per_min: int | None = None
    batch: int = 1
    handshake: HandshakeSettings = field(default=HandshakeSettings())
    suspended: bool = False

    @property
    def needs_consent(self) -> bool:
        return self.handshake.kind != "none" and not self.suspended

    @property
    def once_per_request(self) -> bool:
        """`original` sends the request itself, so several events that came in one request go out as one."""
        return self.format == "original"

    def takes(self, source: SourceId, event_type: str) -> bool:
        return any(fnmatch.fnmatchcase(source, glob) for glob in self.sources) and any(
            fnmatch.fnmatchcase(event_type, glob) for glob in self.types
        )


def build(row: EndpointSettings) -> Endpoint:
    """From the settings. ConfigurationError, which names the endpoint and the key, for what cannot be."""
    place = f"endpoint {row.id}"
    row = settled(row, place)
    if not 0 < row.timeout_s <= LONGEST_TRY_S:
        raise ConfigurationError(place, "timeout_s", f"give more than 0 and at most {LONGEST_TRY_S:g} seconds")
    if not 1 <= row.concurrency <= _MAX_CONCURRENCY:
        raise ConfigurationError(place, "concurrency", f"give 1 to {_MAX_CONCURRENCY}")
    if row.batch > 1 and row.format != BATCH_FORMAT:
        raise ConfigurationError(place, "batch", f'is for the format "{BATCH_FORMAT}" only; leave it out')
    if problem := check_headers(row.headers):
        raise ConfigurationError(place, "headers", problem)
    return Endpoint(
        id=row.id,
        url=row.url,
        sources=row.sources,
        types=row.types,
        format=row.format,
        signing=row.signing,
        headers=tuple(row.headers.items()),
        policy=parse(row.retry, place),
        timeout_s=row.timeout_s,
        concurrency=row.concurrency,
        acting_as=row.acting_as,
        rate_per_min=row.rate_per_min,
        batch=row.batch,
        handshake=row.handshake,
    )
