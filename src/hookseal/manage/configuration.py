"""Settings that are fit to run: what reading found, and what takes a provider, a scheme or a policy to judge.

`load` is for whoever starts something: the first fault ends it. `judge` is for `hookseal check`: all faults, all
warnings, and whether the store could be opened, without writing a byte. Both judge by the same rules.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hookseal.egress.policy import EgressPolicy, parse_allowed
from hookseal.errors import ConfigurationError
from hookseal.manage import registration
from hookseal.manage.store_place import is_absent_beside_keys, store_faults
from hookseal.sealing import Keyring
from hookseal.settings import EndpointSettings, Overrides, Settings, SourceSettings, read
from hookseal.settings.kinds import host_and_port
from hookseal.settings.reading import COMMAND_LINE, key_of
from hookseal.settings.table import Section

_DAY_S = 86_400


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
        for row, keys in reading.flawed:
            rules.judge_rest(row, keys)
        if look_at_store:
            place = COMMAND_LINE if data is not None else reading.place
            faults += [ConfigurationError(place, key, remedy) for key, remedy in store_faults(reading.settings.store)]
            if is_absent_beside_keys(reading.settings.store):
                warnings.append(
                    f"{place}: [store] url: the keys are there and the store is not; after the first start this means that "
                    "its volume is not mounted, or that the URL names another one"
                )
    return Judgement(place=reading.place, settings=reading.settings, faults=tuple(faults), warnings=tuple(warnings))


class _Rules:
    def __init__(self, place: str, settings: Settings, faults: list[ConfigurationError], warnings: list[str]) -> None:
        self.place = place
        self.has_flawed_sources = any(fault.key.startswith(f"[[{Section.SOURCE}]]") for fault in faults)
        self.settings = settings
        self.faults = faults
        self.warnings = warnings

    def judge(self) -> None:
        self._judge_server()
        egress = self._egress()
        if not self.settings.sources and not self.has_flawed_sources:
            self._warn("[[source]]", "there is none; requests are received only for sources made through the API")
        for source in self.settings.sources:
            self._judge_source(source, egress)
        for endpoint in self.settings.endpoints:
            self._judge_endpoint(endpoint, egress)

    def judge_rest(self, row: SourceSettings | EndpointSettings, flawed: frozenset[str]) -> None:
        """Judge a table of which some keys have a fault: what is wrong with its other keys."""
        rest = _Rules(self.place, self.settings, [], [])
        section = Section.SOURCE if isinstance(row, SourceSettings) else Section.ENDPOINT
        if isinstance(row, SourceSettings):
            rest._judge_source(row, rest._egress())
        else:
            rest._judge_endpoint(row, rest._egress())
        own = key_of(section, "", row.id)
        for fault in rest.faults:
            key = fault.key.removeprefix(own).strip()
            if fault.key.startswith(own) and re.split(r"[.\[]", key)[0] not in flawed:
                self.faults.append(fault)

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
        if store.key_path is None:
            try:
                Keyring.parse(store.keyring)
            except ValueError:
                self._fault("[store] keyring", "write file:PATH, or a keyring of `kid:base64 of 32 bytes` a line")
        if any(network.endswith("/0") for network in server.trusted_proxies):
            self._warn("[server] trusted_proxies", "lets anyone say what his address is; name your proxies only")
        if store.retain_metadata_days < store.retain_days:
            self._warn("[store] retain_metadata_days", "is shorter than retain_days, which counts; make it as long")
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
        key = partial(key_of, Section.SOURCE, which=source.id)
        for name, remedy in registration.judge_source(source, egress, public_url=self.settings.server.public_url):
            self._fault(name if name.startswith("[") else key(name), remedy)
        for name, warning in registration.source_warnings(source):
            self._warn(key(name), warning)
        dedupe_s = self.settings.store.dedupe_days * _DAY_S
        if source.max_age_s is not None and source.max_age_s > dedupe_s:
            self._warn(key("max_age_s"), "is longer than [store] dedupe_days; an old request again becomes a new event")

    def _judge_endpoint(self, endpoint: EndpointSettings, egress: EgressPolicy) -> None:
        key = partial(key_of, Section.ENDPOINT, which=endpoint.id)
        settings = self.settings
        faults = [
            *registration.judge(endpoint, egress, sources=settings.sources, public_url=settings.server.public_url)
        ]
        for name, remedy in faults:
            self._fault(key(name), remedy)
        for name, warning in registration.warnings(endpoint, settings.sources, egress) if not faults else ():
            self._warn(key(name), warning)

    def _fault(self, key: str, remedy: str) -> None:
        self.faults.append(ConfigurationError(self.place, key, remedy))

    def _warn(self, key: str, warning: str) -> None:
        self.warnings.append(f"{self.place}: {key}: {warning}")


def _is_loopback(url: str) -> bool:
    authority = url.partition("://")[2].partition("/")[0]
    host, _ = host_and_port(authority if ":" in authority.rpartition("]")[2] else f"{authority}:80") or ("", 0)
    return host in ("localhost", "::1") or host.startswith("127.")
