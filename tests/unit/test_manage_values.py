"""What a query's parameter and a replay's body may look like."""

import pytest

from hookseal.api import replays
from hookseal.api.operation import Faulty
from hookseal.api.values import DELIVERY, EVENT, LIMIT, SOURCE, STATE, TIME, Kind
from hookseal.clock import rfc3339
from hookseal.model import DeliveryState
from hookseal.store.port import Replay

EVENT_ID = "0199d1a4-7b3c-7e11-8a2b-0123456789ab"
DELIVERY_ID = "msg_" + "0" * 32


@pytest.mark.parametrize(
    ("text", "is_read_as"),
    [
        ("2026-11-21T08:00:00Z", "2026-11-21T08:00:00.000000Z"),
        ("2026-11-21t08:00:00.5z", "2026-11-21T08:00:00.500000Z"),
        ("2026-11-21T08:00:00+02:00", "2026-11-21T06:00:00.000000Z"),
        ("2026-11-21T08:00:00 02:00", "2026-11-21T06:00:00.000000Z"),  # a "+" that nobody escaped
        ("2026-11-21T08:00:00.1234567-01:30", "2026-11-21T09:30:00.123456Z"),
    ],
)
def test_a_time_is_rfc_3339(text: str, is_read_as: str) -> None:
    assert rfc3339(TIME.read(text)) == is_read_as


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *[
            (TIME, text)
            for text in (
                "2026-11-21",
                "20261121T080000Z",
                "2026-W47-6T08:00:00Z",
                "2026-11-21 08:00:00Z",
                "2026-11-21T08:00:00",
                "2026-11-21T24:00:00Z",
                "2026-11-21T08:00:60Z",
                "2026-02-30T08:00:00Z",
                "2026-11-21T08:00:00+99:00",
                "2026-11-21T08:00:00Z ",
                "1760000000",
                "２０２６-11-21T08:00:00Z",
                "9" * 5000,
            )
        ],
        *[(LIMIT, text) for text in ("0", "1001", "-1", "+5", "1.0", "1e2", "05", "٣", "", " 5", "9" * 5000)],
        *[(STATE, text) for text in ("", "Pending", "leased", "pending ")],
        *[(EVENT, text) for text in ("", "0", EVENT_ID.upper(), EVENT_ID + "0", "{" + EVENT_ID + "}", EVENT_ID + "\n")],
        *[(DELIVERY, text) for text in ("", "msg_", DELIVERY_ID + "0", DELIVERY_ID[4:], DELIVERY_ID + "\n")],
        *[(SOURCE, text) for text in ("", "a\x00b", "a\nb", "\ud800", "x" * 513)],
    ],
)
def test_what_is_not_of_a_kind_is_refused(kind: Kind, text: str) -> None:
    with pytest.raises(ValueError):
        kind.read(text)


def test_limits_reach_from_1_to_1000() -> None:
    assert [LIMIT.read(text) for text in ("1", "50", "1000")] == [1, 50, 1000]


def test_a_replay_of_a_time_range_is_read() -> None:
    given = {"endpoint": "core", "since": "2026-11-21T08:00:00Z", "until": None, "state": "dead", "events": None}
    assert replays.read(given) == Replay(
        endpoint="core", since=TIME.read("2026-11-21T08:00:00Z"), state=DeliveryState.DEAD
    )


def test_a_replay_of_named_events_is_read() -> None:
    assert replays.read({"endpoint": "core", "events": [EVENT_ID]}) == Replay(endpoint="core", events=(EVENT_ID,))


@pytest.mark.parametrize(
    ("given", "faults"),
    [
        ([], {("", "not_an_object")}),
        (None, {("", "not_an_object")}),
        ({}, {("/endpoint", "missing")}),
        ({"endpoint": "core", "sicne": "x"}, {("", "unknown_member")}),
        ({"endpoint": 5}, {("/endpoint", "not_text")}),
        ({"endpoint": ""}, {("/endpoint", "invalid")}),
        ({"endpoint": "core", "since": 5, "until": "now"}, {("/since", "not_text"), ("/until", "invalid")}),
        ({"endpoint": "core", "state": "gone"}, {("/state", "invalid")}),
        ({"endpoint": "core", "events": []}, {("/events", "wrong_length")}),
        ({"endpoint": "core", "events": [EVENT_ID] * 1001}, {("/events", "wrong_length")}),
        ({"endpoint": "core", "events": "all"}, {("/events", "not_a_list")}),
        ({"endpoint": "core", "events": [EVENT_ID, 7, "x"]}, {("/events/1", "not_text"), ("/events/2", "invalid")}),
        (
            {"endpoint": "core", "events": [EVENT_ID], "since": "2026-11-21T08:00:00Z"},
            {("/since", "not_with_events")},
        ),
        (
            {"endpoint": "core", "since": "2026-11-21T08:00:00Z", "until": "2026-11-21T08:00:00Z"},
            {("/until", "not_after_since")},
        ),
    ],
)
def test_every_fault_of_a_replay_is_told_at_its_place(given: object, faults: set[tuple[str, str]]) -> None:
    read = replays.read(given)
    assert isinstance(read, Faulty)
    assert {(fault.pointer, fault.code) for fault in read.faults} == faults
