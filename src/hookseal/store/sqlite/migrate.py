"""Brings a file to the newest schema, forward only, and says no before it writes anything.

Each migration is `migrations/NNNN_name.sql`; it commits together with its row in the ledger, so that a store is at one
version or the next and never between. `schema.sql` is where they lead, for reading; a test proves it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import apsw

from hookseal.clock import Instant
from hookseal.errors import StoreMismatch
from hookseal.sealing import Keyring
from hookseal.store.sql import Queries

HERE = Path(__file__).parent
QUERIES = Queries.read(HERE / "queries.sql")

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    sql: str


def migrations(folder: Path = HERE / "migrations") -> Sequence[Migration]:
    """All of them, the first one first. ValueError when a number is missing or stands twice."""
    found: list[Migration] = []
    for file in sorted(folder.glob("*.sql")):
        named = _FILE.fullmatch(file.name)
        if named is None or int(named[1]) != len(found) + 1:
            raise ValueError(f"{file.name} is not the next migration")
        found.append(Migration(int(named[1]), named[2], file.read_text(encoding="utf-8")))
    return found


def inspect(connection: apsw.Connection, keyring: Keyring, known: Sequence[Migration]) -> int:
    """The version of the store, 0 for an empty file. StoreMismatch when it must not be opened. Writes nothing."""
    if connection.execute(QUERIES["has_tables"]).get == 0:
        return 0
    if connection.execute(QUERIES["has_ledger"]).get == 0:
        raise StoreMismatch(f"{connection.filename} is a database, but not one of hookseal")
    version = int(connection.execute(QUERIES["ledger_version"]).get)
    if version > len(known):
        raise StoreMismatch(
            f"{connection.filename} was written by a newer hookseal (schema {version}, this one knows {len(known)})"
        )
    if version > 0:
        _check_keyring(connection, keyring)
    return version


def migrate(connection: apsw.Connection, version: int, known: Sequence[Migration], now: Instant) -> None:
    """Apply what is missing above `version`."""
    for migration in known[version:]:
        connection.execute(QUERIES["begin"])
        try:
            connection.execute(QUERIES["create_ledger"])
            connection.execute(migration.sql)
            connection.execute(
                QUERIES["write_ledger"],
                {"version": migration.version, "name": migration.name, "applied_at": now},
            )
            connection.execute(QUERIES["commit"])
        except BaseException:
            if connection.in_transaction:
                connection.execute(QUERIES["rollback"])
            raise


def note_keyring(connection: apsw.Connection, keyring: Keyring) -> None:
    """Write down every key of the keyring, so that the store is not opened without one of them later."""
    for kid, _ in keyring.keys:
        connection.execute(QUERIES["write_keyring"], {"kid": kid, "fingerprint": keyring.fingerprint(kid)})


def _check_keyring(connection: apsw.Connection, keyring: Keyring) -> None:
    held = {kid: keyring.fingerprint(kid) for kid, _ in keyring.keys}
    for kid, fingerprint in connection.execute(QUERIES["read_keyring"]):
        if held.get(kid) == fingerprint:
            continue
        lack = "holds another key" if kid in held else "lacks the key"
        raise StoreMismatch(
            f"{connection.filename} belongs to another keyring: store.keyring {lack} called {kid!r}"
            f" (fingerprint {fingerprint}); give the keyring that this store was made with"
        )
