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
    assert names.of_event(an_event(claims)) == name
    assert names.of_cloudevent(an_event(claims).as_cloudevent()) == name


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
    for refused in (lambda: names.of_event(event), lambda: names.of_cloudevent(event.as_cloudevent())):
        with pytest.raises(Invalid) as caught:
            refused()
        assert caught.value.pointer.startswith("/signer")


@pytest.mark.parametrize(
    "document", [None, [], "x", {}, {"data": None}, {"data": []}, {"data": {"verified_claims": {}}}]
)
def test_what_is_no_event_of_ours_is_refused(document: Any) -> None:
    with pytest.raises(Invalid, match="not one of hookseal's"):
        names.of_cloudevent(document)


def test_a_case_that_went_on_after_it_was_verified_keeps_its_name() -> None:
    signed = an_event(None, final=True)
    pending = an_event(None, outcome=Outcome.PENDING, final=False)
    assert names.of_case([signed, pending, an_event(), pending]) == "Anna Öström"


def test_a_case_takes_the_newest_name_in_force() -> None:
    older, late = an_event({"name": "Before"}), an_event({"name": "Overtaken"}, superseded=True)
    assert names.of_case([late, an_event(), older]) == "Anna Öström"


@pytest.mark.parametrize("outcome", [Outcome.DECLINED, Outcome.EXPIRED, Outcome.CANCELLED])
def test_a_case_that_ended_otherwise_has_no_verified_name_any_more(outcome: Outcome) -> None:
    with pytest.raises(Invalid, match="not approved"):
        names.of_case([an_event(None, outcome=outcome), an_event()])


@pytest.mark.parametrize("events", [[], [an_event(None)], [an_event(superseded=True)]])
def test_a_case_without_a_verified_name_is_refused(events: list[Event]) -> None:
    with pytest.raises(Invalid, match="no event of the case"):
        names.of_case(events)
