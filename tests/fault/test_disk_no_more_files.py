"""The disk has room and holds as many files as it can: no new one can be made. Then some are gone.

Oracles: statuses, the clients' log, the sink's log, the API and exit codes. A node that has its files open goes on. One
that must make a file to open its store does not start and says so, or starts; nothing is lost either way, and no answer
is a refusal.
"""

import asyncio
import errno
import itertools
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from plug import Clients, check, drained
from small_disks import BOUND_S, accepted_again, node_on, small_disk
from tiers import tier

pytestmark = [pytest.mark.fault, pytest.mark.root_only]

MEGABYTES, FILES = 64, 64
ACKED = tier(ci=200, full=5_000)


@contextmanager
def small_ext4(folder: Path) -> Iterator[Path]:
    place, image = folder / "small", folder / "small.img"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(MEGABYTES << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-N", str(FILES), str(image)], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def small_tmpfs(folder: Path) -> AbstractContextManager[Path]:
    return small_disk(folder, MEGABYTES, files=FILES)


def use_up(place: Path) -> None:
    """Make files until there can be no more."""
    for number in itertools.count():
        try:
            (place / f"other-{number}").touch()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return


def clear(place: Path) -> None:
    for file in place.glob("other-*"):
        file.unlink()


@pytest.mark.parametrize("disk", [small_ext4, small_tmpfs][: tier(ci=1, full=2)])
async def test_a_node_goes_on_without_new_files_and_starts_again_once_it_can_make_them(
    disk: Callable[[Path], AbstractContextManager[Path]], tmp_path: Path
) -> None:
    clients = Clients(61)
    with disk(tmp_path) as place:
        async with node_on(place, tmp_path) as (node, receiver):
            await asyncio.wait_for(clients.run(node.url, 4, until_acked=20), BOUND_S)
            load = asyncio.create_task(clients.run(node.url, 4, until_acked=ACKED))
            use_up(place)
            await asyncio.wait_for(load, BOUND_S)
            await node.kill()  # what it leaves is what the next one opens
            assert await node.start(), "did not start though all of its files are there"
            await accepted_again(clients, node.url)
            assert clients.statuses.keys() == {200}, "it needed a file that it could not make"
            assert await node.stop() == 0  # takes the log along, which the next start has to make anew
            use_up(place)
            assert not await node.start()
            assert node.process is not None
            assert node.process.returncode == 1
            assert "StoreUnavailable: opening" in (tmp_path / "node.log").read_text()
            assert "SQLITE_CANTOPEN" in (tmp_path / "node.log").read_text()
            clear(place)
            assert await node.start()
            await accepted_again(clients, node.url)
            await asyncio.wait_for(clients.settle(node.url), BOUND_S)
            await asyncio.wait_for(drained(node.url), BOUND_S)
            await check(node.url, clients, receiver)
            assert await node.stop() == 0
