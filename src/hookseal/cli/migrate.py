"""`hookseal migrate`: bring the store to this version's schema without serving. `serve` does the same when it starts."""

import asyncio
from typing import Annotated

import typer

from hookseal.cli.check import Config, Data


def register(app: typer.Typer) -> None:
    app.command("migrate")(migrate)


def migrate(
    config: Config = None,
    data: Data = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Bring the store to the schema of this version, and print its number."""
    from hookseal.cli.printing import print_json, print_text
    from hookseal.manage.configuration import judge
    from hookseal.sealing import Keyring
    from hookseal.store.keyfile import load_or_create
    from hookseal.store.postgres import PostgresStore
    from hookseal.store.postgres.connection import place_of
    from hookseal.store.postgres.migrate import migrations as postgres_migrations
    from hookseal.store.sqlite.migrate import migrations
    from hookseal.store.sqlite.store import SqliteStore

    # What is wrong with the folder or the key file is told before the key file of a new store is made.
    judgement = judge(config, data=data)
    if judgement.faults or judgement.settings is None:
        raise judgement.faults[0]
    store = judgement.settings.store
    exists = not store.is_embedded or not store.create or (store.path.exists() and store.path.stat().st_size > 0)
    key_path = store.key_path
    keyring = Keyring.parse(store.keyring) if key_path is None else load_or_create(key_path, exists)

    async def bring() -> None:
        create = store.create
        opened = (
            SqliteStore(store.path, keyring, create=create)
            if store.is_embedded
            else PostgresStore(store.url, keyring, create=create)
        )
        await opened.open()
        await opened.close()

    asyncio.run(bring())
    version = (migrations() if store.is_embedded else postgres_migrations())[-1].version
    place = str(store.path) if store.is_embedded else place_of(store.url)
    if json:
        print_json({"store": place, "schema": version})
    else:
        print_text(f"{place}: schema {version}")
