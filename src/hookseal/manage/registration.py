"""Whether an endpoint can be what it is written as, wherever it was written: in the file or through the API.

Every rule that needs a provider, a scheme, a policy or the address rules is here; shapes and ranges were judged when
the row was read. Nothing is resolved or called.
"""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from hookseal import catalogue
from hookseal.delivery import presets
from hookseal.delivery.endpoint import build
from hookseal.destinations import handshake
from hookseal.destinations.formats import Format
from hookseal.destinations.signing import signer
from hookseal.egress.policy import EgressPolicy, Refusal
from hookseal.errors import ConfigurationError
from hookseal.settings import EndpointSettings, SourceSettings


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


def warnings(row: EndpointSettings, sources: Sequence[SourceSettings]) -> Iterator[tuple[str, str]]:
    """Key and sentence of what is possible and probably not meant. The row has no faults."""
    known = {source.id for source in sources}
    for number, name in enumerate(row.sources):
        if not set(name) & set("*?[") and name not in known:
            yield f"sources[{number}]", "no [[source]] has this id"
    if row.acting_as is not None and "signing" not in row.given and presets.settled(row).signing.scheme == "none":
        yield "signing", f"is missing; {row.acting_as} also sends unsigned, so nothing sent here is signed"


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
