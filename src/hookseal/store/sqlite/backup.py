"""Copies a store's file while a gateway writes to it: whole, consistent, compact, and only then under its name.

`VACUUM INTO` reads through one snapshot: all that was committed before it began, nothing after. It leaves out free pages,
so that the copy is also how a file that has shrunk inside gets smaller. While it reads, the log cannot begin anew and
grows; receiving goes on. What a copy holds sealed stays sealed; the key file is not in it, and must not lie beside it.
"""

import contextlib
import os
from pathlib import Path

import apsw

from hookseal.errors import ConfigurationError, StoreMismatch
from hookseal.store.sqlite.connection import open_reader
from hookseal.store.sqlite.faults import fault_of
from hookseal.store.sqlite.migrate import QUERIES


def back_up(source: Path, destination: Path, vfs: str | None = None) -> int:
    """Copy; returns the bytes of the copy, which is durable then. What stands under the destination's name stays there.

    ConfigurationError when the destination is taken or cannot be written, StoreMismatch when the source is no store.
    """
    if destination.exists():
        raise ConfigurationError(str(destination), "", "give the name of a file that is not there yet")
    draft = destination.with_name(f"{destination.name}.{os.urandom(6).hex()}.new")
    try:
        # Made here, and not by SQLite: for its owner only.
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            _copy(source, draft, vfs)
            _sync(draft, os.O_RDWR)
            os.link(draft, destination)
        finally:
            draft.unlink(missing_ok=True)
        _sync(destination.absolute().parent, os.O_RDONLY | os.O_DIRECTORY)
        return destination.stat().st_size
    except FileExistsError as error:
        raise ConfigurationError(str(destination), "", "give the name of a file that is not there yet") from error
    except OSError as error:
        raise ConfigurationError(str(destination), "", f"make its folder writable ({error.strerror})") from error


def _copy(source: Path, draft: Path, vfs: str | None) -> None:
    try:
        with contextlib.closing(open_reader(source, vfs)) as connection:
            if connection.execute(QUERIES["has_ledger"]).get == 0:
                raise StoreMismatch(f"{source} is not a store of hookseal")
            connection.execute("PRAGMA query_only = OFF")  # the file stays read-only; the copy is written
            connection.execute("VACUUM INTO ?", (str(draft),))
    except apsw.Error as error:
        raise fault_of(error, f"copying {source}") from error


def _sync(place: Path, flags: int) -> None:
    descriptor = os.open(place, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
