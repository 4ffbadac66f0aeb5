"""The table of settings is the only place that tells of them: it fits the values, and docs/settings.md is made from it."""

import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from hookseal.settings import Overrides, Settings, read
from hookseal.settings.reference import reference
from hookseal.settings.shown import as_toml, shown
from hookseal.settings.table import PRESET, REQUIRED, ROWS, SHAPES, Section, rows_of

PAGE = Path(__file__).parents[2] / "docs/settings.md"


def test_the_committed_page_is_what_the_table_makes() -> None:
    assert PAGE.read_text() == reference(), "run: python -m hookseal.settings.reference > docs/settings.md"


@pytest.mark.parametrize("section", Section)
def test_rows_and_fields_are_the_same_names(section: Section) -> None:
    rows = {row.attribute for row in rows_of(section)}
    assert rows == {field.name for field in fields(SHAPES[section])} - {"given"}


def test_each_row_stands_once() -> None:
    assert len({(row.section, row.name) for row in ROWS}) == len(ROWS)


def test_rows_without_a_default_say_why_they_need_a_value() -> None:
    for row in ROWS:
        assert bool(row.without) == (row.default is REQUIRED or bool(row.unless)), row


def test_every_secret_field_is_hidden_from_repr() -> None:
    for row in ROWS:
        if row.secret and row.name != "signing":
            (field,) = (one for one in fields(SHAPES[row.section]) if one.name == row.name)
            assert field.repr is False, row.name


def test_what_config_show_prints_is_read_as_the_same_settings(tmp_path: Path) -> None:
    file = tmp_path / "hookseal.toml"
    file.write_text(
        """
[server]
public_url = "https://hooks.example.com"
[[source]]
id = "a"
provider = "seal_id"
options = { mode = "raw", "odd \\"key\\"" = ["\\u007f", 1.5, true] }
[[endpoint]]
id = "b"
url = "https://b.example"
signing = { scheme = "none" }
retry = { delays_s = [1.5], permanent = [410] }
handshake = { kind = "cloudevents", request_rate = 120, callback = true }
rate_per_min = 60
[[endpoint]]
id = "c"
url = "https://c.example"
as = "bankid_antifraud"
signing = { audience = "one", tenant = "two" }
"""
    )
    first = read(file, Overrides(), {}).settings
    assert first is not None
    text = as_toml(shown(first))
    tomllib.loads(text)
    file.write_text(text)
    second = read(file, Overrides(), {}).settings
    assert second == first
    assert second is not None
    assert second.endpoints[1].given.isdisjoint(PRESET - {"signing"}), "what is preset would be overridden"


def test_the_defaults_of_the_table_pass_their_own_kinds(tmp_path: Path) -> None:
    file = tmp_path / "hookseal.toml"
    file.write_text(as_toml(shown(Settings())))
    got = read(file, Overrides(), {})
    assert got.faults == ()
    assert got.settings is not None
    assert got.settings.server == Settings().server
