"""When to try again. Pure: a policy, two times, a wish and a number between 0 and 1 go in, a time comes out.

Two ways of counting. Most policies wait after each failure, so that a slow endpoint is not called back early. A policy
`from_first` fixes each try's distance from the first, as ZignSec's "20 times in 48 hours" asks: whatever jitter and
`Retry-After` do to one try, the number of tries and their window hold.
"""

from hookseal.clock import Instant, plus, seconds_between
from hookseal.delivery.policy import POLICIES, RetryPolicy

ROOM_S = 60.0
"""Kept free at the end of a window for each try that is still to come: longer than a try may take (30 s) and be late."""


def next_attempt_at(
    policy: RetryPolicy,
    attempt: int,
    first_at: Instant,
    ended_at: Instant,
    retry_after_s: float | None,
    jitter: float,
) -> Instant | None:
    """When to try again, or None when the schedule is spent.

    attempt        1-based number of the try that just failed.
    first_at       when the first try began.
    ended_at       when this one failed.
    retry_after_s  what the endpoint asked for, seconds; granted where longer than ours, up to `policy.max_wait_s`.
    jitter         0.0 to 1.0 from the caller, laid over the policy's range: for ±20 %, 0.5 leaves the wait unchanged;
                   for 0 to +10 %, 0.0 does.

    `standard` waits 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h. `event_grid` tries at 0, 10, 40, 100, 400,
    1000, 2800, 6400, 17200, 38800 and 82000 s. Where a window ends, jitter and wishes are cut, the try is not.
    Source: RFC 9110 §10.2.3 for Retry-After.
    """
    if attempt >= policy.tries:
        return None
    wish_s = 0.0
    if policy.honours_retry_after and retry_after_s is not None:
        wish_s = min(max(float(retry_after_s), 0.0), policy.max_wait_s)
    low, high = policy.jitter
    stretch = low + (high - low) * jitter
    if policy.from_first:
        return _at_offset(policy, attempt, first_at, ended_at, wish_s, stretch)
    wait_s = policy.waits_s[attempt - 1]
    at = plus(ended_at, max(wait_s * (1.0 + stretch), wish_s))
    if policy.window_s is None:
        return at
    planned, latest = plus(ended_at, wait_s), plus(first_at, policy.window_s - ROOM_S)
    return None if planned > latest else min(at, latest)


def wait_after_loss(policy: RetryPolicy, losses: int) -> float:
    """Return how many seconds a crash suspect waits after it was lost in isolation `losses` times, from 1.

    The policy's own waits, without jitter: `standard` 5 s, 5 min, 30 min, ... The last one repeats. If the
    policy makes one attempt only and has no waits, those of `standard` are used.
    """
    waits_s = policy.waits_s or POLICIES["standard"].waits_s
    place = min(losses, len(waits_s)) - 1
    if policy.from_first and place > 0:
        return waits_s[place] - waits_s[place - 1]
    return waits_s[place]


def _at_offset(
    policy: RetryPolicy, attempt: int, first_at: Instant, ended_at: Instant, wish_s: float, stretch: float
) -> Instant | None:
    """The next try by its distance from the first.

    A wish may carry a try past later ones' times. Those are then spread evenly over what is left, so that they neither
    fall on one moment nor past the window.
    """
    left = policy.tries - attempt
    offset = policy.waits_s[attempt - 1]
    gap = offset - (policy.waits_s[attempt - 2] if attempt > 1 else 0.0)
    planned = plus(first_at, offset + gap * stretch)
    window_s = policy.window_s if policy.window_s is not None else policy.waits_s[-1] + ROOM_S
    horizon, last = plus(first_at, window_s - ROOM_S), plus(first_at, policy.waits_s[-1])
    if ended_at >= horizon:
        return None
    if planned <= ended_at:
        end = last if last > ended_at else horizon
        planned = max(plus(ended_at, seconds_between(ended_at, end) / left), Instant(ended_at + 1))
    latest = plus(horizon, -(left - 1) * ROOM_S)
    if latest <= ended_at:  # an outage of ours: what is left must share what is left
        return plus(ended_at, max(seconds_between(ended_at, horizon) / left, 1e-6))
    return min(max(planned, plus(ended_at, wish_s)), latest)
