"""Named moments on the road of an event, announced to whoever listens.

In production nobody listens and `reach` is one global look-up. Tests await a step instead of sleeping, and fault
tests pull the plug at one. A listener runs on the thread that reached the step and may kill the process.
"""

from collections.abc import Callable
from enum import StrEnum
from inspect import isawaitable


class Step(StrEnum):
    """In the order in which one event passes them."""

    BODY_READ = "body_read"
    BATCH_SPLIT = "batch_split"  # the body of a batch was split into its events; each time, on any thread
    DECIDED = "decided"
    WRITE_QUEUED = "write_queued"
    WRITE_BEGUN = "write_begun"  # writer thread, transaction open
    EVENTS_WRITTEN = "events_written"  # writer thread, rows inserted, not committed
    COMMITTING = "committing"  # writer thread, before COMMIT
    COMMITTED = "committed"  # writer thread, after COMMIT returned
    ACKED = "acked"  # event loop, before the answer is handed to the server
    ANSWERED = "answered"  # event loop, after the answer was handed to the server
    UNSEALED = "unsealed"  # the bytes of a stored request were decrypted; each time, on any thread
    CLAIMED = "claimed"
    SENDING = "sending"  # before the connection is asked for
    SENT = "sent"  # an answer or an error is there
    RECORDING = "recording"  # writer thread, result rows written, not committed
    RECORDED = "recorded"
    LEASES_VOIDED = "leases_voided"
    EXPIRING = "expiring"  # a slice of what is too old is removed, not committed
    EXPIRED = "expired"  # the same, committed
    REWRAPPING = "rewrapping"  # a slice of seals is moved to the new key, not committed
    REWRAPPED = "rewrapped"  # the same, committed
    MIGRATING = "migrating"  # a migration is written, not committed
    MIGRATED = "migrated"  # the same, committed
    CHECKPOINTED = "checkpointed"
    DRAINED = "drained"


Listener = Callable[[Step], object]

_listeners: tuple[Listener, ...] = ()


def reach(step: Step) -> None:
    for listener in _listeners:
        listener(step)


async def pause(step: Step) -> None:
    """The same for a step on the event loop that a listener may hold: what it returns is awaited where it can be."""
    for listener in _listeners:
        held = listener(step)
        if isawaitable(held):
            await held


def listen(listener: Listener) -> Callable[[], None]:
    """Add a listener; the returned function takes it away again."""
    global _listeners
    _listeners = (*_listeners, listener)

    def leave() -> None:
        global _listeners
        _listeners = tuple(one for one in _listeners if one is not listener)

    return leave
