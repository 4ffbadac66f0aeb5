"""Whether a source or an endpoint can be what it is written as, wherever that is: in the file or through the API.

Every rule that needs a provider, a scheme, a policy or the address rules is here; shapes and ranges were judged when
the row was read. Nothing is resolved or called.
"""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from fnmatch import fnmatchcase

from hookseal import catalogue
from hookseal.catalogue import Provider
from hookseal.delivery import presets
from hookseal.delivery.endpoint import build
from hookseal.destinations import handshake
from hookseal.destinations.formats import Format
from hookseal.destinations.signing import signer
from hookseal.egress.policy import EgressPolicy, Refusal
from hookseal.errors import CatalogueError, ConfigurationError
from hookseal.model import EventType
from hookseal.receive.own_events import OWN_SOURCE
from hookseal.settings import EndpointSettings, SourceSettings
from hookseal.settings.kinds import is_network
from hookseal.settings.reading import nearest

_SOURCE_KEYS = frozenset(field.name for field in fields(SourceSettings))


def judge_source(
    row: SourceSettings, egress: EgressPolicy, *, public_url: str | None = None
) -> Iterator[tuple[str, str]]:
    """Key and remedy of each fault, keys as in the file; one that begins with `[` is a key of another table."""
    if row.id == OWN_SOURCE:
        yield "id", "choose another one: it is the source of the events that are published through the API"
    try:
        provider = catalogue.provider(row.provider)
    except CatalogueError:
        yield "provider", f"there is no such provider; {nearest(row.provider, [*catalogue.ids()])}"
        return
    yield from _proof(row, provider, egress, public_url)
    if provider.secret.label and not row.secrets and not row.unsigned:
        yield "secrets", missing_secret(provider) + ", such as env:NAME"
    if row.unsigned and not row.addresses:
        yield "unsigned", "name the networks that may call in `addresses`, or let requests be proven"
    for number, text in enumerate(row.addresses):
        if not is_network(text) and not (text in catalogue.ids() and catalogue.provider(text).addresses):
            yield f"addresses[{number}]", "no provider of that id publishes addresses; write a network"


def missing_secret(provider: Provider) -> str:
    by = f"{provider.name} issues it: " if provider.secret.issued else ""
    return f"is missing; {by}give the {provider.secret.label} of {provider.name}"


def source_warnings(row: SourceSettings) -> Iterator[tuple[str, str]]:
    """Key and sentence of what is possible and probably not meant."""
    if row.secrets and row.provider in catalogue.ids() and not catalogue.provider(row.provider).secret.label:
        yield "secrets", f"are not used; {catalogue.provider(row.provider).name} has no shared secret"
    if row.provider in catalogue.ids() and _takes_any_client(catalogue.provider(row.provider), row):
        yield (
            "options",
            "take a token of any application of the issuer's tenant; name `authorized_party` or `roles`, too",
        )


def _takes_any_client(provider: Provider, row: SourceSettings) -> bool:
    """Whether a token needs no more than issuer and audience: any client of the tenant can have such a one made."""
    limits = provider.options.keys() & {"authorized_party", "roles"}
    try:
        values = provider.settled(row.options)
    except ConfigurationError:  # a fault, and said as one
        return False
    return provider.scheme_kind == "jwt_bearer" and bool(limits) and not any(values.get(name) for name in limits)


def _proof(
    row: SourceSettings, provider: Provider, egress: EgressPolicy, public_url: str | None
) -> Iterator[tuple[str, str]]:
    """The options, and with them the scheme: what it says of the secrets, which URLs it takes."""
    if faults := provider.option_faults(row.options):
        yield from ((f"options.{fault.key}", fault.remedy) for fault in faults)
        return
    try:
        scheme = provider.bind(row.options, max_age_s=row.max_age_s)
    except ConfigurationError as fault:
        yield (fault.key if fault.key in _SOURCE_KEYS else f"options.{fault.key}"), fault.remedy
        return
    if (
        row.stale == "hold"
        and getattr(scheme, "tolerance_s", None) is None
        and getattr(scheme, "max_age_s", None) is None
    ):
        yield "stale", "holds nothing: no request is too old without `max_age_s`; give it, or remove this"
    for number, secret in enumerate(row.secrets):
        if problem := scheme.secret_problem(secret):
            yield f"secrets[{number}]", f"{problem}; copy it again from {provider.name}"
    jwks_url = getattr(scheme, "jwks_url", None)
    if jwks_url and (problem := url_problem(jwks_url, egress)):
        yield "options.jwks_url", problem
    if "{url}" in getattr(scheme, "signed", "") and public_url is None:
        yield "[server] public_url", f"is missing; {provider.name} signs the URL that it calls"


