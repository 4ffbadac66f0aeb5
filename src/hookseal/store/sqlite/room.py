"""Is there room for more? Below a reserve nothing new is taken in, so that what is stored can still be finished.

A full disk stops every write, those too that would make room: results of deliveries, the moving of the log, deletions.
So the store stops accepting while there is still room for these. Asked anew for every batch (one system call, about a
microsecond): when space returns, the next request is accepted.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apsw

from hookseal.errors import StoreUnavailable
from hookseal.logs import get_logger

log = get_logger(__name__)

Apply = Callable[[apsw.Connection, Sequence[Any]], Sequence[Any]]

RESERVE_BYTES = 256 * 1024 * 1024
"""Eight times the log's bound: room to move the log, and for about a million results."""
LARGEST_SHARE = 4
"""The reserve takes at most this part of a file system, so that a small one is of use at all."""


class Room:
    """folder: of the database. reserve_bytes: what is to stay free."""

    def __init__(self, folder: Path, reserve_bytes: int = RESERVE_BYTES) -> None:
        self._folder = folder
        self._reserve_bytes = reserve_bytes
        self._short = False

    def or_refuse(self, apply: Apply) -> Apply:
        """The same, while there is room; StoreUnavailable for each operation while there is none."""

        def guarded(connection: apsw.Connection, batch: Sequence[Any]) -> Sequence[Any]:
            if self._is_short():
                return [StoreUnavailable("the disk is nearly full") for _ in batch]
            return apply(connection, batch)

        return guarded

    def _is_short(self) -> bool:
        disk = os.statvfs(self._folder)
        free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
        short = free < min(self._reserve_bytes, total // LARGEST_SHARE)
        if short != self._short:
            self._short = short
            if short:
                log.error("the disk is nearly full, nothing new is accepted", bytes=free)
            else:
                log.info("the disk has room again", bytes=free)
        return short
