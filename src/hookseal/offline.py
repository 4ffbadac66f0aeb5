"""Judge or sign one request without a gateway: what `hookseal.verify` and `hookseal.sign` do. No network, no store.

It takes the same road as the gateway (`receive.core`), so that what is accepted here is accepted there.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from hookseal import catalogue
from hookseal.clock import Instant, SystemClock, from_datetime, from_unix
from hookseal.errors import CannotDecide, Refused
from hookseal.identity.normalise import event as normalise
from hookseal.ids import new_event_id
from hookseal.message import Request, headers_of
from hookseal.model import Event, EventId, Json, ProviderId, Reason, SourceId
from hookseal.receive import core
from hookseal.receive.source import Source, networks
from hookseal.schemes.jwk import key_set_of
from hookseal.schemes.verdict import Keys, SigningKeys
from hookseal.store.port import EventRow

Secret = str | bytes
At = datetime | float | None


def verify(
    provider: str,
    body: bytes,
    headers: Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]],
    *,
    secrets: Sequence[Secret] = (),
    options: Mapping[str, Json] | None = None,
    method: str = "POST",
    url: str | None = None,
    remote: str | None = None,
    at: At = None,
) -> Event:
    """The normalised event of a genuine request.

    body     the exact bytes that came, before any parser.
    secrets  live secrets, exactly as the provider shows them; several while one rotates.
    options  the provider's options by their names in the catalogue; `jwks` (a key set as text, bytes or a parsed
             object) for schemes with issuer keys; `addresses` (a list) to judge `remote` too.
    at       when the request is judged: unix seconds or an aware datetime; None is now.

    A request of several events gives the first; use `verify_all` for all of them.
    Refused when it is not genuine, CannotDecide when the issuer's keys that it takes are not given,
    ConfigurationError for an unknown provider or option.
    """
    events = verify_all(
        provider, body, headers, secrets=secrets, options=options, method=method, url=url, remote=remote, at=at
    )
    if not events:
        raise Refused(Reason.ENVELOPE_INVALID)
    return events[0]


def verify_all(
    provider: str,
    body: bytes,
    headers: Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]],
    *,
    secrets: Sequence[Secret] = (),
    options: Mapping[str, Json] | None = None,
    method: str = "POST",
    url: str | None = None,
    remote: str | None = None,
    at: At = None,
) -> tuple[Event, ...]:
    """Like `verify`, for requests that carry several events (a CloudEvents batch)."""
    now = _instant(at)
    given = dict(options or {})
    jwks = given.pop("jwks", None)
    addresses = given.pop("addresses", ())
    entry = catalogue.provider(ProviderId(provider))
    source = Source(
        id=SourceId(provider),
        provider=entry,
        scheme=entry.bind(given),
        keys=Keys(secrets=tuple(_bytes(secret) for secret in secrets), key_set=key_set_of(jwks) if jwks else None),
        addresses=tuple(network for text in addresses for network in networks(text)),
    )
    request = Request(method=method, headers=headers_of(headers), body=body, url=url, remote=remote)
    match core.decide(source, request, source.keys, now):
        case core.Refusal(reason):
            raise Refused(reason)
        case core.Undecided(kid):
            if source.keys.key_set is None:
                raise CannotDecide(f"the issuer's keys are needed; give them as the option jwks (key id {kid!r})")
            raise Refused(Reason.TOKEN_KEY_UNKNOWN)
        case core.Genuine(_, items):
            return tuple(
                normalise(
                    entry,
                    EventRow(
                        id=EventId(new_event_id(now)),
                        source=source.id,
                        sequence=0,
                        item=item.index,
                        type=item.type,
                        received_at=now,
                        provider_type=item.provider_type,
                        provider_id=item.provider_id,
                        subject=item.subject,
                        time=item.time,
                        flags=item.flags,
                        conflicts=0,
                    ),
                    request.headers,
                    body,
                )
                for item in items
            )


def sign(
    provider: str,
    body: bytes,
    *,
    secret: Secret,
    options: Mapping[str, Json] | None = None,
    url: str | None = None,
    at: At = None,
) -> list[tuple[str, str]]:
    """The headers that the provider would send with `body`, in its own spelling and order."""
    scheme = catalogue.provider(ProviderId(provider)).bind(dict(options or {}))
    return scheme.sign(Request(body=body, url=url), SigningKeys(secret=_bytes(secret)), _instant(at))


def _instant(at: At) -> Instant:
    if at is None:
        return SystemClock().now()
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise ValueError("`at` must be an aware datetime")
        return from_datetime(at)
    return from_unix(at)


def _bytes(secret: Secret) -> bytes:
    return secret if isinstance(secret, bytes) else secret.encode()
