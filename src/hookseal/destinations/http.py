"""Events to a URL: one POST, written in the endpoint's format and signed by its scheme.

It decides which headers a POST carries. It knows no retries, and opens no socket: all goes through the egress.
Where names meet, the later of these counts: the endpoint's own headers, `webhook-id` and `webhook-timestamp`, what the
format brings (for `original` the provider's own proof, unchanged), our signature.

A batch has the same headers as one event has. Its `webhook-id` is made of the ids of its deliveries: the same call tried
again has the same id, and a call with other company another one, so that no receiver takes it for a repeat.

An endpoint that acts as a provider gets that provider's headers and none of ours: no `webhook-id`, no
`webhook-timestamp`. Its tries are then the same bytes each time where the provider signs no time, and its receiver
tells repeats as it does with the provider, by the body or by what stands in it.
"""

import hashlib
from collections.abc import Callable, Sequence

from hookseal import __version__, catalogue
from hookseal.catalogue import Provider
from hookseal.clock import Instant, to_unix
from hookseal.delivery import presets
from hookseal.delivery.endpoint import Endpoint
from hookseal.delivery.presets import UNSIGNED
from hookseal.destinations.formats import Rendered, as_batch, render, render_as
from hookseal.destinations.port import Answered, Failed, Parcel, Rejected, Sent
from hookseal.destinations.signing import keys_of, signs_with_tokens
from hookseal.destinations.signing import signer as signer
from hookseal.egress.port import Egress, Failure
from hookseal.errors import CannotFormat, CatalogueError, ConfigurationError, HooksealError
from hookseal.message import Request, headers_of
from hookseal.model import AttemptReason, ProviderId
from hookseal.schemes.verdict import SigningKeys

_USER_AGENT = f"hookseal/{__version__}"

ProviderOf = Callable[[ProviderId], Provider]
IssuerKeys = Callable[[], SigningKeys]
"""The key of our own issuer, asked for at each try."""


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

    def __init__(
        self,
        endpoint: Endpoint,
        egress: Egress,
        *,
        provider_of: ProviderOf = catalogue.provider,
        issuer: IssuerKeys | None = None,
    ) -> None:
        """ConfigurationError when the endpoint's signing cannot be, or `as` names no provider."""
        self._endpoint = endpoint
        self._egress = egress
        self._provider_of = provider_of
        self._signer = signer(endpoint.signing, f"endpoint {endpoint.id}")
        self._issuer = issuer
        self._has_tokens = signs_with_tokens(endpoint.signing.scheme)
        self._preset = None if endpoint.acting_as is None else presets.of(endpoint.acting_as, f"endpoint {endpoint.id}")
        self._providers: dict[ProviderId, Provider | None] = {}
        self._own = {"user-agent": ("User-Agent", _USER_AGENT)}
        self._own.update((name.lower(), (name, value)) for name, value in endpoint.headers)

    async def send(self, parcel: Parcel, now: Instant) -> Sent:
        return await self.send_together((parcel,), now)

    async def send_together(self, parcels: Sequence[Parcel], now: Instant) -> Sent:
        try:
            headers, body = self._written(parcels, now)
        except CannotFormat:
            return Rejected(reason=AttemptReason.PAYLOAD_UNPARSABLE)
        except (HooksealError, ValueError, RecursionError):
            return Rejected(reason=AttemptReason.CONFIG_ERROR)
        came = await self._egress.call(
            "POST", self._endpoint.url, headers=headers, body=body, timeout_s=self._endpoint.timeout_s
        )
        if isinstance(came, Failure):
            return Failed(reason=came.reason, status=came.status)
        return Answered(status=came.status, retry_after=came.headers.get("retry-after"))

    def _provider(self, id: ProviderId) -> Provider | None:
        """None for events that were published through our own API."""
        if id not in self._providers:
            try:
                self._providers[id] = self._provider_of(id)
            except CatalogueError:
                self._providers[id] = None
        return self._providers[id]

    def _written(self, parcels: Sequence[Parcel], now: Instant) -> tuple[list[tuple[str, str]], bytes]:
        """The headers and the body of this try. The signature is of this try's time."""
        if self._endpoint.batch > 1:
            rendered, id = as_batch([self._rendered(parcel) for parcel in parcels]), _id_of(parcels)
        else:
            (parcel,) = parcels
            rendered, id = self._rendered(parcel), parcel.delivery
        lines = dict(self._own)
        if self._preset is None:
            lines["webhook-id"] = ("webhook-id", id)
            lines["webhook-timestamp"] = ("webhook-timestamp", str(int(to_unix(now))))
        return self._proven(lines, rendered, id, now)

    def _rendered(self, parcel: Parcel) -> Rendered:
        endpoint = self._endpoint
        provider = self._provider(parcel.event.provider)
        if provider is not None and original_problem(endpoint, provider) is not None:
            raise ConfigurationError(f"endpoint {endpoint.id}", "format", "sign, or choose another format")
        try:
            if self._preset is None:
                return render(endpoint.format, parcel.event, parcel.stored, provider)
            return render_as(self._preset, endpoint.format, parcel.event, parcel.stored, provider)
        except (ValueError, RecursionError) as error:
            raise CannotFormat("the payload has no form in this format") from error

    def _proven(
        self, lines: dict[str, tuple[str, str]], rendered: Rendered, id: str, now: Instant
    ) -> tuple[list[tuple[str, str]], bytes]:
        endpoint = self._endpoint
        lines.update((name.lower(), (name, value)) for name, value in rendered.headers)
        if self._signer is not None:
            request = Request(headers=headers_of(lines.values()), body=rendered.body, url=endpoint.url)
            keys = self._token_keys() if self._has_tokens else keys_of(endpoint.signing.secrets, id)
            signed = self._signer.sign(request, keys, now)
            lines.update((name.lower(), (name, value)) for name, value in signed)
        return list(lines.values()), rendered.body

    def _token_keys(self) -> SigningKeys:
        if self._issuer is None:
            raise ConfigurationError(f"endpoint {self._endpoint.id}", "signing", "there is no issuer of tokens here")
        return self._issuer()


def _id_of(parcels: Sequence[Parcel]) -> str:
    """One delivery is called by its own id, several by what they come to, whatever their order."""
    if len(parcels) == 1:
        return parcels[0].delivery
    ids = "\n".join(sorted(parcel.delivery for parcel in parcels))
    return f"batch_{hashlib.sha256(ids.encode()).hexdigest()[:32]}"
