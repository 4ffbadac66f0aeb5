"""A case, and what a correct receiver answers to it.

A status is judged by what it makes the provider do, since that is what a receiver chooses by it: an event is lost,
comes again for a day, or is done with. Where the provider's documents fix a code it is asked for; where they fix none,
any refusal that says "this is wrong" is as good.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from hookseal.catalogue import Provider
from hookseal.catalogue.entry import Answers
from hookseal.clock import Instant
from hookseal.delivery.policy import RetryPolicy
from hookseal.egress.port import Reply
from hookseal.simulate.provider import consent_in
from hookseal.simulate.wire import Answer, Sent

_NOT_A_REFUSAL = frozenset({408, 410, 425, 429})
"""4xx that say something else: try again, or (Standard Webhooks) never send here any more."""


TAKEN = "IT TOOK THIS FOR GENUINE."
LEAKED = "THE ANSWER HOLDS THE SECRET OR THE RIGHT SIGNATURE: whoever asks can forge."
GRAVE = frozenset({TAKEN, LEAKED})
"""Faults by which a stranger's request becomes an event."""


class Group(StrEnum):
    HANDSHAKE = "handshake"
    EVENTS = "events"
    BODIES = "bodies"
    ENVELOPE = "envelope"
    PROOF = "proof"
    CHANGED = "changed on the way"
    TOKEN = "token"
    CONNECTION = "connection"


@dataclass(frozen=True, slots=True)
class Expected:
    """What a correct receiver answers.

    told      for people, short: "2xx", "401 or other 4xx".
    fault_in  what is wrong with an answer, as a sentence; "" when nothing is.
    """

    told: str
    fault_in: Callable[[Answer], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One thing to try.

    id       stable, for scripts: `signature-missing`.
    sends    what is sent, as a short noun phrase.
    why      one sentence: what goes wrong in a receiver that does otherwise.
    make     the requests, made when their turn comes; () where this event cannot show it, and then it is left out.
    at_once  all of them together; else one after another.
    alike    all of them must get one and the same status, whichever of the right ones.
    """

    id: str
    group: Group
    sends: str
    why: str
    expected: Expected
    make: Callable[[Instant], tuple[Sent, ...]]
    at_once: bool = False
    alike: bool = False


def accepted(policy: RetryPolicy, also: frozenset[int] = frozenset()) -> Expected:
    """A status that the provider takes for an acknowledgement. also: others that are right for this one case."""
    told = ("2xx" if 299 in policy.success else "200-204") + "".join(f", {status}" for status in sorted(also))

    def fault_in(answer: Answer) -> str:
        status = answer.status
        if status in policy.success or status in also:
            return ""
        if status is None:
            return f"There was no answer ({answer.reason}): the provider sends it again."
        if status in policy.permanent:
            return "The provider gives up at this code: the event is lost."
        if status >= 500:
            return "It failed on a genuine event: the provider sends it again, and it will fail again."
        return "The provider does not take this for an acknowledgement and sends it again."

    return Expected(told, fault_in)


def refused(
    provider: Provider, policy: RetryPolicy, also: frozenset[int] = frozenset(), *, odd: bool = False
) -> Expected:
    """The provider's own code for a bad proof, where its documents have one; else what means no more than "refused".

    also  other statuses that are right for this one case.
    odd   made by somebody who has the secret, in a form that the provider never sends: to take it is lax, and no more.
    """
    code = provider.answers.refused
    if code != Answers().refused:
        right, told = frozenset({code}), str(code)
    elif 401 in policy.permanent:
        right, told = frozenset({400, 401, 403}), "401 (400, 403)"
    else:
        right, told = frozenset(range(400, 500)) - _NOT_A_REFUSAL, "401 or other 4xx"
    told += "".join(f", {status}" for status in sorted(also - right))
    taken = "It took what the provider never sends." if odd else TAKEN
    return Expected(told, lambda answer: _fault_of_refusal(answer, right | also, told, taken))


def one_of(statuses: frozenset[int], told: str, otherwise: str) -> Expected:
    """otherwise: the sentence for any other status."""

    def fault_in(answer: Answer) -> str:
        if answer.status in statuses:
            return ""
        return otherwise if answer.status is not None else f"There was no answer ({answer.reason})."

    return Expected(told, fault_in)


def not_acknowledged() -> Expected:
    """Anything but a 2xx; no answer and a closed connection too."""

    def fault_in(answer: Answer) -> str:
        return "It acknowledged a request that never came in full." if _is_2xx(answer) else ""

    return Expected("no 2xx", fault_in)


def consent(origin: str) -> Expected:
    def fault_in(answer: Answer) -> str:
        if answer.status is None:
            return f"There was no answer ({answer.reason})."
        problem = consent_in(Reply(status=answer.status, headers=answer.headers), origin).problem
        return f"No consent: {problem}." if problem else ""

    return Expected("200, consent", fault_in)


def no_consent() -> Expected:
    def fault_in(answer: Answer) -> str:
        if answer.status is not None and answer.status >= 500:
            return "It failed; anyone can make it."
        granted = answer.headers.get("webhook-allowed-origin")
        if granted == "*":
            return "It grants everybody."
        return "It sends WebHook headers to whoever asks." if granted is not None or _rate_in(answer) else ""

    return Expected("no WebHook headers", fault_in)


def challenged(scheme: str) -> Expected:
    def fault_in(answer: Answer) -> str:
        if _is_2xx(answer):
            return TAKEN
        if answer.status != 401:
            return "A request without a token is answered 401."
        given = answer.headers.get("www-authenticate", "")
        return "" if given.lower().startswith(scheme.lower()) else f"The 401 carries no WWW-Authenticate: {scheme}."

    return Expected(f"401, {scheme}", fault_in)


def _fault_of_refusal(answer: Answer, right: frozenset[int], told: str, taken: str) -> str:
    status = answer.status
    if status in right:
        return ""
    if status is None:
        return f"There was no answer ({answer.reason}): that looks like an outage, not like a refusal."
    if _is_2xx(answer):
        return taken
    if status >= 500:
        return "It failed instead of refusing: anyone can make it fail, and the sender tries again without end."
    return f"Refused, but a correct receiver answers {told}."


def _is_2xx(answer: Answer) -> bool:
    return answer.status is not None and 200 <= answer.status < 300


def _rate_in(answer: Answer) -> bool:
    return "webhook-allowed-rate" in answer.headers
