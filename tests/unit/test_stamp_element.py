"""What a visual signature may show: times, zones, names, boxes. The two times are those of the seed documents."""

import pytest

from hookseal.clock import Instant, parse_rfc3339, plus
from hookseal.errors import Invalid
from hookseal.stamp.element import MAX_NAME_CHARS, SignerName, box_of, name_of, time_text, zone_of


@pytest.mark.parametrize(
    ("at", "zone", "text"),
    [
        ("2022-11-15T09:09:14Z", "UTC", "15.11.2022, 09:09:14"),
        ("2022-11-05T21:04:03Z", "UTC", "05.11.2022, 21:04:03"),
        ("2022-11-15T09:09:14Z", "Europe/Oslo", "15.11.2022, 10:09:14"),
        ("2022-07-15T09:09:14Z", "Europe/Oslo", "15.07.2022, 11:09:14"),
        ("2022-12-31T23:30:00Z", "Europe/Oslo", "01.01.2023, 00:30:00"),
        ("2022-11-15T10:09:14+01:00", "UTC", "15.11.2022, 09:09:14"),
        ("2022-11-15T00:00:00.999999Z", "UTC", "15.11.2022, 00:00:00"),
        ("2022-11-15T12:00:00Z", "UTC", "15.11.2022, 12:00:00"),
        ("0987-01-02T03:04:05Z", "UTC", "02.01.0987, 03:04:05"),
    ],
)
def test_a_time_is_shown_day_first_with_24_hours_in_its_zone(at: str, zone: str, text: str) -> None:
    assert time_text(parse_rfc3339(at), zone_of(zone)) == text


def test_the_hour_that_comes_twice_is_shown_twice() -> None:
    first = parse_rfc3339("2022-10-30T00:30:00Z")
    oslo = zone_of("Europe/Oslo")
    assert time_text(first, oslo) == time_text(plus(first, 3600), oslo) == "30.10.2022, 02:30:00"


@pytest.mark.parametrize(
    ("at", "zone"), [("0001-01-01T00:00:00Z", "America/New_York"), ("9999-12-31T23:59:59Z", "Asia/Tokyo")]
)
def test_a_time_that_its_zone_leads_out_of_the_calendar_is_refused(at: str, zone: str) -> None:
    with pytest.raises(Invalid, match="/timestamp"):
        time_text(parse_rfc3339(at), zone_of(zone))


@pytest.mark.parametrize("zone", ["UTC", "Europe/Oslo", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "Europe/Zurich"])
def test_iana_names_are_zones(zone: str) -> None:
    assert zone_of(zone).key == zone


@pytest.mark.parametrize(
    "zone",
    [
        "",
        "Europe",
        "Mars/Olympus",
        "../../etc/passwd",
        "/etc/localtime",
        "Europe/../Europe/Oslo",
        "+01:00",
        "a" * 100,
        "Europe/Oslo\n",
        "Europe/Oslo\x00",
        "Éurope/Oslo",
        "tzdata.zi",
        "Europe//Oslo",
        "Europe/Oslo/",
    ],
)
def test_what_is_no_iana_name_is_refused(zone: str) -> None:
    with pytest.raises(Invalid, match="/time_zone"):
        zone_of(zone)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Lars Ångström", "Lars Ångström"),
        ("A\u030ase O\u0308stro\u0308m", "Åse Öström"),
        ("  Anna   Maria ", "Anna Maria"),
        ("None", "None"),
        ("Š", "Š"),
        ("x" * MAX_NAME_CHARS, "x" * MAX_NAME_CHARS),
    ],
)
def test_names_are_composed_and_single_spaced(given: str, name: str) -> None:
    assert name_of(given) == name


@pytest.mark.parametrize(
    "given",
    ["", "  ", "a\nb", "a\tb", "a\0b", "evil\u202eeman", "zero\u200bwidth", "\ud800", "\ue000", "a\u2028b", "x" * 201],
)
def test_what_no_line_of_text_can_show_is_refused(given: str) -> None:
    with pytest.raises(Invalid, match="/signer/name"):
        name_of(given)


def test_the_three_values_of_the_seed_document() -> None:
    assert [one.value for one in SignerName] == ["none", "initial", "verified"]


@pytest.mark.parametrize(
    "corners",
    [
        (0, 0, 0, 0),
        (100, 0, 0, 100),
        (0, 100, 100, 0),
        (0, 0, 39, 100),
        (0, 0, 100, 11),
        (0, 0, float("nan"), 50),
        (0, 0, float("inf"), 50),
        (0, 0, 20000, 50),
        (-1e300, 0, 100, 50),
    ],
)
def test_a_box_that_cannot_be_is_refused(corners: tuple[float, float, float, float]) -> None:
    with pytest.raises(Invalid, match="/box"):
        box_of(*corners)


def test_a_box_has_its_size() -> None:
    box = box_of(10, 20, 110, 60)
    assert (box.width, box.height) == (100, 40)


def test_every_time_has_the_same_length() -> None:
    for day in range(0, 40_000, 97):
        assert len(time_text(Instant(day * 86_400_000_000 + day), zone_of("UTC"))) == 20
