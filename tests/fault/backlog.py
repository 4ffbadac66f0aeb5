"""A store in which any number of deliveries wait: one event that a gateway stored, multiplied by SQL.

Old event `n` is the seed's row with a key, ids, times and a reference of its own; every column that is not named here is
the seed's, so that the rows stay valid when the schema grows. Number 1 is the oldest, and due first. The bodies of the
first `OPENED` and of the last `NEWEST` are really sealed, because those are sent and shown; the others have the size of
one. Dedupe keys and the places of subjects lie at even distances, as hashes do on average: nobody sends one of these keys
again, or asks for one of these subjects.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import asyncpg
from plug import letter

from hookseal.sealing import Keyring, Sealer
from hookseal.store.event_seal import SECRET_NAME, SECRET_SHELF, EventSealer, Facts
from hookseal.store.packing import SealedRequest, pack, unpack_request
from hookseal.store.rows import bound_of, kept_label, request_label

SEED = letter(0)
NEWEST = 2_000
PARTITION = 1_000_000
"""Keys of one dedupe partition, as in production."""

_REFERENCE = "00000000-0000-4000-9000-"
_ID = "70009000"
"""Version and variant of a UUIDv7, between the time and the number."""


def subject(number: int) -> str:
    """The provider's reference of an old event, which its receiver sees."""
    return f"{_REFERENCE}{number:012d}"


def number_of(subject: str) -> int | None:
    """None for an event that is not of the backlog."""
    return int(subject[-12:]) if subject.startswith(_REFERENCE) else None


@dataclass(frozen=True, slots=True)
class Backlog:
    """count: how many deliveries wait. begin_ms: when the first one came, one more each millisecond. opened: see above."""

    count: int
    begin_ms: int
    opened: int

    def packed(self, number: int) -> bytes:
        """The id of an event, of its request and of its delivery."""
        return bytes.fromhex(f"{self.begin_ms + number:012x}{_ID}{number:012x}")

    @property
    def middle(self) -> tuple[int, int]:
        """The first and the last number whose body does not open."""
        opened = min(self.opened, self.count)
        return opened + 1, max(opened, self.count - NEWEST)

    def sealed(self, keyring: Keyring, seed: bytes, seed_id: bytes) -> Iterator[tuple[int, bytes]]:
        """The bodies that open, by number."""
        sealer, (first, last) = Sealer(keyring), self.middle
        request = unpack_request(sealer.unseal(seed, request_label(seed_id)))
        for number in (*range(1, first), *range(last + 1, self.count + 1)):
            body = request.body.replace(SEED.key.encode(), subject(number).encode())
            yield number, sealer.seal(pack(SealedRequest(request.headers, body)), request_label(self.packed(number)))

    def seals(
        self, keyring: Keyring, secret: bytes, seed: Sequence[Any], provider: str, revision: str
    ) -> Iterator[tuple[bytes, bytes, bytes, bytes]]:
        """Of each event whose body opens: its id, facts, the hash of its subject, and the seal of its delivery.

        seed: its row of `event_rows`, which the others are copies of.
        """
        events = EventSealer()
        events.use(Sealer(keyring).unseal(secret, kept_label(SECRET_SHELF, SECRET_NAME)))
        copied = bound_of(seed, None)._replace(provider=provider, revision=revision)
        provider_type = events.open(seed[7], copied).provider_type
        first, last = self.middle
        for number in (*range(1, first), *range(last + 1, self.count + 1)):
            id, name = self.packed(number), subject(number)
            subject_hash = events.subject_hash(name)
            received_at = (self.begin_ms + number) * 1000
            bound = copied._replace(id=id, request=id, received_at=received_at, subject_hash=subject_hash)
            facts = events.seal(Facts(provider_type, name, name), bound)
            yield id, facts, subject_hash, events.delivery_seal(id, id, "core")


_SECRET = f"SELECT sealed FROM kept WHERE shelf = '{SECRET_SHELF}'"
# Every row is a copy of the seed, and has its rules.
_MAPPING_OF_SEED = "SELECT m.provider, m.revision FROM mappings AS m JOIN events ON events.mapping = m.number LIMIT 1"
_WAITING = {
    "endpoint": "'core'",
    "state": "'pending'",
    "attempts": "0",
    "losses": "0",
    "lease": "NULL",
    "first_attempt_at": "NULL",
    "ended_at": "NULL",
    "last_status": "NULL",
    "last_reason": "NULL",
}