def url_problem(url: str, egress: EgressPolicy) -> str | None:
    """Why this URL may not be registered, as a sentence; None when it may. A name is not resolved before it is called."""
    judged = egress.judge_url(url)
    return judged.message if isinstance(judged, Refusal) else None


def judge(
    row: EndpointSettings,
    egress: EgressPolicy,
    *,
    sources: Sequence[SourceSettings] = (),
    public_url: str | None = None,
) -> Iterator[tuple[str, str]]:
    """Key and remedy of each fault, keys as in the file: `url`, `signing.secret`. Nothing when there is none."""
    if problem := url_problem(row.url, egress):
        yield "url", problem
    try:
        row = presets.settled(row)
    except ConfigurationError as fault:
        yield fault.key, fault.remedy
        return
    if row.format not in list(Format):
        yield "format", f"write one of {', '.join(Format)}"
    try:
        if wrong := handshake.problem(build(row), public_url):
            yield wrong
    except ConfigurationError as fault:
        yield fault.key, fault.remedy
    yield from _signing(row, sources)


def warnings(
    row: EndpointSettings, sources: Sequence[SourceSettings], egress: EgressPolicy
) -> Iterator[tuple[str, str]]:
    """Key and sentence of what is possible and probably not meant. The row has no faults."""
    if _is_refused_localhost(row.url, egress):
        yield "url", "localhost is this machine, which egress refuses to call; add 127.0.0.0/8 to [egress] allow"
    if OWN_SOURCE not in row.sources:  # the types of published events are free
        for number, glob in enumerate(row.types):
            if not any(fnmatchcase(known, glob) for known in EventType):
                yield f"types[{number}]", f"no event of a provider has such a type; {nearest(glob, [*EventType])}"
    known = {OWN_SOURCE, *(source.id for source in sources)}
    for number, name in enumerate(row.sources):
        if not set(name) & set("*?[") and name not in known:
            yield f"sources[{number}]", "no [[source]] has this id"
    if row.acting_as is not None and "signing" not in row.given and presets.settled(row).signing.scheme == "none":
        yield "signing", f"is missing; {row.acting_as} also sends unsigned, so nothing sent here is signed"


def _is_refused_localhost(url: str, egress: EgressPolicy) -> bool:
    """Whether the host is a name for this machine (RFC 6761) and none of its addresses may be called."""
    target = egress.judge_url(url)
    if isinstance(target, Refusal):
        return False
    name = target.host.rstrip(".")
    if name != "localhost" and not name.endswith(".localhost"):
        return False
    return all(egress.judge_address(address, target.port) is not None for address in ("127.0.0.1", "::1"))


def _signing(row: EndpointSettings, sources: Sequence[SourceSettings]) -> Iterator[tuple[str, str]]:
    if row.signing.scheme == presets.UNSIGNED:
        yield from _unsigned_original(row, sources)
    try:
        signer(row.signing)
    except ConfigurationError as fault:
        yield fault.key, fault.remedy


def _unsigned_original(row: EndpointSettings, sources: Sequence[SourceSettings]) -> Iterator[tuple[str, str]]:
    """`original` passes the provider's proof on, but a proof that is a credential is never kept: nothing would prove it."""
    if row.format != Format.ORIGINAL:
        return
    for source in sources:
        taken = any(fnmatchcase(source.id, glob) for glob in row.sources)
        if taken and source.provider in catalogue.ids() and catalogue.provider(source.provider).credentials:
            yield (
                "signing.scheme",
                f'name a signing scheme; the proof of source "{source.id}" is a credential and is not passed on',
            )
            return
