"""Timestamps in proofs: one spelling for each form, ASCII only."""

import pytest

from hookseal.clock import Instant, from_unix
from hookseal.schemes.timestamps import TimestampFormat, read_timestamp, write_timestamp

NOW = from_unix(1668503354)  # 2022-11-15 09:09:14 UTC

SPELLED = {
    TimestampFormat.UNIX: b"1668503354",
    TimestampFormat.UNIX_MS: b"1668503354000",
    TimestampFormat.ISO_BASIC: b"20221115T090914Z",
    TimestampFormat.RFC3339: b"2022-11-15T09:09:14Z",
}


@pytest.mark.parametrize("form", TimestampFormat)
def test_what_is_written_is_read_again(form: TimestampFormat) -> None:
    assert write_timestamp(form, NOW) == SPELLED[form]
    assert read_timestamp(form, SPELLED[form]) == NOW


@pytest.mark.parametrize("form", TimestampFormat)
def test_one_form_does_not_read_the_text_of_another(form: TimestampFormat) -> None:
    others = {spelled for other, spelled in SPELLED.items() if other is not form}
    if form is TimestampFormat.UNIX_MS:  # ten digits are a time of its own: 20 January 1970
        others.remove(SPELLED[TimestampFormat.UNIX])
    assert {read_timestamp(form, other) for other in others} == {None}


@pytest.mark.parametrize("form", [TimestampFormat.UNIX, TimestampFormat.UNIX_MS])
@pytest.mark.parametrize(
    "text",
    [
        *(
            b"",
            b"+1",
            b"-1",
            b" 1",
            b"1 ",
            b"1\n",
            b"1_000",
            b"01",
            b"00",
            b"1.0",
            b"1.",
            b".9",
            b"1e9",
            b"0x1",
            b"nan",
        ),
        *(b"inf", b"9" * 400, "１２".encode(), "١٢".encode(), b"\xb2", b"1\x00"),
    ],
)
def test_odd_numerals_are_no_time(form: TimestampFormat, text: bytes) -> None:
    assert read_timestamp(form, text) is None


@pytest.mark.parametrize(
    "text",
    [
        *(b"20221315T090914Z", b"20221131T090914Z", b"20221115T240000Z", b"20221115T090960Z", b"20221115T090914"),
        *(
            b"20221115t090914z",
            b"2022-11-15T09:09:14Z",
            b"20221115T090914ZZ",
            b"20221115T090914+0000",
            b"00000101T000000Z",
        ),
        "２０２２1115T090914Z".encode(),
    ],
)
def test_iso_basic_has_one_spelling_and_real_days(text: bytes) -> None:
    assert read_timestamp(TimestampFormat.ISO_BASIC, text) is None


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        (b"2022-11-15T10:09:14+01:00", 0),
        (b"2022-11-15T09:09:14.5Z", 500_000),
        (b"2022-11-15T09:09:14.123456789Z", 123_456),
    ],
)
def test_rfc3339_reads_offsets_and_cuts_fractions(text: bytes, micros: int) -> None:
    assert read_timestamp(TimestampFormat.RFC3339, text) == Instant(NOW + micros)


@pytest.mark.parametrize("text", [b"2022-11-15 09:09:14Z", b"2022-11-15T09:09:14", b"2022-11-15T09:09:14+25:00"])
def test_rfc3339_needs_its_t_and_a_possible_offset(text: bytes) -> None:
    assert read_timestamp(TimestampFormat.RFC3339, text) is None
