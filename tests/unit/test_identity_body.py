import json

import pytest

from hookseal.identity.body import MAX_DEPTH, is_json, names_a_key_twice, parse
from hookseal.model import Flag


def tree(body: bytes, content_type: bytes | None = b"application/json") -> object:
    found = parse(body, content_type)
    assert found.parsed
    assert found.flags == ()
    return found.tree


@pytest.mark.parametrize(
    "text",
    ['{"a":1}', "[1,2,3]", "null", '"text"', "17", "true", " \r\n\t{} ", '{"a":"\\u2026…"}', "-0.0", "1e2"],
)
def test_json_is_read_as_it_stands(text: str) -> None:
    assert tree(text.encode()) == json.loads(text)


def test_a_byte_order_mark_is_not_part_of_the_json() -> None:
    assert tree(b'\xef\xbb\xbf{"a":1}') == {"a": 1}


@pytest.mark.parametrize("number", [2**53 + 1, 2**64 + 1, -(2**63) - 1, 10**300])
def test_integers_stay_exact_beyond_64_bits(number: int) -> None:
    found = tree(b'{"n":%d}' % number)
    assert found == {"n": number}
    assert type(found["n"]) is int  # type: ignore[index]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"{",
        b"{'a':1}",
        b'{"a":1}x',
        b'{"a":1,}',
        b"NaN",
        b"[Infinity]",
        b"[-Infinity]",
        b'{"a":"\xff\xfe"}',
        b'"\\ud800"',
        b'"\xed\xa0\x80"',
        b"1e400",
        b"1" * 5000,
        b'\xff\xfe{\x00"\x00a\x00"\x00:\x001\x00}\x00',
        b"a=1&b=2",
        b"// comment\n{}",
    ],
    ids=repr,
)
def test_what_is_no_json_that_can_be_written_again_is_unparsed(body: bytes) -> None:
    found = parse(body, b"application/json")
    assert (found.parsed, found.tree, found.flags) == (False, None, (Flag.BODY_UNPARSED,))


def nested(depth: int) -> bytes:
    return b'{"a":' * (depth - 1) + b"[]" + b"}" * (depth - 1)


def test_json_is_read_down_to_the_bound_and_not_below() -> None:
    assert parse(nested(MAX_DEPTH), None).parsed
    below = parse(nested(MAX_DEPTH + 1), None)
    assert (below.parsed, below.tree, below.flags) == (False, None, (Flag.BODY_TOO_DEEP,))


@pytest.mark.parametrize("depth", [1_025, 100_000])
def test_no_depth_of_json_breaks_the_reader(depth: int) -> None:
    assert parse(b"[" * depth + b"]" * depth, None).flags == (Flag.BODY_TOO_DEEP,)


def test_brackets_in_strings_and_width_are_not_depth() -> None:
    assert parse(json.dumps("[{" * MAX_DEPTH).encode(), None).parsed
    assert parse(json.dumps([[]] * (MAX_DEPTH * 2)).encode(), None).parsed


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/xml",
        b"text/xml",
        b"APPLICATION/XML;charset=UTF-8",
        b"application/soap+xml",
        None,
        b"application/json",
    ],
)
def test_xml_is_known_by_its_bytes_whatever_the_content_type(content_type: bytes | None) -> None:
    assert tree(b"\n <result><id>7</id></result>", content_type) == {"id": "7"}


def test_xml_in_utf_16_is_known_by_its_content_type() -> None:
    body = '<?xml version="1.0" encoding="utf-16"?><r><a>å</a></r>'.encode("utf-16")
    assert tree(body, b"application/xml") == {"a": "å"}


def test_json_that_calls_itself_xml_is_json() -> None:
    assert tree(b'{"a":1}', b"application/xml") == {"a": 1}


@pytest.mark.parametrize(
    ("body", "twice"),
    [
        (b'{"a":1,"a":2}', True),
        (b'{"a":1,"\\u0061":2}', True),
        (b'[{"b":{"a":1,"a":1}}]', True),
        (b'\xef\xbb\xbf{"a":1,"a":2}', True),
        (b'{"a":{"a":1}}', False),
        (b'[{"a":1},{"a":1}]', False),
        (b'{"A":1,"a":2}', False),
    ],
)
def test_keys_named_twice_are_found_at_any_depth_and_in_any_spelling(body: bytes, twice: bool) -> None:
    assert names_a_key_twice(body) is twice


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{}", True),
        (b'"\\ud800"', True),
        (b"[1e400]", True),
        (b"1" * 5000, True),
        (b"[" * 100_000 + b"]" * 100_000, True),
        (b"{", False),
        (b"NaN", False),
        (b"\xff", False),
        (b"", False),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_json_that_is_not_read_is_told_from_what_is_no_json(body: bytes, expected: bool) -> None:
    assert is_json(body) is expected
