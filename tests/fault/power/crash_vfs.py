"""An SQLite VFS that writes down what it does: the real files through the default VFS, and a `CrashDisk` beside them.

It inherits locking and shared memory, so that a write-ahead log works as always, with several connections on several
threads. Shared memory is not written down: a power cut takes it, and SQLite makes it anew. Real syncs are left out:
the files are copied from the log, never taken from the real disk.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import apsw
from power.crash_disk import CrashDisk, Kind, Operation

_numbers = count(1)


class CrashVfs(apsw.VFS):
    def __init__(self, name: str, disk: CrashDisk) -> None:
        self.disk = disk
        super().__init__(name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if not path:
            return apsw.VFSFile("", name, flags)  # temporary: gone with the power in any case
        with self.disk.lock:
            file = _CrashFile(self.disk, path, name, flags)
            self.disk.opened(os.path.basename(path))
            return file

    def xDelete(self, filename: str, syncdir: bool) -> None:
        with self.disk.lock:
            super().xDelete(filename, syncdir)
            self.disk.removed(os.path.basename(filename), sync_folder=syncdir)


class _CrashFile(apsw.VFSFile):
    def __init__(self, disk: CrashDisk, path: str, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._disk = disk
        self._name = os.path.basename(path)
        self._readonly = not flags[0] & apsw.SQLITE_OPEN_READWRITE
        super().__init__("", name, flags)

    def xLock(self, level: int) -> None:
        if level == apsw.SQLITE_LOCK_EXCLUSIVE and self._readonly:
            # SQLite tries this when a reader is the last to leave. On a file opened for reading the system says EBADF,
            # which SQLite passes over and apsw would raise.
            raise apsw.BusyError
        super().xLock(level)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.do(
            lambda: super(_CrashFile, self).xWrite(data, offset),
            Operation(Kind.WRITE, self._name, offset, bytes(data)),
        )

    def xTruncate(self, newsize: int) -> None:
        self._disk.do(lambda: super(_CrashFile, self).xTruncate(newsize), Operation(Kind.TRUNCATE, self._name, newsize))

    def xSync(self, flags: int) -> None:
        self._disk.synced(self._name)


@contextmanager
def crash_vfs(folder: Path, disk: CrashDisk) -> Iterator[str]:
    """The name of a VFS that writes to `disk` what happens; the folder is given the files that the disk begins with."""
    for file, data in disk.base.items():
        (folder / file).write_bytes(data)
    name = f"crash-{next(_numbers)}"
    vfs = CrashVfs(name, disk)
    try:
        yield name
    finally:
        vfs.unregister()
