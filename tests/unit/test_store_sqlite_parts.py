"""What is particular to the SQLite store: its lock, its log, its index of keys, its driver's errors, its statements."""

import asyncio
import hashlib
import os
import re
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from hookseal import probe
from hookseal.clock import Instant, plus
from hookseal.errors import StoreError, StoreLocked, StoreMismatch, StoreUnavailable
from hookseal.ids import new_delivery_id, new_event_id
from hookseal.model import EndpointId, SourceId
from hookseal.probe import Step
from hookseal.sealing import Keyring
from hookseal.store.port import EventFilter, Lease, NewDelivery, NewEvent, NewRequest
from hookseal.store.sql import Queries, slices
from hookseal.store.sqlite import SqliteStore
from hookseal.store.sqlite.connection import check_library
from hookseal.store.sqlite.faults import concerns_all, fault_of
from hookseal.store.sqlite.migrate import QUERIES, migrate, migrations
from hookseal.store.sqlite.writer import Handler

NOW = Instant(1_763_700_000_000_000)
DAY_S = 86_400
KEYRING = Keyring((("k1", bytes(range(32))),))
SOURCE, CORE = SourceId("s"), EndpointId("core")


def request(number: int, *, day: int = 0, body: bytes = b"{}", subject: str | None = None) -> NewRequest:
    now = plus(NOW, day * DAY_S)
    event = NewEvent(
        id=new_event_id(now),
        item=0,
        type="other",
        dedupe_key=hashlib.sha256(str(number).encode()).digest(),
        content=bytes(32),
        subject=subject,
        deliveries=(NewDelivery(id=new_delivery_id(now), endpoint=CORE, due_at=now),),
    )
    return NewRequest(source=SOURCE, received_at=now, headers=(), body=body, events=(event,))


async def run(store: SqliteStore, sql: str, *values: Any) -> list[Any]:
    handler = Handler("test", 0, lambda connection, batch: [connection.execute(sql, values).fetchall()])
    rows: list[Any] = await store._writer.submit(handler, None)
    return rows


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Any]:
    stores: list[SqliteStore] = []

    async def open_one(**bounds: Any) -> SqliteStore:
        store = SqliteStore(tmp_path / "a.db", KEYRING, **bounds)
        await store.open()
        stores.append(store)
        return store

    yield open_one
    for store in stores:
        await store.close()


# --- the lock ---


async def test_a_second_store_of_this_process_is_refused_and_named(opened: Any) -> None:
    await opened()
    with pytest.raises(StoreLocked, match=f"pid {os.getpid()}"):
        await opened()


