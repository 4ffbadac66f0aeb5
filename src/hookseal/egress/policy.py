"""Which URLs and which addresses may be called: the operator's `[egress]` settings, judged over the deny list.

Pure: it resolves nothing and connects to nothing. A URL is taken or refused, never mended: what one parser mends the
next one reads differently, and between the two lies every way around a guard. So a host is a name in ASCII, an IPv4
address as four decimal numbers, or an IPv6 address in brackets; `0x7f.1`, `2130706433`, `①②⑦.⓪.⓪.①` and
`127.0.0.1%00.example.com`, all of which `getaddrinfo` takes for 127.0.0.1, are none of these.

Any port from 1 to 65535 is taken: services of one's own seldom live on 443. `[egress] allow` with a port narrows what
is let through to that port.
"""

import re
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_network

from hookseal.egress.networks import Address, Network, address_of, denied_network, unmapped
from hookseal.errors import ConfigurationError
from hookseal.model import AttemptReason

MAX_URL = 2048

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?]*)(?P<rest>[/?].*)?")
_NOT_IN_URL = re.compile(r"[^\x21-\x7e]|[\"<>\\^`{|}#]")
_NAMED = re.compile(r"(?P<host>[^:]*)(?::(?P<port>[0-9]{1,5}))?")
_BRACKETED = re.compile(r"\[(?P<host>[^\]]*)\](?::(?P<port>[0-9]{1,5}))?")
# An underscore is no host name, but container names have them and resolvers take them.
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
# A name whose last label looks like a number is read as an IPv4 address by some parser (WHATWG URL, inet_aton).
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A URL that may be called, as far as can be told before its name is resolved.

    url      the URL exactly as given.
    host     lower case, without brackets.
    address  where the host is an address.
    """

    url: str
    scheme: str
    host: str
    port: int
    address: Address | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """reason: `config_error` or `denied_address`. message: for the operator; says what to change."""

    reason: AttemptReason
    message: str


@dataclass(frozen=True, slots=True)
class Allowed:
    """A network that the operator lets through, on one port or on all."""

    network: Network
    port: int | None = None


def parse_allowed(text: str) -> Allowed:
    """`10.20.0.0/16`, `10.20.0.0/16:8443`, `fd00:1::/32`, `[fd00:1::/32]:8443`; an address alone is a network of one.

    ValueError when it is none of these.
    """
    network, port = text, None
    if text.startswith("["):
        network, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise ValueError("not a network in brackets")
        port = rest[1:] if rest else None
    elif text.count(":") == 1:
        network, _, port = text.partition(":")
    if port is not None and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise ValueError("not a port")
    return Allowed(ip_network(network), None if port is None else int(port))


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """What outgoing calls may reach.

    allow       networks let through in spite of the deny list; see `parse_allowed` for the grammar.
    allow_http  plain http URLs may be called.
    own         address and port of each of our own listeners: calling ourselves is refused also where `allow` covers
                the address, unless `allow` names that very port. `0.0.0.0` and `::` stand for loopback.
    ConfigurationError when an item of `allow` or `own` cannot be read.
    """

    allow: tuple[str, ...] = ()
    allow_http: bool = False
    own: tuple[tuple[str, int], ...] = ()
    _allowed: tuple[Allowed, ...] = field(init=False, repr=False, compare=False)
    _own: tuple[tuple[Address, int], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_allowed", tuple(_read_allowed(text) for text in self.allow))
        object.__setattr__(self, "_own", tuple((_read_own(host), port) for host, port in self.own))

    def judge_url(self, url: str) -> Target | Refusal:
        """Judge the URL itself, and the address where its host is one. A name's addresses are judged when it is dialled."""
        if len(url) > MAX_URL:
            return _bad(f"the URL is longer than {MAX_URL} characters")
        if found := _NOT_IN_URL.search(url):
            return _bad(_forbidden(found.group()))
        match = _URL.fullmatch(url)
        if match is None:
            return _bad("the URL has no scheme and host; write https://host/path")
        scheme = match["scheme"].lower()
        if scheme not in ("https", "http"):
            return _bad("the URL's scheme must be https")
        if scheme == "http" and not self.allow_http:
            return _bad("the URL must be https; [egress] allow_http = true lets http through")
        if "@" in match["authority"]:
            return _bad("a user name or password does not belong into the URL; use a header")
        return self._judge_authority(url, scheme, match["authority"])

    def _judge_authority(self, url: str, scheme: str, authority: str) -> Target | Refusal:
        bracketed = _BRACKETED.fullmatch(authority)
        match = bracketed or _NAMED.fullmatch(authority)
        if match is None:
            return _bad("the URL's host and port cannot be read; write host or host:port")
        port = int(match["port"]) if match["port"] else 443 if scheme == "https" else 80
        if not 1 <= port <= 65535:
            return _bad("the URL's port must be between 1 and 65535")
        host = match["host"].lower()
        address = _literal_v6(host) if bracketed else _literal_v4(host)
        if address is None and (problem := "the address in brackets is not IPv6" if bracketed else _bad_name(host)):
            return _bad(problem)
        if address is not None and (refusal := self.judge_address(address, port)):
            return refusal
        return Target(url=url, scheme=scheme, host=host, port=port, address=address)

    def judge_address(self, address: Address | str, port: int) -> Refusal | None:
        """None when this address may be dialled at this port."""
        try:
            given = address_of(address) if isinstance(address, str) else address
        except ValueError:
            return _denied("what the name resolves to is not an address")
        if isinstance(given, IPv6Address) and given.scope_id is not None:
            return _denied(f"{given} has a zone: such addresses are never called")
        address = unmapped(given)
        through = [one for one in self._allowed if address in one.network and one.port in (None, port)]
        if not any(one.port == port for one in through) and self._is_own(address, port):
            return _denied(
                f"{address} port {port} is hookseal itself; name the port in [egress] allow if that is meant: "
                f'allow = ["{_with_port(address, port)}"]'
            )
        network = denied_network(address)
        if network is None or through:
            return None
        where = f"in {network}" if network.prefixlen else "outside 2000::/3"
        return _denied(
            f"{address} is {where} and such addresses are not called; if it is a service of yours, let it through in "
            f'the configuration file: [egress] allow = ["{_with_port(address, port)}"]'
        )

    def allows(self, address: Address | str, port: int) -> bool:
        return self.judge_address(address, port) is None

    def _is_own(self, address: Address, port: int) -> bool:
        return any(
            own_port == port and (own == address or (own.is_unspecified and address.is_loopback))
            for own, own_port in self._own
        )


