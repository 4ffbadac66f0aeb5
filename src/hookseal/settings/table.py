"""The table of settings. One row is one key of `hookseal.toml`; adding a setting is one row and one field.

From the rows come the TOML keys, the environment names, `hookseal config show` and docs/settings.md. Defaults stand in
`model.py`, where code that makes settings by hand needs them too; a row finds its own.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from typing import Any, Final

from hookseal.settings.kinds import (
    Id,
    KeyringPlace,
    Kind,
    Listen,
    ListOf,
    Network,
    NetworkOrProvider,
    Number,
    OneOf,
    PublicUrl,
    Secret,
    StoreUrl,
    Switch,
    Text,
    Whole,
)
from hookseal.settings.model import (
    ApiSettings,
    EgressSettings,
    EndpointSettings,
    ServerSettings,
    SourceSettings,
    StoreSettings,
)
from hookseal.settings.tables import Handshake, HeaderTable, Options, Retry, Signing


class Section(StrEnum):
    """The tables of the file. SOURCE and ENDPOINT are arrays of tables."""

    SERVER = "server"
    STORE = "store"
    API = "api"
    EGRESS = "egress"
    SOURCE = "source"
    ENDPOINT = "endpoint"

    @property
    def repeats(self) -> bool:
        return self in (Section.SOURCE, Section.ENDPOINT)


SHAPES: Final[Mapping[Section, type[Any]]] = {
    Section.SERVER: ServerSettings,
    Section.STORE: StoreSettings,
    Section.API: ApiSettings,
    Section.EGRESS: EgressSettings,
    Section.SOURCE: SourceSettings,
    Section.ENDPOINT: EndpointSettings,
}

REQUIRED: Final = object()
"""The default of a row that has none."""


@dataclass(frozen=True, slots=True)
class Row:
    """One setting.

    unit     of a number, "" for all else.
    secret   the value is masked wherever it is shown.
    without  what to do where the row is needed and missing.
    unless   the key of the same table in whose presence the row is not needed.
    field    the name of the field in the model; "" where it is the row's own.
    """

    section: Section
    name: str
    kind: Kind
    help: str
    unit: str = ""
    secret: bool = False
    without: str = ""
    unless: str = ""
    field: str = ""

    @property
    def attribute(self) -> str:
        return self.field or self.name

    @property
    def default(self) -> Any:
        """The default of the row's field; REQUIRED when it has none."""
        for field in fields(SHAPES[self.section]):
            if field.name == self.attribute:
                if field.default is not MISSING:
                    return field.default
                return REQUIRED if field.default_factory is MISSING else field.default_factory()
        return REQUIRED

    @property
    def variable(self) -> str | None:
        """The environment variable that overrides the key; None where one variable could not say it."""
        if self.section.repeats or self.secret:
            return None
        return f"HOOKSEAL_{self.section.upper()}_{self.name.upper()}"


_S, _D, _A, _E = Section.SERVER, Section.STORE, Section.API, Section.EGRESS
_IN, _OUT = Section.SOURCE, Section.ENDPOINT
_MIB = 1_048_576

