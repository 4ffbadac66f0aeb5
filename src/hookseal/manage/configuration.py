"""Settings that are fit to run: what reading found, and what takes a provider, a scheme or a policy to judge.

`load` is for whoever starts something: the first fault ends it. `judge` is for `hookseal check`: all faults, all
warnings, and whether the store could be opened, without writing a byte. Both judge by the same rules.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hookseal import catalogue
from hookseal.delivery import policy
from hookseal.egress.headers import check_header
from hookseal.egress.policy import EgressPolicy, Refusal, parse_allowed
from hookseal.errors import ConfigurationError
from hookseal.settings import EndpointSettings, Overrides, Settings, SourceSettings, read
from hookseal.settings.keyring import read_keyring
from hookseal.settings.kinds import host_and_port, is_network
from hookseal.settings.reading import COMMAND_LINE, key_of, nearest
from hookseal.settings.secrets import Unfit
from hookseal.settings.table import Section

_SQLITE_MAGIC = b"SQLite format 3\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What `hookseal check` has to say. place: the file; warnings are whole lines."""

    place: str
    settings: Settings | None
    faults: tuple[ConfigurationError, ...]
    warnings: tuple[str, ...]


def load(
    path: Path | None = None,
    *,
    listen: str | None = None,
    data: Path | None = None,
    dev: bool = False,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Settings that are fit to run. ConfigurationError, the first fault, when they are not.

    path    the file; None takes `./hookseal.toml`, which only `dev` may do without.
    listen, data, dev  what the command line says.
    """
    judgement = judge(path, listen=listen, data=data, dev=dev, environ=environ, look_at_store=False)
    if judgement.faults or judgement.settings is None:
        raise judgement.faults[0]
    return judgement.settings


def judge(
    path: Path | None = None,
    *,
    listen: str | None = None,
    data: Path | None = None,
    dev: bool = False,
    environ: Mapping[str, str] | None = None,
    look_at_store: bool = True,
) -> Judgement:
    """Every fault and warning. Writes nothing, connects to nothing, never raises for what it finds."""
    reading = read(path, Overrides(listen=listen, data=data, dev=dev), environ)
    faults, warnings = list(reading.faults), list(reading.warnings)
    if reading.settings is not None:
        rules = _Rules(reading.place, reading.settings, faults, warnings)
        rules.judge()
        if look_at_store:
            rules.judge_store(COMMAND_LINE if data is not None else reading.place)
    return Judgement(place=reading.place, settings=reading.settings, faults=tuple(faults), warnings=tuple(warnings))


class _Rules:
    def __init__(self, place: str, settings: Settings, faults: list[ConfigurationError], warnings: list[str]) -> None:
        self.place = place
        self.settings = settings
        self.faults = faults
        self.warnings = warnings

    def judge(self) -> None:
        self._judge_server()
        egress = self._egress()
        for source in self.settings.sources:
            self._judge_source(source, egress)
        for endpoint in self.settings.endpoints:
            self._judge_endpoint(endpoint, egress)

    def _judge_server(self) -> None:
        server, store = self.settings.server, self.settings.store
        url = server.public_url
        if (
            url is not None
            and url.startswith("http:")
            and not self.settings.egress.allow_http
            and not _is_loopback(url)
        ):
            self._fault("[server] public_url", "write an https URL; providers send personal data to it")
        if server.manage_listen is not None and server.manage_listen == server.listen:
            self._fault("[server] manage_listen", "give it another port than `listen`, or leave it out")
        if any(network.endswith("/0") for network in server.trusted_proxies):
            self._warn("[server] trusted_proxies", "lets anyone say what his address is; name your proxies only")
        if store.dedupe_days < store.retain_days:
            self._warn("[store] dedupe_days", "is shorter than retain_days; repeated requests become new events early")

    def _egress(self) -> EgressPolicy:
        """The policy that outgoing URLs are judged by. Items of `allow` that cannot be read are told and left out."""
        egress = self.settings.egress
        allow: list[str] = []
        for number, text in enumerate(egress.allow):
            try:
                parse_allowed(text)
            except ValueError:
                remedy = "write a network such as 10.20.0.0/16, with no address bits set behind the prefix, or 10.20.0.0/16:8443"
                self._fault(f"[egress] allow[{number}]", remedy)
            else:
                allow.append(text)
        return EgressPolicy(allow=tuple(allow), allow_http=egress.allow_http)

    def _judge_source(self, source: SourceSettings, egress: EgressPolicy) -> None:
        def key(name: str) -> str:
            return key_of(Section.SOURCE, name, source.id)

        try:
            provider = catalogue.provider(source.provider)
        except ConfigurationError:
            self._fault(key("provider"), f"no such provider; {nearest(source.provider, list(catalogue.ids()))}")
            return
        self._told(key("options"), lambda: provider.bind(source.options, max_age_s=source.max_age_s))
        for number, text in enumerate(source.addresses):
            if not is_network(text):
                self._judge_published(key(f"addresses[{number}]"), text)
        if source.unsigned and not source.addresses:
            self._fault(key("unsigned"), "name the networks that may call in `addresses`, or let requests be proven")

    def _judge_published(self, key: str, text: str) -> None:
        pass

    def _judge_endpoint(self, endpoint: EndpointSettings, egress: EgressPolicy) -> None:
        def key(name: str) -> str:
            return key_of(Section.ENDPOINT, name, endpoint.id)

        judged = egress.judge_url(endpoint.url)
        if isinstance(judged, Refusal):
            self._fault(key("url"), judged.message)
        for name, value in endpoint.headers.items():
            if problem := check_header(name, value):
                self._fault(key("headers"), problem)
        self._told(key("retry"), lambda: policy.parse(endpoint.retry))
        known = {source.id for source in self.settings.sources}
        for name in endpoint.sources:
            if not set(name) & set("*?[") and name not in known:
                self._warn(key("sources"), f"names {name!a}, and no [[source]] has this id")

    def _told(self, key: str, act: Callable[[], object]) -> None:
        """Do what may find a fault of its own, and tell it at our place and key."""
        try:
            act()
        except ConfigurationError as fault:
            part = fault.key.rpartition(" ")[2]
            base, _, last = key.rpartition(" ")
            named = part if part.startswith(last) else f"{last}.{part}" if part else last
            self._fault(f"{base} {named}".strip(), fault.remedy)

    # --- the store, looked at from outside ---------------------------------------------------------------------------

    def judge_store(self, place: str) -> None:
        for key, remedy in self._store_faults():
            self.faults.append(ConfigurationError(place, key, remedy))

    def _store_faults(self) -> Iterator[tuple[str, str]]:
        store = self.settings.store
        folder, exists = store.path.parent, os.path.lexists(store.path)
        if not folder.is_dir():
            yield "[store] url", "the folder of the store is not there; make it or name another"
        elif not os.access(folder, os.W_OK | os.X_OK):
            yield "[store] url", "the folder of the store cannot be written by this user; change its owner or mode"
        elif exists and (problem := _not_a_store(store.path)):
            yield "[store] url", problem
        try:
            keyring = read_keyring(store)
        except Unfit as unfit:
            yield "[store] keyring", unfit.remedy
            return
        if keyring is not None or store.key_path is None:
            return
        if exists and store.path.is_file() and store.path.stat().st_size:
            yield "[store] keyring", "the store is there and its key file is not; restore the key file from a backup"
        elif not os.access(store.key_path.parent, os.W_OK | os.X_OK):
            yield (
                "[store] keyring",
                "the key file cannot be made in its folder; make the folder, or change owner or mode",
            )

    def _fault(self, key: str, remedy: str) -> None:
        self.faults.append(ConfigurationError(self.place, key, remedy))

    def _warn(self, key: str, warning: str) -> None:
        self.warnings.append(f"{self.place}: {key}: {warning}")


def _not_a_store(path: Path) -> str | None:
    try:
        if not path.is_file():
            return "it is not a file; name another"
        if not os.access(path, os.R_OK | os.W_OK):
            return "the store cannot be read and written by this user; change its owner or mode"
        with path.open("rb") as file:
            head = file.read(len(_SQLITE_MAGIC))
    except OSError:
        return "the store cannot be read; change its owner or mode"
    return None if head in (b"", _SQLITE_MAGIC) else "the file is not an SQLite database; name another"


def _is_loopback(url: str) -> bool:
    authority = url.partition("://")[2].partition("/")[0]
    host, _ = host_and_port(authority if ":" in authority.rpartition("]")[2] else f"{authority}:80") or ("", 0)
    return host in ("localhost", "::1") or host.startswith("127.")