# --- SQLite ---

_SQLITE_ID = f"unhex(printf('%012x{_ID}%012x', :begin_ms + n, n))"
_SQLITE_AT = "(:begin_ms + n) * 1000"
_SQLITE_NUMBERS = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count)"
_SQLITE_SLOT = f"((n - 1) / {PARTITION} + 1 << 48) + (n - 1) % {PARTITION} * {2**48 // PARTITION}"


def fill_sqlite(file: Path, keyring: Keyring, backlog: Backlog) -> None:
    """The file holds the seed alone, and nobody has it open. What waits, waits for `core`."""
    connection = apsw.Connection(str(file))
    connection.execute("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -262144")
    counted = dict(connection.execute("SELECT kind, value FROM counters WHERE name = ''"))
    [(source,)] = connection.execute("SELECT source FROM events")
    event, delivery = f"n + {counted['event']}", f"n + {counted['delivery']}"
    [(seed_id, seed)] = connection.execute("SELECT id, sealed FROM requests JOIN bodies ON request = key")
    with connection:
        _multiply(connection, backlog, "requests", {"key": event, "id": _SQLITE_ID})
        row = {"key": event, "id": _SQLITE_ID, "request": event, "sequence": "n + 1", "received_at": _SQLITE_AT}
        _multiply(connection, backlog, "events", row)
        row = {"key": delivery, "id": _SQLITE_ID, "event": event, "created_at": _SQLITE_AT, "due_at": _SQLITE_AT}
        _multiply(connection, backlog, "deliveries", {**row, **_WAITING})
        first, last = backlog.middle
        connection.execute(
            f"INSERT INTO bodies (request, sealed) {_SQLITE_NUMBERS} "
            f"SELECT {event}, zeroblob(:bytes) FROM numbers WHERE n BETWEEN :first AND :last",
            {"count": last, "bytes": len(seed), "first": first, "last": last},
        )
        opened = ((number + counted["event"], sealed) for number, sealed in backlog.sealed(keyring, seed, seed_id))
        connection.executemany("INSERT INTO bodies (request, sealed) VALUES (?, ?)", opened)
        [(secret,)] = connection.execute(_SECRET)
        [copied] = connection.execute("SELECT * FROM event_rows WHERE id = ?", (seed_id,))
        [(provider, revision)] = connection.execute(_MAPPING_OF_SEED)
        for id, *values in backlog.seals(keyring, secret, copied, provider, revision):
            connection.execute("UPDATE events SET facts = ?, subject_hash = ? WHERE id = ?", (*values[:2], id))
            connection.execute("UPDATE deliveries SET seal = ? WHERE id = ?", (values[2], id))
        values = {"begin_ms": backlog.begin_ms, "count": backlog.count}
        connection.execute(
            f"INSERT INTO dedupe (slot, rest, event) {_SQLITE_NUMBERS} "
            f"SELECT {_SQLITE_SLOT}, zeroblob(26), {_SQLITE_ID} FROM numbers",
            values,
        )
        connection.execute(
            f"INSERT INTO subjects (slot, event) {_SQLITE_NUMBERS} SELECT {_SQLITE_SLOT}, {event} FROM numbers",
            {"count": backlog.count},
        )
        partitions = (backlog.count - 1) // PARTITION + 1
        day = backlog.begin_ms // 86_400_000
        connection.executemany(
            "INSERT INTO dedupe_partitions (number, first_day, last_day) VALUES (?, ?, ?)",
            [(number, day, day + 1) for number in range(1, partitions + 1)],
        )
        connection.executemany(
            "INSERT INTO counters (kind, name, value) VALUES (?, ?, ?) "
            "ON CONFLICT (kind, name) DO UPDATE SET value = excluded.value",
            [
                ("event", "", counted["event"] + backlog.count),
                ("delivery", "", counted["delivery"] + backlog.count),
                ("sequence", source, 1 + backlog.count),
                ("partition", "", backlog.count - (partitions - 1) * PARTITION),
            ],
        )
    connection.close()


