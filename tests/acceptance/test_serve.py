"""`hookseal serve` as an operator runs it: the real command, a real file, real signals."""

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import ClientSession

import hookseal

SECRET = "your-signing-secret"
KEY = "a management key of the tests"
BODY = b'{"scanRef":"s-1","final":true}'
CONFIG = f"""
[server]
listen = "127.0.0.1:0"
[api]
keys = ["{KEY}"]
[[source]]
id = "idenfy"
provider = "idenfy"
secrets = ["{SECRET}"]
"""


class Process:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.url = ""

    async def listening(self) -> str:
        assert self.process.stderr is not None
        while line := await asyncio.wait_for(self.process.stderr.readline(), 30):
            if found := re.fullmatch(rb"listening on (http://\S+)\n", line):
                return found[1].decode()
        raise AssertionError("it never listened")

    async def ended(self) -> tuple[int, str]:
        assert self.process.stderr is not None
        said = await asyncio.wait_for(self.process.stderr.read(), 60)
        return await self.process.wait(), said.decode()


@asynccontextmanager
async def serve(*words: str, folder: Path) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hookseal", "serve", *words, cwd=folder, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield Process(process)
    finally:
        with contextlib.suppress(ProcessLookupError):  # it may have ended, whatever `returncode` says yet
            process.kill()
        await process.wait()


async def send(session: ClientSession, url: str) -> int:
    headers = dict(hookseal.sign("idenfy", BODY, secret=SECRET))
    async with session.post(f"{url}/in/idenfy", data=BODY, headers=headers) as answer:
        return answer.status


async def test_it_listens_receives_drains_and_remembers(tmp_path: Path) -> None:
    (tmp_path / "hookseal.toml").write_text(CONFIG)
    async with serve(folder=tmp_path) as first, ClientSession() as session:
        url = await first.listening()
        assert await send(session, url) == 200
        async with session.get(f"{url}/readyz") as answer:
            assert answer.status == 200
        async with serve(folder=tmp_path) as second:
            code, said = await second.ended()
            assert code == 2
            assert str(first.process.pid) in said
        first.process.terminate()
        assert (await first.ended())[0] == 0
    assert (tmp_path / "hookseal.key").stat().st_mode & 0o777 == 0o600
    async with serve("--config", "hookseal.toml", folder=tmp_path) as third, ClientSession() as session:
        url = await third.listening()
        async with session.get(f"{url}/api/v1/events", headers={"Authorization": f"Bearer {KEY}"}) as answer:
            assert [event["subject"] for event in (await answer.json())["data"]] == ["s-1"]
        async with session.get(f"{url}/api/v1/events") as answer:
            assert answer.status == 401
        assert await send(session, url) == 200
        async with session.get(f"{url}/api/v1/events", headers={"Authorization": f"Bearer {KEY}"}) as answer:
            assert len((await answer.json())["data"]) == 1


async def test_management_moves_to_its_own_listener(tmp_path: Path) -> None:
    config = CONFIG.replace('listen = "127.0.0.1:0"', 'listen = "127.0.0.1:0"\nmanage_listen = "127.0.0.1:0"')
    (tmp_path / "hookseal.toml").write_text(
        config.replace('manage_listen = "127.0.0.1:0"', f'manage_listen = "{free()}"')
    )
    manage = re.search(r'manage_listen = "(.*)"', (tmp_path / "hookseal.toml").read_text())
    assert manage is not None
    async with serve(folder=tmp_path) as process, ClientSession() as session:
        url = await process.listening()
        async with session.get(f"{url}/healthz") as answer:
            assert answer.status == 404
        async with session.get(f"{url}/metrics") as answer:
            assert answer.status == 404
        assert await send(session, url) == 200
        async with session.get(f"http://{manage[1]}/metrics") as answer:
            assert answer.status == 200
            assert 'hookseal_received_total{source="idenfy",status="200"} 1.0' in await answer.text()
        async with session.post(f"http://{manage[1]}/in/idenfy", data=BODY) as answer:
            assert answer.status == 401  # management asks who calls before it says what is there


def free() -> str:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as one:
        return f"127.0.0.1:{one.getsockname()[1]}"


async def test_port_in_use_ends_in_2_and_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "hookseal.toml").write_text(CONFIG)
    async with serve(folder=tmp_path) as first:
        taken = (await first.listening()).removeprefix("http://")
        other = tmp_path / "other"
        other.mkdir()
        (other / "hookseal.toml").write_text(CONFIG)
        async with serve("--listen", taken, folder=other) as second:
            code, said = await second.ended()
            assert code == 2
            assert "[server] listen" in said
            assert "Traceback" not in said


async def test_dev_opens_the_api_on_loopback_without_a_key(tmp_path: Path) -> None:
    async with serve("--dev", "--data", str(tmp_path), "--listen", "127.0.0.1:0", folder=tmp_path) as process:
        url = await process.listening()
        async with ClientSession() as session, session.get(f"{url}/api/v1/events") as answer:
            assert answer.status == 200
        process.process.terminate()
        assert (await process.ended())[0] == 0