async def test_a_process_that_has_the_store_is_named_by_its_pid(opened: Any, tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, pathlib; from hookseal.store.sqlite.lock import Lock;"
            "Lock(pathlib.Path(sys.argv[1])).take(); print('taken', flush=True); sys.stdin.read()",
            str(tmp_path / "a.db.lock"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"taken\n"
        with pytest.raises(StoreLocked, match=rf"a\.db is in use by the process with pid {holder.pid};"):
            await opened()
        assert not (tmp_path / "a.db").exists()
    finally:
        holder.kill()
        holder.communicate()
    await opened()


async def test_a_closed_store_can_be_opened_again(opened: Any) -> None:
    store = await opened()
    await store.close()
    await opened()


async def test_a_store_that_could_not_be_opened_lets_the_lock_go(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db", KEYRING)
    await store.open()
    await store.close()
    for _ in range(2):
        with pytest.raises(StoreMismatch):
            await SqliteStore(tmp_path / "a.db", Keyring((("k2", bytes(32)),))).open()


async def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="no-such-folder"):
        await SqliteStore(tmp_path / "no-such-folder" / "a.db", KEYRING).open()


async def test_only_the_owner_can_read_the_files(opened: Any, tmp_path: Path) -> None:
    store = await opened()
    await store.accept(request(1))
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == dict.fromkeys(["a.db", "a.db-wal", "a.db-shm", "a.db.lock"], 0o600)


async def test_a_clean_close_leaves_the_database_alone(opened: Any, tmp_path: Path) -> None:
    store = await opened()
    await store.accept(request(1))
    await store.close()
    assert {file.name for file in tmp_path.iterdir()} == {"a.db", "a.db.lock"}


async def test_the_writer_syncs_every_commit(opened: Any) -> None:
    store = await opened()
    assert await run(store, "PRAGMA synchronous") == [(2,)]
    assert await run(store, "PRAGMA journal_mode") == [("wal",)]
    assert await run(store, "PRAGMA foreign_keys") == [(1,)]
    assert await run(store, "PRAGMA wal_autocheckpoint") == [(0,)]


def test_the_library_that_is_installed_is_safe() -> None:
    check_library(apsw.sqlite_lib_version())


@pytest.mark.parametrize(
    ("version", "safe"), [("3.51.3", True), ("3.52", True), ("4.0.0", True), ("3.51.2", False), ("3.40.1", False)]
)
def test_an_unsafe_library_is_refused(version: str, safe: bool) -> None:
    if safe:
        check_library(version)
    else:
        with pytest.raises(StoreMismatch, match=re.escape(version)):
            check_library(version)


# --- the log ---


async def test_the_log_stays_bounded_under_constant_load(opened: Any, tmp_path: Path) -> None:
    store = await opened(log_start_pages=20, log_bound_pages=60)
    body = hashlib.shake_256(b"noise").digest(4000)
    largest = 0
    for start in range(0, 4000, 20):
        await asyncio.gather(*(store.accept(request(start + number, body=body)) for number in range(20)))
        largest = max(largest, (tmp_path / "a.db-wal").stat().st_size)
    assert (tmp_path / "a.db").stat().st_size > 16_000_000
    # The bound is looked at between batches, after a pass of the other thread: it is passed by what came meanwhile.
    assert largest < 8_000_000


async def test_a_reader_that_stays_does_not_stop_the_writer(opened: Any, tmp_path: Path) -> None:
    store = await opened(log_start_pages=1, log_bound_pages=2)
    await store.accept(request(0))
    reader = apsw.Connection(str(tmp_path / "a.db"), flags=apsw.SQLITE_OPEN_READONLY)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM events").get == 1
    for number in range(1, 20):
        await store.accept(request(number))
    assert reader.execute("SELECT count(*) FROM events").get == 1
    reader.execute("ROLLBACK")
    assert reader.execute("SELECT count(*) FROM events").get == 20
    reader.close()


async def test_checkpoints_happen_away_from_the_writer(opened: Any) -> None:
    import threading

    threads: set[str] = set()
    passed = threading.Event()

    def note(step: Step) -> None:
        if step is Step.CHECKPOINTED:
            threads.add(threading.current_thread().name)
            passed.set()

    leave = probe.listen(note)
    try:
        store = await opened(log_start_pages=1)
        for number in range(50):
            await store.accept(request(number))
        assert await asyncio.to_thread(passed.wait, 30)
    finally:
        leave()
    assert threads == {"hookseal-store-checkpoint"}


# --- keys in order ---


async def test_keys_wait_in_memory_and_are_then_put_in_order(opened: Any) -> None:
    store = await opened(dedupe_buffered=100)
    for start in range(0, 1000, 50):
        await asyncio.gather(*(store.accept(request(start + number)) for number in range(50)))
    [(ordered,)] = await run(store, "SELECT count(*) FROM dedupe")
    [(noted,)] = await run(store, "SELECT count(*) FROM recent_keys")
    assert ordered >= 900
    assert len(store._recent._made) == 1000 - ordered
    assert noted <= 400
    outcomes = await asyncio.gather(*(store.accept(request(number)) for number in range(1000)))
    assert all(stored.duplicate for [stored] in outcomes)


async def test_a_failed_transaction_forgets_the_keys_that_it_took(opened: Any) -> None:
    store = await opened(dedupe_buffered=10)
    for number in range(30):
        await store.accept(request(number))

    def fail(step: Step) -> None:
        if step is Step.COMMITTING:
            raise apsw.FullError

    leave = probe.listen(fail)
    try:
        outcomes = await asyncio.gather(
            *(store.accept(request(number)) for number in range(30, 60)), return_exceptions=True
        )
    finally:
        leave()
    assert {type(one) for one in outcomes} == {StoreUnavailable}
    await store.void_leases(NOW)  # a commit that is not theirs
    outcomes = await asyncio.gather(*(store.accept(request(number)) for number in range(60)))
    assert [stored.duplicate for [stored] in outcomes] == [True] * 30 + [False] * 30


async def test_a_partition_begins_when_the_one_before_is_full(opened: Any) -> None:
    store = await opened(dedupe_buffered=0, dedupe_capacity=10)
    for number in range(45):
        await store.accept(request(number))
    rows = await run(store, "SELECT slot >> 48, count(*) FROM dedupe GROUP BY 1")
    numbers = await run(store, "SELECT number FROM dedupe_partitions ORDER BY 1")
    assert [count for _, count in rows][:-1] == [10] * (len(rows) - 1)
    assert [number for number, _ in rows] == [number for (number,) in numbers]
    assert len(rows) >= 4


async def test_a_partition_tells_the_days_of_its_keys_and_does_not_span_too_many(opened: Any) -> None:
    store = await opened(dedupe_buffered=0, dedupe_max_days=3)
    first = NOW // (DAY_S * 1_000_000)
    for day in (0, 1, 2, 3, 4, 9, 8):
        await store.accept(request(day, day=day))
    await store.accept(request(100, day=9))
    rows = await run(store, "SELECT first_day, last_day FROM dedupe_partitions ORDER BY number")
    assert [(start - first, end - first) for start, end in rows] == [(0, 2), (3, 4), (8, 9)]


async def test_a_key_of_an_event_that_retention_removed_is_still_a_duplicate(opened: Any) -> None:
    store = await opened()
    [stored] = await store.accept(request(1))
    await run(store, "DELETE FROM deliveries")
    await run(store, "DELETE FROM requests")
    await run(store, "DELETE FROM events")
    [again] = await store.accept(request(1))
    assert (again.event, again.sequence, again.duplicate, again.conflict) == (stored.event, 0, True, False)
    [fresh] = await store.accept(request(2))
    assert fresh.sequence == 2


async def test_subjects_are_found_in_memory_and_in_order_alike(opened: Any) -> None:
    store = await opened(dedupe_buffered=20, dedupe_capacity=25)
    for number in range(90):
        await store.accept(request(number, subject=f"subject {number % 9}"))
    for number in range(9):
        found = await store.events(EventFilter(subject=f"subject {number}"), 100, None)
        assert {one.row.sequence % 9 for one in found.rows} == {(number + 1) % 9}
        assert len(found.rows) == 10


# --- faults ---

MAPPED = {
    apsw.FullError: StoreUnavailable,
    apsw.IOError: StoreUnavailable,
    apsw.BusyError: StoreUnavailable,
    apsw.LockedError: StoreUnavailable,
    apsw.CantOpenError: StoreUnavailable,
    apsw.ReadOnlyError: StoreUnavailable,
    apsw.NoMemError: StoreUnavailable,
    apsw.ProtocolError: StoreUnavailable,
    apsw.InterruptError: StoreUnavailable,
    apsw.AbortError: StoreUnavailable,
    apsw.NoLFSError: StoreUnavailable,
    apsw.PermissionsError: StoreUnavailable,
    apsw.AuthError: StoreUnavailable,
    apsw.SchemaChangeError: StoreUnavailable,
    apsw.ConnectionClosedError: StoreUnavailable,
    apsw.CorruptError: StoreMismatch,
    apsw.NotADBError: StoreMismatch,
    apsw.FormatError: StoreMismatch,
}


def test_every_error_of_the_driver_is_mapped() -> None:
    classes = [one for one in vars(apsw).values() if isinstance(one, type) and issubclass(one, apsw.Error)]
    assert set(MAPPED) <= set(classes)
    for one in classes:
        assert type(fault_of(one("a value"), "accept")) is MAPPED.get(one, StoreError)
        assert concerns_all(one("a value")) is (one in MAPPED)


def test_a_fault_never_repeats_the_drivers_words() -> None:
    for error in (apsw.ConstraintError("value 4711"), ValueError("value 4711"), UnicodeError("value 4711")):
        assert "4711" not in str(fault_of(error, "accept"))


async def test_after_an_input_output_error_the_connection_is_opened_anew(opened: Any) -> None:
    store = await opened()
    await store.accept(request(1))
    before = store._writer._connection

    def fail(step: Step) -> None:
        if step is Step.COMMITTING:
            raise apsw.IOError

    leave = probe.listen(fail)
    try:
        with pytest.raises(StoreUnavailable):
            await store.accept(request(2))
    finally:
        leave()
    [stored] = await store.accept(request(2))
    assert (stored.duplicate, stored.sequence) == (False, 2)
    assert store._writer._connection is not before


async def test_a_log_that_cannot_be_moved_takes_no_acknowledgement_back(opened: Any) -> None:
    store = await opened(log_start_pages=1, log_bound_pages=1)

    def fail(step: Step) -> None:
        if step is Step.CHECKPOINTED:
            raise apsw.IOError

    leave = probe.listen(fail)
    try:
        for number in range(30):
            [stored] = await store.accept(request(number))
            assert not stored.duplicate
    finally:
        leave()
    assert len((await store.events(EventFilter(), 100, None)).rows) == 30


async def test_what_waits_is_bounded_in_bytes(opened: Any) -> None:
    store = await opened(max_waiting_bytes=10_000)
    body = hashlib.shake_256(b"noise").digest(4000)
    outcomes = await asyncio.gather(
        *(store.accept(request(number, body=body)) for number in range(20)), return_exceptions=True
    )
    stored = [one for one in outcomes if not isinstance(one, BaseException)]
    assert 2 <= len(stored) < 20
    assert {type(one).__name__ for one in outcomes if isinstance(one, BaseException)} == {"StoreBusy"}


async def test_a_body_larger_than_the_bound_is_stored_when_nothing_else_waits(opened: Any) -> None:
    store = await opened(max_waiting_bytes=1000)
    [stored] = await store.accept(request(1, body=hashlib.shake_256(b"noise").digest(50_000)))
    assert not stored.duplicate


async def test_one_commit_serves_all_that_wait(opened: Any) -> None:
    store = await opened()
    commits: list[Step] = []
    leave = probe.listen(lambda step: commits.append(step) if step is Step.COMMITTED else None)
    try:
        await asyncio.gather(*(store.accept(request(number)) for number in range(1000)))
    finally:
        leave()
    assert len(commits) < 200


# --- statements ---


@pytest.fixture(scope="module")
def empty() -> Iterator[apsw.Connection]:
    connection = apsw.Connection(":memory:")
    migrate(connection, 0, migrations(), NOW)
    yield connection
    connection.close()


def plan(connection: apsw.Connection, name: str) -> list[str]:
    sql = QUERIES.rows(name, 4) if "/* row */" in QUERIES[name] else QUERIES[name]
    names = set(re.findall(r":([a-z_]+)", sql))
    values: Any = dict.fromkeys(names, 1) if names else [1] * sql.count("?")
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]


_WHOLE = {
    "count_pending": "only what is pending",
    "count_quarantine": "bounded",
    "quarantine_totals": "bounded",
    "quarantine_shares": "bounded",
    "held_totals": "bounded",
    "oldest_refusals": "in order, with a limit",
    "seals_of_kept": "few and small",
    "oldest_held": "the same",
    "has_ledger": "the schema",
    "has_tables": "the schema",
    "read_counters": "a row for each source",
    "read_kv_versions": "a row for each namespace",
    "read_mappings": "a row for each revision of a provider's rules",
    "read_keyring": "a row for each key",
    "read_partitions": "a row for each partition",
    "read_recent": "once, at the open; bounded",
    "events_of_subject": "the keys that are not in order yet; bounded",
    "state_in_force": "the same",
    "count_states": "the same",
    "find_peaks": "a look into each partition",
}


@pytest.mark.parametrize("name", sorted(QUERIES.names - {"begin", "commit", "rollback"}))
def test_every_statement_is_said_in_a_sentence_and_walks_no_history(empty: apsw.Connection, name: str) -> None:
    assert QUERIES.sentences[name].endswith(".")
    steps = plan(empty, name)
    scans = [step for step in steps if step.startswith("SCAN") and not re.search(r"VALUES|CONSTANT|SUBQUERY", step)]
    scans = [step for step in scans if not re.search(r"SCAN (taken|result|held|replay|waiting|json_each)", step)]
    assert scans == [] or name in _WHOLE
    assert name.startswith(
        ("count_dead", "count_states", "due_suspects", "events_of_subject", "state_in_force")
    ) or not any("TEMP B-TREE" in step for step in steps)


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("find_due", "deliveries_due"),
        ("next_due_at", "deliveries_due"),
        ("count_pending", "deliveries_due"),
        ("void_leases", "deliveries_leased"),
        ("due_suspects", "deliveries_suspect"),
        ("next_suspect_at", "deliveries_suspect"),
        ("mark_replayed", "deliveries_event"),
        ("count_dead", "deliveries_open"),
        ("deliveries_open", "deliveries_open"),
        ("deliveries_of_event", "deliveries_event"),
        ("events_newest", "events_received"),
        ("events_of_source", "events_source"),
        ("record_results", "deliveries_id"),
        ("find_event_ids", "events_id (id>? AND id<?)"),
        ("find_delivery_ids", "deliveries_id (id>? AND id<?)"),
        ("find_refusal_ids", "quarantine_id (id>? AND id<?)"),
    ],
)
def test_work_is_found_by_its_index(empty: apsw.Connection, name: str, index: str) -> None:
    assert any(index in step for step in plan(empty, name))


