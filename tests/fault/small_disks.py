"""Small disks that a test may fill, and a node that keeps its store on one."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from plug import Clients, Node, Sink, check, configuration, sink

BOUND_S = 120


@contextmanager
def small_disk(folder: Path, megabytes: int, *, files: int | None = None) -> Iterator[Path]:
    """A file system of its own in memory. files: how many it may hold at most, itself included."""
    place = folder / "small"
    place.mkdir()
    options = f"size={megabytes}m" + (f",nr_inodes={files}" if files else "")
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "hookseal", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def free_bytes(place: Path) -> int:
    disk = os.statvfs(place)
    return disk.f_bavail * disk.f_frsize


def fill_up(file: Path) -> None:
    """Write to a file until there is no byte left."""
    with file.open("wb", buffering=0) as ballast:
        for size in (1024 * 1024, 4096):
            try:
                while True:
                    ballast.write(bytes(size))
            except OSError:
                continue


@asynccontextmanager
async def node_on(place: Path, folder: Path) -> AsyncIterator[tuple[Node, Sink]]:
    async with sink() as receiver:
        config = folder / "hookseal.toml"
        where = f'[store]\nurl = "sqlite:///{place}/hookseal.db"\nkeyring = "file:{place}/hookseal.key"\n'
        config.write_text(configuration(receiver.url) + where)
        node = Node(config)
        assert await node.start()
        try:
            yield node, receiver
        finally:
            await node.kill()


async def accepted_again(clients: Clients, url: str) -> None:
    before = len(clients.acked)
    await asyncio.wait_for(clients.run(url, 4, until_acked=before + 20), BOUND_S)


async def check_without_the_unanswered(node: Node, clients: Clients, receiver: Sink) -> None:
    assert clients.statuses.keys() == {200, 503}
    await check(node.url, clients, receiver)
