"""Several nodes on one PostgreSQL. Observable oracles: rows, sequences, leases, and what callers were told."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

pytest.register_assert_rewrite("store_contract")
from postgres_databases import Server, postgres_server  # noqa: E402, F401
from store_contract import (  # noqa: E402
    AUDIT,
    CORE,
    NOW,
    OTHER_SOURCE,
    SOURCE,
    accept,
    claim,
    new_delivery,
    new_event,
    new_refusal,
    new_request,
    planned,
    result,
)
from test_store_postgres import PostgresStores  # noqa: E402

from hookseal.clock import GivenClock, SystemClock, plus, seconds_between  # noqa: E402
from hookseal.errors import StoreUnavailable  # noqa: E402
from hookseal.model import DeliveryState  # noqa: E402
from hookseal.store.port import EventFilter, Lease, Replay, Result  # noqa: E402
from hookseal.store.postgres import PostgresStore  # noqa: E402

TEN_MINUTES = 600.0


@pytest.fixture
async def stores(postgres_server: Server) -> AsyncIterator[PostgresStores]:  # noqa: F811
    made = PostgresStores(postgres_server, await postgres_server.new_database())
    yield made
    await made.close_all()


async def nodes(stores: PostgresStores, count: int) -> list[PostgresStore]:
    return [await stores.open() for _ in range(count)]


async def test_one_key_at_two_nodes_at_once_is_one_event(stores: PostgresStores) -> None:
    both = await nodes(stores, 2)
    for number in range(200):
        events = [new_event(number, deliveries=(new_delivery(),)) for _ in range(64)]
        outcomes = await asyncio.gather(*(accept(both[turn % 2], event) for turn, event in enumerate(events)))
        assert sum(not one.duplicate for [one] in outcomes) == 1
        assert len({(one.event, one.sequence) for [one] in outcomes}) == 1
    [(events_stored, deliveries_stored)] = await stores.run(
        "SELECT (SELECT count(*) FROM hookseal.events), (SELECT count(*) FROM hookseal.deliveries)"
    )
    assert (events_stored, deliveries_stored) == (200, 200)


async def test_requests_that_share_keys_in_opposite_order_do_not_fail(stores: PostgresStores) -> None:
    both = await nodes(stores, 2)
    for number in range(0, 200, 10):
        keys = [new_event(number + item, item=item) for item in range(10)]
        other = [new_event(number + item, item=item) for item in range(10)]
        one, two = await asyncio.gather(
            both[0].accept(new_request(*keys, source=SOURCE)),
            both[1].accept(new_request(*other[::-1], source=OTHER_SOURCE)),
        )
        assert {stored.event for stored in one} == {stored.event for stored in two}


async def test_sequences_of_a_source_are_unique_and_rise_with_the_commits(stores: PostgresStores) -> None:
    """A reader that sees sequence n also sees all below it: none is committed later."""
    four = await nodes(stores, 4)
    watching = await asyncpg.connect(stores.server.url_of(stores.database))
    done = asyncio.Event()

    async def watch() -> int:
        looks = 0
        while not done.is_set():
            count, last = await watching.fetchrow(
                "SELECT count(*), coalesce(max(sequence), 0) FROM hookseal.events WHERE source = $1", SOURCE
            )
            assert count == last
            looks += 1
        return looks

    watcher = asyncio.ensure_future(watch())
    for start in range(0, 1600, 160):
        given = [accept(four[number % 4], new_event(number)) for number in range(start, start + 160)]
        outcomes = await asyncio.gather(*given)
        assert sorted(one.sequence for [one] in outcomes) == list(range(start + 1, start + 161))
    done.set()
    assert await watcher > 0
    await watching.close()


async def test_no_delivery_is_claimed_twice(stores: PostgresStores) -> None:
    """20,000 deliveries, four claimers."""
    four = await nodes(stores, 4)
    requests = [
        new_request(*(new_event(start + item, item=item, deliveries=(new_delivery(),)) for item in range(50)))
        for start in range(0, 20_000, 50)
    ]
    for start in range(0, len(requests), 40):
        await asyncio.gather(*map(four[0].accept, requests[start : start + 40]))

    async def claim_all(store: PostgresStore) -> list[tuple[str, int]]:
        mine: list[tuple[str, int]] = []
        while claimed := await claim(store, free=200):
            mine += [(one.id, one.lease) for one in claimed]
        return mine

    taken = [one for some in await asyncio.gather(*map(claim_all, four)) for one in some]
    assert len(taken) == 20_000
    assert len({delivery for delivery, _ in taken}) == 20_000
    assert len({lease for _, lease in taken}) == 20_000


async def test_a_result_is_refused_after_another_node_has_claimed(stores: PostgresStores) -> None:
    slow, quick = await nodes(stores, 2)
    delivery = await planned(slow, 1)
    [stale] = await claim(slow, lease_s=60)
    [fresh] = await claim(quick, plus(NOW, 61))
    assert await slow.renew({stale.id: stale.lease}, plus(NOW, 200)) == []
    outcomes = await asyncio.gather(slow.record(result(stale, DeliveryState.DEAD)), quick.record(result(fresh)))
    assert outcomes == [False, True]
    row, attempts = await slow.delivery(delivery)
    assert (row.state, len(attempts)) == (DeliveryState.DELIVERED, 1)


async def test_two_nodes_that_replay_the_same_make_one_delivery_each(stores: PostgresStores) -> None:
    both = await nodes(stores, 2)
    requests = [
        new_request(*(new_event(start + item, item=item) for item in range(50))) for start in range(0, 2000, 50)
    ]
    await asyncio.gather(*map(both[0].accept, requests))
    made = await asyncio.gather(*(node.replay(Replay(endpoint=AUDIT), NOW) for node in both))
    assert sum(made) == 2000
    assert (await both[1].counts()).pending == {AUDIT: 2000}


async def test_the_quarantine_stays_bounded_with_two_nodes(stores: PostgresStores) -> None:
    both = [await stores.open(quarantine_rows=32) for _ in range(2)]
    for _ in range(10):
        await asyncio.gather(*(both[turn % 2].quarantine(new_refusal()) for turn in range(20)))
    assert (await both[0].counts()).quarantined <= 32 + 2 * 2 + 20


# --- clocks ---


async def skewed(stores: PostgresStores, seconds: float) -> tuple[PostgresStore, GivenClock]:
    clock = GivenClock(plus(SystemClock().now(), seconds))
    return await stores.open(database_time=True, clock=clock), clock


@pytest.mark.parametrize("seconds", [-TEN_MINUTES, TEN_MINUTES])
async def test_a_node_with_a_wrong_clock_neither_steals_leases_nor_waits(
    stores: PostgresStores, seconds: float
) -> None:
    right, right_clock = await skewed(stores, 0)
    wrong, wrong_clock = await skewed(stores, seconds)
    now = right_clock.now()
    delivery = await planned(right, 1, due_at=now)
    [held] = await right.claim_due({CORE: 5}, now, plus(now, 60))
    assert await wrong.claim_due({CORE: 5}, wrong_clock.now(), plus(wrong_clock.now(), 60)) == []
    due = await wrong.next_due_at([CORE])
    assert due is not None
    assert 30 < seconds_between(wrong_clock.now(), due) < 90
    retry = Result(
        delivery=delivery,
        lease=held.lease,
        attempt=result(held).attempt,
        state=DeliveryState.PENDING,
        due_at=plus(now, -1),
    )
    assert await right.record(retry)
    [taken] = await wrong.claim_due({CORE: 5}, wrong_clock.now(), plus(wrong_clock.now(), 60))
    assert (taken.id, taken.losses) == (delivery, 0)
    assert await right.claim_due({CORE: 5}, now, plus(now, 60)) == []


async def test_a_delivery_born_leased_to_a_node_with_a_wrong_clock_is_not_taken_from_it(stores: PostgresStores) -> None:
    wrong, clock = await skewed(stores, -TEN_MINUTES)
    right, right_clock = await skewed(stores, 0)
    born = new_delivery(due_at=clock.now(), lease=Lease(7), lease_until=plus(clock.now(), 60))
    await accept(wrong, new_event(1, deliveries=(born,)))
    assert await right.claim_due({CORE: 5}, right_clock.now(), plus(right_clock.now(), 60)) == []
    assert await wrong.renew({born.id: Lease(7)}, plus(clock.now(), 90)) == [born.id]


# --- connections that are lost ---


async def test_connections_killed_under_load_lose_nothing_that_was_acknowledged(stores: PostgresStores) -> None:
    both = await nodes(stores, 2)
    acknowledged = []

    async def send(number: int) -> None:
        while True:
            try:
                [stored] = await accept(both[number % 2], new_event(number))
            except StoreUnavailable:
                await asyncio.sleep(0.05)  # as a sender does
            else:
                acknowledged.append(stored.event)
                return

    async def cut() -> None:
        for _ in range(15):
            await stores.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'hookseal'"
            )
            await asyncio.sleep(0.02)

    await asyncio.gather(cut(), *(send(number) for number in range(600)))
    rows = await stores.run("SELECT id::text, sequence FROM hookseal.events ORDER BY sequence")
    assert {event for event, _ in rows} == set(acknowledged)
    assert len(rows) == 600
    assert [sequence for _, sequence in rows] == list(range(1, 601))


async def test_reads_survive_a_connection_lost_while_idle(stores: PostgresStores) -> None:
    store = await stores.open()
    await accept(store, new_event(1))
    await store.counts()
    await stores.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hookseal'")
    assert len((await store.events(EventFilter(), 5, None)).rows) == 1


async def test_a_change_of_a_value_is_notified_to_every_node(stores: PostgresStores) -> None:
    here, there = await nodes(stores, 2)
    notified = asyncio.Event()
    there.on_kv_change(notified.set)
    seen = await there.kv_versions()
    for write in (
        here.keep("sources", "a", b"one"),
        here.keep("sources", "a", b"two"),
        here.forget("sources", "a"),
    ):
        await write
        async with asyncio.timeout(10):
            while (versions := await there.kv_versions()) == seen:
                await notified.wait()
                notified.clear()
        seen = versions


async def test_writes_of_many_namespaces_on_two_nodes_do_not_fail(stores: PostgresStores) -> None:
    """Each write locks the version of its namespace; the nodes write in opposite orders."""
    here, there = await nodes(stores, 2)
    names = [f"shelf-{number}" for number in range(20)]
    for number in range(10):
        value = b"%d" % number
        await asyncio.gather(
            *(here.keep(name, "a", value) for name in names), *(there.keep(name, "b", value) for name in names[::-1])
        )
    versions = await here.kv_versions()
    assert {name: versions[name] for name in names} == dict.fromkeys(names, 20)
