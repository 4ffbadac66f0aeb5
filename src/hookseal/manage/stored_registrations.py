"""Reads the registrations of the API from their stored values.

One that this version cannot use is set aside by itself, so that it stops neither the gateway nor the others: its seal is
broken, a later version wrote it, or the rules of this version refuse it. Nothing is resolved or called.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from hookseal.clock import Instant
from hookseal.delivery.endpoint import build as build_endpoint
from hookseal.egress.policy import EgressPolicy
from hookseal.errors import ConfigurationError
from hookseal.logs import get_logger
from hookseal.manage import registration
from hookseal.manage.record import FORMAT, Record, Written
from hookseal.receive.source import build as build_source
from hookseal.settings import EndpointSettings, SourceSettings
from hookseal.settings.reading import read_table
from hookseal.settings.table import Section, rows_of

log = get_logger(__name__)

SHELVES: Mapping[Section, str] = {Section.SOURCE: "sources", Section.ENDPOINT: "endpoints"}

Row = SourceSettings | EndpointSettings

SHADOWED = "is not in force, because the configuration file has its id; delete it, or choose another id in the file"
_ANY_BODY_BYTES: Final = 1
_LONGEST_NAME: Final = 64


@dataclass(frozen=True, slots=True)
class UnreadableRegistration:
    """A registration that this version cannot use.

    key      the setting that is the reason, "" for the whole registration.
    problem  what is wrong and what to do, without full stop and without a secret.
    written  what could be decoded; None where nothing could.
    """

    section: Section
    id: str
    key: str
    problem: str
    written: Written | None = field(default=None, repr=False)

    @property
    def table(self) -> Mapping[str, Any]:
        return {} if self.written is None else self.written.record.table

    @property
    def sentence(self) -> str:
        return f"{self.key}: {self.problem}" if self.key else self.problem


@dataclass(frozen=True, slots=True)
class ShadowedRegistration:
    """A registration of the API whose id the configuration file has too. The file's is in force, and this one is not."""

    section: Section
    id: str
    registration: Row | UnreadableRegistration = field(repr=False)

    @property
    def problem(self) -> str:
        return SHADOWED


class RegistrationReader:
    """Remembers what it has judged: most registrations are the same at the next look."""

    def __init__(self, egress: EgressPolicy, public_url: str | None) -> None:
        self._egress = egress
        self._public_url = public_url
        self._rows: dict[tuple[Section, str], tuple[Mapping[str, Any], Row | UnreadableRegistration]] = {}

    def read(self, section: Section, id: str, value: bytes | None) -> Written | UnreadableRegistration:
        """Decode a stored value. None is a value that does not open."""
        if value is None:
            problem = "does not open under the keyring; give the keyring that it was written with, or register it again"
            return UnreadableRegistration(section, id, "", problem)
        try:
            record = msgspec.json.decode(value, type=Record)
        except msgspec.MsgspecError:
            problem = "was not written by this version of hookseal; use the version that wrote it, or register it again"
            return UnreadableRegistration(section, id, "", problem)
        if record.format > FORMAT:
            problem = "was written by a later version of hookseal; use that version, or register it again"
            return UnreadableRegistration(section, id, "", problem)
        return Written(section, record)

    def unreadable(
        self, section: Section, values: Mapping[str, bytes | None], now: Instant
    ) -> Iterator[UnreadableRegistration]:
        """Find those of a section's stored values that cannot be used."""
        for id, value in sorted(values.items()):
            written = self.read(section, id, value)
            found = written if isinstance(written, UnreadableRegistration) else self.row(id, written, now)
            if isinstance(found, UnreadableRegistration):
                yield found

    def row(self, id: str, written: Written, now: Instant) -> Row | UnreadableRegistration:
        """Return the settings as they count at a moment."""
        table, place = written.in_force(now), (written.section, id)
        known = self._rows.get(place)
        if known is not None and known[0] == table:
            return known[1]
        row: Row | UnreadableRegistration
        try:
            row = self._judged(id, written, table)
        except Exception as error:  # one registration, whatever is wrong with it, must not stop the gateway
            log.error("registration not judged", exc_info=error)
            row = UnreadableRegistration(written.section, id, "", "cannot be used by this version of hookseal", written)
        self._rows[place] = (table, row)
        return row

    def _judged(self, id: str, written: Written, table: Mapping[str, Any]) -> Row | UnreadableRegistration:
        section = written.section
        # A setting that this version does not know may be one that protects: the rest of the table is not used without it.
        unknown = sorted(table.keys() - {row.name for row in rows_of(section)})
        if unknown:
            problem = "is not known to this version of hookseal; use a later version, or register it again"
            return UnreadableRegistration(section, id, unknown[0][:_LONGEST_NAME], problem, written)
        row, found = read_table(section, table)
        faults = list(found)
        if row is not None and row.id != id:
            faults = [("id", "is not the name that it is stored under; register it again")]
        elif isinstance(row, SourceSettings):
            faults = [*registration.judge_source(row, self._egress, public_url=self._public_url)]
        elif isinstance(row, EndpointSettings):
            # Without the sources: one that was added later may not take an endpoint out of service.
            faults = [*registration.judge(row, self._egress, public_url=self._public_url)]
        if faults or row is None:
            key, problem = faults[0]
            return UnreadableRegistration(section, id, key, problem, written)
        try:
            if isinstance(row, SourceSettings):
                build_source(row, _ANY_BODY_BYTES)
            else:
                build_endpoint(row)
        except ConfigurationError as fault:
            return UnreadableRegistration(section, id, fault.key, fault.remedy, written)
        return row
