"""How this store opens its file: which SQLite, which settings, and who may write.

SQLite below 3.51.3 can corrupt a write-ahead log that two connections use (fixed upstream in 3.51.3, "WAL-reset"), and
is refused. apsw brings its own SQLite, so that the system's version does not matter.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw

from hookseal.errors import StoreMismatch, StoreUnavailable
from hookseal.store.sqlite.faults import fault_of

Row = tuple[Any, ...]

OLDEST_SQLITE = (3, 51, 3)
PAGE_BYTES = 8192
"""Fewer, larger pages: a commit of many rows at the end of many tables touches fewer of them (measured)."""
_WRITER_CACHE_KIB = 32 * 1024
_READER_CACHE_KIB = 4 * 1024
_BUSY_MS = 5000
_PREPARED = 300
"""Prepared statements kept: about 20 statements of many rows in 7 sizes each, and those of one."""


def check_library(version: str) -> None:
    """StoreMismatch when this SQLite is not safe. version: as in "3.51.3"."""
    if tuple(int(part) for part in version.split(".")[:3]) < OLDEST_SQLITE:
        oldest = ".".join(str(part) for part in OLDEST_SQLITE)
        raise StoreMismatch(f"SQLite {version} can corrupt its log; install an apsw with SQLite {oldest} or later")


def create_file(path: Path) -> None:
    """Make the database's file for its owner only; SQLite gives its log the same mode. Nothing when it is there."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be made: {error.strerror}") from error


def undo_unfinished(path: Path, vfs: str | None = None) -> None:
    """Roll back what a power cut left of a file's making. Only while the lock is held.

    SQLite writes the first page of a database with a rollback journal, before there is a log. Who looks at the file
    without regard to that journal (`open_onlooker` must not write, so it cannot) sees a page that may be half there and
    calls the file damaged, though rolled back it is empty and as good as new.
    """
    journal = path.with_name(path.name + "-journal")
    if journal.exists() and journal.stat().st_size and path.exists():
        with contextlib.closing(_connect(path, apsw.SQLITE_OPEN_READWRITE, vfs)) as connection:
            fetch(connection, "SELECT 1 FROM sqlite_schema LIMIT 1")


def fetch(connection: apsw.Connection, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
    """Run a statement to its end; the rows it gave. What types their columns have is the schema's word (STRICT)."""
    return connection.execute(sql, values).fetchall()


def open_writer(path: Path, vfs: str | None = None) -> apsw.Connection:
    """A connection that may write. StoreMismatch when the file system cannot keep a write-ahead log."""
    connection = _connect(path, apsw.SQLITE_OPEN_READWRITE, vfs)
    with _closed_on_failure(connection):
        _pragma(connection, f"page_size = {PAGE_BYTES}")
        if _pragma(connection, "journal_mode = WAL") != "wal":
            raise StoreMismatch(f"{path}: this file system cannot keep a write-ahead log; use a local disk")
        _pragma(connection, "synchronous = FULL")
        if _pragma(connection, "synchronous") != 2:
            raise StoreMismatch(f"{path}: SQLite does not sync its commits")
        _pragma(connection, "wal_autocheckpoint = 0")
        _pragma(connection, "foreign_keys = ON")
        # What is deleted is overwritten: a free page would keep a person's reference for as long as nobody needs it.
        _pragma(connection, "secure_delete = ON")
        _pragma(connection, "temp_store = MEMORY")
        _pragma(connection, f"cache_size = -{_WRITER_CACHE_KIB}")
    return connection


def open_checkpointer(path: Path, vfs: str | None = None) -> apsw.Connection:
    """A connection that moves the log into the database, and does nothing else."""
    connection = _connect(path, apsw.SQLITE_OPEN_READWRITE, vfs)
    with _closed_on_failure(connection):
        _pragma(connection, "synchronous = FULL")
        _pragma(connection, "wal_autocheckpoint = 0")
        _pragma(connection, "cache_size = -256")
    return connection


def open_reader(path: Path, vfs: str | None = None) -> apsw.Connection:
    """A connection that cannot write, not even when it is the last one to close."""
    connection = _connect(path, apsw.SQLITE_OPEN_READONLY, vfs)
    with _closed_on_failure(connection):
        _pragma(connection, "query_only = ON")
        _pragma(connection, "temp_store = MEMORY")
        _pragma(connection, f"cache_size = -{_READER_CACHE_KIB}")
    return connection


def open_onlooker(path: Path, vfs: str | None = None) -> apsw.Connection:
    """A connection that leaves no trace, for a file that may not be ours. Only while the lock is held.

    Without a log beside it the file cannot change under us and is opened as immutable: SQLite then makes no `-shm`.
    """
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        return open_reader(path, vfs)
    name = f"{path.absolute().as_uri()}?immutable=1"
    return _connect(path, apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI, vfs, name)


def _connect(path: Path, flags: int, vfs: str | None, name: str | None = None) -> apsw.Connection:
    try:
        connection = apsw.Connection(name or str(path), flags=flags, vfs=vfs, statementcachesize=_PREPARED)
        connection.set_busy_timeout(_BUSY_MS)
    except apsw.Error as error:
        raise fault_of(error, f"opening {path}") from error
    return connection


def _pragma(connection: apsw.Connection, pragma: str) -> object:
    return connection.execute(f"PRAGMA {pragma}").get


@contextlib.contextmanager
def _closed_on_failure(connection: apsw.Connection) -> Iterator[None]:
    name = connection.filename  # a closed one no longer tells it
    try:
        yield
    except apsw.Error as error:
        connection.close(True)
        raise fault_of(error, f"opening {name}") from error
    except BaseException:
        connection.close(True)
        raise
