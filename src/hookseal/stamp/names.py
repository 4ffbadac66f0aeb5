"""The verified name: from which event it is taken, and when it may be shown as verified.

Only `verified_claims` count, never `claims`, and only if the case is approved now. If there is no such name the request
is refused (`Invalid`, at `/signer`): an empty line, or the name that was submitted, would show as verified what was not
verified. Notifications of seal.ID hold no personal data. A case with no other events has no verified name here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hookseal.errors import Invalid
from hookseal.model import Event, Json, Outcome
from hookseal.stamp.element import name_of

_PLACE = "/signer"
_SAYS_NOTHING = frozenset({Outcome.PENDING.value, Outcome.UNKNOWN.value})
"""Outcomes of events that go on after a decision (document signed, downloaded, expires soon) and do not change it."""


@dataclass(frozen=True, slots=True)
class _State:
    """What an event says about its case. Values are not checked: they may come from a file."""

    outcome: Json
    superseded: bool
    verified_claims: Json


def of_event(event: Event, *, is_current: bool) -> str:
    """Return the verified name in one event.

    is_current  Whether the event is the current state of its subject. `superseded` does not tell: it marks events that
                came late, not events that were overtaken after they were stored.
    """
    if not is_current:
        raise Invalid(_PLACE, "a later state of the case is in force; name its event")
    return _name_in(_state_of(event))


def of_case(newest_first: Iterable[Event]) -> str:
    """Return the verified name of a case, from its newest event in force that has one.

    Cases go on after the identification, and later notifications repeat no name. Older events are therefore looked at,
    but not beyond an event with another decision.
    """
    return _of_states(map(_state_of, newest_first))


def of_document(document: Json) -> str:
    """Return the verified name in an event, or in the events of one case, as the API returns them.

    document  An event, or a page of events `{"data": [...]}`, newest first. An event alone cannot tell whether a later
              state was stored after it was fetched.
    """
    data = document.get("data") if isinstance(document, dict) else None
    if isinstance(data, list):
        states = [_state_in(event) for event in data]
        if len({(event.get("source"), event.get("subject")) for event in data if isinstance(event, dict)}) > 1:
            raise Invalid(_PLACE, "the events are of several cases; select those of one subject")
        return _of_states(states)
    return _name_in(_state_in(document))


def _of_states(newest_first: Iterable[_State]) -> str:
    for state in newest_first:
        if state.superseded or state.outcome in _SAYS_NOTHING:
            continue
        if state.outcome != Outcome.APPROVED.value:
            raise Invalid(_PLACE, "the case is not approved, so it has no verified name")
        if _shown(state.verified_claims) is not None:
            return _name_in(state)
    raise Invalid(_PLACE, "no event of the case has a verified name")


def _state_of(event: Event) -> _State:
    return _State(event.outcome.value, event.superseded, event.verified_claims)


def _state_in(document: Json) -> _State:
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, dict) or not isinstance(data.get("outcome"), str):
        raise Invalid(_PLACE, "the event is not one of hookseal's")
    return _State(data["outcome"], data.get("superseded") is not False, data.get("verified_claims"))


def _name_in(state: _State) -> str:
    if state.superseded:
        raise Invalid(_PLACE, "a later state of the case is in force; name its event")
    if state.outcome != Outcome.APPROVED.value:
        raise Invalid(_PLACE, "the event's outcome is not approved, so it has no verified name")
    shown = _shown(state.verified_claims)
    if shown is None:
        raise Invalid(_PLACE, "the event has no verified name")
    return name_of(shown)


def _shown(verified_claims: Json) -> str | None:
    """Return given and family name, or the whole name if the provider gives only that."""
    claims = verified_claims.get("claims") if isinstance(verified_claims, Mapping) else None
    if not isinstance(claims, Mapping):
        return None
    parts = [text for part in ("given_name", "family_name") if (text := _text(claims.get(part)))]
    return " ".join(parts) or _text(claims.get("name")) or None


def _text(value: Json) -> str:
    return value.strip() if isinstance(value, str) else ""
