"""`hookseal check` and `hookseal config show`: the configuration judged and shown, without starting anything."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hookseal.errors import ConfigurationError
    from hookseal.settings import Settings, StoreSettings
    from hookseal.settings.table import Section

    Stored = Mapping[Section, Mapping[str, bytes | None]]
    """By section the stored values of the API's registrations, by their ids."""

Config = Annotated[Path | None, typer.Option("--config", help="The file; default: hookseal.toml in this folder.")]
Data = Annotated[Path | None, typer.Option("--data", help="The folder of store and key file.")]


def register(app: typer.Typer) -> None:
    app.command("check")(check)
    config = typer.Typer(no_args_is_help=True, help="The effective settings.")
    config.callback()(lambda: None)
    config.command("show")(show)
    app.add_typer(config, name="config")


def check(
    config: Config = None,
    data: Data = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Judge the configuration without starting: one line for each fault, with the file, the key and the remedy."""
    from hookseal.cli.printing import counted, print_json, say
    from hookseal.errors import ConfigurationError
    from hookseal.manage.configuration import judge

    judgement = judge(config, data=data)
    faults, settings = list(judgement.faults), judgement.settings
    if settings is not None and not faults and (problem := _store_problem(settings.store)):
        faults.append(ConfigurationError(judgement.place, "[store] keyring", problem))
    warnings = list(judgement.warnings)
    notes: list[str] = []
    if settings is not None and not faults:
        stored, notes = _stored_registrations(settings)
        faults += _ids_taken(settings, stored, judgement.place)
        warnings += _registration_warnings(settings, stored)
    if json:
        rows = [{"place": one.place, "key": one.key, "remedy": one.remedy} for one in faults]
        print_json({"ok": not rows, "faults": rows, "warnings": warnings, "notes": notes})
    else:
        for fault in faults:
            say(f"hookseal: {fault}")
        for warning in warnings:
            say(f"hookseal: warning: {warning}")
        for note in notes:
            say(f"hookseal: note: {note}")
    if faults:
        raise typer.Exit(2)
    if settings is not None and not json:
        sources = counted(len(settings.sources), "source", "sources")
        endpoints = counted(len(settings.endpoints), "endpoint", "endpoints")
        say(f"{judgement.place}: {sources}, {endpoints}, no fault")


def show(
    config: Config = None,
    data: Data = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Print the settings in force, with every secret masked."""
    from hookseal.cli.printing import print_json, print_text
    from hookseal.manage.configuration import load
    from hookseal.settings.shown import as_toml, shown

    tables = shown(load(config, data=data))
    if json:
        print_json(tables)
    else:
        print_text(as_toml(tables))


def _store_problem(store: "StoreSettings") -> str | None:
    """Why an existing store would not open with the keyring; only asked where folder and key file have no fault."""
    from hookseal.sealing import Keyring
    from hookseal.store.keyfile import load_or_create
    from hookseal.store.sqlite.inspection import mismatch

    if not store.is_embedded or not store.path.is_file():
        return None
    key_path = store.key_path
    if key_path is None:
        return mismatch(store.path, Keyring.parse(store.keyring))
    # Said to have a store, it makes no key file. An empty file is no store yet, and may have none.
    return mismatch(store.path, load_or_create(key_path, store_exists=True)) if key_path.is_file() else None


def _stored_registrations(settings: "Settings") -> tuple["Stored", list[str]]:
    """Return the registrations of the API in the store, and what could not be looked at.

    Nothing is opened that a running gateway uses: the file is read without a lock, and a database is not connected to.
    """
    from hookseal.manage.stored_registrations import SHELVES
    from hookseal.sealing import Keyring
    from hookseal.store.keyfile import load_or_create
    from hookseal.store.sqlite.inspection import has_unwritten, kept

    store = settings.store
    if not store.is_embedded:
        return {}, ["store: a PostgreSQL database is not connected to; registrations of the API were not compared"]
    if not store.path.is_file() or not (store.key_path is None or store.key_path.is_file()):
        return {}, []
    key_path = store.key_path
    keyring = Keyring.parse(store.keyring) if key_path is None else load_or_create(key_path, store_exists=True)
    found = {section: kept(store.path, keyring, shelf) for section, shelf in SHELVES.items()}
    notes = []
    if any(values is None for values in found.values()):
        notes.append("store: its file cannot be read; registrations of the API were not compared")
    elif has_unwritten(store.path):
        notes.append("store: a gateway uses it, or was killed; registrations that it made last were not compared")
    return {section: values or {} for section, values in found.items()}, notes


def _ids_taken(settings: "Settings", stored: "Stored", place: str) -> list["ConfigurationError"]:
    """Find the ids that the file and the store have both."""
    from hookseal.errors import ConfigurationError
    from hookseal.settings.table import Section

    ids: dict[Section, list[str]] = {
        Section.SOURCE: [one.id for one in settings.sources],
        Section.ENDPOINT: [one.id for one in settings.endpoints],
    }
    remedy = "is the id of one that was made over the API; choose another id, or run `hookseal {}s delete {}`"
    return [
        ConfigurationError(place, f'[[{section}]] "{id}"', remedy.format(section, id))
        for section, values in stored.items()
        for id in ids[section]
        if id in values
    ]


def _registration_warnings(settings: "Settings", stored: "Stored") -> list[str]:
    """Name the registrations of the API that this version cannot read."""
    from hookseal.clock import SystemClock
    from hookseal.egress.policy import EgressPolicy
    from hookseal.manage.stored_registrations import RegistrationReader

    egress = EgressPolicy(allow=settings.egress.allow, allow_http=settings.egress.allow_http)
    reader, now = RegistrationReader(egress, settings.server.public_url), SystemClock().now()
    return [
        f'store: {one.section} "{one.id}" cannot be read, it waits: {one.sentence}'
        for section, values in stored.items()
        for one in reader.unreadable(section, values, now)
    ]
