"""From a provider's file to a `Provider`. Strict: a key that nobody reads is a mistake of whoever wrote the file.

Reads files and nothing else. A file of our own catalogue is read once, when its provider is first asked for: starting
with one source must not cost the reading of a hundred files.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import date
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from hookseal.catalogue.entry import Answers, Example, Handshake, Option, OptionKind, Provider, SecretHelp, Sending
from hookseal.catalogue.event_rules import EventRules
from hookseal.catalogue.revisions import revision_of
from hookseal.errors import CatalogueError, ConfigurationError
from hookseal.model import ProviderId
from hookseal.schemes import SCHEMES

FOLDER = Path(__file__).parent / "providers"

_ID = re.compile(r"[a-z][a-z0-9_]{0,62}")
_KEYS = frozenset(
    {
        *("id", "name", "docs", "checked", "notes", "scheme", "secret", "options", "event", "claims", "answers"),
        *("credentials", "covers_body", "handshake", "retry", "sending", "addresses", "examples"),
    }
)
_ACCEPTED = (200, 201, 202, 204)
_REFUSED = (400, 401, 403, 404)
_HANDSHAKES = ("options",)
_FORMATS = ("json", "xml", "cloudevents")

T = TypeVar("T")


@cache
def ids() -> tuple[ProviderId, ...]:
    """All ids of our own catalogue, sorted."""
    return tuple(sorted(ProviderId(file.stem) for file in FOLDER.glob("*.toml")))


@cache
def provider(id: str) -> Provider:
    """The entry of that id. CatalogueError, naming near ids, when there is none."""
    if not _ID.fullmatch(id) or id not in ids():
        near = get_close_matches(id, ids(), n=3, cutoff=0.5) or ids()
        raise CatalogueError("", "provider", f"there is no provider {id!r}; did you mean {', '.join(near)}?")
    return read(FOLDER / f"{id}.toml")


def providers() -> tuple[Provider, ...]:
    return tuple(provider(id) for id in ids())


def read(path: Path) -> Provider:
    """One provider from a file named `<id>.toml`. CatalogueError names the file, the key and the remedy."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CatalogueError(str(path), "", f"cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogueError(str(path), "", f"is not TOML in UTF-8: {error}") from error
    return _Reader(path.name).provider(tables, path.stem)


