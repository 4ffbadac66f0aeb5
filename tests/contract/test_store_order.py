"""States that arrive in any order, on each store, and at two nodes on one PostgreSQL."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("store_contract", "retention_contract", "order_contract")
from order_contract import OrderContract, state, told  # noqa: E402
from postgres_databases import Server, postgres_server  # noqa: E402, F401
from store_contract import OTHER_SOURCE, SOURCE, new_request  # noqa: E402
from test_store_postgres import PostgresStores  # noqa: E402
from test_store_sqlite import SqliteStores  # noqa: E402


class TestSqliteOrder(OrderContract):
    @pytest.fixture
    async def stores(self, tmp_path: Path) -> AsyncIterator[SqliteStores]:
        made = SqliteStores(tmp_path)
        yield made
        await made.close_all()


class TestSqliteOrderInSmallPieces(OrderContract):
    """Most subjects are in order on the disk, and in many partitions."""

    @pytest.fixture
    async def stores(self, tmp_path: Path) -> AsyncIterator[SqliteStores]:
        made = SqliteStores(tmp_path, dedupe_capacity=7, dedupe_buffered=3, log_start_pages=1, log_bound_pages=2)
        yield made
        await made.close_all()


@pytest.fixture
async def postgres_stores(postgres_server: Server) -> AsyncIterator[PostgresStores]:  # noqa: F811
    made = PostgresStores(postgres_server, await postgres_server.new_database())
    yield made
    await made.close_all()


class TestPostgresOrder(OrderContract):
    @pytest.fixture
    def stores(self, postgres_stores: PostgresStores) -> PostgresStores:
        return postgres_stores


async def test_states_at_two_nodes_at_once_end_in_the_last_one(postgres_stores: PostgresStores) -> None:
    both = [await postgres_stores.open() for _ in range(2)]
    chance = random.Random(11)
    subjects, rounds = [f"s{number}" for number in range(8)], 30
    seen: dict[str, list[tuple[int, bool, int]]] = {subject: [] for subject in subjects}
    numbers = iter(range(10_000))
    for _ in range(rounds):
        # Requests that hold all subjects, each in an order of its own: locks taken as they come would wait in a ring.
        mixed = [chance.sample(subjects, len(subjects)) for _ in range(6)]
        orders = [[chance.randrange(1000) for _ in subjects] for _ in mixed]
        requests = [
            new_request(
                *(
                    state(next(numbers), order, subject, item=item)
                    for item, (subject, order) in enumerate(zip(names, given, strict=True))
                )
            )
            for names, given in zip(mixed, orders, strict=True)
        ]
        answers = await asyncio.gather(*(both[turn % 2].accept(one) for turn, one in enumerate(requests)))
        for names, given, stored in zip(mixed, orders, answers, strict=True):
            for subject, order, one in zip(names, given, stored, strict=True):
                seen[subject].append((one.sequence, one.superseded, order))
    for subject, states in seen.items():
        greatest = -1
        for _, superseded, order in sorted(states):
            assert superseded == (order < greatest)
            greatest = max(greatest, order)
        in_force = max((order, sequence) for sequence, _, order in states)[1]
        for node in both:
            assert await told(node, subject) == (in_force, len(states), sum(late for _, late, _ in states))


async def test_one_subject_at_two_sources_is_two_subjects_on_the_disk_too(tmp_path: Path) -> None:
    """Both lie in one slot of the index, and the newest event there is the other source's."""
    stores = SqliteStores(tmp_path, dedupe_capacity=7, dedupe_buffered=3)
    store = await stores.open()
    try:
        await store.accept(new_request(state(0, 9, "shared"), state(1, 9, "shared", item=1), source=OTHER_SOURCE))
        await store.accept(new_request(state(2, 5, "shared")))
        for number in range(3, 30):
            await store.accept(new_request(state(number, 1, f"other {number}")))
        await store.accept(new_request(state(30, 8, "shared"), source=OTHER_SOURCE))
        [late] = await store.accept(new_request(state(31, 4, "shared")))
        [later] = await store.accept(new_request(state(32, 6, "shared")))
        assert (late.superseded, later.superseded) == (True, False)
        assert await told(store, "shared", SOURCE) == (later.sequence, 3, 1)
    finally:
        await stores.close_all()
