"""The disk on paper keeps what was synced, and of the rest it may keep anything but what nobody wrote beside it."""

import random
from pathlib import Path

import apsw
import pytest
from power.crash_disk import SECTOR, CrashDisk, Decay, Kind, Operation
from power.crash_vfs import crash_vfs

IMAGES = 300


def images(disk: CrashDisk, position: int | None = None) -> list[dict[str, bytes]]:
    decay, dice = Decay(disk), random.Random(1)
    decay.advance(disk.position if position is None else position)
    return [decay.image(dice) for _ in range(IMAGES)]


def write(disk: CrashDisk, name: str, offset: int, data: bytes) -> None:
    disk.do(lambda: None, Operation(Kind.WRITE, name, offset, data))


def test_what_was_synced_is_in_every_image() -> None:
    disk = CrashDisk()
    disk.opened("a")
    write(disk, "a", 0, b"one" * 700)
    disk.synced("a")
    write(disk, "a", 0, b"two" * 700)
    assert {image["a"] for image in images(disk, position=3)} == {b"one" * 700}
    assert all("a" in image for image in images(disk))


def test_an_unsynced_write_falls_apart_into_sectors() -> None:
    disk = CrashDisk({"a": b"." * 3 * SECTOR})
    write(disk, "a", 100, b"x" * 2 * SECTOR)
    seen = {image["a"] for image in images(disk)}
    old, new = b"." * 3 * SECTOR, b"." * 100 + b"x" * 2 * SECTOR + b"." * (SECTOR - 100)
    assert {old, new} < seen
    assert any(
        image[100:SECTOR] == b"x" * (SECTOR - 100) and image[SECTOR : 2 * SECTOR] == old[:SECTOR] for image in seen
    )
    assert any(not set(image[SECTOR : 2 * SECTOR]) <= set(b".x") for image in seen), "nothing was garbled"


def test_bytes_beside_an_unsynced_write_are_never_touched() -> None:
    disk = CrashDisk({"a": b"." * 2 * SECTOR})
    write(disk, "a", 100, b"x" * SECTOR)
    for image in images(disk):
        assert image["a"][:100] == b"." * 100
        assert image["a"][100 + SECTOR :] == b"." * (SECTOR - 100)


def test_a_name_may_be_missing_until_its_first_sync() -> None:
    disk = CrashDisk()
    disk.opened("a")
    write(disk, "a", 0, b"data")
    assert any("a" not in image for image in images(disk))
    assert any("a" in image for image in images(disk))
    disk.synced("a")
    assert all(image == {"a": b"data"} for image in images(disk))


def test_a_removed_file_may_be_back_until_the_folder_is_synced() -> None:
    disk = CrashDisk({"a": b"old"})
    disk.removed("a", sync_folder=False)
    assert {image.get("a") for image in images(disk)} == {b"old", None}
    disk.opened("b")
    disk.synced("b")
    assert {image.get("a") for image in images(disk)} == {None}


def test_an_unsynced_truncation_may_not_have_happened() -> None:
    disk = CrashDisk({"a": b"12345678"})
    disk.do(lambda: None, Operation(Kind.TRUNCATE, "a", 4))
    assert {image["a"] for image in images(disk)} == {b"1234", b"12345678"}
    disk.synced("a")
    assert {image["a"] for image in images(disk)} == {b"1234"}


def test_a_lying_disk_may_lose_what_was_synced() -> None:
    disk = CrashDisk({"a": b"old"}, syncs=False)
    write(disk, "a", 0, b"new")
    disk.synced("a")
    assert b"old" in {image["a"] for image in images(disk)}


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_the_log_leads_to_the_files_that_sqlite_wrote(mode: str, tmp_path: Path) -> None:
    disk = CrashDisk()
    with crash_vfs(tmp_path, disk) as vfs:
        connection = apsw.Connection(str(tmp_path / "t.db"), vfs=vfs)
        connection.execute(f"PRAGMA journal_mode = {mode}; PRAGMA synchronous = FULL; CREATE TABLE t (a)").fetchall()
        for number in range(50):
            connection.execute("INSERT INTO t VALUES (?)", (bytes([number]) * 3000,))
        written = {file.name: file.read_bytes() for file in tmp_path.iterdir() if not file.name.endswith("-shm")}
        assert written in images(disk)
        connection.close()
