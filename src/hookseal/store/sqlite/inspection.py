"""Looks at a store's file without opening the store: nothing is written, not even a lock or a shared-memory file.

The file is read as immutable. What a running gateway has not yet moved from its log into the file is not seen, so an
absence proves nothing here; what is seen, was committed.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path

import apsw

from hookseal.errors import StoreMismatch
from hookseal.sealing import Keyring, Sealer
from hookseal.store.rows import open_kept
from hookseal.store.sqlite.connection import fetch
from hookseal.store.sqlite.migrate import QUERIES, inspect, migrations


def mismatch(path: Path, keyring: Keyring) -> str | None:
    """Why this file would not open with this keyring, as a sentence; None when nothing speaks against it."""
    if not path.is_file():
        return None
    try:
        with contextlib.closing(_open(path)) as connection:
            inspect(connection, keyring, migrations())
    except StoreMismatch as found:
        return str(found)
    except apsw.Error:
        return None
    return None


def kept(path: Path, keyring: Keyring, shelf: str) -> Mapping[str, bytes | None] | None:
    """Return the values of one shelf by name, as `Store.kept` does. None where the file cannot be read."""
    try:
        with contextlib.closing(_open(path)) as connection:
            return open_kept(Sealer(keyring), shelf, fetch(connection, QUERIES["read_kept"], {"shelf": shelf}))
    except (apsw.Error, UnicodeError):
        return None


def has_unwritten(path: Path) -> bool:
    """Return whether the log beside the file may hold changes that the file does not have."""
    try:
        return path.with_name(path.name + "-wal").stat().st_size > 0
    except OSError:
        return False


def _open(path: Path) -> apsw.Connection:
    return apsw.Connection(
        f"{path.absolute().as_uri()}?immutable=1", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    )