ROWS: Final[tuple[Row, ...]] = (
    Row(_S, "listen", Listen(), "Where requests are received."),
    Row(
        _S,
        "manage_listen",
        Listen(),
        "A second address to which API, dashboard, metrics and health move. Unset: they share `listen`.",
    ),
    Row(_S, "public_url", PublicUrl(), "What providers call. Needed by schemes that sign the URL."),
    Row(
        _S,
        "trusted_proxies",
        ListOf(Network()),
        "Proxies whose `X-Forwarded-For` counts; it is read from the right, and ignored from anyone else.",
    ),
    Row(_S, "max_body_bytes", Whole(1, 16 * _MIB), "The largest body; a larger one is answered 413.", "bytes"),
    Row(_S, "max_headers", Whole(1, 1000), "The most header lines of one request; more are answered 431."),
    Row(_S, "max_header_bytes", Whole(1024, _MIB), "The size of all headers together; more is answered 431.", "bytes"),
    Row(_S, "header_timeout_s", Number(0.1, 300), "How long a client may take for its headers.", "seconds"),
    Row(
        _S,
        "keep_alive_s",
        Number(1, 3600),
        "How long a connection may be idle between two requests. Longer than the proxies in front keep theirs. Counts with "
        "`trusted_proxies` only, and then for headers too; otherwise an idle connection ends after `header_timeout_s`.",
        "seconds",
    ),
    Row(_S, "body_timeout_s", Number(0.1, 300), "How long a client may take for its body.", "seconds"),
    Row(
        _S,
        "answer_timeout_s",
        Number(0.1, 300),
        "How long storing may take after the body is there; then 503, and the provider tries again.",
        "seconds",
    ),
    Row(
        _S,
        "max_reading",
        Whole(1, 100_000),
        "Requests whose bodies are arriving at once. One more takes the place of a request of a client or source that "
        "has many more, or of a slow one, which is answered 408; if there is none, it is answered 503.",
    ),
    Row(
        _S,
        "max_in_flight",
        Whole(1, 100_000),
        "Complete requests being judged or stored at once; one more is answered 503. Clients and sources that have less "
        "than a quarter of them may have a quarter more.",
    ),
    Row(
        _S,
        "leave_s",
        Number(0, 600),
        "How long after SIGTERM requests are still taken, while `/readyz` says no and each answer ends its connection. "
        "Behind a load balancer: longer than its checks are apart.",
        "seconds",
    ),
    Row(_S, "drain_s", Number(0, 3600), "How long requests and deliveries may finish after SIGTERM.", "seconds"),
    Row(
        _S,
        "check_clock",
        Switch(),
        "Compares this machine's clock with the database, the hosts that are called, the store and the release date. "
        "False if this clock is right and they are wrong.",
    ),
    Row(
        _S,
        "issuer_key_days",
        Whole(1, 3650),
        "After how many days of signing the key of our own issuer of tokens is followed by another. A new key is published "
        "a day before it signs.",
        "days",
    ),
    Row(_D, "url", StoreUrl(), "The store. A relative path counts from the configuration file."),
    Row(
        _D,
        "keyring",
        KeyringPlace(),
        "The keys that seal bodies and secrets at rest. The file is made, mode 0600, only together with a new store.",
        secret=True,
    ),
    Row(
        _D,
        "retain_days",
        Whole(1, 36_500),
        "How long the bytes of a request are kept after the last delivery of its events has ended, and a refused request "
        "after it came. Nothing that is still to be delivered is ever removed.",
        "days",
    ),
    Row(
        _D,
        "retain_metadata_days",
        Whole(1, 36_500),
        "How long events without their bytes, deliveries and attempts are kept, counted in the same way; at least "
        "`retain_days`.",
        "days",
    ),
    Row(
        _D,
        "pending_days",
        Whole(1, 36_500),
        "How long a delivery waits, after it was due, for an endpoint that is not configured or has not consented. Then it "
        "is dead.",
        "days",
    ),
    Row(_D, "dedupe_days", Whole(1, 36_500), "How long a repeated request is recognised.", "days"),
    Row(
        _D,
        "create",
        Switch(),
        "Whether a store that is not there is created. Set it to false after the first start: then a volume that is not "
        "mounted, or a wrong database, is refused instead of being taken for a new installation.",
    ),
    Row(
        _D,
        "start_timeout_s",
        Number(0, 86_400),
        "How long the start waits for a PostgreSQL that cannot be reached. Meanwhile requests and `/readyz` are "
        "answered 503. After it the process ends with exit code 1.",
        "seconds",
    ),
    Row(
        _A,
        "keys",
        ListOf(Secret(), 100),
        "Bearer keys of the management API. None: the API is off, except on loopback with `--dev`.",
        secret=True,
    ),
    Row(
        _E,
        "allow",
        ListOf(Text("CIDR, or CIDR:PORT", 100)),
        "Networks that outgoing calls may reach although they are private, loopback, link-local or reserved. With a "
        "port, as in `10.20.0.0/16:8443`, only that port.",
    ),
    Row(_E, "allow_http", Switch(), "Lets outgoing URLs be http instead of https. For tests."),
    Row(_IN, "id", Id(), "Names the source; it receives at `/in/ID`.", without="name the source"),
    Row(
        _IN,
        "provider",
        Id(),
        "An id of `hookseal providers`.",
        without="name its provider; `hookseal providers` lists them",
    ),
    Row(
        _IN,
        "secrets",
        ListOf(Secret(), 100),
        "What the provider signs with. Several while a secret rotates, the newest first.",
        secret=True,
    ),
    Row(
        _IN,
        "retired_secrets",
        ListOf(Secret(), 100),
        "Secrets rotated out. Never accepted.",
        secret=True,
    ),
    Row(_IN, "unsigned", Switch(), "Accepts requests without any proof; only together with `addresses`."),
    Row(
        _IN,
        "addresses",
        ListOf(NetworkOrProvider()),
        "Networks that may call, or a provider id for its published list. Adds to the proof, never replaces it.",
    ),
    Row(
        _IN,
        "max_age_s",
        Whole(1, 315_360_000),
        "The oldest proof that is accepted, where it carries a time. Unset: what the provider's documents state.",
        "seconds",
    ),
    Row(
        _IN,
        "stale",
        OneOf(("refuse", "hold")),
        "What becomes of a genuine request older than `max_age_s`: `refuse` it, or `hold` it in quarantine, answered as "
        "accepted and not delivered until someone releases it.",
    ),
    Row(
        _IN,
        "max_body_bytes",
        Whole(1, 16 * _MIB),
        "The largest body of this source. Unset: `max_body_bytes` of `[server]`.",
        "bytes",
    ),
    Row(_IN, "options", Options(), "Options of the provider; `hookseal providers ID` tells what each means."),
    Row(_OUT, "id", Id(), "Names the endpoint.", without="name the endpoint"),
    Row(_OUT, "url", Text("URL"), "Where events are posted.", without="write where its events go"),
    Row(
        _OUT,
        "signing",
        Signing(),
        'How deliveries are signed: a signing scheme, or "none". There is no default, so that nobody sends unsigned by '
        "mistake.",
        secret=True,
        without='write { scheme = "standard_webhooks", secret = "env:NAME" }, or { scheme = "none" }',
        unless="as",
    ),
    Row(_OUT, "sources", ListOf(Text("id or glob", 200)), "The sources whose events go here."),
    Row(_OUT, "types", ListOf(Text("glob", 200)), "The event types that go here, as globs over the normalised type."),
    Row(_OUT, "format", Text("name", 64), "What is posted: `cloudevents`, `json`, `xml` or `original`."),
    Row(_OUT, "retry", Retry(), "When a failed delivery is tried again."),
    Row(
        _OUT,
        "handshake",
        Handshake(),
        "How the endpoint consents before it is called. `cloudevents` asks by an OPTIONS call, and posts nothing until "
        "the answer is a consent; the rate that it grants is kept to.",
    ),
    Row(_OUT, "timeout_s", Number(0.1, 30), "How long one try may take.", "seconds"),
    Row(_OUT, "concurrency", Whole(1, 1000), "How many tries run at once."),
    Row(_OUT, "headers", HeaderTable(), "Headers that are added to every call.", secret=True),
    Row(
        _OUT,
        "as",
        Id("provider id: `zignsec`, `bankid_antifraud`, `seal_id` or `idenfy`"),
        "Sends as that provider does: presets format, headers, signing, retry, statuses, timeout_s and handshake, and "
        "posts the event's payload. Keys that are written override what is preset.",
        field="acting_as",
    ),
    Row(
        _OUT,
        "rate_per_min",
        Whole(1, 1_000_000),
        "How many calls are begun in any minute at most, retries counted. Unset: no bound but what a handshake grants.",
        "calls per minute",
    ),
    Row(
        _OUT,
        "batch",
        Whole(1, 5000),
        "How many events one call may carry. From 2 on every call has a JSON array of CloudEvents "
        "(`application/cloudevents-batch+json`), even for one event, and the answer counts for all of them; of a call "
        "that is refused for good each event is sent once more by itself.",
        "events",
    ),
)


PRESET: Final = frozenset({"format", "signing", "retry", "timeout_s", "handshake"})
"""Keys of an endpoint that `as` presets."""


def rows_of(section: Section) -> tuple[Row, ...]:
    return tuple(row for row in ROWS if row.section is section)
