"""`hookseal providers`: the catalogue to read, and the derived tests for an operator's own entries."""

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hookseal.catalogue import Provider
    from hookseal.catalogue.vectors import Vector


def register(app: typer.Typer) -> None:
    app.command("providers")(providers)


def providers(
    id: Annotated[str | None, typer.Argument(metavar="ID", help="One provider; without it, all of them.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    check: Annotated[
        Path | None, typer.Option("--check", metavar="DIR", help="Try the entries of a folder of your own.")
    ] = None,
) -> None:
    """The catalogue: ids, schemes, what each option means, where each fact comes from and when it was checked."""
    from hookseal import catalogue
    from hookseal.cli.printing import print_json

    if check is not None:
        _check(check, json)
    elif id is not None:
        entry = catalogue.provider(id)
        if json:
            print_json(_entry(entry))
        else:
            _print_one(entry)
    elif json:
        print_json([_entry(entry) for entry in catalogue.providers()])
    else:
        _print_all(catalogue.providers())


def _entry(entry: "Provider") -> dict[str, Any]:
    """One entry as JSON values. Examples of bodies are left out; `hookseal simulate` sends them."""
    return {
        "id": entry.id,
        "name": entry.name,
        "docs": list(entry.docs),
        "checked": entry.checked,
        "notes": entry.notes,
        "scheme": {"kind": entry.scheme_kind, **entry.scheme_table},
        "secret": {"label": entry.secret.label, "where": entry.secret.where, "issued": entry.secret.issued},
        "options": [_plain(option) for option in entry.options.values()],
        "answers": _plain(entry.answers),
        "proof_headers": [name.decode("latin-1") for name in entry.proof_headers],
        "credentials": [name.decode("latin-1") for name in entry.credentials],
        "covers_body": entry.covers_body,
        "handshake": None if entry.handshake is None else _plain(entry.handshake),
        "retry": entry.retry,
        "dedupe": entry.dedupe,
        "addresses": list(entry.addresses),
        "addresses_source": entry.addresses_source,
    }


def _plain(value: Any) -> dict[str, Any]:
    return {
        field.name: list(one) if isinstance(one := getattr(value, field.name), tuple) else one
        for field in fields(value)
    }


def _print_all(entries: "tuple[Provider, ...]") -> None:
    from rich.table import Table

    from hookseal.cli.printing import console

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("id", "name", "proof", "options", "checked"):
        table.add_column(heading, overflow="fold")
    for entry in entries:
        table.add_row(entry.id, entry.name, entry.scheme_kind, ", ".join(entry.options), entry.checked)
    console().print(table)


def _print_one(entry: "Provider") -> None:
    from rich.markup import escape

    from hookseal.cli.printing import console

    out = console()
    parts = {
        "proof": f"{entry.scheme_kind}{'' if entry.covers_body else '; it does not cover the body'}",
        "columns": "\n".join(f"{name} = {value}" for name, value in entry.scheme_table.items()),
        "secret": f"{entry.secret.label}: {entry.secret.where}" if entry.secret.label else "none is shared",
        "options": "\n".join(_option(option) for option in entry.options.values()),
        "answers": f"{entry.answers.accepted} accepted, {entry.answers.refused} refused",
        "retries": entry.retry
        if entry.publishes_waits
        else f"{entry.retry}, with waits of our own: none are published",
        "addresses": "\n".join(entry.addresses),
        "source of the addresses": entry.addresses_source,
        "notes": entry.notes,
        "sources": "\n".join(entry.docs),
        "compared with them": entry.checked,
    }
    out.print(f"[bold]{escape(entry.name)}[/bold] ({entry.id})")
    for heading, text in parts.items():
        if text:
            out.print(f"[bold]{heading}[/bold]")
            for line in text.strip().splitlines():
                out.print(f"  {escape(line)}")


def _option(option: Any) -> str:
    kind = " or ".join(option.choices) or option.kind.value
    default = (
        "required" if option.required else f"default {option.default}" if option.default is not None else "optional"
    )
    return f"{option.name} ({kind}; {default}): {option.help}"


def _check(folder: Path, json: bool) -> None:
    """Try every entry of a folder. Exit 1 when one does not keep its word, 2 when one cannot be read."""
    from hookseal.catalogue.trial import trial_of_folder
    from hookseal.cli.printing import print_json, print_text
    from hookseal.errors import ConfigurationError

    if not folder.is_dir():
        raise ConfigurationError("command line", "--check", "name a folder of provider files")
    results = trial_of_folder(folder, _event_of)
    failed = any(results.values())
    if json:
        rows = {id: [_plain(failure) for failure in failures] for id, failures in results.items()}
        print_json({"ok": not failed, "providers": rows})
    else:
        for id, failures in results.items():
            print_text(f"{id}: {f'{len(failures)} failed' if failures else 'keeps its word'}")
            for one in failures:
                print_text(f"  {one.vector}, {one.case}: expected {one.expected}, got {one.got}")
    if failed:
        raise typer.Exit(1)


def _event_of(provider: "Provider", vector: "Vector") -> dict[str, object]:
    """What a vector's `event` may speak of: its id, type, subject and the provider's own kind, of the first item."""
    from hookseal.identity.extract import items
    from hookseal.schemes.verdict import Proven

    read = items(provider, vector.request, Proven())
    if not isinstance(read, tuple) or not read:
        return {}
    first = read[0]
    return {
        "id": first.provider_id,
        "type": first.type,
        "subject": first.subject,
        "providertype": first.provider_type,
        "flags": list(first.flags),
    }
