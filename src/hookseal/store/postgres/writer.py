"""The writing connections: whatever waits at the same moment shares one transaction and one sync to the disk.

Theory of operation. Callers put operations into a bounded queue; beyond the bound they get StoreBusy at once. A task
for each connection takes all that waits (it never lingers), groups it by kind, and runs each group's few statements
inside one BEGIN .. COMMIT. Kinds run in a fixed order and rows are locked in a fixed order, so that two transactions
hardly ever wait for each other; where they do, the server ends one and it is done again.

When it fails:
- the connection, the server, a lock: everything in the batch fails with StoreUnavailable. A connection that broke is
  made anew by the next operation; while none can be had, operations fail at once, and it is tried again after at most
  1 s. A connection lost while COMMIT was under way leaves open whether it was committed: whoever was not answered sends
  again, and the dedupe key tells. Deliveries that it may have leased are held by nobody then; see `adrift`.
- one operation's value: the batch is halved until the faulty operation stands alone, so that only it fails.
- the tasks themselves: they fail all that waits and all that comes.
No transaction is older than 5 s; then its connection is cut, and what waits behind it fails too.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from hookseal import probe
from hookseal.clock import Instant
from hookseal.errors import HooksealError, StoreBusy, StoreError, StoreUnavailable
from hookseal.logs import get_logger
from hookseal.model import DeliveryId
from hookseal.probe import Step
from hookseal.store.port import Lease
from hookseal.store.postgres.connection import Connection, Row
from hookseal.store.postgres.faults import breaks_connection, code_of, concerns_all, fault_of, passes_at_once
from hookseal.store.postgres.queries import QUERIES
from hookseal.store.waiting import Waiting

log = get_logger(__name__)

MAX_BATCH: Final = 512
MAX_BATCH_BYTES: Final = 16 * 1024 * 1024
TRANSACTION_S: Final = 5.0
_CLOSE_S: Final = 2.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
_REPEATS: Final = 3


@dataclass(frozen=True, slots=True)
class Transaction:
    """An open transaction. node_now: this node's clock when it began; None when instants count as they are given."""

    connection: Connection
    node_now: Instant | None

    async def run(self, name: str, *values: Any) -> Sequence[Row]:
        """Run a statement by its name; the rows it gave."""
        rows: Sequence[Row] = await self.connection.fetch(QUERIES[name], *values)
        return rows


class Handler(NamedTuple):
    """What writes one kind of operation. apply: arguments in, results out, in order, within the open transaction.

    A result that is a HooksealError is raised to its caller; it undoes nothing.
    rank       handlers of a batch run in this order.
    committed  announced after the commit of a batch that had such operations.
    leases     of an argument and its outcome: the leases that nobody knows of when its caller is not told.
    """

    name: str
    rank: int
    apply: Callable[[Transaction, Sequence[Any]], Awaitable[Sequence[Any]]]
    committed: Step | None = None
    leases: Callable[[Any, Any], Mapping[DeliveryId, Lease]] | None = None


@dataclass(slots=True, eq=False)
class _Operation:
    handler: Handler
    argument: Any
    weight: int
    is_large: bool
    future: "asyncio.Future[Any]"
    outcome: Any = None


@dataclass(slots=True, eq=False)
class _Desk:
    """One connection and the task that writes through it."""

    connection: Connection | None = None
    task: "asyncio.Task[None] | None" = None
    committing: bool = False

    @property
    def is_up(self) -> bool:
        return self.connection is not None and not self.connection.is_closed()


