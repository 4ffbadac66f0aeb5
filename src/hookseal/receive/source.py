"""One inbound registration, ready to judge requests: the provider's entry, bound to this source's secrets and options."""

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from hookseal import catalogue
from hookseal.catalogue import Provider
from hookseal.model import SourceId
from hookseal.schemes.verdict import Keys, Scheme
from hookseal.settings import SourceSettings

Network = IPv4Network | IPv6Network

_ANY_AGE_S = 10**11
"""Some 3000 years, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """ageless: the scheme without its limit of age, where what is too old is held; None where it is refused.

    jwks_url: where the issuer's keys are, None for schemes with shared secrets.

    callback_hosts  under which callback URLs of a handshake may be called, in lower case.
    """

    id: SourceId
    provider: Provider
    scheme: Scheme
    ageless: Scheme | None = None
    keys: Keys = field(repr=False)
    jwks_url: str | None = None
    unsigned: bool = False
    addresses: tuple[Network, ...] = ()
    max_body_bytes: int = 2_097_152
    allowed_rate: int | None = None
    callback_hosts: tuple[str, ...] = ()

    def allows(self, remote: str | None) -> bool:
        """Whether the client's address is on this source's list; True where there is no list."""
        if not self.addresses:
            return True
        try:
            address = ip_address(remote or "")
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        judged = mapped if mapped is not None else address
        return any(judged in network for network in self.addresses if network.version == judged.version)


def build(row: SourceSettings, max_body_bytes: int) -> Source:
    """From a row of the configuration. ConfigurationError when the provider's entry does not take its options."""
    provider = catalogue.provider(row.provider)
    scheme = provider.bind(row.options, max_age_s=row.max_age_s)
    # With a limit all the same, so that a proof without a time is refused as it would be otherwise.
    ageless = provider.bind(row.options, max_age_s=_ANY_AGE_S) if row.stale == "hold" else None
    jwks_url = getattr(scheme, "jwks_url", None)
    rate = row.options.get("allowed_rate", "*")
    handshake = provider.handshake
    option = handshake.callback_option if handshake is not None else ""
    hosts: object = provider.settled(row.options).get(option, ())
    return Source(
        id=row.id,
        provider=provider,
        scheme=scheme,
        ageless=ageless,
        keys=Keys(secrets=row.secrets),
        jwks_url=jwks_url,
        unsigned=row.unsigned,
        addresses=tuple(network for text in row.addresses for network in networks(text)),
        max_body_bytes=row.max_body_bytes or max_body_bytes,
        allowed_rate=None if rate == "*" else int(rate),
        callback_hosts=tuple(str(host).lower() for host in hosts) if isinstance(hosts, tuple) else (),
    )


def networks(text: str) -> tuple[Network, ...]:
    """A CIDR or address, or a provider's id for its published list. ValueError for anything else."""
    try:
        return (ip_network(text),)
    except ValueError:
        if text in catalogue.ids():
            return tuple(ip_network(address) for address in catalogue.provider(text).addresses)
        raise
