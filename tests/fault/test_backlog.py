"""A huge backlog: all that was received while a receiver was away still waits when the gateway is started.

It starts and is ready, also after `kill -9`; receives and delivers to others as an empty one does; sends what waits, the
oldest first; and no statement walks what waits. Each store stands beside an empty one of its kind, on the same machine
and at the same time, because only the two together say what the backlog costs.

Oracles: the clients' list of what was acknowledged, what both receivers got, the rows afterwards, the work that
statements say they did (steps of SQLite's machine, rows that PostgreSQL touched), and the kernel's word on memory. How
long anything took is a figure of the run, not a condition.
"""

import asyncio
import shutil
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import apsw
import asyncpg
import pytest
from aiohttp import ClientSession
from backlog import SEED, Backlog, fill_postgres, fill_sqlite, number_of
from lifetimes import look
from plug import API_KEY, SINK_SECRET, Clients, Node, Sink, configuration, drained, pages, sink
from postgres_nodes import KEYRING, place, reached  # noqa: F401 - `place` is a fixture
from power.postgres_server import PostgresServer
from tiers import note, tier

from hookseal.clock import SystemClock, plus
from hookseal.model import DeliveryState, EndpointId, SourceId
from hookseal.sealing import Keyring, Sealer
from hookseal.store import keyfile
from hookseal.store.event_seal import SECRET_SHELF, EventSealer, event_secret
from hookseal.store.mappings import Mappings
from hookseal.store.port import AttemptRow, DeliveryFilter, EventFilter, Lease, Result, Store
from hookseal.store.postgres import PostgresStore
from hookseal.store.postgres.connection import Hosts
from hookseal.store.postgres.leasing import Claim as PostgresClaim
from hookseal.store.postgres.leasing import Claiming as PostgresClaiming
from hookseal.store.postgres.reading import Reading as PostgresReading
from hookseal.store.postgres.writer import Transaction
from hookseal.store.sqlite import SqliteStore
from hookseal.store.sqlite.leasing import Claim, Claiming
from hookseal.store.sqlite.reading import Reading as SqliteReading

pytestmark = pytest.mark.fault

CORE, SIDE = EndpointId("core"), EndpointId("side")
SQLITE_ROWS = tier(ci=100_000, full=10_000_000)
POSTGRES_ROWS = tier(ci=30_000, full=2_000_000)
OPENED = tier(ci=6_000, full=200_000)
CLAIMS = tier(ci=20, full=500)
AT_ONCE = 100
ROUNDS = tier(ci=2, full=7)
IN_A_ROUND = tier(ci=300, full=4_000)
DELIVERED = tier(ci=200, full=3_000)
LISTINGS = tier(ci=2, full=40)
CONNECTIONS = 32
HELD = 2 * (512 + 16)
"""Deliveries that a node may hold of one endpoint, and so take out of their order, before and after it is killed."""
BUDGET_BYTES = 96 * 1024 * 1024
"""What a process may have more than one beside an empty store: the pages that its store keeps at hand."""
STEPS, TOUCHED = 150_000, 5_000
"""The most work of one statement (SQLite, PostgreSQL): some thousands where a page is read, millions where the backlog is walked."""

RUNS = 8
"""After five, PostgreSQL may keep one plan for all values."""
LIKE_IN_LIFE = {"shared_buffers": "128MB", "max_wal_size": "1GB", "checkpoint_timeout": "5min"}
"""PostgreSQL's own defaults, in place of those that make power cuts interesting."""

FAR = ("/deliveries?state=delivered&endpoint=core", "/deliveries?endpoint=nobody", "/events?type=nothing")
"""Filters of which hardly a row is left. No index knows them: they are found by walking."""
LISTS = (
    "/deliveries",
    "/deliveries?state=pending",
    "/deliveries?state=dead",
    "/deliveries?state=pending&endpoint=core",
    "/events",
    "/events?source=idenfy",
)


