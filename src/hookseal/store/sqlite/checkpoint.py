"""Moves the write-ahead log into the database, in a thread of its own, and keeps the log bounded.

Theory of operation. A checkpoint syncs the database file; in the committing thread that is the tail of the latency.
So the writer never checkpoints by itself. When the log has grown by `START_PAGES`, this thread makes a PASSIVE pass,
which holds nobody up. Under constant load a passive pass never finds the end of the log, because the writer adds to it
meanwhile, and the log would grow for ever. So when it is beyond `BOUND_PAGES` after a pass, the writer is asked to
move the small rest between two batches and to begin the log anew (RESTART: the file is used again, not cut).
"""

import contextlib
import threading
from collections.abc import Callable

import apsw

from hookseal import probe
from hookseal.logs import get_logger
from hookseal.probe import Step

log = get_logger(__name__)

START_PAGES = 1024
BOUND_PAGES = 4096
_RESTART_BUSY_MS = 50
"""How long the writer waits for readers to leave the log before it gives up until the next pass."""
_BUSY_MS = 5000
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
"""Between two passes while they fail."""


def begin_log_anew(connection: apsw.Connection) -> None:
    """Move all that a former process left in the log, and begin it anew. Before anything else is written.

    The former process may have ended because a sync failed. Then the kernel shows us frames as written that the disk
    never got and, being clean by now, will not get with the next sync either. A commit of ours behind them would be
    durable and yet unreachable. Moved, they are written again, and nothing stands on them. A full disk or a foreign
    reader does not keep the store from opening: the log stays as it is.
    """
    with contextlib.suppress(apsw.FullError, apsw.BusyError, apsw.LockedError):
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


class Checkpointer:
    """connect  opens a connection for checkpoints. start, bound: in pages of the log.
    crashed   called on the thread when it ends before `stop`.
    """

    def __init__(
        self,
        connect: Callable[[], apsw.Connection],
        *,
        start: int = START_PAGES,
        bound: int = BOUND_PAGES,
        crashed: Callable[[], None] = lambda: None,
    ) -> None:
        self._crashed = crashed
        self._connect = connect
        self._start = start
        self._bound = bound
        self._wanted = threading.Event()
        self._closing = threading.Event()
        self._restart = False
        self._moved = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="hookseal-store-checkpoint", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Blocks until a pass under way has ended."""
        self._closing.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()

    def between(self, connection: apsw.Connection, pages: int) -> None:
        """On the writer's thread, between two batches, with the log at `pages` pages."""
        if pages < self._moved:
            self._moved = 0  # the log has begun anew
        if self._restart:
            self._restart = False
            connection.set_busy_timeout(_RESTART_BUSY_MS)
            try:
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
            except (apsw.BusyError, apsw.LockedError):
                pass  # a reader is still in the log; the next pass asks again
            finally:
                connection.set_busy_timeout(_BUSY_MS)
            probe.reach(Step.CHECKPOINTED)
        elif pages - self._moved >= self._start:
            self._wanted.set()

    def _run(self) -> None:
        try:
            self._move_while_open()
        except BaseException as crash:
            log.critical("the checkpoint thread of the store crashed", exc_info=crash)
            self._crashed()

    def _move_while_open(self) -> None:
        connection: apsw.Connection | None = None
        pause_s = _FIRST_PAUSE_S
        while True:
            self._wanted.wait()
            if self._closing.is_set():
                break
            self._wanted.clear()
            try:
                if connection is None:
                    connection = self._connect()
                pages, moved = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
                probe.reach(Step.CHECKPOINTED)
            except Exception as error:  # the log keeps what is committed; the next commit asks again
                log.warning("the log of the store was not moved into the database", exc_info=error)
                _close(connection)
                connection = None
                # Each batch asks again, also one that failed: without a pause a full disk keeps this thread busy.
                self._closing.wait(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
                continue
            pause_s = _FIRST_PAUSE_S
            self._moved = max(moved, 0)
            self._restart = pages > self._bound
        _close(connection)


def _close(connection: apsw.Connection | None) -> None:
    if connection is not None:
        connection.close(True)
