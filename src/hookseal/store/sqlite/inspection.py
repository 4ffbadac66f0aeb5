"""Looks at a store's file without opening the store: nothing is written, not even a lock or a shared-memory file.

The file is read as immutable. What a running gateway has not yet moved from its log into the file is not seen, so an
absence proves nothing here; what is seen, was committed.
"""

from pathlib import Path

import apsw

from hookseal.errors import StoreMismatch
from hookseal.sealing import Keyring
from hookseal.store.sqlite.migrate import inspect, migrations


def mismatch(path: Path, keyring: Keyring) -> str | None:
    """Why this file would not open with this keyring, as a sentence; None when nothing speaks against it."""
    if not path.is_file():
        return None
    try:
        connection = apsw.Connection(
            f"{path.absolute().as_uri()}?immutable=1", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        )
        try:
            inspect(connection, keyring, migrations())
        finally:
            connection.close()
    except StoreMismatch as found:
        return str(found)
    except apsw.Error:
        return None
    return None
