from pathlib import Path

import pytest

from hookseal.identity.body import parse
from hookseal.identity.xml_tree import MAX_DEPTH, Fault, Tree, number, read, write
from hookseal.model import Flag, Json


@pytest.mark.parametrize(
    ("body", "tree"),
    [
        ("<r/>", ""),
        ("<r>text</r>", "text"),
        ("<r><a/></r>", {"a": ""}),
        ("<r><a> b </a></r>", {"a": " b "}),
        ("<r>\n  <a>1</a>\n</r>", {"a": "1"}),
        ("<r><a>1</a><b>2</b><a>3</a></r>", {"a": ["1", "3"], "b": "2"}),
        ("<r><a><item>1</item></a></r>", {"a": ["1"]}),
        ("<r><item>1</item><item>2</item></r>", ["1", "2"]),
        ('<r><a type="number">107</a><b type="number">1.5e2</b></r>', {"a": 107, "b": 150.0}),
        ('<r><a type="number">18446744073709551617</a></r>', {"a": 18446744073709551617}),
        (
            '<r><a type="boolean">true</a><b type="boolean">false</b><c type="null"/></r>',
            {"a": True, "b": False, "c": None},
        ),
        ('<r><a type="array"/><b type="object"/></r>', {"a": [], "b": {}}),
        ('<r><a type="number">x</a></r>', {"a": {"@type": "number", "#text": "x"}}),
        ('<r><a id="5">x</a></r>', {"a": {"@id": "5", "#text": "x"}}),
        ('<r><a id="5"><b>x</b></a></r>', {"a": {"@id": "5", "b": "x"}}),
        ("<r>words <b>x</b></r>", {"b": "x", "#text": "words "}),
        ('<n:r xmlns:n="urn:n"><n:a>1</n:a></n:r>', {"a": "1"}),
        ('<r xmlns:i="http://www.w3.org/2001/XMLSchema-instance"><a i:nil="true"/></r>', {"a": None}),
        ("<r><![CDATA[<b>&amp;</b>]]></r>", "<b>&amp;</b>"),
        ("<r>a&#13;b&lt;&amp;</r>", "a\rb<&"),
        ("<?go on?><!-- c --><r><!-- c -->x<?y z?></r>", "x"),
    ],
)
def test_elements_become_the_tree_that_json_would_be(body: str, tree: Json) -> None:
    assert read(body.encode()) == Tree(tree)


@pytest.mark.parametrize(
    "body",
    [
        b"<r>",
        b"<r></s>",
        b"<r/><r/>",
        b"<r>&nothing;</r>",
        b'<?xml version="1.0" encoding="no-such"?><r/>',
        b'<?xml version="1.0" encoding="utf-7"?><r/>',
        b"<r>\xff</r>",
        b"<r>\x00</r>",
        b"<",
        b"",
    ],
    ids=repr,
)
def test_broken_xml_is_malformed(body: bytes) -> None:
    assert read(body) is Fault.MALFORMED
    assert parse(body, b"text/xml").flags == (Flag.BODY_UNPARSED,)


BOMB = (
    "<!DOCTYPE r [<!ENTITY a 'aaaaaaaaaa'>"
    + "".join(f"<!ENTITY {name} '{f'&{of};' * 10}'>" for of, name in zip("abcdefgh", "bcdefghi", strict=True))
    + "]><r>&i;</r>"
)


@pytest.mark.parametrize(
    "body",
    [
        "<!DOCTYPE r><r/>",
        BOMB,
        '<!DOCTYPE r SYSTEM "{file}"><r/>',
        '<!DOCTYPE r [<!ENTITY x SYSTEM "{file}">]><r>&x;</r>',
    ],
    ids=["empty", "bomb", "external-dtd", "external-entity"],
)
def test_a_document_type_is_never_parsed(body: str, tmp_path: Path) -> None:
    fifo = tmp_path / "fetched"
    fifo.write_text("secret")
    found = parse(body.replace("{file}", fifo.as_uri()).encode(), b"application/xml")
    assert (found.parsed, found.tree, found.flags) == (False, None, (Flag.BODY_DTD,))


def test_xml_is_read_down_to_the_bound_and_not_below() -> None:
    assert isinstance(read(b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH), Tree)
    assert read(b"<a>" * (MAX_DEPTH + 1) + b"</a>" * (MAX_DEPTH + 1)) is Fault.TOO_DEEP
    assert parse(b"<a>" * 200_000, None).flags == (Flag.BODY_TOO_DEEP,)


def test_the_written_form_is_the_documented_one() -> None:
    tree = {"id": "7", "age": 107, "ok": True, "no": None, "list": ["a", 1], "empty": "", "a b": "<&>", "none": []}
    assert write(tree, "event").decode() == (
        '<?xml version="1.0" encoding="utf-8"?><event><id>7</id><age type="number">107</age>'
        '<ok type="boolean">true</ok><no type="null"></no><list><item>a</item><item type="number">1</item></list>'
        '<empty></empty><_ key="a b">&lt;&amp;&gt;</_><none type="array"></none></event>'
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("107", 107),
        ("-0", 0),
        ("1.50", 1.5),
        ("007", None),
        ("+1", None),
        (" 1", None),
        ("1_0", None),
        ("١", None),
        ("1e999", None),
        ("NaN", None),
        ("", None),
        ("1" * 5000, None),
    ],
)
def test_only_json_numbers_are_numbers(text: str, value: float | None) -> None:
    assert number(text) == value
