"""Judge or sign one request without a gateway: what `hookseal.verify` and `hookseal.sign` do. No network, no store.

It takes the same road as the gateway (`receive.core`), so that what is accepted here is accepted there.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache

from hookseal import catalogue
from hookseal.catalogue import Provider
from hookseal.clock import EARLIEST, LATEST, Instant, SystemClock, from_datetime, from_unix, to_unix
from hookseal.errors import CannotDecide, ConfigurationError, Refused
from hookseal.identity.normalise import event as normalise
from hookseal.ids import new_event_id
from hookseal.message import RawRequest, Request, headers_of
from hookseal.model import Event, EventId, Json, ProviderId, Reason, SourceId
from hookseal.receive import core
from hookseal.receive.source import Network, Source, networks
from hookseal.schemes.jwk import key_set_of
from hookseal.schemes.verdict import Keys, Scheme, SigningKeys
from hookseal.store.port import EventRow

Secret = str | bytes
At = datetime | float | None

_LIST = "secrets is a list: write secrets=[secret]"
_OUT_OF_RANGE = "`at` must be in the years 1 to 9999"


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
    ConfigurationError for an unknown provider or option, and for a missing or unusable secret. TypeError for a text in
    place of the list of secrets, and for a body that is not bytes.
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
    live = _secrets(secrets)
    _check_body(body)
    given = dict(options or {})
    jwks = given.pop("jwks", None)
    addresses = given.pop("addresses", ())
    entry = catalogue.provider(ProviderId(provider))
    scheme = _scheme_of(entry, given)
    _check_secrets(entry, scheme, live)
    source = Source(
        id=SourceId(provider),
        provider=entry,
        scheme=scheme,
        keys=Keys(secrets=live, key_set=key_set_of(jwks) if jwks else None),
        addresses=_networks(addresses),
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
            raw = RawRequest(request.headers, body)
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
                        outcome=item.outcome,
                        final=item.final,
                    ),
                    request.headers,
                    body,
                    raw,
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
    key = _bytes("secret", secret)
    _check_body(body)
    scheme = _scheme_of(catalogue.provider(ProviderId(provider)), dict(options or {}))
    return scheme.sign(Request(body=body, url=url), SigningKeys(secret=key), _instant(at))


def _scheme_of(provider: Provider, options: dict[str, Json]) -> Scheme:
    """Return the provider's scheme with these options, built once for the same options."""
    try:
        # The type belongs to the key: 1 and True are equal in Python, and not the same option.
        key = tuple((name, type(value), value) for name, value in options.items())
        return _cached_scheme(provider.id, key)
    except TypeError:  # a list or an object as a value cannot be hashed
        return provider.bind(options)


@lru_cache(maxsize=256)
def _cached_scheme(provider: ProviderId, options: tuple[tuple[str, type, Json], ...]) -> Scheme:
    return catalogue.provider(provider).bind({name: value for name, _, value in options})


def _instant(at: object) -> Instant:
    if at is None:
        return SystemClock().now()
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise ValueError("`at` must be an aware datetime")
        return _in_range(from_datetime(at))
    if not isinstance(at, int | float) or isinstance(at, bool):
        raise TypeError("`at` is unix seconds or an aware datetime")
    # Compared before it is converted; false for NaN, too.
    if not to_unix(EARLIEST) <= at <= to_unix(LATEST):
        raise ValueError(_OUT_OF_RANGE)
    return _in_range(from_unix(at))


def _in_range(instant: Instant) -> Instant:
    if not EARLIEST <= instant <= LATEST:
        raise ValueError(_OUT_OF_RANGE)
    return instant


def _secrets(secrets: object) -> tuple[bytes, ...]:
    """Return the secrets as bytes. TypeError for anything but a collection of texts.

    A text is not a list: iterated, each of its characters would be a live secret.
    """
    if isinstance(secrets, str | bytes | bytearray | memoryview | Mapping) or not isinstance(secrets, Iterable):
        raise TypeError(_LIST)
    return tuple(_bytes(f"secrets[{number}]", secret) for number, secret in enumerate(secrets))


def _bytes(name: str, secret: object) -> bytes:
    if not isinstance(secret, str | bytes):
        raise TypeError(f"{name} must be str or bytes; {_LIST if name != 'secret' else 'write secret=secret'}")
    try:
        return secret if isinstance(secret, bytes) else secret.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError("", name, "is not text that UTF-8 can encode; give its bytes") from error


def _check_body(body: object) -> None:
    if not isinstance(body, bytes | bytearray):
        raise TypeError("body must be bytes: the exact bytes of the request, before any parser")


def _check_secrets(provider: Provider, scheme: Scheme, secrets: tuple[bytes, ...]) -> None:
    """Raise ConfigurationError for secrets with which nothing could ever be verified."""
    if not provider.secret.label:
        return
    if not secrets:
        raise ConfigurationError("", "secrets", f"give the {provider.secret.label} of {provider.name}")
    for number, secret in enumerate(secrets):
        if problem := scheme.secret_problem(secret):
            raise ConfigurationError("", f"secrets[{number}]", f"{problem}; copy it again from {provider.name}")


def _networks(addresses: Json) -> tuple[Network, ...]:
    """Return the networks of the option `addresses`: a list of texts, or one text."""
    texts = addresses if isinstance(addresses, list | tuple) else [addresses]
    try:
        # ip_network() accepts numbers and packed bytes, too.
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("not text")
        return tuple(network for text in texts for network in networks(text))
    except ValueError:
        raise ConfigurationError("", "addresses", "write a list of networks, such as 10.20.0.0/16") from None