class Writer:
    """connect   opens a connection that may write.
    node_now  this node's clock, or None for all time; see `Transaction`.
    undone    called when a transaction was undone, so that handlers forget what they believed.
    adrift    called with leases that may stand in the database and whose takers were not told of them.
    monotonic seconds of a clock that never jumps; committed: called with the seconds of each transaction.
    crashed   called when a task ends before `stop`.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        node_now: Callable[[], Instant | None],
        undone: Callable[[], None],
        adrift: Callable[[Mapping[DeliveryId, Lease]], None],
        *,
        monotonic: Callable[[], float],
        committed: Callable[[float], None],
        crashed: Callable[[], None],
        connections: int,
        max_waiting: int,
        max_waiting_bytes: int,
    ) -> None:
        self._monotonic = monotonic
        self._committed = committed
        self._crashed = crashed
        self._connect = connect
        self._node_now = node_now
        self._undone = undone
        self._adrift = adrift
        self._desks = [_Desk() for _ in range(connections)]
        self._max_waiting = max_waiting
        self._max_waiting_bytes = max_waiting_bytes
        self._waiting: Waiting[_Operation] = Waiting()
        self._waiting_bytes = 0
        self._idle: deque[asyncio.Future[None]] = deque()
        self._woken = False
        self._closing = False
        self._dead: str | None = "the store is not open"
        self._pause_s = 0.0
        self._down_until = 0.0

    def start(self, connection: Connection) -> None:
        self._dead = None
        self._desks[0].connection = connection
        for number, desk in enumerate(self._desks):
            desk.task = asyncio.get_running_loop().create_task(self._run(desk), name=f"hookseal-store-writer-{number}")

    def submit(self, handler: Handler, argument: Any, weight: int = 0, is_large: bool = False) -> "asyncio.Future[Any]":
        """Queue one operation. StoreBusy at the bound, StoreUnavailable when the writer has stopped.

        weight    its bytes.
        is_large  it is written in a transaction of its own, see `Waiting`.
        """
        if self._dead is not None or self._closing:
            raise StoreUnavailable(self._dead or "the store is closed")
        loop = asyncio.get_running_loop()
        if loop.time() < self._down_until:
            raise StoreUnavailable("the database cannot be reached")
        full = self._waiting_bytes + weight > self._max_waiting_bytes and self._waiting
        if len(self._waiting) >= self._max_waiting or full:
            raise StoreBusy("too much is waiting to be written")
        operation = _Operation(handler, argument, weight, is_large, loop.create_future())
        self._waiting.append(operation)
        self._waiting_bytes += weight
        self._wake()
        return operation.future

    async def stop(self) -> None:
        """Write what waits, then end."""
        self._closing = True
        for idle in self._idle:
            if not idle.done():
                idle.set_result(None)
        self._idle.clear()
        tasks = [desk.task for desk in self._desks if desk.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        self._end("the store is closed")

    # --- taking ---

    def _wake(self) -> None:
        """Wake one that is idle. Not two for what one takes in one go."""
        while self._idle and not self._woken:
            idle = self._idle.popleft()
            if not idle.done():
                self._woken = True
                idle.set_result(None)

    async def _run(self, desk: _Desk) -> None:
        reason = "the store is closed"
        try:
            while await self._work():
                if not desk.is_up and not await self._reconnect(desk):
                    continue
                if batch := self._take():
                    await self._write(desk, batch)
                    _settle(batch)
                    self._note_adrift([one for one in batch if one.future.cancelled() and not _failed(one)])
        except BaseException as crash:
            reason = f"the store's writer stopped: {type(crash).__name__}"
            raise
        finally:
            if not self._closing:
                # Before the connection is closed, which takes up to 2 s: until then callers would wait for a task that has ended.
                is_first = self._dead is None
                self._end(reason)
                if is_first:
                    self._crashed()
            await _close(desk)

    async def _work(self) -> bool:
        """Wait until something waits; False when the store closes and nothing does."""
        while not self._waiting:
            if self._closing or self._dead is not None:
                return False
            idle = asyncio.get_running_loop().create_future()
            self._idle.append(idle)
            try:
                await idle
            finally:
                self._woken = False
                if idle in self._idle:
                    self._idle.remove(idle)
        return True

    def _take(self) -> list[_Operation]:
        """Return the operations of the next transaction."""
        batch = self._waiting.take(MAX_BATCH, MAX_BATCH_BYTES)
        self._waiting_bytes -= sum(operation.weight for operation in batch)
        if self._waiting:
            self._wake()
        return batch

    # --- connecting ---

    async def _reconnect(self, desk: _Desk) -> bool:
        """A connection for this desk. When none can be had: leave the work to a desk that has one, or fail it all."""
        self._wake()
        try:
            desk.connection = await self._connect()
        except StoreError as error:
            self._pause_s = min(max(self._pause_s * 2, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
            if any(other.is_up for other in self._desks):
                await asyncio.sleep(self._pause_s)
                return False
            self._down_until = asyncio.get_running_loop().time() + self._pause_s
            self._fail_waiting(error)
            return False
        self._pause_s = self._down_until = 0.0
        return True

    def _fail_waiting(self, error: BaseException) -> None:
        left = list(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        for operation in left:
            operation.outcome = fault_of(error, operation.handler.name)
        _settle(left)

    def _end(self, reason: str) -> None:
        self._dead = self._dead or reason
        self._fail_waiting(StoreUnavailable(reason))
        for desk in self._desks:
            if desk.task is not None and desk.task is not asyncio.current_task():
                desk.task.cancel()

    # --- writing ---

    async def _write(self, desk: _Desk, batch: Sequence[_Operation]) -> None:
        for repeat in range(_REPEATS + 1):
            try:
                async with asyncio.timeout(TRANSACTION_S):
                    await self._transact(desk, batch)
                return
            except Exception as error:  # noqa: BLE001 - mapped to ours, for whoever waits
                await self._undo(desk, error)
                if passes_at_once(error) and repeat < _REPEATS:
                    continue
                if len(batch) > 1 and not concerns_all(error):
                    half = len(batch) // 2
                    await self._write(desk, batch[:half])
                    await self._write(desk, batch[half:])
                    return
                if desk.committing and breaks_connection(error):
                    self._note_adrift(batch)
                for operation in batch:
                    operation.outcome = fault_of(error, operation.handler.name)
                if concerns_all(error):
                    log.warning("not written", count=len(batch), code=code_of(error))
                if isinstance(error, TimeoutError):
                    self._fail_waiting(error)
                return
            except BaseException:
                for operation in batch:
                    operation.outcome = StoreUnavailable("the store's writer stopped")
                _settle(batch)
                raise

    async def _transact(self, desk: _Desk, batch: Sequence[_Operation]) -> None:
        connection = desk.connection
        if connection is None:
            raise StoreUnavailable("the database cannot be reached")
        transaction = Transaction(connection, self._node_now())
        desk.committing = False
        begun_at = self._monotonic()
        await connection.execute(QUERIES["begin"])
        await probe.pause(Step.WRITE_BEGUN)
        groups: dict[Handler, list[_Operation]] = {}
        for operation in batch:
            groups.setdefault(operation.handler, []).append(operation)
        for handler in sorted(groups, key=lambda one: one.rank):
            group = groups[handler]
            results = await handler.apply(transaction, [operation.argument for operation in group])
            for operation, result in zip(group, results, strict=True):
                operation.outcome = result
        await probe.pause(Step.COMMITTING)
        desk.committing = True
        await connection.execute(QUERIES["commit"])
        self._committed(self._monotonic() - begun_at)
        await probe.pause(Step.COMMITTED)
        for handler in groups:
            if handler.committed is not None:
                await probe.pause(handler.committed)

    def _note_adrift(self, batch: Sequence[_Operation]) -> None:
        for operation in batch:
            if operation.handler.leases is not None and (
                leases := operation.handler.leases(operation.argument, operation.outcome)
            ):
                self._adrift(leases)

    async def _undo(self, desk: _Desk, error: Exception) -> None:
        self._undone()
        connection, desk.connection = desk.connection, None
        if connection is None:
            return
        if not breaks_connection(error) and not connection.is_closed():
            try:
                async with asyncio.timeout(_CLOSE_S):
                    await connection.execute(QUERIES["rollback"])
                desk.connection = connection
                return
            except Exception as failed:  # noqa: BLE001 - a connection that cannot even undo is of no use
                log.warning("not undone", code=code_of(failed))
        connection.terminate()


async def _close(desk: _Desk) -> None:
    connection, desk.connection = desk.connection, None
    if connection is None or connection.is_closed():
        return
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_CLOSE_S):
            await connection.close()
            return
    connection.terminate()


def _settle(batch: Sequence[_Operation]) -> None:
    for operation in batch:
        if operation.future.done():
            continue  # its caller was cancelled; the write happened all the same
        if _failed(operation):
            operation.future.set_exception(operation.outcome)
        else:
            operation.future.set_result(operation.outcome)


def _failed(operation: _Operation) -> bool:
    return isinstance(operation.outcome, HooksealError)
