"""What an endpoint's deliveries are signed with: a scheme of the catalogue, with the endpoint's secrets or our issuer's key.

Pure: it decides whether the settings can sign at all, before anything is sent. The signing itself is the scheme's.
"""

from hookseal import catalogue
from hookseal.catalogue import Provider
from hookseal.clock import Instant
from hookseal.delivery.presets import UNSIGNED
from hookseal.errors import ConfigurationError
from hookseal.message import Request
from hookseal.model import ProviderId
from hookseal.schemes.verdict import Scheme, SigningKeys
from hookseal.settings import SigningSettings
from hookseal.settings.reading import nearest


def signer(signing: SigningSettings, place: str = "endpoint") -> Scheme | None:
    """The scheme that an endpoint's deliveries are signed by; None for "none".

    ConfigurationError when there is no such scheme, or when it cannot sign with the secrets given.
    """
    if signing.scheme == UNSIGNED:
        if signing.secrets:
            raise ConfigurationError(place, "signing.secret", 'name a scheme other than "none" to sign with it')
        return None
    try:
        provider = catalogue.provider(ProviderId(signing.scheme))
    except ConfigurationError as unknown:
        remedy = f"there is no such signing scheme; {nearest(signing.scheme, _signers())}"
        raise ConfigurationError(place, "signing.scheme", remedy) from unknown
    if signs_with_tokens(signing.scheme):
        return _token_signer(provider, signing, place)
    if signing.options:
        raise ConfigurationError(
            place, f"signing.{min(signing.options)}", f"is not for {provider.id}, which signs no token"
        )
    try:
        scheme = provider.bind({})
    except ConfigurationError as unable:
        raise ConfigurationError(
            place, "signing.scheme", "use a signing scheme of the catalogue that needs no options"
        ) from unable
    if not signing.secrets:
        raise ConfigurationError(place, "signing.secret", "give the secret to sign with")
    for secret in signing.secrets:
        if problem := scheme.secret_problem(secret):
            raise ConfigurationError(place, "signing.secret", f"{problem}; give the secret as the receiver shows it")
    try:
        scheme.sign(Request(url="https://example.com/"), keys_of(signing.secrets, ""), Instant(0))
    except ConfigurationError as unable:
        raise ConfigurationError(place, "signing.scheme", "use a scheme that signs with a shared secret") from unable
    return scheme


def signs_with_tokens(scheme: str) -> bool:
    """Whether a scheme proves by a token of an issuer; then ours is the issuer."""
    return scheme in catalogue.ids() and catalogue.provider(scheme).scheme_kind == "jwt_bearer"


def tenant_of(signing: SigningSettings) -> str | None:
    """Return the tenant that tokens name, None where the scheme signs no tokens. ConfigurationError as `signer`."""
    if not signs_with_tokens(signing.scheme):
        return None
    scheme = signer(signing)
    tenant = getattr(scheme, "tenant", "") or getattr(scheme, "token", {}).get("tid")
    return None if tenant is None else str(tenant)


def _token_signer(provider: Provider, signing: SigningSettings, place: str) -> Scheme:
    """A tenant of one's own stands in the issuer's URL, too, unless that is given."""
    if signing.secrets:
        raise ConfigurationError(
            place, "signing.secret", "is not used: tokens are signed with the key of our own issuer"
        )
    options: dict[str, object] = dict(signing.options)
    issuer, theirs = provider.scheme_table.get("issuer"), dict(provider.scheme_table.get("token", {})).get("tid")
    if "tenant" in options and "issuer" not in options and isinstance(issuer, str) and isinstance(theirs, str):
        options["issuer"] = issuer.replace(theirs, str(options["tenant"]))
    try:
        return provider.bind(options)
    except ConfigurationError as wrong:
        raise ConfigurationError(place, f"signing.{wrong.key}", wrong.remedy) from wrong


def _signers() -> list[str]:
    return [str(id) for id in catalogue.ids() if catalogue.provider(id).secret.label]


def keys_of(secrets: tuple[bytes, ...], message: str) -> SigningKeys:
    return SigningKeys(secret=secrets[0], secrets=secrets, id=message)
