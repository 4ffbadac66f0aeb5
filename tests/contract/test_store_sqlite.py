"""The SQLite store, held to the contract."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("store_contract")
from store_contract import KEYRING, StoreContract  # noqa: E402

from hookseal.model import EventId  # noqa: E402
from hookseal.sealing import Keyring  # noqa: E402
from hookseal.store.packing import pack_uuid  # noqa: E402
from hookseal.store.sqlite import SqliteStore  # noqa: E402
from hookseal.store.sqlite.writer import Handler  # noqa: E402


class SqliteStores:
    """bounds: given to every store that is opened here."""

    def __init__(self, folder: Path, **bounds: Any) -> None:
        self._bounds = bounds
        self._folder = folder / "live"
        self._folder.mkdir()
        self._open: list[SqliteStore] = []
        self._crashes = 0

    async def open(self, keyring: Keyring = KEYRING, *, folder: Path | None = None, **bounds: Any) -> SqliteStore:
        store = SqliteStore((folder or self._folder) / "hookseal.db", keyring, **{**self._bounds, **bounds})
        await store.open()
        self._open.append(store)
        return store

    async def after_a_crash(self, store: SqliteStore) -> SqliteStore:
        """A copy of the files as they lie: what another process would find after kill -9."""
        self._crashes += 1
        copy = self._folder.with_name(f"crash-{self._crashes}")
        shutil.copytree(self._folder, copy)
        return await self.open(folder=copy)

    async def close(self, store: SqliteStore) -> None:
        self._open.remove(store)
        await store.close()

    async def close_all(self) -> None:
        for store in list(self._open):
            await self.close(store)

    async def bytes_on_disk(self) -> bytes:
        files = sorted(self._folder.iterdir())
        return b"".join(file.read_bytes() for file in files if file.suffix != ".lock")

    async def fill(self, store: SqliteStore) -> None:
        await run(store, "PRAGMA max_page_count = 1")

    async def make_room(self, store: SqliteStore) -> None:
        await run(store, "PRAGMA max_page_count = 1000000")

    async def damage(self, store: SqliteStore, event: EventId) -> None:
        packed = pack_uuid(event)
        assert packed is not None
        await run(
            store,
            "UPDATE bodies SET sealed = substr(sealed, 1, length(sealed) - 1)"
            " WHERE request = (SELECT request FROM events WHERE id = ?)",
            packed,
        )

    async def damage_kept(self, store: SqliteStore, shelf: str, name: str) -> None:
        sql = "UPDATE kept SET sealed = substr(sealed, 1, length(sealed) - 1) WHERE shelf = ? AND name = ?"
        await run(store, sql, shelf, name)


async def run(store: SqliteStore, sql: str, *values: Any) -> list[Any]:
    """Run a statement on the writer's own connection."""
    handler = Handler("test", 0, lambda connection, batch: [connection.execute(sql, values).fetchall()])
    rows: list[Any] = await store._writer.submit(handler, None)
    return rows


class TestSqliteStore(StoreContract):
    @pytest.fixture
    async def stores(self, tmp_path: Path) -> AsyncIterator[SqliteStores]:
        made = SqliteStores(tmp_path)
        yield made
        await made.close_all()


class TestSqliteStoreInSmallPieces(StoreContract):
    """Partitions of a few keys, nearly nothing held in memory, the log moved all the time: the same contract."""

    @pytest.fixture
    async def stores(self, tmp_path: Path) -> AsyncIterator[SqliteStores]:
        made = SqliteStores(tmp_path, dedupe_capacity=7, dedupe_buffered=3, log_start_pages=1, log_bound_pages=2)
        yield made
        await made.close_all()
