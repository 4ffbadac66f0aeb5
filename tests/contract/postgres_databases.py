"""Databases for tests, on each PostgreSQL that there is: the wheel's, and the machine's own where there is one.

`postgres_server` runs a test once on each; servers are started once for all tests, and are the tests' own to stop, stall
or kill (`power.postgres_server` does that). With HOOKSEAL_TEST_POSTGRES (a URL of a user that may create databases) the
machine's server is that one, and tests that would harm it are skipped.
"""

import asyncio
import atexit
import contextlib
import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fault"))
from power.postgres_server import PostgresServer, programs_of

KINDS = ("wheel", "machine")
_SETTINGS = {"shared_buffers": "32MB", "max_wal_size": "256MB"}
_numbers = itertools.count(1)


class Server:
    """A PostgreSQL server that runs. url: of its database `postgres`. own: None for one that is not ours."""

    def __init__(self, url: str, own: PostgresServer | None = None) -> None:
        self.url = url
        self._own = own
        self._empty: list[str] = []

    @property
    def own(self) -> PostgresServer:
        """To be harmed."""
        if self._own is None:
            pytest.skip("the server given by HOOKSEAL_TEST_POSTGRES is not ours to harm")
        return self._own

    @property
    def programs(self) -> Path | None:
        """The folder with its `pg_dump` and others, if there is one."""
        return programs_of("machine") if self._own is None else self._own.programs

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


@contextlib.contextmanager
def running(programs: Path) -> Iterator[Server]:
    """A fresh server with its own data. Durable as in production, but for its size."""
    # Not under pytest's folder: only its owner may enter that.
    place = Path(tempfile.mkdtemp(prefix="hookseal-pg-"))
    try:
        place.chmod(0o711)
        own = PostgresServer(place / "data", place / "log", programs=programs, settings=_SETTINGS)
        own.make(synced=False)
        try:
            own.start()
            yield Server(own.url, own)
        finally:
            own.close()
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
