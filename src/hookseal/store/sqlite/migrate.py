"""Brings a file to the newest schema, forward only, and says no before it writes anything.

Each migration is `migrations/NNNN_name.sql`; it commits together with its row in the ledger, so that a store is at one
version or the next and never between. `schema.sql` is where they lead, for reading; a test proves it.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import apsw

from hookseal import probe
from hookseal.clock import Instant
from hookseal.errors import StoreMismatch
from hookseal.probe import Step
from hookseal.sealing import Keyring
from hookseal.store.migrations import Migration, check_keyring, read_migrations
from hookseal.store.sql import Queries

HERE = Path(__file__).parent
QUERIES = Queries.read(HERE / "queries.sql")

Steps = Mapping[str, Callable[[apsw.Connection], None]]
NO_STEPS: Steps = {}


def migrations(folder: Path = HERE / "migrations") -> Sequence[Migration]:
    return read_migrations(folder)


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
        check_keyring(connection.filename, keyring, connection.execute(QUERIES["read_keyring"]))
    return version


def migrate(
    connection: apsw.Connection, version: int, known: Sequence[Migration], now: Instant, steps: Steps = NO_STEPS
) -> None:
    """Apply what is missing above `version`. steps: what follows a migration in its transaction, by its name."""
    for migration in known[version:]:
        connection.execute(QUERIES["begin"])
        try:
            connection.execute(QUERIES["create_ledger"])
            connection.execute(migration.sql)
            if migration.name in steps:
                steps[migration.name](connection)
            connection.execute(
                QUERIES["write_ledger"],
                {"version": migration.version, "name": migration.name, "applied_at": now},
            )
            probe.reach(Step.MIGRATING)
            connection.execute(QUERIES["commit"])
            probe.reach(Step.MIGRATED)
        except BaseException:
            if connection.in_transaction:
                connection.execute(QUERIES["rollback"])
            raise


def note_keyring(connection: apsw.Connection, keyring: Keyring) -> None:
    """Write down every key of the keyring, so that the store is not opened without one of them later."""
    for kid, _ in keyring.keys:
        connection.execute(QUERIES["write_keyring"], {"kid": kid, "fingerprint": keyring.fingerprint(kid)})
