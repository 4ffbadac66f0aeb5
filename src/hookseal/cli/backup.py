"""`hookseal backup DEST`: a copy of the store, also while a gateway serves. How to put it back is in docs/operating.md."""

from pathlib import Path
from typing import Annotated

import typer

from hookseal.cli.check import Config, Data


def register(app: typer.Typer) -> None:
    app.command("backup")(backup)


def backup(
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="The file to make; it must not be there yet.")],
    config: Config = None,
    data: Data = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Copy the store into a new file: all that was acknowledged before, without the key file."""
    from hookseal.cli.printing import print_json, print_text, say
    from hookseal.errors import ConfigurationError
    from hookseal.manage.configuration import judge
    from hookseal.store.sqlite.backup import back_up

    judgement = judge(config, data=data)
    if judgement.faults or judgement.settings is None:
        raise judgement.faults[0]
    store = judgement.settings.store
    place = str(judgement.settings.file or "")
    if not store.is_embedded:
        raise ConfigurationError(place, "[store] url", "back a PostgreSQL store up with pg_dump, see docs/operating.md")
    if not store.path.is_file():
        raise ConfigurationError(place, "[store] url", f"there is no store at {store.path} yet")
    size = back_up(store.path, destination)
    if json:
        print_json({"backup": str(destination), "bytes": size})
    else:
        print_text(f"{destination}: {size} bytes")
        say("the key file is not in it; keep a copy of that somewhere else")
