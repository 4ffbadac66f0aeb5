"""What somebody without the key file can read of a store."""

from pathlib import Path

import apsw
import asyncpg

from hookseal.settings import StoreSettings


async def bytes_of(settings: StoreSettings, folder: Path) -> bytes:
    """Of SQLite all bytes of its files, of PostgreSQL every value of every row."""
    if settings.url.startswith("sqlite"):
        connection = apsw.Connection(str(folder / "hookseal.db"))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return b"".join(file.read_bytes() for file in folder.glob("hookseal.db*"))
    connection = await asyncpg.connect(settings.url)
    try:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'hookseal'")
        parts: list[bytes] = []
        for (table,) in tables:
            for row in await connection.fetch(f"SELECT * FROM hookseal.{table}"):
                parts += [value if isinstance(value, bytes) else str(value).encode() for value in row.values()]
        return b"\0".join(parts)
    finally:
        await connection.close()