def _read_allowed(text: str) -> Allowed:
    try:
        return parse_allowed(text)
    except ValueError as error:
        remedy = f"{text!r} is not a network ({error}); write 10.20.0.0/16, 10.20.0.0/16:8443 or [fd00:1::/32]:8443"
        raise ConfigurationError("", "egress.allow", remedy) from error


def _read_own(host: str) -> Address:
    try:
        return unmapped(address_of(host))
    except ValueError as error:
        raise ConfigurationError("", "server.listen", f"{host!r} is not an address") from error


def _literal_v4(host: str) -> IPv4Address | None:
    try:
        return IPv4Address(host)
    except AddressValueError:
        return None


def _literal_v6(host: str) -> IPv6Address | None:
    try:
        return None if "%" in host else IPv6Address(host)
    except AddressValueError:
        return None


def _bad_name(host: str) -> str | None:
    """What is wrong with a host name, None when nothing is."""
    labels = host.split(".")
    if host.endswith("."):
        return "leave out the dot at the end of the URL's host"
    if _NUMBER.fullmatch(labels[-1]):
        return "the URL's host looks like a number; write an IPv4 address as four decimal numbers"
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        return "the URL's host is not a host name"
    if not all(_is_sane_idna(label) for label in labels if label.startswith("xn--")):
        return "the URL's host has a label xn--... that does not decode"
    return None


def _is_sane_idna(label: str) -> bool:
    """The label decodes to visible text that needed encoding, and encodes to itself again."""
    try:
        text = label[4:].encode("ascii").decode("punycode")
        return text.isprintable() and not text.isascii() and text.encode("punycode") == label[4:].encode("ascii")
    except (UnicodeError, ValueError, OverflowError):
        return False


def _forbidden(character: str) -> str:
    if character == "#":
        return "a URL that is called has no fragment; leave out # and what follows"
    if character > "\x7e":
        return "the URL is not ASCII; write the host in its xn-- form and the path percent-encoded"
    return "the URL has a character that must be percent-encoded, or a control character"


def _with_port(address: Address, port: int) -> str:
    return f"[{address}]:{port}" if isinstance(address, IPv6Address) else f"{address}:{port}"


def _bad(message: str) -> Refusal:
    return Refusal(reason=AttemptReason.CONFIG_ERROR, message=message)


def _denied(message: str) -> Refusal:
    return Refusal(reason=AttemptReason.DENIED_ADDRESS, message=message)
