"""Methods, and connections that break: a request that never came in full must not be acknowledged."""

from collections.abc import Iterator
from dataclasses import replace

from hookseal.clock import Instant
from hookseal.simulate.cases.sender import Sender
from hookseal.simulate.cases.vocabulary import Case, Group, not_acknowledged, one_of
from hookseal.simulate.wire import Manner, Sent

_WRONG_METHOD = (frozenset(range(400, 500)) | {501}) - {408, 425, 429}


def cases(sender: Sender) -> Iterator[Case]:
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        yield Case(
            id=f"method-{method.lower()}",
            group=Group.CONNECTION,
            sends=f"{method} with a good proof",
            why="The provider posts; whatever else is taken, or fails, is a door that nobody watches.",
            expected=one_of(_WRONG_METHOD, "405 or other 4xx", f"{method} is no delivery: answer 405 with Allow."),
            make=lambda now, method=method: (_with_method(sender, method, now),),  # type: ignore[misc]
        )
    yield Case(
        id="truncated",
        group=Group.CONNECTION,
        sends="a body that ends 16 bytes before its length",
        why="The sender died on the way; what came is not what it wanted to say, and it will try again.",
        expected=not_acknowledged(),
        make=lambda now: (replace(sender.good(sender.call(now), now), manner=Manner.TRUNCATED),),
    )
    yield Case(
        id="stalled",
        group=Group.CONNECTION,
        sends="half a body, then silence",
        why="Without a deadline on the body, a few idle connections are enough to stop a receiver.",
        expected=not_acknowledged(),
        make=lambda now: (replace(sender.good(sender.call(now), now), manner=Manner.STALLED),),
    )


def _with_method(sender: Sender, method: str, now: Instant) -> Sent:
    good = sender.good(sender.call(now), now)
    return replace(good, method=method, body=b"" if method == "GET" else good.body)
