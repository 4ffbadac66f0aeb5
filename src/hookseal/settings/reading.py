"""From `hookseal.toml`, the environment and the command line to `Settings`, and every fault on the way.

The later of the three wins, key by key. A table with a fault is left out of the settings and the rest is read on, so
that one run names all faults. The file is read once, and at most 1 MiB of it; whatever is in it, nothing but faults
comes out. Every fault is one sentence that names place, key and remedy, and holds no value.
"""

import difflib
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hookseal.errors import ConfigurationError
from hookseal.settings.kinds import Number, Switch, Whole
from hookseal.settings.model import FILE, SQLITE, EndpointSettings, Settings, SourceSettings
from hookseal.settings.secrets import Desk, Unfit, read_small
from hookseal.settings.table import REQUIRED, SHAPES, Row, Section, rows_of

DEFAULT_FILE = Path("hookseal.toml")
COMMAND_LINE = "command line"
ENVIRONMENT = "environment"

_MAX_FILE_BYTES = 1_048_576
# How messages of `tomllib` begin, and what to do. https://github.com/python/cpython/blob/3.13/Lib/tomllib/_parser.py
_SYNTAX = {
    "Expected '=' after a key": "a key needs `=` and a value behind it",
    "Expected ']' at the end of a table": "close the table's name with a bracket, as in [server]",
    "Expected ']]' at the end of an array": "close the table's name with two brackets, as in [[source]]",
    "Expected newline or end of document": "only a comment may follow a value on its line; is a quotation mark missing?",
    "Unterminated string": "a text is not closed; put a quotation mark at its end",
    "Illegal character": "a text is not closed on its line, or has a control character; put a quotation mark at its end",
    "Unclosed array": "a list is not closed; put commas between its items and a bracket at its end",
    "Unclosed inline table": "a table in braces is not closed; put commas between its keys and a brace at its end",
    "Invalid value": "there is no value; put text in quotation marks, and close a list with a bracket",
    "Invalid date or datetime": "this is no date; put text in quotation marks",
    "Invalid initial character for a key part": "a key begins with a letter, a digit, `-`, `_` or a quotation mark",
    "Invalid statement": "a line begins with a key, a table in brackets or `#`; is there an odd character?",
    "Found invalid character": "a control character; remove it",
    "Unescaped": "a backslash begins an escape here; write two, or put the text in single quotation marks",
    "Invalid hex value": "an escape with too few hexadecimal digits",
    "Escaped character is not": "an escape that stands for no character",
    "Cannot overwrite a value": "this key or table stands there twice",
    "Cannot declare": "this table stands there twice",
    "Cannot redefine": "this name is a table and a list of tables, or stands there twice",
    "Cannot mutate": "a table in braces cannot be added to, or stands there twice",
    "Duplicate inline table key": "this key stands there twice",
    "Exceeds the limit": "a number has too many digits",
}
_POSITION = re.compile(r"\(at ([a-z0-9 ,]+)\)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What the command line sets. data: the folder for `hookseal.db` and `hookseal.key`; dev: `--dev` of `serve`."""

    listen: str | None = None
    data: Path | None = None
    dev: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What came of reading. settings lacks every table that has a fault; None when nothing could be read at all.

    flawed  the tables that lack there, with the keys that have a fault; these have their defaults.
    """

    place: str
    settings: Settings | None
    faults: tuple[ConfigurationError, ...] = ()
    warnings: tuple[str, ...] = ()
    flawed: tuple[tuple[SourceSettings | EndpointSettings, frozenset[str]], ...] = ()


def read(
    path: Path | None,
    overrides: Overrides | None = None,
    environ: Mapping[str, str] | None = None,
) -> Reading:
    """Read the configuration. Never raises for what it finds.

    path     the file; None takes `./hookseal.toml`, which only `dev` may do without.
    environ  `os.environ` unless given.
    """
    overrides = overrides or Overrides()
    environ = os.environ if environ is None else environ
    file = path or DEFAULT_FILE
    if path is None and overrides.dev and not file.exists() and not file.is_symlink():
        return _Reader(None, overrides, environ).read({})
    try:
        document, mode = _document(file, named=path is not None)
    except Unfit as unfit:
        fault = ConfigurationError(_shown(str(file)), "", unfit.remedy)
        return Reading(place=fault.place, settings=None, faults=(fault,))
    return _Reader(file, overrides, environ, exposed=bool(mode & stat.S_IROTH)).read(document)


def read_table(
    section: Section, given: Mapping[str, Any]
) -> tuple[SourceSettings | EndpointSettings | None, tuple[tuple[str, str], ...]]:
    """One `[[source]]` or `[[endpoint]]` that came over the API, in the grammar of the file: the row and its faults.

    Faults are key and remedy, keys below the table: `signing.secret`, `types[2]`. The row is None when there are any.
    """
    reader = _Reader(None, Overrides(), {}, distant=True)
    row = reader.read_one(section, given)
    start = key_of(section, "", "")
    faults = tuple((fault.key.removeprefix(start).strip(), fault.remedy) for fault in reader.faults)
    return (None if faults else row), faults


def key_of(section: Section, name: str, which: str | int = "") -> str:
    """How a fault names a key: `[server] listen`, `[[source]] "idenfy-prod" secrets`, or `[[source]] #2 id`."""
    if not section.repeats:
        return f"[{section}] {name}".rstrip()
    label = f"#{which}" if isinstance(which, int) else f'"{which}"'
    return f"[[{section}]] {label} {name}".rstrip()


def nearest(unknown: str, known: list[str]) -> str:
    """The end of a sentence about an unknown name."""
    close = difflib.get_close_matches(unknown.lower(), known, 1, 0.5)
    return f"did you mean `{close[0]}`?" if close else f"known are {', '.join(known)}"


def _document(file: Path, named: bool) -> tuple[dict[str, Any], int]:
    """The tables of the file, and its mode."""
    if not named and not file.exists() and not file.is_symlink():
        raise Unfit("there is no configuration file here; write one, or name it with --config")
    content, mode = read_small(file, _MAX_FILE_BYTES)
    try:
        return tomllib.loads(content.decode("utf-8")), mode
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Unfit(f"line {line} is not UTF-8; save the file as UTF-8") from None
    except RecursionError:
        raise Unfit("it is nested too deeply; write plain tables") from None
    except ValueError as error:
        raise Unfit(_syntax_error(str(error))) from None


def _syntax_error(message: str) -> str:
    """Say what is wrong in words of ours: the parser's may quote the line, and the line may be a secret."""
    found = _POSITION.search(message)
    what = next((words for start, words in _SYNTAX.items() if message.startswith(start)), "the syntax is wrong")
    return f"it is not TOML{f' at {found[1]}' if found else ''}: {what}"


class _Reader:
    def __init__(
        self,
        file: Path | None,
        overrides: Overrides,
        environ: Mapping[str, str],
        *,
        exposed: bool = False,
        distant: bool = False,
    ) -> None:
        self.file = file
        self.overrides = overrides
        self.environ = environ
        self.exposed = exposed
        self.distant = distant
        self.folder = Path.cwd() if file is None else file.absolute().parent
        self.place = _shown("defaults" if file is None else str(file))
        self.faults: list[ConfigurationError] = []
        self.warnings: list[str] = []
        self.flawed: list[tuple[Any, frozenset[str]]] = []

    def read(self, document: Mapping[str, Any]) -> Reading:
        for name in document:
            if name not in list(Section):
                self._fault(_shown(f"[{name}]"), f"unknown table; {nearest(name, [str(one) for one in Section])}")
        made: dict[str, Any] = {}
        for section in Section:
            if section.repeats:
                made[f"{section}s"] = tuple(self._tables(section, document.get(section, [])))
            else:
                made[section] = self._table(section, "", document.get(section, {}))
        return Reading(
            place=self.place,
            settings=Settings(file=self.file and self.file.absolute(), **made),
            faults=tuple(self.faults),
            warnings=tuple(self.warnings),
            flawed=tuple(self.flawed),
        )

    def read_one(self, section: Section, table: Mapping[str, Any]) -> Any:
        return self._table(section, "", table)

    def _tables(self, section: Section, given: Any) -> Iterator[SourceSettings | EndpointSettings]:
        if not isinstance(given, list) or not all(isinstance(table, dict) for table in given):
            self._fault(f"[[{section}]]", f"write [[{section}]] in double brackets, once for each")
            return
        seen: set[str] = set()
        for number, table in enumerate(given, 1):
            before = len(self.faults)
            made = self._table(section, self._which(section, number, table), table)
            if len(self.faults) > before:
                if made is not None:
                    start = key_of(section, "", self._which(section, number, table))
                    told = (fault.key.removeprefix(start).strip() for fault in self.faults[before:])
                    self.flawed.append((made, frozenset(re.split(r"[.\[]", key)[0] for key in told)))
                continue
            if made.id in seen:
                self._fault(key_of(section, "id", number), f'another {section} is named "{made.id}"; rename one')
                continue
            seen.add(made.id)
            yield made

    def _which(self, section: Section, number: int, table: Mapping[str, Any]) -> str | int:
        try:
            return str(rows_of(section)[0].kind.read(table.get("id"), self._desk()))
        except Unfit:
            return number

    def _table(self, section: Section, which: str | int, given: Any) -> Any:
        """The values of one table; those that have a fault keep their default where they have one."""
        rows = {row.name: row for row in rows_of(section)}
        if not isinstance(given, dict):
            self._fault(f"[{section}]", "write a table of keys and values")
            given = {}
        for name in given:
            if name not in rows:
                self._fault(key_of(section, _shown(name), which), f"unknown key; {nearest(name, list(rows))}")
        values: dict[str, Any] = {}
        for row in rows.values():
            value = self._value(row, which, given)
            if value is not REQUIRED:
                values[row.attribute] = value
        if section is Section.ENDPOINT:
            values["given"] = _given(given)
            self._judge_signing(which, given, values)
        try:
            return SHAPES[section](**values)
        except TypeError:  # a required key is missing or has a fault, which has been told
            return None

    def _value(self, row: Row, which: str | int, given: Mapping[str, Any]) -> Any:
        key = key_of(row.section, row.name, which)
        for place, name, raw in self._givers(row, key, given):
            desk = self._desk()
            try:
                value = row.kind.read(raw, desk)
            except Unfit as unfit:
                self.faults += [ConfigurationError(place, name + one.part, one.remedy) for one in unfit.all]
                return row.default
            self.warnings += [f"{place}: {name}: {warning}" for warning in desk.warnings]
            return value
        if row.without and row.unless not in given:
            self._fault(key, f"is missing; {row.without}")
        default = row.default
        # The defaults of the store are paths: they too count from the folder of the file.
        return (
            row.kind.read(default, self._desk())
            if row.section is Section.STORE and isinstance(default, str)
            else default
        )

    def _judge_signing(self, which: str | int, given: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Only an endpoint that acts as a provider may leave the scheme out: it is that provider's."""
        key = key_of(Section.ENDPOINT, "signing", which)
        told = any(fault.key.startswith(key) for fault in self.faults)
        if "signing" in given and "as" not in given and not values["signing"].scheme and not told:
            self._fault(f"{key}.scheme", 'name a signing scheme, or "none"')

    def _givers(self, row: Row, key: str, given: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
        """Place, key and raw value of whoever sets this row, the strongest first."""
        if row.section is Section.SERVER and row.name == "listen" and self.overrides.listen is not None:
            yield COMMAND_LINE, "--listen", self.overrides.listen
        if row.section is Section.STORE and self.overrides.data is not None:
            folder = self.overrides.data.absolute()
            if row.name == "url":
                yield COMMAND_LINE, "--data", f"{SQLITE}{folder}/hookseal.db"
            if row.name == "keyring":
                yield COMMAND_LINE, "--data", f"{FILE}{folder}/hookseal.key"
        if row.variable is not None and row.variable in self.environ:
            yield ENVIRONMENT, row.variable, _raw(row, self.environ[row.variable])
        if row.name in given:
            yield self.place, key, given[row.name]

    def _desk(self) -> Desk:
        return Desk(folder=self.folder, environ=self.environ, exposed=self.exposed, distant=self.distant)

    def _fault(self, key: str, remedy: str) -> None:
        self.faults.append(ConfigurationError(self.place, key, remedy))


def _given(table: Mapping[str, Any]) -> frozenset[str]:
    retry = table.get("retry")
    named = isinstance(retry, str) or (isinstance(retry, dict) and "policy" in retry)
    return frozenset(table) | ({"retry.policy"} if named else frozenset())


def _raw(row: Row, text: str) -> Any:
    """What TOML would have given for the text of a variable. What does not fit is left as text, for the kind to refuse."""
    if isinstance(row.kind, Whole) and re.fullmatch(r"[0-9]{1,15}", text, re.ASCII):
        return int(text)
    if isinstance(row.kind, Number) and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text, re.ASCII):
        return float(text)
    if isinstance(row.kind, Switch) and text in ("true", "false"):
        return text == "true"
    if isinstance(row.default, tuple):
        return [item.strip() for item in text.split(",")] if text else []
    return text


def _shown(text: str) -> str:
    """A name from outside, fit for one line: control characters and what reorders text are escaped."""
    plain = text if text.isprintable() else ascii(text)[1:-1]
    return plain if len(plain) <= 120 else plain[:120] + "..."
