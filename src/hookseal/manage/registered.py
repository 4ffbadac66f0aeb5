"""Sources and endpoints as an operator may see them: everything but what is secret.

It decides what of a registration is shown. Secrets are counted and never shown; of a header only the name, of a URL
neither user information nor query, because both are where people put tokens.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from hookseal import catalogue
from hookseal.catalogue.entry import OptionKind
from hookseal.clock import Instant
from hookseal.delivery import endpoint as delivery
from hookseal.delivery.policy import RetryPolicy, parse
from hookseal.delivery.presets import settled
from hookseal.destinations.signing import signer, signs_with_tokens
from hookseal.destinations.subscriptions import State, Subscription
from hookseal.errors import ConfigurationError
from hookseal.manage.stored_registrations import ShadowedRegistration, UnreadableRegistration
from hookseal.model import EndpointId, Json, ProviderId, SourceId
from hookseal.schemes.jwt_bearer import JwtBearer
from hookseal.settings import EndpointSettings, SigningSettings, SourceSettings

MASKED = "***"
UNKNOWN = "unknown"

_SECRET_NAME = re.compile(r"secret|password|passphrase|token|private|api_?key", re.IGNORECASE)


class Origin(StrEnum):
    """Who made a registration. What came from the file is changed in the file, a handler in the code."""

    FILE = "file"
    API = "api"
    CODE = "code"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One inbound registration. secrets and retired_secrets: how many there are; url: what the provider calls.

    options           as they were written.
    options_in_force  all of the provider, with what holds where nothing was written; None where nothing does.
    problem  why this version cannot read it, as a sentence. Requests are then answered 503.
    """

    id: SourceId
    provider: ProviderId
    origin: Origin
    path: str
    url: str | None
    secrets: int
    retired_secrets: int
    unsigned: bool
    addresses: tuple[str, ...]
    max_age_s: int | None
    stale: str
    max_body_bytes: int | None
    options: Mapping[str, Json]
    options_in_force: Mapping[str, Json]
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One outbound registration. url: None for a handler; headers: the names.

    retry                 the policy's name; "own" for delays of its own.
    retry_policy          what the policy says, with all that the endpoint has of its own; None where it cannot be read.
    audience, issuer, tenant  what its tokens say; None where it signs with no token.
    acting_as             the key `as`.
    consent               where the handshake stands, None where there is none.
    consent_problem       why the last answer was no consent, as a sentence; None where it was one, or none has come.
    consent_rate_per_min  what was granted; None is any rate, or no consent.
    consent_next_at       when it is asked again by itself.
    problem               why this version cannot read it, as a sentence. Its deliveries then wait.
    """

    id: EndpointId
    origin: Origin
    url: str | None
    sources: tuple[str, ...]
    types: tuple[str, ...]
    format: str
    signing: str
    secrets: int
    retry: str
    retry_policy: Mapping[str, Json] | None
    timeout_s: float
    concurrency: int
    headers: tuple[str, ...]
    acting_as: ProviderId | None
    handshake: str
    rate_per_min: int | None
    batch: int
    audience: str | None = None
    issuer: str | None = None
    tenant: str | None = None
    consent: State | None = None
    consent_problem: str | None = None
    consent_rate_per_min: int | None = None
    consent_next_at: Instant | None = None
    problem: str | None = None


def with_consent(shown: Endpoint, asked: Subscription | None) -> Endpoint:
    """The same with where its handshake stands. asked: None for one that has none."""
    if asked is None:
        return shown
    return replace(
        shown,
        consent=asked.state,
        consent_problem=asked.problem or None,
        consent_rate_per_min=asked.rate_per_min if asked.state is State.ACTIVE else None,
        consent_next_at=None if asked.next_at is None else Instant(asked.next_at),
    )


def source(settings: SourceSettings, public_url: str | None, origin: Origin = Origin.FILE) -> Source:
    path = f"/in/{settings.id}"
    return Source(
        id=settings.id,
        provider=settings.provider,
        origin=origin,
        path=path,
        url=None if public_url is None else public_url.rstrip("/") + path,
        secrets=len(settings.secrets),
        retired_secrets=len(settings.retired_secrets),
        unsigned=settings.unsigned,
        addresses=settings.addresses,
        max_age_s=settings.max_age_s,
        stale=settings.stale,
        max_body_bytes=settings.max_body_bytes,
        options=_masked(settings.options),
        options_in_force=_masked(_options_in_force(settings)),
    )


def _masked(options: Mapping[str, Json]) -> dict[str, Json]:
    return {name: MASKED if _SECRET_NAME.search(name) else value for name, value in options.items()}


def _options_in_force(settings: SourceSettings) -> dict[str, Json]:
    """The options with their defaults; where an option has none, the column of the scheme that it would fill."""
    try:
        provider = catalogue.provider(settings.provider)
        values, scheme = provider.settled(settings.options), provider.bind(settings.options)
    except ConfigurationError:  # settings made in code, which nothing has checked
        return {}
    in_force: dict[str, Json] = {}
    for name, option in provider.options.items():
        if option.kind is OptionKind.KEY_SET:
            continue
        value = values.get(name, getattr(scheme, option.column, None) if option.column else None)
        in_force[name] = list(value) if isinstance(value, tuple) else None if value == "" else value
    return in_force


def _policy(policy: RetryPolicy) -> dict[str, Json]:
    return {
        "delays_s": list(policy.waits_s),
        "delays_from": "first_attempt" if policy.from_first else "last_attempt",
        "jitter": list(policy.jitter),
        "window_s": policy.window_s,
        "success": _ranges(policy.success),
        "permanent": _ranges(policy.permanent),
    }


def _ranges(statuses: Iterable[int]) -> list[Json]:
    """Statuses as the configuration takes them: `410`, `200-204`."""
    ranges: list[tuple[int, int]] = []
    for status in sorted(statuses):
        if ranges and ranges[-1][1] == status - 1:
            ranges[-1] = (ranges[-1][0], status)
        else:
            ranges.append((status, status))
    return [f"{first}-{last}" if last > first else str(first) for first, last in ranges]


def _token(signing: SigningSettings) -> tuple[str | None, str | None, str | None]:
    """Return audience, issuer and tenant of the endpoint's tokens."""
    scheme = signer(signing) if signs_with_tokens(signing.scheme) else None
    if not isinstance(scheme, JwtBearer):
        return None, None, None
    tenant = scheme.tenant or scheme.token.get("tid")
    return scheme.audience[0], scheme.issuer, None if tenant is None else str(tenant)


