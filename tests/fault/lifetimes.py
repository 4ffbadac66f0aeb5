"""A store with a history of any size, made in seconds: what the tests of long-lived data begin with.

Rows are written by SQL, so that a million take half a minute; every `SEALED`th body is a real one that opens. Every
`PENDING`th event has a delivery that has not ended; the others were delivered.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import apsw
import ending

from hookseal.clock import Instant
from hookseal.sealing import Keyring, Sealer
from hookseal.store.keyfile import load_or_create
from hookseal.store.old_rows import MIGRATION
from hookseal.store.packing import SealedRequest, pack
from hookseal.store.rows import request_label
from hookseal.store.sqlite.migrate import migrate, migrations, note_keyring
from hookseal.store.sqlite.sealing_old_rows import seal_old_rows

NODE = Path(__file__).with_name("lifetime_node.py")
NOW = Instant(1_763_700_000_000_000)
PENDING = 100
SEALED = 10
BODY = b'{"a": "body of a past request"}'

_READABLE = 9
"""The last schema that has subjects in readable columns. Rows are written to it, and sealed by the migration that follows."""

_FILL = """
INSERT INTO requests (key, id, events)
    WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < :count)
    SELECT n, CAST(printf('%016d', n) AS BLOB), 1 FROM n;
INSERT INTO events (key, id, request, item, source, sequence, received_at, type, subject, flags, content)
    SELECT key, id, key, 0, 'idenfy', key, :now + key, 'other', 'subject ' || key, '', zeroblob(32) FROM requests;
INSERT INTO deliveries (key, id, event, endpoint, state, attempts, created_at, due_at, first_attempt_at, ended_at)
    SELECT key, id, key, 'core', CASE key % :pending WHEN 0 THEN 'pending' ELSE 'delivered' END, 1, :now + key,
        CASE key % :pending WHEN 0 THEN :now END, :now, CASE key % :pending WHEN 0 THEN NULL ELSE :now + key END
    FROM requests;
INSERT INTO attempts (delivery, number, started_at, duration_ms, status) SELECT key, 1, :now, 7, 200 FROM requests;
INSERT INTO counters (kind, name, value)
    VALUES ('event', '', :count), ('delivery', '', :count), ('sequence', 'idenfy', :count);
"""


def make_store(folder: Path, count: int, *, version: int | None = None, body_bytes: int = 600) -> Keyring:
    """A store of `count` events, each of one request with one delivery, at an earlier version of the schema or at the
    newest. Opened by nobody when this returns."""
    keyring = load_or_create(folder / "hookseal.key", store_exists=False)
    sealer = Sealer(keyring)
    connection = apsw.Connection(str(folder / "hookseal.db"))
    connection.execute("PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF")
    first = min(version or _READABLE, _READABLE)
    migrate(connection, 0, migrations()[:first], NOW)
    note_keyring(connection, keyring)
    plain = pack(SealedRequest(((b"content-type", b"application/json"),), BODY))
    filler = bytes(body_bytes)
    with connection:
        connection.execute(_FILL, {"count": count, "now": NOW, "pending": PENDING})
        connection.executemany(
            "INSERT INTO bodies (request, sealed) VALUES (?, ?)",
            (
                (key, sealer.seal(plain, request_label(b"%016d" % key)) if key % SEALED == 0 else filler)
                for key in range(1, count + 1)
            ),
        )
    if version is None:
        steps = {MIGRATION: lambda connection: seal_old_rows(connection, sealer)}
        migrate(connection, first, migrations(), NOW, steps)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return keyring


async def run_node(folder: Path, work: str, *plug: str, kill_after_s: float | None = None) -> int:
    """The exit code of `lifetime_node.py`. kill_after_s: from the moment when it opens the store."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(NODE), str(folder), work, *plug, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), 60)
    if kill_after_s is not None:
        try:
            await asyncio.wait_for(process.wait(), kill_after_s)
        except TimeoutError:
            return await ending.kill(process)
    return await asyncio.wait_for(process.wait(), 600)


def look(folder: Path, sql: str) -> Sequence[tuple[object, ...]]:
    """Read a file that no process has open."""
    connection = apsw.Connection(str(folder / "hookseal.db"))
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def check_file(folder: Path) -> None:
    assert look(folder, "PRAGMA integrity_check") == [("ok",)]
    assert look(folder, "PRAGMA foreign_key_check") == []
