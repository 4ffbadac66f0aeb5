"""Events to a URL: one POST, written in the endpoint's format and signed by its scheme.

It decides which headers a POST carries. It knows no retries, and opens no socket: all goes through the egress.
Where names meet, the later of these counts: the endpoint's own headers, `webhook-id` and `webhook-timestamp`, what the
format brings (for `original` the provider's own proof, unchanged), our signature.
"""

from collections.abc import Callable

from hookseal import __version__, catalogue
from hookseal.catalogue import Provider
from hookseal.clock import Instant, to_unix
from hookseal.delivery.endpoint import Endpoint
from hookseal.destinations.formats import render
from hookseal.destinations.port import Answered, Failed, Parcel, Rejected, Sent
from hookseal.egress.port import Egress, Failure
from hookseal.errors import CatalogueError, ConfigurationError, HooksealError
from hookseal.message import Request, headers_of
from hookseal.model import AttemptReason, ProviderId
from hookseal.schemes.verdict import Scheme, SigningKeys
from hookseal.settings import SigningSettings

UNSIGNED = "none"
_USER_AGENT = f"hookseal/{__version__}"

ProviderOf = Callable[[ProviderId], Provider]


def signer(signing: SigningSettings, place: str = "endpoint") -> Scheme | None:
    """The scheme that an endpoint's deliveries are signed by; None for "none".

    ConfigurationError when there is no such scheme, or when it cannot sign with the secrets given.
    """
    if signing.scheme == UNSIGNED:
        if signing.secrets:
            raise ConfigurationError(place, "signing.secret", 'name a scheme other than "none" to sign with it')
        return None
    try:
        scheme = catalogue.provider(ProviderId(signing.scheme)).bind({})
    except ConfigurationError as unknown:
        raise ConfigurationError(
            place, "signing.scheme", "use a signing scheme of the catalogue that needs no options"
        ) from unknown
    if not signing.secrets:
        raise ConfigurationError(place, "signing.secret", "give the secret to sign with")
    for secret in signing.secrets:
        if problem := scheme.secret_problem(secret):
            raise ConfigurationError(place, "signing.secret", problem)
    try:
        scheme.sign(Request(url="https://example.com/"), _keys(signing.secrets, ""), Instant(0))
    except ConfigurationError as unable:
        raise ConfigurationError(place, "signing.scheme", "use a scheme that signs with a shared secret") from unable
    return scheme


def original_problem(endpoint: Endpoint, provider: Provider) -> str | None:
    """Why events of a provider may not go to this endpoint as they came; None when they may.

    A proof by credentials (a bearer token, a static secret) is neither kept nor forwarded, since whoever has it could
    act as the provider. Without it the receiver can prove nothing, unless we sign.
    """
    if endpoint.format == "original" and endpoint.signing.scheme == UNSIGNED and provider.credentials:
        return (
            f"{provider.id} proves its requests by credentials, which are not forwarded: sign, or choose another format"
        )
    return None


class HttpDestination:
    """One endpoint, for as long as its settings stand."""

    def __init__(self, endpoint: Endpoint, egress: Egress, *, provider_of: ProviderOf = catalogue.provider) -> None:
        """ConfigurationError when the endpoint's signing cannot be."""
        self._endpoint = endpoint
        self._egress = egress
        self._provider_of = provider_of
        self._signer = signer(endpoint.signing, f"endpoint {endpoint.id}")
        self._providers: dict[ProviderId, Provider | None] = {}
        self._own = {"user-agent": ("User-Agent", _USER_AGENT)}
        self._own.update((name.lower(), (name, value)) for name, value in endpoint.headers)

    async def send(self, parcel: Parcel, now: Instant) -> Sent:
        try:
            headers, body = self._written(parcel, now)
        except (HooksealError, ValueError, RecursionError):
            return Rejected(reason=AttemptReason.CONFIG_ERROR)
        came = await self._egress.call(
            "POST", self._endpoint.url, headers=headers, body=body, timeout_s=self._endpoint.timeout_s
        )
        if isinstance(came, Failure):
            return Failed(reason=came.reason)
        return Answered(status=came.status, retry_after=came.headers.get("retry-after"))

    def _provider(self, id: ProviderId) -> Provider | None:
        """None for events that were published through our own API."""
        if id not in self._providers:
            try:
                self._providers[id] = self._provider_of(id)
            except CatalogueError:
                self._providers[id] = None
        return self._providers[id]

    def _written(self, parcel: Parcel, now: Instant) -> tuple[list[tuple[str, str]], bytes]:
        """The headers and the body of this try. The signature is of this try's time."""
        endpoint = self._endpoint
        provider = self._provider(parcel.event.provider)
        if provider is not None and original_problem(endpoint, provider) is not None:
            raise ConfigurationError(f"endpoint {endpoint.id}", "format", "sign, or choose another format")
        rendered = render(endpoint.format, parcel.event, parcel.stored, provider)
        lines = dict(self._own)
        lines["webhook-id"] = ("webhook-id", parcel.delivery)
        lines["webhook-timestamp"] = ("webhook-timestamp", str(int(to_unix(now))))
        lines.update((name.lower(), (name, value)) for name, value in rendered.headers)
        if self._signer is not None:
            request = Request(headers=headers_of(lines.values()), body=rendered.body, url=endpoint.url)
            signed = self._signer.sign(request, _keys(endpoint.signing.secrets, parcel.delivery), now)
            lines.update((name.lower(), (name, value)) for name, value in signed)
        return list(lines.values()), rendered.body


def _keys(secrets: tuple[bytes, ...], message: str) -> SigningKeys:
    return SigningKeys(secret=secrets[0], secrets=secrets, id=message)
