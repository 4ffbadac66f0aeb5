"""A gateway in a process of its own whose disk does as a file says. Run by the disk tests, never imported.

    python node_disk.py CONFIG WISH

WISH is a file with one word, read at each write and sync of the store's log:
    well         the disk works
    slow         each sync takes 50 ms longer
    stuck        each sync waits until the word is another one
    sync_fails   each sync fails with EIO; sync_fails_once: one does, then the disk is well again
    write_fails  each write fails with EIO
    full         each write fails with ENOSPC
`WISH.syncs` grows by a byte with each sync of the log.
"""

import sys
import time
from pathlib import Path

import apsw

from hookseal.cli.serve import run, serving_until_stopped
from hookseal.manage.configuration import load

WISH = Path(sys.argv[2])
SYNCS = WISH.with_suffix(".syncs")
POLL_S = 0.01
BASE = apsw.vfs_names()[0]
"""The default so far. Inheriting from "" would be inheriting from ourselves."""


class Disk(apsw.VFS):
    def __init__(self) -> None:
        super().__init__("disk", BASE, makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        return (Log if path and path.endswith("-wal") else File)(name, flags)


class File(apsw.VFSFile):
    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._readonly = not flags[0] & apsw.SQLITE_OPEN_READWRITE
        super().__init__(BASE, name, flags)

    def xLock(self, level: int) -> None:
        if level == apsw.SQLITE_LOCK_EXCLUSIVE and self._readonly:
            raise apsw.BusyError  # as SQLite takes the system's EBADF for, which apsw would raise
        super().xLock(level)


class Log(File):
    def xWrite(self, data: bytes, offset: int) -> None:
        wish = WISH.read_text()
        if wish == "write_fails":
            raise apsw.IOError("a write of the tests failed")
        if wish == "full":
            raise apsw.FullError("the disk of the tests is full")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        with SYNCS.open("ab") as syncs:
            syncs.write(b".")
        wish = WISH.read_text()
        if wish == "sync_fails_once":
            WISH.write_text("well")
        if wish in ("sync_fails", "sync_fails_once"):
            raise apsw.IOError("a sync of the tests failed")
        if wish == "slow":
            time.sleep(0.05)
        while WISH.read_text() == "stuck":
            time.sleep(POLL_S)
        super().xSync(flags)


disk = Disk()
run(serving_until_stopped(load(Path(sys.argv[1])), listening=lambda url: print(f"listening {url}", flush=True)))