def test_every_statement_is_used() -> None:
    folder = Path(sys.modules["hookseal.store.sqlite.migrate"].__file__ or "").parent
    code = "".join(file.read_text() for file in folder.glob("*.py"))
    assert [name for name in sorted(QUERIES.names) if f'"{name}"' not in code] == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE deliveries SET state = 'lost'",
        "UPDATE deliveries SET state = 'delivered'",
        "UPDATE deliveries SET due_at = NULL",
        "UPDATE deliveries SET ended_at = 1",
        "UPDATE deliveries SET lease = 0",
        "UPDATE deliveries SET state = 'dead', due_at = NULL, ended_at = 1, lease = 5",
        "UPDATE deliveries SET attempts = 1",
        "UPDATE deliveries SET losses = -1",
        "UPDATE events SET content = x'00'",
        "UPDATE events SET sequence = 0",
        "UPDATE events SET conflicts = -1",
        "DELETE FROM events",
        "INSERT INTO attempts VALUES (99, 1, 0, 0, NULL, NULL)",
        "UPDATE recent_keys SET dedupe_key = x'00'",
    ],
)
async def test_the_schema_defends_itself(opened: Any, change: str) -> None:
    store = await opened()
    await store.accept(request(1))
    with pytest.raises(StoreError):
        await run(store, change)


