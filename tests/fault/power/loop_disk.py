"""A disk whose power can be cut: ext4 in a file, and the ioctl that stops it where it stands.

`FS_IOC_SHUTDOWN` with `NOLOGFLUSH` lets nothing more reach the device, neither data nor the journal, as xfstests'
`godown` does: what the file holds then is what a machine finds after a power cut. Mounting it again replays the journal.
Whoever acknowledges syncs must be stopped before the cut: a sync that is under way at that moment may return success and
be lost (67 of 837 cuts of a loop of writes and `fdatasync`, Linux 6.18).
"""

import fcntl
import functools
import os
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FS_IOC_SHUTDOWN = 0x8004587D
_NOLOGFLUSH = 2
_UNMOUNT_S = 20


class LoopDisk:
    """image: the file that is the device. folder: where it is mounted."""

    def __init__(self, image: Path, folder: Path) -> None:
        self._image = image
        self.folder = folder
        self._mounted = False

    def make(self, megabytes: int) -> None:
        with self._image.open("wb") as file:
            file.truncate(megabytes << 20)
        _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1", str(self._image))

    def mount(self) -> None:
        _run("mount", "-o", "loop", str(self._image), str(self.folder))
        self._mounted = True

    def cut(self) -> None:
        """From now on nothing is written, and whoever writes gets an error."""
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(folder, _FS_IOC_SHUTDOWN, struct.pack("I", _NOLOGFLUSH))
        finally:
            os.close(folder)

    def unmount(self) -> None:
        """Waits for those that still have files open to be gone; the loop device goes with the mount."""
        until = time.monotonic() + _UNMOUNT_S
        while self._mounted:
            done = subprocess.run(["umount", str(self.folder)], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                self._mounted = False
            elif time.monotonic() > until:
                subprocess.run(["umount", "-l", str(self.folder)], check=False)
                self._mounted = False
                raise RuntimeError(f"{self.folder} is still in use: {done.stderr}")
            else:
                time.sleep(0.05)

    def power_on(self) -> None:
        """Mount again, which replays the journal."""
        self.unmount()
        self.mount()


@contextmanager
def loop_disk(folder: Path, megabytes: int = 2048) -> Iterator[LoopDisk]:
    """A mounted disk; unmounted and freed whatever happens. megabytes: of a sparse file."""
    place = folder / "disk"
    place.mkdir()
    disk = LoopDisk(folder / "disk.img", place)
    disk.make(megabytes)
    try:
        disk.mount()
        yield disk
    finally:
        disk.unmount()
        (folder / "disk.img").unlink(missing_ok=True)


@functools.cache
def lacking() -> str | None:
    """Why there is no such disk on this machine; None when there is. Tried, not guessed."""
    if os.geteuid() != 0:
        return "not root"
    with tempfile.TemporaryDirectory(prefix="hookseal-disk-") as folder:
        try:
            with loop_disk(Path(folder), 16) as disk:
                (disk.folder / "file").write_bytes(b"lost")
                disk.cut()
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            return f"no ext4 on a loop device: {error}"
    return None


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
