"""Brings a database to the newest schema, forward only, and says no before it writes anything.

Each migration is `migrations/NNNN_name.sql`; it commits together with its row in the ledger. The migration that seals old
rows commits together with the next one. Several nodes may start at once: the one that has the advisory lock migrates. The
others wait, look again and find nothing to do. `schema.sql` is where the migrations lead, for reading; a test proves it.
"""

from collections.abc import Sequence
from pathlib import Path

import asyncpg

from hookseal import probe
from hookseal.clock import Instant
from hookseal.errors import StoreMismatch
from hookseal.probe import Step
from hookseal.sealing import Keyring, Sealer
from hookseal.store.migrations import Migration, check_keyring, read_migrations
from hookseal.store.old_rows import MIGRATION
from hookseal.store.postgres.connection import Connection
from hookseal.store.postgres.queries import HERE, QUERIES
from hookseal.store.postgres.sealing_old_rows import seal_old_rows
from hookseal.store.rows import NOT_CREATED


def migrations(folder: Path = HERE / "migrations") -> Sequence[Migration]:
    return read_migrations(folder)


async def bring(
    connection: Connection,
    place: str,
    keyring: Keyring,
    now: Instant,
    known: Sequence[Migration] | None = None,
    *,
    create: bool = True,
) -> bool:
    """Apply the missing migrations and note every key of the keyring. Return whether there was no store before.

    StoreMismatch when the store must not be opened, when this user may not change it, or when there is none and
    `create` is false.
    """
    known = migrations() if known is None else known
    version, noted = await inspect(connection, place, keyring, known)
    if version == 0 and not create:
        raise StoreMismatch(f"{place}: {NOT_CREATED}")
    if version == len(known) and noted >= {kid for kid, _ in keyring.keys}:
        return False
    try:
        await _migrate(connection, place, keyring, now, version, known)
    except asyncpg.InsufficientPrivilegeError:
        raise StoreMismatch(
            f"{place}: this user may not create or migrate the schema `hookseal`; run `hookseal migrate` as its owner"
        ) from None
    return version == 0


async def check_rights(connection: Connection, place: str) -> None:
    """StoreMismatch when this user may not write a table that the gateway writes all the time."""
    tables = [table for (table,) in await connection.fetch(QUERIES["tables_without_rights"])]
    if tables:
        raise StoreMismatch(
            f"{place}: this user may not write {', '.join(tables)}; "
            "grant SELECT, INSERT, UPDATE and DELETE on all tables of the schema `hookseal`"
        )


async def _migrate(
    connection: Connection, place: str, keyring: Keyring, now: Instant, version: int, known: Sequence[Migration]
) -> None:
    for number in range(version, max(len(known), version + 1)):
        if number + 1 < len(known) and known[number].name == MIGRATION:
            # In the transaction of the next one, which drops the old columns. A node of an earlier version that still runs
            # could store rows between the two. They would not be sealed, and would not open.
            continue
        await connection.execute(QUERIES["begin"])
        try:
            await connection.execute(QUERIES["wait_for_schema"])
            await connection.execute(QUERIES["lock_schema"])
            await _step(connection, place, keyring, now, known[: number + 1], known)
            await probe.pause(Step.MIGRATING)
            await connection.execute(QUERIES["commit"])
            await probe.pause(Step.MIGRATED)
        except BaseException:
            if not connection.is_closed():
                await connection.execute(QUERIES["rollback"])
            raise


async def _step(
    connection: Connection,
    place: str,
    keyring: Keyring,
    now: Instant,
    wanted: Sequence[Migration],
    known: Sequence[Migration],
) -> None:
    """Under the lock: what another node did meanwhile is seen now."""
    version, noted = await inspect(connection, place, keyring, known)
    if version == 0:
        if not await connection.fetchval(QUERIES["has_schema"]):
            await connection.execute(QUERIES["create_schema"])
        await connection.execute(QUERIES["create_ledger"])
    for migration in wanted[version:]:
        await connection.execute(migration.sql)
        if migration.name == MIGRATION:
            await seal_old_rows(connection, Sealer(keyring))
        await connection.execute(QUERIES["write_ledger"], migration.version, migration.name, now)
    for kid, _ in keyring.keys:
        if kid not in noted:
            await connection.execute(QUERIES["write_keyring"], kid, keyring.fingerprint(kid))


async def inspect(
    connection: Connection, place: str, keyring: Keyring, known: Sequence[Migration]
) -> tuple[int, set[str]]:
    """The version of the store, 0 when there is none, and the ids of the keys noted. Writes nothing."""
    if await connection.fetchval(QUERIES["has_tables"]) == 0:
        return 0, set()
    if not await connection.fetchval(QUERIES["has_ledger"]):
        raise StoreMismatch(f"{place}: its schema `hookseal` is not one of hookseal")
    try:
        version = int(await connection.fetchval(QUERIES["ledger_version"]))
    except asyncpg.InsufficientPrivilegeError:
        raise StoreMismatch(f"{place}: this user may not use the schema `hookseal`") from None
    if version > len(known):
        raise StoreMismatch(f"{place} was written by a newer hookseal (schema {version}, this one knows {len(known)})")
    if version == 0:
        return 0, set()
    noted = [(kid, fingerprint) for kid, fingerprint in await connection.fetch(QUERIES["read_keyring"])]
    check_keyring(place, keyring, noted)
    return version, {kid for kid, _ in noted}
