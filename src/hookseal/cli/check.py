"""`hookseal check` and `hookseal config show`: the configuration judged and shown, without starting anything."""

from pathlib import Path
from typing import Annotated

import typer

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
    from hookseal.cli.printing import print_json, say
    from hookseal.manage.configuration import judge

    judgement = judge(config, data=data)
    if json:
        faults = [{"place": one.place, "key": one.key, "remedy": one.remedy} for one in judgement.faults]
        print_json({"ok": not faults, "faults": faults, "warnings": list(judgement.warnings)})
    else:
        for fault in judgement.faults:
            say(f"hookseal: {fault}")
        for warning in judgement.warnings:
            say(f"hookseal: warning: {warning}")
    if judgement.faults:
        raise typer.Exit(2)
    settings = judgement.settings
    if settings is not None and not json:
        say(f"{judgement.place}: {len(settings.sources)} sources, {len(settings.endpoints)} endpoints, no fault")


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
