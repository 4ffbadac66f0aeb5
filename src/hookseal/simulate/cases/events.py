"""What the provider sends on any day: its examples, the same again, out of order, late, many at once."""

from collections.abc import Iterator
from dataclasses import replace

from hookseal.clock import Instant, plus
from hookseal.simulate.cases.sender import Sender
from hookseal.simulate.cases.vocabulary import Case, Group, accepted
from hookseal.simulate.examples import Example, examples_of
from hookseal.simulate.wire import Manner, Sent

_AT_ONCE = 20
_DAY_S = 86_400.0


def cases(sender: Sender) -> Iterator[Case]:
    for name, example in examples_of(sender.provider).items():
        yield Case(
            id=f"example-{name}",
            group=Group.EVENTS,
            sends=example.about,
            why="The provider sends this; what is not acknowledged comes again or is lost.",
            # batching is off by default, so a receiver need not know it; 415 is then an honest answer
            expected=accepted(sender.policy, frozenset({415}) if _is_batch(example) else frozenset()),
            make=lambda now, name=name: _all(sender, now, name),  # type: ignore[misc]
        )
    for id, sends, why, make, at_once in (
        (
            "duplicate",
            "one request, twice",
            "Providers deliver at least once: the second must be acknowledged, and not worked on.",
            lambda now: (good := sender.good(sender.call(now), now), good),
            False,
        ),
        (
            "duplicate-at-once",
            "one request, four times at the same moment",
            "Two tries can overlap: a check and then an insert lets both through, or fails with a 500.",
            lambda now: (sender.good(sender.call(now), now),) * 4,
            True,
        ),
        (
            "answer-lost",
            "one request whose answer is not waited for, and then the retry",
            "The sender cannot know that the first one was stored.",
            lambda now: _answer_lost(sender, now),
            False,
        ),
        (
            "late",
            "an event of a day ago, proven now",
            "A retry comes up to days after the event; its age is no fault.",
            lambda now: (sender.good(sender.call(plus(now, -_DAY_S)), now),),
            False,
        ),
        (
            "out-of-order",
            "a newer event, then an older one",
            "No provider promises an order; the older one must be taken as well.",
            lambda now: _out_of_order(sender, now),
            False,
        ),
        (
            "many-at-once",
            f"{_AT_ONCE} events at the same moment",
            "Work that is done before the answer makes the others wait beyond the provider's deadline.",
            lambda now: tuple(sender.good(sender.call(now), now) for _ in range(_AT_ONCE)),
            True,
        ),
    ):
        yield Case(
            id=id,
            group=Group.EVENTS,
            sends=sends,
            why=why,
            expected=accepted(sender.policy),
            make=make,
            at_once=at_once,
        )


def _is_batch(example: Example) -> bool:
    return any("batch" in (draft.content_type or "") for draft in example.drafts)


def _all(sender: Sender, now: Instant, example: str) -> tuple[Sent, ...]:
    return tuple(sender.good(call, now) for call in sender.event(now, example))


def _answer_lost(sender: Sender, now: Instant) -> tuple[Sent, ...]:
    good = sender.good(sender.call(now), now)
    return replace(good, manner=Manner.LEFT), good


def _out_of_order(sender: Sender, now: Instant) -> tuple[Sent, ...]:
    """The calls about one subject in reverse where an example has several, else two events."""
    several = [name for name, example in examples_of(sender.provider).items() if len(example.drafts) > 1]
    if several:
        return _all(sender, now, several[0])[::-1]
    return sender.good(sender.call(now), now), sender.good(sender.call(plus(now, -60)), now)
