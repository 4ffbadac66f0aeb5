"""Both stores for a gateway under test: where it keeps things, and what is left to do afterwards."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
from postgres_databases import any_server

from hookseal.sealing import Keyring
from hookseal.settings import StoreSettings

STORES = ("sqlite", "postgresql")


@asynccontextmanager
async def store_settings(kind: str, folder: Path) -> AsyncIterator[StoreSettings]:
    """An empty store of this kind."""
    keyfile = folder / "hookseal.key"
    if kind == "sqlite":
        yield StoreSettings(url=f"sqlite:///{folder}/hookseal.db", keyring=f"file:{keyfile}")
        return
    server = any_server()
    database = await server.new_database()
    keyfile.write_text(Keyring.generate().dump())
    keyfile.chmod(0o600)
    try:
        yield StoreSettings(url=server.url_of(database), keyring=f"file:{keyfile}")
    finally:
        await server.give_back(database)
