"""Secrets are used exactly as they stand; what cannot be meant is refused and never mended, and nothing shows them."""

from pathlib import Path

import pytest

from hookseal.settings import Overrides, Reading, read
from hookseal.settings.shown import as_toml, shown

SECRET = "correct-horse-battery-staple"
NAMES = ("secrets", "retired_secrets")


def reading(
    tmp_path: Path, secret: str, environ: dict[str, str] | None = None, name: str = "secrets", mode: int = 0o600
) -> Reading:
    path = tmp_path / "hookseal.toml"
    path.write_text(f'[[source]]\nid = "a"\nprovider = "idenfy"\n{name} = ["{secret}"]\n')
    path.chmod(mode)
    return read(path, Overrides(), environ or {})


def fault(of: Reading) -> str:
    assert len(of.faults) == 1
    return str(of.faults[0])


BLANKS = [" ", "\t", "\n", "\r\n", "\u00a0", "\u2003", "\u3000", "\x0b", "\x85"]


@pytest.mark.parametrize("blank", BLANKS, ids=ascii)
@pytest.mark.parametrize("before", [True, False], ids=["before", "behind"])
def test_blank_space_around_a_secret_is_refused_and_not_shown(blank: str, before: bool, tmp_path: Path) -> None:
    text = blank + SECRET if before else SECRET + blank
    (tmp_path / "s").write_bytes(text.encode())
    written = text.encode("unicode_escape").decode().replace("\\x", "\\u00")
    for given, environ in ((written, {}), ("env:S", {"S": text}), ("file:s", {})):
        for name in NAMES:
            found = fault(reading(tmp_path, given, environ, name))
            assert f'[[source]] "a" {name}[0]' in found
            assert SECRET not in found
            assert "\n" not in found


def test_a_file_that_ends_with_a_newline_says_how_to_write_it_without(tmp_path: Path) -> None:
    (tmp_path / "s").write_text(SECRET + "\n")
    assert "printf %s" in fault(reading(tmp_path, "file:s"))


@pytest.mark.parametrize("content", [b"", b"\n", b" ", b"\xef\xbb\xbfsecret", b"a\0b", b"x" * 65_537])
def test_a_secret_file_that_holds_no_secret_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(content)
    assert '[[source]] "a" secrets[0]' in fault(reading(tmp_path, "file:s"))


def test_an_empty_variable_is_refused(tmp_path: Path) -> None:
    assert "the variable is empty" in fault(reading(tmp_path, "env:S", {"S": ""}))


@pytest.mark.parametrize("secret", ["x", "a b", "env", "whsec_abc", "pass\u00f8rd", "\U0001f511"])
def test_inner_blanks_short_and_foreign_secrets_are_exact_bytes(secret: str, tmp_path: Path) -> None:
    got = reading(tmp_path, secret)
    assert got.settings is not None
    assert got.settings.sources[0].secrets == (secret.encode(),)


def test_bytes_that_are_no_text_survive_in_files_and_variables(tmp_path: Path) -> None:
    raw = b"\xff\xfe-binary-\x80-secret"
    (tmp_path / "s").write_bytes(raw)
    for given, environ in (("file:s", {}), ("env:S", {"S": raw.decode("utf-8", "surrogateescape")})):
        got = reading(tmp_path, given, environ)
        assert got.settings is not None
        assert got.settings.sources[0].secrets == (raw,)


def test_a_short_secret_is_warned_of_and_a_long_one_is_not(tmp_path: Path) -> None:
    assert any("shorter than 16 bytes" in warning for warning in reading(tmp_path, "x" * 15).warnings)
    assert reading(tmp_path, "x" * 16).warnings == ()


def test_a_secret_file_that_everyone_can_read_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "s"
    file.write_text(SECRET)
    file.chmod(0o644)
    assert any("readable by everyone" in warning for warning in reading(tmp_path, "file:s").warnings)
    file.chmod(0o600)
    assert reading(tmp_path, "file:s").warnings == ()


def test_a_secret_in_a_configuration_that_everyone_can_read_is_warned_of(tmp_path: Path) -> None:
    (warning,) = reading(tmp_path, SECRET, mode=0o644).warnings
    assert "everyone can read" in warning
    assert reading(tmp_path, "env:S", {"S": SECRET}, mode=0o644).warnings == ()


def test_no_secret_is_shown_by_repr_or_by_config_show(tmp_path: Path) -> None:
    path = tmp_path / "hookseal.toml"
    path.write_text(
        f"""
[store]
keyring = "k1:{SECRET}"
[api]
keys = ["{SECRET}-api"]
[[source]]
id = "a"
provider = "idenfy"
secrets = ["{SECRET}-1"]
retired_secrets = ["{SECRET}-2"]
[[endpoint]]
id = "b"
url = "https://b.example/in?token={SECRET}"
signing = {{ scheme = "standard_webhooks", secret = "{SECRET}-3" }}
headers = {{ Authorization = "Bearer {SECRET}" }}
"""
    )
    got = read(path, Overrides(), {})
    assert got.faults == ()
    assert got.settings is not None
    tables = shown(got.settings)
    assert SECRET not in str(tables)
    assert SECRET not in as_toml(tables)
    assert "secrets = " in as_toml(tables)
    # The URL belongs to the endpoint and stays readable in a repr; everything that is a secret does not.
    assert f"{SECRET}-" not in repr(got)
    assert f"Bearer {SECRET}" not in repr(got)
    assert f"k1:{SECRET}" not in repr(got)
