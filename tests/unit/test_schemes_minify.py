"""JSON without its white space: tokens are kept, any bytes are taken."""

import json

import pytest

from hookseal.schemes.minify import minified, stripped


@pytest.mark.parametrize(
    ("body", "small"),
    [
        (b"", b""),
        (b" \r\n\t", b""),
        (b'{ "a" : 1.0 ,\n\t"a":1e2 }\r\n', b'{"a":1.0,"a":1e2}'),
        (
            rb'{ "u" : "\u00fc/\/ \" x" , "b" : 12345678901234567890 }',
            rb'{"u":"\u00fc/\/ \" x","b":12345678901234567890}',
        ),
        (b'{"name": "Anna  Maria\\n "}', b'{"name":"Anna  Maria\\n "}'),
        (rb'{"path": "c:\\" , "x": "y z"}', rb'{"path":"c:\\","x":"y z"}'),
        ("{ “quoted” : “no” }".encode(), "{“quoted”:“no”}".encode()),
        (b'{ "never ends', b'{"never ends'),
        (b'{ "ends in a backslash \\', b'{"ends in a backslash \\'),
        (b"[ \xff\xfe , \x00 ]", b"[\xff\xfe,\x00]"),
        (b'[ "\x0b\x0c" , \x0b ]', b'["\x0b\x0c",\x0b]'),
    ],
)
def test_white_space_outside_strings_goes_and_nothing_else(body: bytes, small: bytes) -> None:
    assert minified(body) == small


@pytest.mark.parametrize("body", [b'{"a":1 2}', b"[tr ue]", b"[1\n.5]", b'[1 \\"2]', b"[- 1]", b"[1  2]"])
def test_two_literals_never_become_one(body: bytes) -> None:
    """A body with `1 2` must not pass under the signature of one with `12`."""
    assert minified(body) != stripped(body)


def test_pretty_json_shrinks_to_what_json_itself_writes_compactly() -> None:
    value = {"a b": [1, -2.5, None, True, {"é": 'quote " and \\ and /'}], "": "\t\n"}
    compact = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for indent in (None, 0, 1, "\t"):
        assert minified(json.dumps(value, ensure_ascii=False, indent=indent).encode()) == compact.encode()


def test_stripped_reaches_into_strings() -> None:
    assert stripped(b'{ "name" : "Anna\tMaria" }\r\n') == b'{"name":"AnnaMaria"}'