@dataclass(slots=True)
class Watched:
    """A node, its clients and its receivers. `core` is the one that was away; `side` takes what comes, all the time."""

    node: Node
    core: Sink
    side: Sink
    clients: Clients = field(default_factory=lambda: Clients(seed=19))
    stored: list[float] = field(default_factory=list)
    delivered: list[float] = field(default_factory=list)
    lists_ms: dict[str, list[float]] = field(default_factory=dict)
    since: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")

    async def start(self) -> float:
        """Seconds until it is ready, those of the interpreter included."""
        began = time.monotonic()
        assert await self.node.start(), "the node did not come up"
        async with ClientSession() as session:
            while True:
                async with session.get(f"{self.node.url}/readyz") as response:
                    if response.status == 200:
                        return round(time.monotonic() - began, 2)
                await asyncio.sleep(0.01)

    async def receive(self) -> None:
        began = time.monotonic()
        goal = len(self.clients.acked) + IN_A_ROUND
        await self.clients.run(self.node.url, CONNECTIONS, until_acked=goal)
        self.stored.append(IN_A_ROUND / (time.monotonic() - began))

    async def list(self) -> None:
        for path in LISTS:
            status, took_ms = await self.ask(f"/api/v1{path}")
            assert status == 200
            self.lists_ms.setdefault(path, []).append(took_ms)

    async def ask(self, path: str) -> tuple[int, float]:
        """The status of the answer, and how many milliseconds it took."""
        async with ClientSession(headers={"Authorization": f"Bearer {API_KEY}"}) as session:
            began = time.monotonic()
            async with session.get(f"{self.node.url}{path}") as response:
                await response.read()
                return response.status, round((time.monotonic() - began) * 1000, 1)

    async def deliver(self) -> None:
        """Let `core` take some of what waits for it, then keep it waiting again."""
        began, seen = time.monotonic(), len(self.core.got)
        self.core.answer()
        await reached(lambda: len(self.core.got) >= seen + DELIVERED, within_s=600)
        self.core.kept_waiting = True
        self.delivered.append(DELIVERED / (time.monotonic() - began))

    @property
    def resident(self) -> int:
        """Bytes of memory that the node has at most had."""
        assert self.node.process is not None
        status = Path(f"/proc/{self.node.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def arrived(self) -> set[int]:
        """The numbers of the old events that `core` got."""
        return {number for one in self.core.got if (number := number_of(one)) is not None}


@asynccontextmanager
async def watched(config: Path, store: str) -> AsyncIterator[Watched]:
    """Its node runs when this is entered and holds the seed alone, which both receivers have."""
    config.parent.mkdir(exist_ok=True)
    async with sink() as core, sink() as side:
        other = f'[[endpoint]]\nid = "side"\nurl = "{side.url}"\n'
        signing = f'signing = {{ scheme = "standard_webhooks", secret = "{SINK_SECRET}" }}\n'
        config.write_text(configuration(core.url, "timeout_s = 30\n") + other + signing + store)
        made = Watched(Node(config), core, side)
        try:
            yield made
        finally:
            await made.node.kill()


async def seed(empty: Watched) -> float:
    """Let a gateway make the store and the event that the backlog is made of; how long it took to be ready."""
    started_s = await empty.start()
    await Clients(seed=1, letter=lambda _: SEED).run(empty.node.url, 1, until_acked=1)
    await drained(empty.node.url)
    assert await empty.node.stop() == 0
    return started_s


# --- what a store does, without a gateway ---


async def claim_and_deliver(store: Store) -> list[float]:
    """Claim `CLAIMS` times and record that all was delivered; the milliseconds of each claim."""
    clock, took_ms, following = SystemClock(), [], 1
    for _ in range(CLAIMS):
        now = clock.now()
        began = time.perf_counter()
        claimed = await store.claim_due({CORE: AT_ONCE}, now, plus(now, 60))
        took_ms.append((time.perf_counter() - began) * 1000)
        numbers = [number_of(str(one.event.row.subject)) for one in claimed]
        assert numbers == list(range(following, following + AT_ONCE)), "not the oldest, or not in order"
        following += AT_ONCE
        tried = AttemptRow(number=1, started_at=now, duration_ms=1, status=200, reason=None)
        results = [
            Result(delivery=one.id, lease=one.lease, attempt=tried, state=DeliveryState.DELIVERED, due_at=None)
            for one in claimed
        ]
        assert all(await asyncio.gather(*map(store.record, results)))
    return took_ms


Listing = Callable[[Any, Any], Any]
"""One reading of a store, on its kind of `Reading` and of connection."""

READINGS: dict[str, Listing] = {
    "deliveries": lambda reading, on: reading.deliveries(on, DeliveryFilter(), 100, None),
    "deliveries pending": lambda reading, on: reading.deliveries(
        on, DeliveryFilter(state=DeliveryState.PENDING), 100, None
    ),
    "deliveries dead": lambda reading, on: reading.deliveries(on, DeliveryFilter(state=DeliveryState.DEAD), 100, None),
    "events": lambda reading, on: reading.events(on, EventFilter(), 100, None),
    "events of a source": lambda reading, on: reading.events(on, EventFilter(source=SourceId("idenfy")), 100, None),
}


def sqlite_work(file: Path, keyring: Keyring) -> dict[str, int]:
    """Steps of SQLite's machine, in thousands rounded up, for what a gateway asks at its start and while it works."""
    connection = apsw.Connection(str(file))
    made = 0

    def note_steps() -> bool:
        nonlocal made
        made += 1
        return False

    connection.set_progress_handler(note_steps, 1000)
    events = EventSealer()
    reading, now = SqliteReading(Sealer(keyring), events, Mappings()), SystemClock().now()
    events.use(event_secret(reading.kept(connection, SECRET_SHELF), str(file)))
    leases = count(1)
    claiming = Claiming(lambda: Lease(next(leases)))
    work: dict[str, Callable[[], object]] = {
        "claim": lambda: claiming.apply(connection, [Claim({CORE: AT_ONCE, SIDE: AT_ONCE}, now, plus(now, 60))]),
        "next due": lambda: reading.next_due_at(connection, [CORE, SIDE]),
        **{name: lambda listing=listing: listing(reading, connection) for name, listing in READINGS.items()},
    }
    found = {}
    try:
        for name, do in work.items():
            made = 0
            connection.execute("BEGIN")
            do()
            found[name] = (made + 1) * 1000
            connection.execute("ROLLBACK")
    finally:
        connection.close()
    return found


TOUCHED_SO_FAR = """
SELECT coalesce(sum(pg_stat_get_xact_tuples_returned(oid)), 0)::bigint FROM pg_class
WHERE relnamespace = 'hookseal'::regnamespace
"""
"""Rows and index entries that this connection has read, those included that it threw away."""


async def postgres_work(url: str) -> dict[str, int]:
    """Rows touched by the same, at most: each is run so often that the server may plan it for any values, not for these."""
    keyring = Keyring.parse(KEYRING)
    connection = await Hosts(url).connect()
    events = EventSealer()
    reading, now = PostgresReading(Sealer(keyring), events, Mappings()), SystemClock().now()
    events.use(event_secret(await reading.kept(connection, SECRET_SHELF), url))
    claim = PostgresClaim({CORE: AT_ONCE, SIDE: AT_ONCE}, now, plus(now, 60))
    leases = count(1)
    claiming = PostgresClaiming(lambda: Lease(next(leases)))
    work: dict[str, Callable[[], Awaitable[object]]] = {
        "claim": lambda: claiming.apply(Transaction(connection, None), [claim]),
        "next due": lambda: reading.next_due_at(connection, [CORE, SIDE], None),
        **{name: lambda listing=listing: listing(reading, connection) for name, listing in READINGS.items()},
    }
    found: dict[str, int] = {}
    try:
        for name, do in [*work.items()] * RUNS:
            await connection.execute("BEGIN")
            before = int(await connection.fetchval(TOUCHED_SO_FAR))
            await do()
            found[name] = max(found.get(name, 0), int(await connection.fetchval(TOUCHED_SO_FAR)) - before)
            await connection.execute("ROLLBACK")
    finally:
        await connection.close()
    return found


# --- with a gateway ---


async def beside(empty: Watched, full: Watched, backlog: Backlog) -> dict[str, Any]:
    """The life of both after the backlog was made; its figures. The first `CLAIMS * AT_ONCE` of it were delivered."""
    before = CLAIMS * AT_ONCE
    for one in (empty, full):
        one.core.kept_waiting = True
    started_s = await full.start(), await empty.start()
    for _ in range(ROUNDS):
        for one in (empty, full):
            await one.receive()
        for one in (empty, full):
            await one.deliver()
    assert max(full.arrived()) <= before + len(full.arrived()) + HELD, "younger ones before the oldest"
    for _ in range(LISTINGS):
        await empty.list()
        await full.list()
    far = {path: await full.ask(f"/api/v1{path}") for path in FAR} | {"/metrics": await full.ask("/metrics")}
    resident = full.resident, empty.resident
    assert resident[0] < resident[1] + BUDGET_BYTES, resident
    await full.node.kill()
    killed_s = await full.start()
    await full.receive()
    await full.deliver()
    assert max(full.arrived()) <= before + len(full.arrived()) + 2 * HELD, "younger ones before the oldest"
    empty.core.answer()
    await drained(empty.node.url)
    for one in (empty, full):
        await everything_is_there(one)
        one.core.answer()
        assert await one.node.stop() == 0
    assert min(full.arrived()) > before, "sent again after it was delivered"
    assert max(full.arrived()) <= backlog.count
    times = sorted(took for all_times in full.lists_ms.values() for took in all_times)
    return {
        "backlog": backlog.count,
        "ready_s": started_s[0],
        "ready_s_empty": started_s[1],
        "ready_s_after_kill": killed_s,
        **per_second("stored", full.stored, empty.stored),
        **per_second("delivered", full.delivered, empty.delivered),
        "list_p95_ms": p_of(times, 95),
        "list_slowest_ms": {path: round(max(took), 1) for path, took in full.lists_ms.items()},
        "walked_status_ms": far,
        "list_p95_ms_empty": p_of(sorted(took for all_times in empty.lists_ms.values() for took in all_times), 95),
        "resident_mb": round(resident[0] / 1e6),
        "resident_mb_empty": round(resident[1] / 1e6),
        "posts_twice": sum(full.core.posts.values()) - len(full.core.posts),
    }


async def everything_is_there(one: Watched) -> None:
    """What was acknowledged is stored once and was sent to `side`; nobody was told that it was their fault."""
    await one.clients.settle(one.node.url)
    await reached(lambda: one.clients.acked <= one.side.got.keys())
    stored = [str(row["subject"]) for row in await pages(one.node.url, f"/api/v1/events?since={one.since}")]
    assert len(stored) == len(set(stored)), "stored twice"
    assert one.clients.acked <= set(stored), "acknowledged and lost"
    assert set(one.clients.statuses) <= {200, 503}
    assert one.clients.untold == one.core.forged == one.side.forged == 0


def per_second(what: str, full: Sequence[float], empty: Sequence[float]) -> dict[str, float]:
    mine, other = statistics.median(full), statistics.median(empty)
    return {f"{what}_per_s": round(mine), f"{what}_per_s_empty": round(other), f"{what}_ratio": round(mine / other, 2)}


def p_of(ordered: Sequence[float], percent: int) -> float:
    return round(ordered[min(len(ordered) * percent // 100, len(ordered) - 1)], 1)


def claims(took_ms: Sequence[float]) -> dict[str, float]:
    ordered = sorted(took_ms)
    return {
        "claim_p50_ms": p_of(ordered, 50),
        "claim_p99_ms": p_of(ordered, 99),
        "claim_max_ms": round(ordered[-1], 1),
    }


def states_of(backlog: Backlog) -> str:
    """SQL that counts the states of what waited for `core`. What came later was made later."""
    until = (backlog.begin_ms + backlog.count) * 1000
    return f"SELECT state, count(*) FROM deliveries WHERE endpoint = 'core' AND created_at <= {until} GROUP BY state"


def check_rows(states: Mapping[str, int], full: Watched, backlog: Backlog) -> None:
    """What was sent and not recorded before the node was killed waits again."""
    sent = CLAIMS * AT_ONCE + len(full.arrived())
    assert states.keys() <= {"pending", "delivered"}, states
    assert sum(states.values()) == backlog.count, "lost"
    assert sent - 2 * HELD <= states["delivered"] <= sent, "delivered, and never arrived"


def new_backlog(count: int) -> Backlog:
    assert OPENED >= CLAIMS * AT_ONCE + (ROUNDS + 2) * DELIVERED + 3 * HELD, "more is sent than was sealed"
    return Backlog(count, int(time.time() * 1000) - count - 3_600_000, OPENED)


async def test_a_backlog_in_sqlite_costs_nobody_anything_but_room(tmp_path: Path) -> None:
    began, backlog = time.monotonic(), new_backlog(SQLITE_ROWS)
    folders = tmp_path / "empty", tmp_path / "full"
    async with (
        watched(folders[0] / "hookseal.toml", "") as empty,
        watched(folders[1] / "hookseal.toml", "") as full,
    ):
        await seed(empty)
        for name in ("hookseal.db", "hookseal.key"):
            shutil.copy(folders[0] / name, folders[1] / name)
        keyring, file = keyfile.read(folders[1] / "hookseal.key"), folders[1] / "hookseal.db"
        fill_sqlite(file, keyring, backlog)
        filled_s = round(time.monotonic() - began, 1)
        work = sqlite_work(file, keyring)
        assert {name: steps for name, steps in work.items() if steps > STEPS} == {}
        store = SqliteStore(file, keyring)
        await store.open()
        took_ms = await claim_and_deliver(store)
        await store.close()
        figures = await beside(empty, full, backlog)
        states = dict(look(folders[1], states_of(backlog)))
        check_rows(states, full, backlog)
    figures |= {**claims(took_ms), "steps": work, "filled_s": filled_s, "seconds": round(time.monotonic() - began, 1)}
    note("backlog: sqlite", **figures)


async def test_a_backlog_in_postgresql_costs_nobody_anything_but_room(place: Path) -> None:  # noqa: F811
    began, backlog = time.monotonic(), new_backlog(POSTGRES_ROWS)
    server = PostgresServer(place / "pgdata", place / "postgres.log")
    server.make()
    keyring = Keyring.parse(KEYRING)
    (place / "keyring").write_text(KEYRING)
    (place / "keyring").chmod(0o600)
    urls = [server.url.removesuffix("postgres") + name for name in ("empty", "full")]
    stores = [f'[store]\nurl = "{url}"\nkeyring = "file:{place}/keyring"\n' for url in urls]
    try:
        server.start(LIKE_IN_LIFE)
        server.tell("CREATE DATABASE empty")
        async with (
            watched(place / "empty" / "hookseal.toml", stores[0]) as empty,
            watched(place / "full" / "hookseal.toml", stores[1]) as full,
        ):
            await seed(empty)
            server.tell('CREATE DATABASE "full" TEMPLATE empty')
            await fill_postgres(urls[1], keyring, backlog)
            filled_s = round(time.monotonic() - began, 1)
            work = await postgres_work(urls[1])
            assert {name: touched for name, touched in work.items() if touched > TOUCHED} == {}
            store = PostgresStore(urls[1], keyring)
            await store.open()
            took_ms = await claim_and_deliver(store)
            await store.close()
            figures = await beside(empty, full, backlog)
            connection = await asyncpg.connect(urls[1], server_settings={"search_path": "hookseal"})
            states = dict(await connection.fetch(states_of(backlog)))
            await connection.close()
            check_rows(states, full, backlog)
    finally:
        server.close()
    figures |= {**claims(took_ms), "touched": work, "filled_s": filled_s, "seconds": round(time.monotonic() - began, 1)}
    note("backlog: postgresql", **figures)