def _multiply(connection: apsw.Connection, backlog: Backlog, table: str, given: Mapping[str, str]) -> None:
    """given: expressions in `n` for the columns that are not the seed's."""
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    [seed] = connection.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY key LIMIT 1")
    copied = {f"seed_{name}": value for name, value in zip(columns, seed, strict=True)}
    chosen = ", ".join(given.get(name, f":seed_{name}") for name in columns)
    connection.execute(
        f"INSERT INTO {table} ({', '.join(columns)}) {_SQLITE_NUMBERS} SELECT {chosen} FROM numbers",
        {**copied, "begin_ms": backlog.begin_ms, "count": backlog.count},
    )


# --- PostgreSQL ---

_POSTGRES_ID = f"(lpad(to_hex($1::bigint + n), 12, '0') || '{_ID}' || lpad(to_hex(n), 12, '0'))::uuid"
_POSTGRES_AT = "($1::bigint + n) * 1000"
_POSTGRES_NUMBERS = "generate_series(1::bigint, $2::bigint) AS numbers (n)"


async def fill_postgres(url: str, keyring: Keyring, backlog: Backlog) -> None:
    """As `fill_sqlite`. Statistics are made at its end, as the server itself does after a minute."""
    connection = await asyncpg.connect(url, server_settings={"search_path": "hookseal", "synchronous_commit": "off"})
    try:
        [(seed_id, seed, source)] = await connection.fetch(
            "SELECT events.id, sealed, source FROM events JOIN bodies USING (request)"
        )
        row = {"id": _POSTGRES_ID, "request": _POSTGRES_ID, "sequence": "n + 1", "received_at": _POSTGRES_AT}
        tables: Sequence[tuple[str, Mapping[str, str]]] = (
            ("events", row),
            (
                "deliveries",
                {
                    "id": _POSTGRES_ID,
                    "event": _POSTGRES_ID,
                    "created_at": _POSTGRES_AT,
                    "due_at": _POSTGRES_AT,
                    **_WAITING,
                },
            ),
            ("dedupe", {"dedupe_key": "sha256(int8send(n))", "event": _POSTGRES_ID, "received_at": _POSTGRES_AT}),
            ("peaks", {"subject": "md5(n::text)::uuid", "received_at": _POSTGRES_AT}),
        )
        for table, given in tables:
            columns = [
                name
                for (name,) in await connection.fetch(
                    "SELECT column_name FROM information_schema.columns WHERE table_schema = 'hookseal' "
                    "AND table_name = $1 ORDER BY ordinal_position",
                    table,
                )
            ]
            chosen = ", ".join(given.get(name, f"seed.{name}") for name in columns)
            in_order = f"ORDER BY {given[columns[0]]}" if table in ("dedupe", "peaks") else ""
            await connection.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) SELECT {chosen} "
                f"FROM {_POSTGRES_NUMBERS}, (SELECT * FROM {table} LIMIT 1) AS seed {in_order}",
                backlog.begin_ms,
                backlog.count,
            )
        first, last = backlog.middle
        await connection.execute(
            f"INSERT INTO bodies (request, sealed) SELECT {_POSTGRES_ID}, decode(repeat('00', $3), 'hex') "
            f"FROM {_POSTGRES_NUMBERS} WHERE n >= $4::bigint",
            backlog.begin_ms,
            last,
            len(seed),
            first,
        )
        opened = ((backlog.packed(number), sealed) for number, sealed in backlog.sealed(keyring, seed, seed_id.bytes))
        await _copy(connection, opened)
        secret = await connection.fetchval(_SECRET)
        copied = await connection.fetchrow("SELECT * FROM event_rows WHERE id = $1", seed_id.bytes)
        provider, revision = await connection.fetchrow(_MAPPING_OF_SEED)
        seals = list(backlog.seals(keyring, secret, copied, provider, revision))
        await connection.executemany(
            "UPDATE events SET facts = $2, subject_hash = $3 WHERE id = $1", [row[:3] for row in seals]
        )
        await connection.executemany(
            "UPDATE deliveries SET seal = $2 WHERE id = $1", [(row[0], row[3]) for row in seals]
        )
        await connection.execute("UPDATE sequences SET value = $1 WHERE source = $2", 1 + backlog.count, source)
        await connection.execute("ANALYZE")
    finally:
        await connection.close()


async def _copy(connection: "asyncpg.Connection", bodies: Iterable[tuple[bytes, bytes]]) -> None:
    await connection.set_type_codec("uuid", schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary")
    await connection.copy_records_to_table("bodies", schema_name="hookseal", records=bodies)