class _Reader:
    def __init__(self, place: str) -> None:
        self.place = place

    def fail(self, key: str, remedy: str) -> CatalogueError:
        return CatalogueError(self.place, key, remedy)

    def provider(self, tables: dict[str, Any], stem: str) -> Provider:
        self.known("", tables, _KEYS)
        if tables.get("id") != stem or not _ID.fullmatch(stem):
            raise self.fail("id", f'must be "{stem}", the file\'s name: lower-case letters, digits and "_"')
        scheme = self.table("scheme", tables)
        kind = scheme.pop("kind", None)
        if kind not in SCHEMES:
            raise self.fail("scheme.kind", f"must be one of {', '.join(SCHEMES)}")
        addresses = self.table("addresses", tables)
        retry = self.table("retry", tables)
        self.known("retry", retry, {"policy", "permanent", "publishes_waits"})
        self.known("addresses", addresses, {"published", "source"})
        entry = Provider(
            id=ProviderId(stem),
            name=self.text("name", tables),
            docs=self.texts("docs", tables),
            checked=self.day("checked", tables),
            notes=self.text("notes", tables, ""),
            scheme_kind=kind,
            scheme_table=scheme,
            event=EventRules.from_toml(tables, self.place),
            mapping=revision_of(ProviderId(stem), tables),
            secret=self.made(SecretHelp, "secret", self.table("secret", tables)),
            options=self.options(self.table("options", tables)),
            answers=self.answers(self.table("answers", tables)),
            credentials=tuple(name.lower().encode() for name in self.texts("credentials", tables, ())),
            covers_body=self.truth("covers_body", tables, True),
            handshake=self.handshake(tables),
            retry=self.text("retry.policy", retry, "standard"),
            publishes_waits=self.truth("retry.publishes_waits", retry, False),
            permanent=self.texts("retry.permanent", retry, ()) if "permanent" in retry else None,
            sending=self.sending(self.table("sending", tables)),
            addresses=self.texts("addresses.published", addresses, ()),
            addresses_source=self.text("addresses.source", addresses, ""),
            examples=self.examples(self.table("examples", tables)),
        )
        return self.proven(entry)

    def proven(self, entry: Provider) -> Provider:
        """Make the scheme once, so that a column's fault is found here, and ask it for its headers."""
        for option in entry.options.values():
            if option.column and option.column not in {column.name for column in fields(SCHEMES[entry.scheme_kind])}:
                raise self.fail(f"options.{option.name}.column", "is no column of the scheme")
        samples: dict[str, object] = {
            name: option.default if option.default is not None else _SAMPLES.get(option.kind, "sample")
            for name, option in entry.options.items()
            if option.required or option.default is not None
        }
        try:
            scheme = entry.bind(samples)
        except ConfigurationError as error:
            raise self.fail(f"scheme.{error.key}", error.remedy) from error
        for used in (entry.handshake.rate_option, entry.handshake.callback_option) if entry.handshake else ():
            if used and used not in entry.options:
                raise self.fail("handshake", f"names the option {used}, which there is not")
        return replace(entry, proof_headers=tuple(name for names in scheme.proof for name in names))

    def options(self, table: dict[str, Any]) -> dict[str, Option]:
        options: dict[str, Option] = {}
        for name in table:
            key = f"options.{name}"
            row = self.table(name, table, key)
            row["choices"] = self.texts("choices", row, ())
            row["kind"] = self.one_of(f"{key}.kind", row.get("kind", "text"), [kind.value for kind in OptionKind])
            row["kind"] = OptionKind(row["kind"])
            option = self.made(Option, key, {"name": name, **row})
            if option.required and option.default is not None:
                raise self.fail(f"{key}.default", "a required option has no default")
            options[name] = option
        return options

    def answers(self, table: dict[str, Any]) -> Answers:
        answers = self.made(Answers, "answers", table)
        self.one_of("answers.accepted", answers.accepted, _ACCEPTED)
        self.one_of("answers.refused", answers.refused, _REFUSED)
        return answers

    def handshake(self, tables: dict[str, Any]) -> Handshake | None:
        if "handshake" not in tables:
            return None
        table = self.table("handshake", tables)
        self.one_of("handshake.kind", table.get("kind"), _HANDSHAKES)
        table["origins"] = tuple(origin.lower() for origin in self.texts("handshake.origins", table))
        return self.made(Handshake, "handshake", table)

    def sending(self, table: dict[str, Any]) -> Sending:
        table["headers"] = self.headers("sending.headers", table)
        sending = self.made(Sending, "sending", table)
        self.one_of("sending.format", sending.format, _FORMATS)
        return sending

    def examples(self, table: dict[str, Any]) -> dict[str, Example]:
        examples: dict[str, Example] = {}
        for name in table:
            row = self.table(name, table, f"examples.{name}")
            row["headers"] = self.headers("headers", row)
            row["body"] = self.text(f"examples.{name}.body", row).encode()
            examples[name] = self.made(Example, f"examples.{name}", {"name": name, **row})
        return examples

    # --- values by type; a key's last word is its name in the table

    def headers(self, key: str, table: dict[str, Any]) -> tuple[tuple[str, str], ...]:
        rows = self.table("headers", table, key)
        return tuple((name, self.text(f"{key}.{name}", {name: value})) for name, value in rows.items())

    def made(self, kind: type[T], key: str, table: dict[str, Any]) -> T:
        """A dataclass of texts, numbers and truths from a table of the same names."""
        columns = {column.name: column for column in fields(kind)}  # type: ignore[arg-type]
        self.known(key, table, columns)
        for name, value in table.items():
            default = columns[name].default
            if isinstance(default, bool | int | float | str) and not _is_like(value, default):
                raise self.fail(f"{key}.{name}", f"must be {_NAMES[type(default)]}")
        try:
            return kind(**table)
        except TypeError:
            raise self.fail(key, f"must have {', '.join(columns)}") from None

    def known(self, key: str, table: Mapping[str, Any], known: Any) -> None:
        for name in table:
            if name not in known:
                path = f"{key}.{name}" if key else name
                raise self.fail(path, f"is unknown; known are {', '.join(sorted(known))}")

    def table(self, name: str, tables: dict[str, Any], key: str = "") -> dict[str, Any]:
        value = tables.get(name, {})
        if not isinstance(value, dict):
            raise self.fail(key or name, "must be a table")
        return dict(value)

    def text(self, key: str, table: dict[str, Any], default: str | None = None) -> str:
        value = table.get(key.rpartition(".")[2], default)
        if not isinstance(value, str) or (not value and default is None):
            raise self.fail(key, "must be a text")
        return value

    def texts(self, key: str, table: dict[str, Any], default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        value = table.get(key.rpartition(".")[2], default)
        values = (value,) if isinstance(value, str) else value
        if not isinstance(values, list | tuple) or not all(isinstance(one, str) and one for one in values):
            raise self.fail(key, "must be a text or a list of texts")
        if default is None and not values:
            raise self.fail(key, "is empty")
        return tuple(values)

    def truth(self, key: str, table: dict[str, Any], default: bool) -> bool:
        value = table.get(key.rpartition(".")[2], default)
        if not isinstance(value, bool):
            raise self.fail(key, "must be true or false")
        return value

    def day(self, key: str, table: dict[str, Any]) -> str:
        value = table.get(key)
        if type(value) is not date:
            raise self.fail(key, "must be a date: when a person last compared the entry with its sources")
        return value.isoformat()

    def one_of(self, key: str, value: object, choices: Any) -> Any:
        if value not in choices:
            raise self.fail(key, f"must be one of {', '.join(str(choice) for choice in choices)}")
        return value


_NAMES: Mapping[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
_SAMPLES: Mapping[OptionKind, object] = {
    OptionKind.RATE: "*",
    OptionKind.URL: "https://sample.invalid",
    OptionKind.KEY_SET: "{}",
}


def _is_like(value: object, default: object) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    wanted = int | float if isinstance(default, float) else type(default)
    return isinstance(value, wanted)
