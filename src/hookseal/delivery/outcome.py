"""What one try came to: the destination's word, read by the endpoint's policy, becomes the result to record. Pure."""

from hookseal.clock import Instant
from hookseal.delivery import retry_after
from hookseal.delivery.policy import RetryPolicy
from hookseal.delivery.schedule import next_attempt_at
from hookseal.delivery.states import Happening, after
from hookseal.destinations.port import Answered, Failed, Rejected, Sent, Stopped
from hookseal.model import AttemptReason, DeliveryState
from hookseal.store.port import AttemptRow, Claimed, Lease, Result


def endpoint_lives(sent: Sent) -> bool | None:
    """Whether an endpoint answers as one that works, even if it refuses the event; None where it was not asked."""
    if isinstance(sent, Answered):
        return sent.status < 500 and sent.status != 429
    return None if isinstance(sent, Rejected | Stopped) or sent.reason is AttemptReason.CONFIG_ERROR else False


def is_final(policy: RetryPolicy, sent: Sent) -> bool:
    """Whether the endpoint, or we ourselves, will not have it however often it is sent."""
    return isinstance(sent, Rejected) or (isinstance(sent, Answered) and sent.status in policy.permanent)


def judge(
    policy: RetryPolicy,
    claim: Claimed,
    sent: Answered | Failed | Rejected,
    *,
    lease: Lease,
    started_at: Instant,
    ended_at: Instant,
    seconds: float,
    jitter: float,
) -> Result:
    """The result of the try that began at `started_at`. seconds: how long it took; jitter: 0.0 to 1.0."""
    number = claim.attempts + 1
    status = None if isinstance(sent, Rejected) else sent.status
    due_at: Instant | None = None
    reason: str | None = None
    if isinstance(sent, Rejected):
        happening, reason = Happening.REJECTED, sent.reason
    elif isinstance(sent, Answered) and sent.status in policy.success:
        happening = Happening.SUCCEEDED
    elif isinstance(sent, Answered) and sent.status in policy.permanent:
        happening, reason = Happening.REFUSED, f"http_{sent.status}"
    else:
        reason = sent.reason if isinstance(sent, Failed) else f"http_{sent.status}"
        wish = retry_after.parse(sent.retry_after, ended_at) if isinstance(sent, Answered) else None
        first_at = started_at if claim.first_attempt_at is None else claim.first_attempt_at
        due_at = next_attempt_at(policy, number, first_at, ended_at, wish, jitter)
        happening = Happening.EXHAUSTED if due_at is None else Happening.FAILED
    return Result(
        delivery=claim.id,
        lease=lease,
        attempt=AttemptRow(
            number=number, started_at=started_at, duration_ms=round(seconds * 1000), status=status, reason=reason
        ),
        state=after(DeliveryState.PENDING, happening),
        due_at=due_at,
    )
