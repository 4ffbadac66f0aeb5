"""The effective settings as values: what the rest of the gateway is handed. How they are read is `reading.py`.

Everything here is resolved: secrets are exact bytes, paths are absolute, text that stands for a list is a tuple.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from hookseal.model import EndpointId, ProviderId, SourceId

SQLITE = "sqlite:///"
FILE = "file:"
ENV = "env:"


@cache
def _lists_of(shape: Any) -> Mapping[str, type[Any]]:
    """Return the names of the fields that hold a list, and the type of their items."""
    items = {}
    for name, hint in get_type_hints(shape).items():
        for candidate in (hint, *get_args(hint)):  # the second for `tuple[str, ...] | None`
            if get_origin(candidate) is tuple:
                items[name] = get_args(candidate)[0]
    return items


class ChecksLists:
    """Base of settings that refuses a text in place of a list, and items of another type.

    Iterated, a text is the list of its characters: each character of a secret would be a live secret, and
    `types="identity.*"` would hold `*`. Settings read from a file are checked before; this is for settings made in code.
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        shape: Any = type(self)
        for name, item in _lists_of(shape).items():
            values = getattr(self, name)
            if values is None:
                continue
            accepted = (int, float) if item is float else (item,)
            if not isinstance(values, tuple | list) or not all(isinstance(value, accepted) for value in values):
                raise TypeError(f"{type(self).__name__}: {name} is a tuple of {item.__name__}; write {name}=(...,)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings(ChecksLists):
    listen: str = "127.0.0.1:8400"
    manage_listen: str | None = None
    public_url: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    max_body_bytes: int = 2_097_152
    max_headers: int = 100
    max_header_bytes: int = 32_768
    header_timeout_s: float = 10.0
    keep_alive_s: float = 75.0
    body_timeout_s: float = 10.0
    answer_timeout_s: float = 5.0
    max_reading: int = 1024
    max_in_flight: int = 256
    leave_s: float = 0.5
    drain_s: float = 10.0
    check_clock: bool = True
    issuer_key_days: int = 90

    @property
    def head_timeout_s(self) -> float:
        """Of the timer that the HTTP server has for both: headers, and idle connections (docs/design/002)."""
        # A trusted proxy reads the headers of its clients before it connects, so that the longer time harms nothing.
        return max(self.header_timeout_s, self.keep_alive_s) if self.trusted_proxies else self.header_timeout_s


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """url: `sqlite:///relative`, `sqlite:////absolute` or `postgresql://…`, which may hold a password; keyring:
    `file:PATH`, `env:NAME` or the keyring's own text."""

    url: str = field(default="sqlite:///hookseal.db", repr=False)
    keyring: str = field(default="file:hookseal.key", repr=False)
    retain_days: int = 30
    retain_metadata_days: int = 90
    dedupe_days: int = 400
    pending_days: int = 30
    create: bool = True
    start_timeout_s: float = 60.0

    @property
    def is_embedded(self) -> bool:
        """A file of this machine, made when it is not there; else a PostgreSQL database."""
        return self.url.startswith(SQLITE)

    @property
    def path(self) -> Path:
        """The SQLite file. Of an embedded store only."""
        return Path(self.url.removeprefix(SQLITE))

    @property
    def key_path(self) -> Path | None:
        """The keyring's file; None when the keyring is given another way."""
        return Path(self.keyring.removeprefix(FILE)) if self.keyring.startswith(FILE) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings(ChecksLists):
    keys: tuple[bytes, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressSettings(ChecksLists):
    allow: tuple[str, ...] = ()
    allow_http: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings(ChecksLists):
    """secrets are exact bytes, `env:` and `file:` already resolved; options are checked against the provider's entry."""

    id: SourceId
    provider: ProviderId
    secrets: tuple[bytes, ...] = field(default=(), repr=False)
    retired_secrets: tuple[bytes, ...] = field(default=(), repr=False)
    unsigned: bool = False
    addresses: tuple[str, ...] = ()
    max_age_s: int | None = None
    stale: str = "refuse"
    max_body_bytes: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningSettings(ChecksLists):
    """scheme: a signing scheme of the catalogue, or "none"; "" leaves it to the provider that the endpoint acts as.

    options  for tokens of our own issuer: audience, issuer, tenant.
    """

    scheme: str
    secrets: tuple[bytes, ...] = field(default=(), repr=False)
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeSettings:
    """How an endpoint consents before it is called.

    kind          "none", or "cloudevents" for the OPTIONS call of CloudEvents' web hooks.
    origin        who we say that we are; None takes the provider's that the endpoint acts as, else our public host.
    request_rate  requests per minute that we ask for; None asks for nothing.
    callback      whether consent may also come later, by a call to a URL of ours.
    """

    kind: str = "none"
    origin: str | None = None
    request_rate: int | None = None
    callback: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings(ChecksLists):
    """A retry policy by name, or by its own table. success and permanent are statuses or ranges: "2xx", "200-204", 410."""

    policy: str = "standard"
    delays_s: tuple[float, ...] | None = None
    success: tuple[str, ...] | None = None
    permanent: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSettings(ChecksLists):
    """One outbound registration, as it was written.

    acting_as  the key `as`: the provider whose way of sending holds for every key that is not in `given`.
    given      the keys that were written, `retry.policy` among them where the table `retry` names one. They matter
               only together with `acting_as`; `delivery.presets` settles the two.
    """

    id: EndpointId
    url: str
    signing: SigningSettings = SigningSettings(scheme="")
    sources: tuple[str, ...] = ("*",)
    types: tuple[str, ...] = ("*",)
    format: str = "cloudevents"
    retry: RetrySettings = RetrySettings()
    handshake: HandshakeSettings = HandshakeSettings()
    timeout_s: float = 15.0
    concurrency: int = 16
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    acting_as: ProviderId | None = None
    rate_per_min: int | None = None
    batch: int = 1
    given: frozenset[str] = field(default=frozenset(), compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(ChecksLists):
    """Everything. `file` is what it was read from, None when it was made in code; relative paths count from its folder."""

    file: Path | None = None
    server: ServerSettings = ServerSettings()
    store: StoreSettings = StoreSettings()
    api: ApiSettings = ApiSettings()
    egress: EgressSettings = EgressSettings()
    sources: tuple[SourceSettings, ...] = ()
    endpoints: tuple[EndpointSettings, ...] = ()
