"""The name that verification produced: where it stands in an event, and when it may be shown as verified.

Only `verified_claims` count, never `claims`, and only of an approved outcome that no later state has overtaken. When
there is no such name the request is refused (`Invalid`, at `/signer`): an empty line, or the name submitted in its
place, would show as verified what nobody verified. Note that seal.ID's own notifications hold no personal data, so a
case that only they told of has no verified name here.
"""

from collections.abc import Iterable, Mapping

from hookseal.errors import Invalid
from hookseal.model import Event, Json, Outcome
from hookseal.stamp.element import name_of

_PLACE = "/signer"


def of_event(event: Event) -> str:
    """The verified name in one event."""
    return _judged(event.outcome, event.superseded, event.verified_claims)


def of_case(newest_first: Iterable[Event]) -> str:
    """The verified name of a case, from the newest event in force that has one.

    Cases go on after they were identified, and the later notifications (document signed, downloaded) repeat no name.
    So older events are looked at as well, but not past a final state that is not approved.
    """
    for event in newest_first:
        if event.superseded:
            continue
        if event.outcome is Outcome.APPROVED:
            if _shown(event.verified_claims) is not None:
                return of_event(event)
        elif event.final:
            raise Invalid(_PLACE, "the case was not approved, so it has no verified name")
    raise Invalid(_PLACE, "no event of the case has a verified name")


def of_cloudevent(document: Json) -> str:
    """The verified name in an event of ours as the API, an endpoint or `hookseal events` give it."""
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, dict) or "outcome" not in data:
        raise Invalid(_PLACE, "the event is not one of hookseal's")
    return _judged(data["outcome"], data.get("superseded") is not False, data.get("verified_claims"))


def _judged(outcome: Json, superseded: bool, verified_claims: Json) -> str:
    if superseded:
        raise Invalid(_PLACE, "a later state of the case is in force; name its event")
    if outcome != Outcome.APPROVED.value:
        raise Invalid(_PLACE, "the event's outcome is not approved, so it has no verified name")
    shown = _shown(verified_claims)
    if shown is None:
        raise Invalid(_PLACE, "the event has no verified name")
    return name_of(shown)


def _shown(verified_claims: Json) -> str | None:
    """Given and family name, or the whole name where the provider gives only that."""
    claims = verified_claims.get("claims") if isinstance(verified_claims, Mapping) else None
    if not isinstance(claims, Mapping):
        return None
    parts = [text for part in ("given_name", "family_name") if (text := _text(claims.get(part)))]
    return " ".join(parts) or _text(claims.get("name")) or None


def _text(value: Json) -> str:
    return value.strip() if isinstance(value, str) else ""
