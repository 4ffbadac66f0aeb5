"""`as = "zignsec"`: what an endpoint takes from the provider that it acts as, and what it keeps of its own.

Everything preset comes from the provider's entry of the catalogue, the same that receiving and simulating use. A key
that was written overrides what is preset, one by one; of `retry`, delays and statuses alone leave the provider's policy.
"""

from dataclasses import dataclass, replace

from hookseal import catalogue
from hookseal.catalogue import Provider
from hookseal.errors import CatalogueError, ConfigurationError
from hookseal.settings import EndpointSettings, HandshakeSettings, RetrySettings, SigningSettings
from hookseal.settings.reading import nearest

UNSIGNED = "none"
MAX_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """What an endpoint that acts as a provider has where it says nothing itself.

    headers  sent with each POST, in the provider's spelling; the proof is the signing scheme's.
    signed   False where the provider also sends without a proof, to registrations that have no key.
    """

    provider: Provider
    format: str
    content_type: str
    headers: tuple[tuple[str, str], ...]
    retry: RetrySettings
    timeout_s: float
    handshake: HandshakeSettings
    signed: bool


def of(provider_id: str, place: str = "endpoint") -> Preset:
    """The preset of a provider. ConfigurationError, key `as`, when there is no such provider."""
    try:
        provider = catalogue.provider(provider_id)
    except CatalogueError as error:
        raise ConfigurationError(
            place, "as", f"there is no such provider; {nearest(provider_id, [*catalogue.ids()])}"
        ) from error
    handshake = HandshakeSettings()
    if provider.handshake is not None:
        handshake = HandshakeSettings(kind="cloudevents", origin=provider.handshake.origins[0])
    return Preset(
        provider=provider,
        format=provider.sending.format,
        content_type=provider.sending.content_type,
        headers=provider.sending.headers,
        retry=RetrySettings(policy=provider.retry, permanent=provider.permanent),
        timeout_s=min(provider.sending.timeout_s, MAX_TIMEOUT_S),
        handshake=handshake,
        signed=not provider.sending.unsigned,
    )


def settled(row: EndpointSettings, place: str = "endpoint") -> EndpointSettings:
    """The row with every key as it is in force. The same row where it acts as nobody.

    ConfigurationError when `as` names no provider, or when nothing is there to sign with and the provider always signs.
    """
    if row.acting_as is None:
        return row
    preset = of(row.acting_as, place)
    return replace(
        row,
        format=row.format if "format" in row.given else preset.format,
        signing=_signing(row.signing, preset, place),
        retry=_retry(row, preset),
        timeout_s=row.timeout_s if "timeout_s" in row.given else preset.timeout_s,
        handshake=_handshake(row, preset),
    )


def _signing(signing: SigningSettings, preset: Preset, place: str) -> SigningSettings:
    """The provider's own scheme, unless another one is named. Without a key it is unsigned where the provider is, too."""
    if signing.scheme:
        return signing
    provider = preset.provider
    if signing.secrets or signing.options:
        return replace(signing, scheme=provider.id)
    if not preset.signed:
        return SigningSettings(scheme=UNSIGNED)
    if provider.secret.label:
        raise ConfigurationError(place, "signing", f'write {{ secret = "env:NAME" }}; {provider.name} always signs')
    raise ConfigurationError(place, "signing", f'write {{ audience = "..." }}; {provider.name} always sends a token')


def _retry(row: EndpointSettings, preset: Preset) -> RetrySettings:
    if "retry" not in row.given:
        return preset.retry
    if "retry.policy" in row.given:
        return row.retry
    own = row.retry
    return RetrySettings(
        policy=preset.retry.policy,
        delays_s=own.delays_s,
        success=own.success,
        permanent=preset.retry.permanent if own.permanent is None and own.success is None else own.permanent,
    )


def _handshake(row: EndpointSettings, preset: Preset) -> HandshakeSettings:
    if "handshake" not in row.given:
        return preset.handshake
    own = row.handshake
    return own if own.kind == "none" or own.origin is not None else replace(own, origin=preset.handshake.origin)