def endpoint(settings: EndpointSettings, origin: Origin = Origin.FILE) -> Endpoint:
    """As it is in force: what `as` presets is shown like what was written.

    The URL of one that came over the API is told as it was given: whoever may read it here could write it, too.
    """
    settings = settled(settings)
    policy = parse(settings.retry)
    audience, issuer, tenant = _token(settings.signing)
    return Endpoint(
        id=settings.id,
        origin=origin,
        url=settings.url if origin is Origin.API else without_secrets(settings.url),
        sources=settings.sources,
        types=settings.types,
        format=settings.format,
        signing=settings.signing.scheme,
        secrets=len(settings.signing.secrets),
        retry=policy.name,
        retry_policy=_policy(policy),
        audience=audience,
        issuer=issuer,
        tenant=tenant,
        timeout_s=settings.timeout_s,
        concurrency=settings.concurrency,
        headers=tuple(settings.headers),
        acting_as=settings.acting_as,
        handshake=settings.handshake.kind,
        rate_per_min=settings.rate_per_min,
        batch=settings.batch,
    )


def handler(one: delivery.Endpoint) -> Endpoint:
    """A function of the process itself: it has no address, and nothing is signed for it."""
    return Endpoint(
        id=one.id,
        origin=Origin.CODE,
        url=None,
        sources=one.sources,
        types=one.types,
        format=one.format,
        signing="none",
        secrets=0,
        retry=one.policy.name,
        retry_policy=_policy(one.policy),
        timeout_s=one.timeout_s,
        concurrency=one.concurrency,
        headers=(),
        acting_as=None,
        handshake="none",
        rate_per_min=None,
        batch=1,
    )


def unreadable_source(one: UnreadableRegistration, public_url: str | None) -> Source:
    """What can be shown of a source that this version cannot read."""
    path = f"/in/{one.id}"
    return Source(
        id=SourceId(one.id),
        provider=ProviderId(_text(one.table, "provider") or UNKNOWN),
        origin=Origin.API,
        path=path,
        url=None if public_url is None else public_url.rstrip("/") + path,
        secrets=0 if one.written is None else len(one.written.secrets),
        retired_secrets=0,
        unsigned=one.table.get("unsigned") is True,
        addresses=(),
        max_age_s=None,
        stale=UNKNOWN,
        max_body_bytes=None,
        options={},
        options_in_force={},
        problem=one.sentence,
    )


def unreadable_endpoint(one: UnreadableRegistration, shown: delivery.Endpoint | None) -> Endpoint:
    """What can be shown of an endpoint that this version cannot read. shown: what its events are stored by."""
    return Endpoint(
        id=EndpointId(one.id),
        origin=Origin.API,
        url=_text(one.table, "url"),
        sources=() if shown is None else shown.sources,
        types=() if shown is None else shown.types,
        format=UNKNOWN,
        signing=UNKNOWN,
        secrets=0 if one.written is None else len(one.written.secrets),
        retry=UNKNOWN,
        retry_policy=None,
        timeout_s=0,
        concurrency=0,
        headers=(),
        acting_as=None,
        handshake=UNKNOWN,
        rate_per_min=None,
        batch=0,
        problem=one.sentence,
    )


def shadowed_source(one: ShadowedRegistration, public_url: str | None) -> Source:
    """A source of the API that is not in force, because the file has its id."""
    if isinstance(one.registration, SourceSettings):
        shown = source(one.registration, public_url, Origin.API)
    else:
        assert isinstance(one.registration, UnreadableRegistration), "a section has one kind of row"
        shown = unreadable_source(one.registration, public_url)
    return replace(shown, problem=one.problem)


def shadowed_endpoint(one: ShadowedRegistration) -> Endpoint:
    """As `shadowed_source`."""
    if isinstance(one.registration, EndpointSettings):
        shown = endpoint(one.registration, Origin.API)
    else:
        assert isinstance(one.registration, UnreadableRegistration), "a section has one kind of row"
        shown = unreadable_endpoint(one.registration, None)
    return replace(shown, problem=one.problem)


def _text(table: Mapping[str, Any], name: str) -> str | None:
    value = table.get(name)
    return value if isinstance(value, str) else None


def without_secrets(url: str) -> str:
    """`https://me:pw@host:8443/hooks?token=x#y` → `https://***@host:8443/hooks?***`."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return MASKED
    user, at, host = parts.netloc.rpartition("@")
    netloc = f"{MASKED}@{host}" if at and user else host
    return urlunsplit((parts.scheme, netloc, parts.path, MASKED if parts.query else "", ""))