# --- statements in files ---


def test_a_statement_has_a_name_a_sentence_and_its_text() -> None:
    queries = Queries("-- Head.\n\n-- one --\n-- Says what\n-- it does.\nSELECT 1;\n\n-- two --\n-- More.\nSELECT 2;\n")
    assert queries.names == {"one", "two"}
    assert (queries["one"], queries.sentences["one"]) == ("SELECT 1;", "Says what it does.")


def test_two_statements_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="one"):
        Queries("-- one --\nSELECT 1;\n-- one --\nSELECT 2;\n")


def test_a_row_is_repeated() -> None:
    queries = Queries(
        "-- add --\n-- Adds.\nINSERT INTO a VALUES /* row */ (?, ?) /* row */;\n-- one --\n-- .\nSELECT 1;"
    )
    assert queries.rows("add", 2) == "INSERT INTO a VALUES (?, ?), (?, ?);"
    with pytest.raises(ValueError, match="one"):
        queries.rows("one", 2)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 63, 64, 65, 100, 127, 128, 1000])
def test_slices_are_few_sizes_and_lose_nothing(count: int) -> None:
    rows = list(range(count))
    cut = list(slices(rows))
    assert [row for some in cut for row in some] == rows
    assert {len(some) for some in cut} <= {1, 2, 4, 8, 16, 32, 64}


def test_a_random_lease_is_never_zero_and_fits_the_column() -> None:
    from hookseal.store.sqlite.store import _random_lease

    leases = [_random_lease() for _ in range(1000)]
    assert len(set(leases)) == 1000
    assert all(Lease(1) <= lease <= Lease(2**63 - 1) for lease in leases)
