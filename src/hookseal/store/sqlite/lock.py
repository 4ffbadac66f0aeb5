"""One process, one store: an advisory lock beside the database that names its holder.

`flock` belongs to the open file, so that it keeps out other processes and a second store of the same process alike,
and it ends with its process however that dies. The lock's file stays: removing it would let two processes hold locks
on two files of one name.
"""

import contextlib
import fcntl
import os
from pathlib import Path

from hookseal.errors import StoreLocked, StoreUnavailable


class Lock:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def take(self) -> None:
        """StoreLocked, naming the holder's pid, when another has it."""
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"{self._path} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(file, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(file)
            raise StoreLocked(
                f"{self._path.with_suffix('')} is in use by the process with pid {holder}; stop that one first"
            ) from None
        except OSError as error:
            os.close(file)
            raise StoreUnavailable(f"{self._path} cannot be locked: {error.strerror}") from error
        # A full disk must not keep the store from opening: the pid only serves the message above.
        with contextlib.suppress(OSError):
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
