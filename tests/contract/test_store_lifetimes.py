"""How data ends and keys change, on each store: the contracts of retention and of rotation."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("store_contract", "retention_contract", "rotation_contract")
from postgres_databases import Server, postgres_server  # noqa: E402, F401
from retention_contract import RetentionContract  # noqa: E402
from rotation_contract import BOTH, RotationContract  # noqa: E402
from store_contract import Stores  # noqa: E402
from test_store_postgres import PostgresStores  # noqa: E402
from test_store_sqlite import SqliteStores  # noqa: E402

from hookseal.store.port import Store  # noqa: E402


@pytest.fixture
async def sqlite_stores(tmp_path: Path) -> AsyncIterator[SqliteStores]:
    made = SqliteStores(tmp_path)
    yield made
    await made.close_all()


@pytest.fixture
async def sqlite_stores_in_small_pieces(tmp_path: Path) -> AsyncIterator[SqliteStores]:
    made = SqliteStores(tmp_path, dedupe_capacity=7, dedupe_buffered=3, log_start_pages=1, log_bound_pages=2)
    yield made
    await made.close_all()


@pytest.fixture
async def postgres_stores(postgres_server: Server) -> AsyncIterator[PostgresStores]:  # noqa: F811
    made = PostgresStores(postgres_server, await postgres_server.new_database())
    yield made
    await made.close_all()


class TestSqliteRetention(RetentionContract):
    @pytest.fixture
    def stores(self, sqlite_stores: SqliteStores) -> SqliteStores:
        return sqlite_stores

    async def forgettable(self, store: Store) -> int:
        """All hundred keys are in the one partition that new keys go to."""
        return 0


class TestSqliteRetentionInSmallPieces(RetentionContract):
    @pytest.fixture
    def stores(self, sqlite_stores_in_small_pieces: SqliteStores) -> SqliteStores:
        return sqlite_stores_in_small_pieces


class TestPostgresRetention(RetentionContract):
    @pytest.fixture
    def stores(self, postgres_stores: PostgresStores) -> PostgresStores:
        return postgres_stores


class TestSqliteRotation(RotationContract):
    @pytest.fixture
    def stores(self, sqlite_stores: SqliteStores) -> SqliteStores:
        return sqlite_stores

    async def reopened_after_a_crash(self, stores: Stores, store: Store) -> Store:
        assert isinstance(stores, SqliteStores)
        copy = stores._folder.with_name("cut")
        shutil.copytree(stores._folder, copy)
        return await stores.open(BOTH, folder=copy)


class TestPostgresRotation(RotationContract):
    @pytest.fixture
    def stores(self, postgres_stores: PostgresStores) -> PostgresStores:
        return postgres_stores

    async def reopened_after_a_crash(self, stores: Stores, store: Store) -> Store:
        assert isinstance(stores, PostgresStores)
        return await stores.after_a_crash(store, BOTH)
