"""The verified name: from which event it may be taken, and when there is none."""

from typing import Any

import pytest

from hookseal.clock import from_unix
from hookseal.errors import Invalid
from hookseal.model import Event, EventId, Outcome, ProviderId, SourceId
from hookseal.stamp import names

AT = from_unix(1_668_503_354)
ANNA = {"given_name": "Anna", "family_name": "Öström"}


def an_event(verified: Any = ANNA, /, **more: Any) -> Event:
    inner = None if verified is None else {"verification": {"trust_framework": "x"}, "claims": verified}
    given = {"outcome": Outcome.APPROVED, "final": True, "verified_claims": inner, **more}
    return Event(
        id=EventId("e"),
        source=SourceId("s"),
        type="identity.verification.completed",
        time=AT,
        received_at=AT,
        provider=ProviderId("p"),
        **given,
    )


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        (ANNA, "Anna Öström"),
        ({"family_name": "Öström"}, "Öström"),
        ({"given_name": "Anna", "family_name": None}, "Anna"),
        ({"given_name": " ", "name": "Anna Maria Öström"}, "Anna Maria Öström"),
        ({"name": "Anna Öström", **ANNA}, "Anna Öström"),
    ],
)
def test_a_verified_name_is_given_and_family_name_or_the_whole(claims: Any, name: str) -> None:
    assert names.of_event(an_event(claims), is_current=True) == name
    assert names.of_document(an_event(claims).as_cloudevent()) == name


@pytest.mark.parametrize(
    "event",
    [
        an_event(None),
        an_event(None, claims=ANNA),
        an_event({}),
        an_event({"given_name": 7, "family_name": ["x"]}),
        an_event("Anna"),
        an_event({"birthdate": "1970-01-01"}),
        an_event({"given_name": "a\nb"}),
        an_event(superseded=True),
        *(an_event(outcome=outcome) for outcome in Outcome if outcome is not Outcome.APPROVED),
    ],
)
def test_an_event_without_a_verified_name_in_force_is_refused(event: Event) -> None:
    for refused in (lambda: names.of_event(event, is_current=True), lambda: names.of_document(event.as_cloudevent())):
        with pytest.raises(Invalid) as caught:
            refused()
        assert caught.value.pointer.startswith("/signer")


@pytest.mark.parametrize(
    "document", [None, [], "x", {}, {"data": None}, {"data": [7]}, {"data": {"verified_claims": {}}}]
)
def test_what_is_no_event_of_ours_is_refused(document: Any) -> None:
    with pytest.raises(Invalid, match="not one of hookseal's"):
        names.of_document(document)


def test_a_case_that_went_on_after_it_was_verified_keeps_its_name() -> None:
    signed = an_event(None, final=True)
    pending = an_event(None, outcome=Outcome.PENDING, final=False)
    assert names.of_case([signed, pending, an_event(), pending]) == "Anna Öström"


def test_a_case_takes_the_newest_name_in_force() -> None:
    older, late = an_event({"name": "Before"}), an_event({"name": "Overtaken"}, superseded=True)
    assert names.of_case([late, an_event(), older]) == "Anna Öström"


@pytest.mark.parametrize("is_final", [True, False])
@pytest.mark.parametrize("outcome", sorted(set(Outcome) - {Outcome.APPROVED, Outcome.PENDING, Outcome.UNKNOWN}))
def test_a_case_that_ended_otherwise_has_no_verified_name_any_more(outcome: Outcome, is_final: bool) -> None:
    """A case that is in review again has no verified name while that lasts."""
    with pytest.raises(Invalid, match="not approved"):
        names.of_case([an_event(None, outcome=outcome, final=is_final), an_event()])


@pytest.mark.parametrize("events", [[], [an_event(None)], [an_event(superseded=True)]])
def test_a_case_without_a_verified_name_is_refused(events: list[Event]) -> None:
    with pytest.raises(Invalid, match="no event of the case"):
        names.of_case(events)


def test_an_event_that_is_not_the_current_state_is_refused() -> None:
    with pytest.raises(Invalid, match="later state"):
        names.of_event(an_event(), is_current=False)


def page(*events: Event) -> dict[str, Any]:
    return {"data": [event.as_cloudevent() for event in events], "next": None}


def test_a_file_with_the_events_of_a_case_is_judged_as_the_case() -> None:
    assert names.of_document(page(an_event(None, outcome=Outcome.PENDING), an_event())) == "Anna Öström"
    with pytest.raises(Invalid, match="not approved"):
        names.of_document(page(an_event(None, outcome=Outcome.DECLINED), an_event()))
    with pytest.raises(Invalid, match="several cases"):
        names.of_document(page(an_event(subject="a"), an_event(subject="b")))
