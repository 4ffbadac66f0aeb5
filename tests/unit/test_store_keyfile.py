import os
import stat
from pathlib import Path

import pytest

from hookseal.errors import ConfigurationError, StoreMismatch
from hookseal.sealing import Keyring
from hookseal.store import keyfile
from hookseal.store.keyfile import load_or_create


def test_a_new_store_gets_a_new_key_that_only_its_owner_reads(tmp_path: Path) -> None:
    file = tmp_path / "hookseal.key"
    keyring = load_or_create(file, store_exists=False)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Keyring.parse(file.read_text()) == keyring
    assert list(tmp_path.iterdir()) == [file]


def test_a_loose_umask_does_not_open_the_key(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        load_or_create(tmp_path / "k", store_exists=False)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600


def test_a_key_that_is_there_is_read_and_never_replaced(tmp_path: Path) -> None:
    first = load_or_create(tmp_path / "k", store_exists=False)
    for store_exists in (True, False):
        assert load_or_create(tmp_path / "k", store_exists) == first


def test_two_keys_are_never_the_same(tmp_path: Path) -> None:
    assert load_or_create(tmp_path / "a", store_exists=False) != load_or_create(tmp_path / "b", store_exists=False)


def test_a_store_without_its_key_gets_no_new_one(tmp_path: Path) -> None:
    with pytest.raises(StoreMismatch, match=r"hookseal\.key: store\.keyring: .*missing"):
        load_or_create(tmp_path / "hookseal.key", store_exists=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o602, 0o610])
def test_a_key_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "k"
    load_or_create(file, store_exists=False)
    file.chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod 600") as refusal:
        load_or_create(file, store_exists=True)
    assert (refusal.value.place, refusal.value.key) == (str(file), "store.keyring")


@pytest.mark.parametrize("content", [b"", b"k1:AAAA\n", b"SECRET-TEXT", b"\xff\xfeSECRET-TEXT", b"# " + b"x" * 70_000])
def test_a_file_that_is_no_keyring_is_refused_without_showing_it(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "k"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(ConfigurationError, match="base64 of 32 bytes") as refusal:
        load_or_create(file, store_exists=False)
    assert "SECRET" not in str(refusal.value)
    assert refusal.value.__cause__ is None
    assert file.read_bytes() == content


def test_a_folder_or_a_pipe_is_no_key(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for other in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ConfigurationError):
            load_or_create(other, store_exists=False)


def test_a_key_that_cannot_be_made_says_where(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no-such-folder"):
        load_or_create(tmp_path / "no-such-folder" / "k", store_exists=False)


def test_a_process_that_was_slower_takes_the_key_of_the_quicker_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, link = tmp_path / "k", os.link
    quicker: list[Keyring] = []

    def link_after_another(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        quicker.append(keyfile._create(file))
        link(source, target)

    monkeypatch.setattr(os, "link", link_after_another)
    assert load_or_create(file, store_exists=False) == quicker[0]
    assert list(tmp_path.iterdir()) == [file]
