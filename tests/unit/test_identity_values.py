import pytest

from hookseal.catalogue.event_rules import Form
from hookseal.clock import rfc3339
from hookseal.identity.values import MAX_ATTRIBUTE, attribute, claim, instant, is_rfc3339
from hookseal.model import Json


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        ("å …", "å …"),
        (7, "7"),
        ("x" * MAX_ATTRIBUTE, "x" * MAX_ATTRIBUTE),
        ("x" * (MAX_ATTRIBUTE + 1), None),
        ("", None),
        ("  ", None),
        ("a\nb", None),
        ("a\x00", None),
        ("\x85", None),
        ("\ud800", None),
        (True, None),
        (1.5, None),
        (10**18, None),
        (None, None),
        ([], None),
        ({}, None),
    ],
)
def test_attributes_are_short_text_without_control_characters(value: Json, text: str | None) -> None:
    assert attribute(value) == text


@pytest.mark.parametrize(
    ("value", "form", "utc"),
    [
        ("2018-10-22T08:26:41.8675683+02:00", "rfc3339", "2018-10-22T06:26:41.867568Z"),
        ("2020-02-11T15:45:23.8368433Z", "rfc3339", "2020-02-11T15:45:23.836843Z"),
        ("2020-02-11t15:45:23z", "rfc3339", "2020-02-11T15:45:23.000000Z"),
        ("2020-02-11 15:45:23.5-00:30", "rfc3339", "2020-02-11T16:15:23.500000Z"),
        ("2016-12-31T23:59:60Z", "rfc3339", "2016-12-31T23:59:59.000000Z"),
        ("2020-02-11T15:45:23", "rfc3339", None),
        ("2020-02-30T15:45:23Z", "rfc3339", None),
        ("20200211T154523Z", "rfc3339", None),
        ("0000-01-01T00:00:00Z", "rfc3339", None),
        ("0999-12-31T23:59:59Z", "rfc3339", None),
        ("9999-12-31T23:59:59-23:59", "rfc3339", None),
        ("２０２０-02-11T15:45:23Z", "rfc3339", None),
        (1554727002, "rfc3339", None),
        (1554727002, "unix", "2019-04-08T12:36:42.000000Z"),
        ("1554727002", "unix", "2019-04-08T12:36:42.000000Z"),
        (1554727002.25, "unix", "2019-04-08T12:36:42.250000Z"),
        (True, "unix", None),
        (10**30, "unix", None),
        (-(10**14), "unix", None),
        ("1" * 400, "unix", None),
        (1554727002123, "unix_ms", "2019-04-08T12:36:42.123000Z"),
        ("20221115T090914Z", "iso_basic", "2022-11-15T09:09:14.000000Z"),
        ("20221315T090914Z", "iso_basic", None),
        ("20221115T090914", "iso_basic", None),
        ("2022-11-15T09:09:14Z", "iso_basic", None),
    ],
)
def test_times_are_read_in_their_form_and_no_other(value: Json, form: str, utc: str | None) -> None:
    found = instant(value, Form(form))
    assert (None if found is None else rfc3339(found)) == utc
    assert claim(value, Form(form)) == utc


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("2025-11-21T08:00:00.1234567Z", True),
        ("2025-11-21T08:00:60+01:00", True),
        ("0000-02-29T00:00:00Z", True),
        ("2025-11-21T24:00:00Z", False),
        ("2025-11-21T08:60:00Z", False),
        ("2025-13-21T08:00:00Z", False),
        ("2025-11-21T08:00:00", False),
        ("2025-11-21T08:00:00+24:00", False),
        ("2025-11-21", False),
        ("...", False),
    ],
)
def test_a_valid_time_is_one_even_where_we_cannot_hold_it(text: str, valid: bool) -> None:
    assert is_rfc3339(text) is valid


@pytest.mark.parametrize(
    ("value", "form", "expected"),
    [
        ("Åsa", "text", "Åsa"),
        ("x" * 1025, "text", None),
        ("ab", "upper", "AB"),
        ("AB", "lower", "ab"),
        ("1912-12-12", "date", "1912-12-12"),
        ("19121212", "date", "1912-12-12"),
        ("1990-01-31T00:00:00Z", "date", "1990-01-31"),
        ("1990-02-31", "date", None),
        ("31.01.1990", "date", None),
        (19900131, "date", "1990-01-31"),
        ("se", "country", "SE"),
        ("Sweden", "country", None),
        ("lt", "countries", ["LT"]),
        ("", "countries", None),
        ({"a": 1}, "text", None),
    ],
)
def test_claims_are_written_as_openid_wants_them_or_left_out(value: Json, form: str, expected: Json) -> None:
    assert claim(value, Form(form)) == expected
