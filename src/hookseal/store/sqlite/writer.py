"""The one thread that writes: whatever waits at the same moment shares one transaction and one sync to the disk.

Theory of operation. Callers on the event loop put operations into a bounded queue; beyond the bound they get StoreBusy
at once. The thread takes all that waits (it never lingers: a 1 ms linger halved the throughput measured), groups it by
kind, hands each group to its handler inside one BEGIN IMMEDIATE .. COMMIT, and gives all results back to the event loop
in one call. Within a batch the kinds run in a fixed order; nothing promises an order between operations that were not
awaited one after the other.

When it fails:
- the disk, the file or the lock: everything in the batch fails with StoreUnavailable, and after an I/O error the
  connection is opened anew, so that nothing goes on from what a failed sync left behind;
- one operation's value: the batch is halved until the faulty operation stands alone, so that only it fails;
- the thread itself: it fails all that waits and all that comes. It never dies in silence;
- a caller that has given up meanwhile: what was asked for stands, and what it leased is held by nobody (`untold`).
What the handlers remember of the file follows the transaction: `keep` after a commit, `undo` after a failure.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import apsw

from hookseal import probe
from hookseal.errors import HooksealError, StoreBusy, StoreError, StoreUnavailable
from hookseal.logs import get_logger
from hookseal.model import DeliveryId
from hookseal.probe import Step
from hookseal.store.port import Lease
from hookseal.store.sqlite.faults import breaks_connection, concerns_all, fault_of
from hookseal.store.sqlite.migrate import QUERIES
from hookseal.store.waiting import Waiting

log = get_logger(__name__)

MAX_BATCH = 512
MAX_BATCH_BYTES = 16 * 1024 * 1024


class Handler(NamedTuple):
    """What writes one kind of operation. apply: arguments in, results out, in order, within the open transaction.

    A result that is a HooksealError is raised to its caller; it undoes nothing.
    rank       handlers of a batch run in this order.
    committed  announced after the commit of a batch that had such operations.
    leases     of an argument and its result: those that nobody knows of when the caller is not told.
    """

    name: str
    rank: int
    apply: Callable[[apsw.Connection, Sequence[Any]], Sequence[Any]]
    committed: Step | None = None
    leases: Callable[[Any, Any], Mapping[DeliveryId, Lease]] | None = None


class Memory(Protocol):
    """What the handlers remember of the file, so that they need not read it."""

    def recover(self, connection: apsw.Connection) -> None:
        """Read everything from the file."""
        ...

    def keep(self) -> None:
        """What the handlers changed since the last call is committed."""
        ...

    def undo(self, connection: apsw.Connection) -> None:
        """What the handlers changed since the last commit never happened."""
        ...


@dataclass(slots=True, eq=False)
class _Operation:
    handler: Handler
    argument: Any
    weight: int
    is_large: bool
    future: "asyncio.Future[Any]"
    outcome: Any = None


class Writer:
    """connect   opens a connection that may write.
    memory    what the handlers remember of the file.
    between   called after each commit, outside of any transaction, with the connection and the pages of the log.
    untold    called on the event loop with leases that stand in the file and whose takers have given up.
    monotonic seconds of a clock that never jumps; committed: called on the thread with the seconds of each transaction.
    crashed   called on the thread when it ends before `stop`.
    """

    def __init__(
        self,
        connect: Callable[[], apsw.Connection],
        memory: Memory,
        between: Callable[[apsw.Connection, int], None],
        untold: Callable[[Mapping[DeliveryId, Lease]], None],
        *,
        monotonic: Callable[[], float],
        committed: Callable[[float], None],
        crashed: Callable[[], None],
        max_waiting: int,
        max_waiting_bytes: int,
    ) -> None:
        self._monotonic = monotonic
        self._committed = committed
        self._crashed = crashed
        self._connect = connect
        self._memory = memory
        self._between = between
        self._untold = untold
        self._max_waiting = max_waiting
        self._max_waiting_bytes = max_waiting_bytes
        self._condition = threading.Condition()
        self._waiting: Waiting[_Operation] = Waiting()
        self._waiting_bytes = 0
        self._taken: Sequence[_Operation] = ()
        self._closing = False
        self._dead: str | None = "the store is not open"
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: apsw.Connection | None = None
        self._log_pages = 0

    # --- the event loop's side ---

    def start(self, loop: asyncio.AbstractEventLoop, connection: apsw.Connection) -> None:
        """connection: one that may write, from which the memory was recovered."""
        self._loop = loop
        self._adopt(connection)
        self._dead = None
        self._thread = threading.Thread(target=self._run, name="hookseal-store-writer", daemon=True)
        self._thread.start()

    def submit(self, handler: Handler, argument: Any, weight: int = 0, is_large: bool = False) -> "asyncio.Future[Any]":
        """Queue one operation. StoreBusy at the bound, StoreUnavailable when the writer has stopped.

        weight    its bytes.
        is_large  it is written in a transaction of its own, see `Waiting`.
        """
        with self._condition:
            if self._dead is not None or self._loop is None:
                raise StoreUnavailable(self._dead or "the store is not open")
            full = self._waiting_bytes + weight > self._max_waiting_bytes and self._waiting
            if len(self._waiting) >= self._max_waiting or full:
                raise StoreBusy("too much is waiting to be written")
            operation = _Operation(handler, argument, weight, is_large, self._loop.create_future())
            self._waiting.append(operation)
            self._waiting_bytes += weight
            self._condition.notify()
        return operation.future

    def stop(self) -> None:
        """Write what waits, then end. Blocks; call it off the event loop."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        if self._thread is not None:
            self._thread.join()

    # --- the thread ---

    def _run(self) -> None:
        reason = "the store is closed"
        try:
            while batch := self._take():
                self._write(batch)
                self._hand_back(batch)
                self._after()
        except BaseException as crash:
            reason = f"the store's writer stopped: {type(crash).__name__}"
            log.critical("the writer thread of the store crashed", exc_info=crash)
            self._crashed()
        finally:
            self._end(reason)

    def _take(self) -> list[_Operation]:
        """Return the operations of the next transaction; none when the store closes."""
        with self._condition:
            while not self._waiting:
                if self._closing:
                    return []
                self._condition.wait()
            batch = self._waiting.take(MAX_BATCH, MAX_BATCH_BYTES)
            self._waiting_bytes -= sum(operation.weight for operation in batch)
            self._taken = batch
            return batch

    def _write(self, batch: Sequence[_Operation]) -> None:
        try:
            connection = self._usable()
            self._transact(connection, batch)
        except Exception as error:  # noqa: BLE001 - mapped to ours, for whoever waits
            self._undo(error)
            if len(batch) > 1 and not concerns_all(error):
                half = len(batch) // 2
                self._write(batch[:half])
                self._write(batch[half:])
                return
            for operation in batch:
                operation.outcome = _error_for(operation, error)

    def _transact(self, connection: apsw.Connection, batch: Sequence[_Operation]) -> None:
        begun_at = self._monotonic()
        connection.execute(QUERIES["begin"])
        probe.reach(Step.WRITE_BEGUN)
        groups: dict[Handler, list[_Operation]] = {}
        for operation in batch:
            groups.setdefault(operation.handler, []).append(operation)
        for handler in sorted(groups, key=lambda one: one.rank):
            group = groups[handler]
            results = handler.apply(connection, [operation.argument for operation in group])
            for operation, result in zip(group, results, strict=True):
                operation.outcome = result
        probe.reach(Step.COMMITTING)
        connection.execute(QUERIES["commit"])
        self._memory.keep()
        self._committed(self._monotonic() - begun_at)
        probe.reach(Step.COMMITTED)
        for handler in groups:
            if handler.committed is not None:
                probe.reach(handler.committed)

    def _undo(self, error: Exception) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            if connection.in_transaction:
                connection.execute(QUERIES["rollback"])
            if not breaks_connection(error):
                self._memory.undo(connection)
                return
        except apsw.Error:
            pass
        self._connection = None
        connection.close(True)

    def _usable(self) -> apsw.Connection:
        if self._connection is None:
            connection = self._connect()
            self._memory.recover(connection)
            self._adopt(connection)
            return connection
        return self._connection

    def _adopt(self, connection: apsw.Connection) -> None:
        connection.set_wal_hook(self._note_log)
        self._connection = connection

    def _note_log(self, connection: apsw.Connection, name: str, pages: int) -> int:
        self._log_pages = pages
        return apsw.SQLITE_OK

    def _after(self) -> None:
        if self._connection is None:
            return
        try:
            self._between(self._connection, self._log_pages)
        except apsw.Error as error:
            # What was acknowledged is in the log. Only the moving of the log failed; the next batch tries again.
            self._undo(error)

    def _hand_back(self, batch: Sequence[_Operation]) -> None:
        assert self._loop is not None
        self._taken = ()
        try:
            self._loop.call_soon_threadsafe(self._settle, batch)
        except RuntimeError:
            # The loop is closed: nobody waits any more. What was committed stays.
            return

    def _settle(self, batch: Sequence[_Operation]) -> None:
        untold: dict[DeliveryId, Lease] = {}
        for operation in batch:
            failed = isinstance(operation.outcome, HooksealError)
            if operation.future.done():  # its caller was cancelled; the write happened all the same
                if operation.handler.leases is not None and not failed:
                    untold.update(operation.handler.leases(operation.argument, operation.outcome))
            elif failed:
                operation.future.set_exception(operation.outcome)
            else:
                operation.future.set_result(operation.outcome)
        if untold:
            self._untold(untold)

    def _end(self, reason: str) -> None:
        with self._condition:
            self._dead = reason
            left = [*self._taken, *self._waiting]
            self._waiting.clear()
            self._waiting_bytes = 0
        for operation in left:
            operation.outcome = StoreUnavailable(reason)
        if left:
            self._hand_back(left)
        if self._connection is not None:
            self._connection.close(True)
            self._connection = None


def _error_for(operation: _Operation, error: Exception) -> StoreError:
    # One error object for each caller: a raised exception collects its caller's traceback.
    fault = fault_of(error, operation.handler.name)
    told = type(fault)(*fault.args)
    told.__cause__ = error
    return told
