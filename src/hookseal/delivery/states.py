"""What may become of a delivery: from, event, to. Nothing else decides a transition.

The table is closed. A pair of state and event that does not stand in it cannot happen, and `after` says so loudly. A
delivery that has ended is never attempted again: a replay makes a new delivery of the same event, with an id of its own. A
dead delivery is then `replayed`: `dead` lists what still needs a person.
"""

from enum import StrEnum

from hookseal.model import DeliveryState


class Happening(StrEnum):
    """What befalls a delivery."""

    SUCCEEDED = "succeeded"  # a status of the policy's success set
    FAILED = "failed"  # no success, and the schedule has another try
    EXHAUSTED = "exhausted"  # no success, and the schedule is spent
    REFUSED = "refused"  # a status of the policy's permanent set
    REJECTED = "rejected"  # it can never be sent: no format, no key, no address for it
    STOPPED = "stopped"  # we are stopping: the try does not count
    LOST = "lost"  # its holder died or fell silent; the lease ended without a result
    LOST_TOO_OFTEN = "lost_too_often"  # its process ended in too many attempts that it made alone
    EXPIRED = "expired"  # it waited too long for an endpoint that is not called
    CANCELLED = "cancelled"  # the operator's word
    REPLAYED = "replayed"  # a replay made another delivery in its place


P, DELIVERED, DEAD, CANCELLED, REPLAYED = (
    DeliveryState.PENDING,
    DeliveryState.DELIVERED,
    DeliveryState.DEAD,
    DeliveryState.CANCELLED,
    DeliveryState.REPLAYED,
)

TRANSITIONS: tuple[tuple[DeliveryState, Happening, DeliveryState], ...] = (
    (P, Happening.SUCCEEDED, DELIVERED),
    (P, Happening.FAILED, P),
    (P, Happening.EXHAUSTED, DEAD),
    (P, Happening.REFUSED, DEAD),
    (P, Happening.REJECTED, DEAD),
    (P, Happening.STOPPED, P),
    (P, Happening.LOST, P),
    (P, Happening.LOST_TOO_OFTEN, DEAD),
    (P, Happening.EXPIRED, DEAD),
    (P, Happening.CANCELLED, CANCELLED),
    (DEAD, Happening.REPLAYED, REPLAYED),
)

_NEXT = {(before, happening): after for before, happening, after in TRANSITIONS}


def after(state: DeliveryState, happening: Happening) -> DeliveryState:
    """The state that follows. ValueError for a pair that cannot be."""
    try:
        return _NEXT[state, happening]
    except KeyError:
        raise ValueError(f"{happening} cannot befall a delivery that is {state}") from None


def is_final(state: DeliveryState) -> bool:
    """Whether the delivery is never attempted again."""
    return state is not P


def diagram() -> str:
    """The table as a Mermaid state diagram, which docs/how-it-works.md shows."""
    lines = ["stateDiagram-v2", f"    [*] --> {P}"]
    lines += [f"    {before} --> {to}: {happening}" for before, happening, to in TRANSITIONS]
    lines += [f"    {state} --> [*]" for state in DeliveryState if is_final(state)]
    return "\n".join(lines) + "\n"
