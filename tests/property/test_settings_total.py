"""Whatever stands in a configuration file, judging it gives settings or faults, one line each, and quotes no value."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from hookseal.manage.configuration import Judgement, judge
from hookseal.settings.shown import toml_value
from hookseal.settings.table import Section, rows_of

CANARY = "C4N4RY-of-a-secret"

names = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
texts = st.one_of(
    names,
    st.sampled_from(
        [
            *(
                "",
                " ",
                CANARY,
                f" {CANARY}",
                "env:",
                "env:NOPE",
                "env:A=B",
                "file:",
                "file:\0",
                "file:/",
                "file:.",
                "*",
            ),
            *(
                "idenfy",
                "bankid_antifraud",
                "standard_webhooks",
                "none",
                "10.0.0.0/8",
                "10.0.0.1/8",
                "::/0",
                "fe80::1%1",
            ),
            *(
                "https://a.example",
                "http://[::1]",
                "https://[",
                "https://u:p@h/",
                "sqlite:///x",
                "sqlite:////",
                "[::1]:1",
            ),
            *("2xx", "200-199", "standard", "whsec_", "whsec_!", "a", "hookseal.toml"),
        ]
    ),
)
values = st.recursive(
    st.one_of(
        texts,
        st.integers(),
        st.integers(-(2**1400), 2**1400),
        st.floats(allow_nan=False, allow_infinity=False),
        st.booleans(),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(names, st.sampled_from(["scheme", "secret", "audience", "delays_s"])), inner, max_size=3
        ),
    ),
    max_leaves=6,
)


def tables(section: Section) -> st.SearchStrategy[dict[str, object]]:
    known = [row.name for row in rows_of(section)]
    return st.dictionaries(st.one_of(st.sampled_from(known), names), values, max_size=8)


documents = st.fixed_dictionaries(
    {
        section: st.lists(tables(section), max_size=3) if section.repeats else tables(section)  # type: ignore[misc]
        for section in Section
    }
)


def written(document: dict[Section, object]) -> str:
    lines = []
    for section, given_tables in document.items():
        for table in given_tables if isinstance(given_tables, list) else [given_tables]:
            assert isinstance(table, dict)
            lines.append(f"[[{section}]]" if section.repeats else f"[{section}]")
            lines += [f"{toml_value(name)} = {toml_value(value)}" for name, value in table.items()]
    return "\n".join(lines)


def judged(content: bytes) -> Judgement:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "hookseal.toml"
        file.write_bytes(content)
        return judge(file, environ={})


def assert_plain(judgement: Judgement) -> None:
    assert judgement.settings is not None or judgement.faults
    for line in (*map(str, judgement.faults), *judgement.warnings):
        assert line.isprintable()
        assert CANARY not in line


@given(documents)
@settings(max_examples=100, deadline=None)
def test_every_document_is_judged(document: dict[Section, object]) -> None:
    assert_plain(judged(written(document).encode()))


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_every_sequence_of_bytes_is_judged(content: bytes) -> None:
    assert_plain(judged(content))
