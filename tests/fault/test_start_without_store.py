"""`hookseal serve` with a store that is away, may not be written, or is new although its keys are not.

Observable oracles: exit codes, stderr, and what the open listener answers meanwhile.
"""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
sys.path.insert(0, str(Path(__file__).parents[1] / "acceptance"))
from cli_process import hookseal as run_hookseal
from postgres_databases import Server, any_server, running
from test_serve import SECRET, Process, send, serve

from hookseal.sealing import Keyring

pytestmark = pytest.mark.fault

BOUND_S = 60


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def configure(folder: Path, store: str, *, port: int = 0, keyring: str | None = None) -> None:
    keyfile = folder / "hookseal.key"
    if keyring is None and not keyfile.exists():
        keyfile.write_text(Keyring.generate().dump())
        keyfile.chmod(0o600)
    (folder / "hookseal.toml").write_text(f"""
[server]
listen = "127.0.0.1:{port}"
leave_s = 0
[store]
keyring = "{keyring or f"file:{keyfile}"}"
{store}
[[source]]
id = "idenfy"
provider = "idenfy"
secrets = ["{SECRET}"]
""")
    (folder / "hookseal.toml").chmod(0o600)


async def answered(session: ClientSession, url: str, status: int) -> None:
    """Until the listener answers so."""
    async with asyncio.timeout(BOUND_S):
        while True:
            try:
                async with session.get(url) as answer:
                    if answer.status == status:
                        return
            except ClientError:
                pass
            await asyncio.sleep(0.05)


@asynccontextmanager
async def stopped_postgres() -> AsyncIterator[Server]:
    """A server of its own that is down, with a database that has been there before."""
    programs = any_server().programs
    assert programs is not None
    with running(programs) as server:
        server.own.stop_at_once()
        yield server


async def test_it_waits_for_a_database_that_is_away_at_the_start(tmp_path: Path) -> None:
    """It exited with 1 at once; in a cluster that starts, gateway and database come in any order."""
    port = free_port()
    async with stopped_postgres() as server, ClientSession() as session:
        configure(tmp_path, f'url = "{server.url}"\nstart_timeout_s = {BOUND_S}', port=port)
        async with serve(folder=tmp_path) as process:
            url = f"http://127.0.0.1:{port}"
            await answered(session, f"{url}/readyz", 503)
            async with session.get(f"{url}/readyz") as answer:
                checks = {check["name"]: check for check in (await answer.json(content_type=None))["checks"]}
            assert checks["receiving"] == {"name": "receiving", "ok": False, "detail": "starting"}
            async with session.get(f"{url}/healthz") as answer:
                assert answer.status == 200, "a process that waits must not be restarted"
            assert await send(session, url) == 503
            server.own.start()
            assert await process.listening() == url
            await answered(session, f"{url}/readyz", 200)
            assert await send(session, url) == 200
            process.process.terminate()
            assert (await process.ended())[0] == 0


async def test_it_waits_no_longer_than_the_setting_says(tmp_path: Path) -> None:
    configure(tmp_path, f'url = "postgresql://nobody@127.0.0.1:{free_port()}/none"\nstart_timeout_s = 0')
    async with serve(folder=tmp_path) as process:
        code, said = await process.ended()
    assert code == 1
    assert "connecting to 127.0.0.1" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_can_be_stopped_while_it_waits(number: signal.Signals, tmp_path: Path) -> None:
    port = free_port()
    configure(tmp_path, f'url = "postgresql://nobody@127.0.0.1:{free_port()}/none"\nstart_timeout_s = 600', port=port)
    async with serve(folder=tmp_path) as process, ClientSession() as session:
        await answered(session, f"http://127.0.0.1:{port}/readyz", 503)
        process.process.send_signal(number)
        assert (await process.ended())[0] == 0


WRITING = "GRANT USAGE ON SCHEMA hookseal TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA hookseal TO {role};"


@pytest.mark.parametrize(
    ("grants", "word"),
    [
        (WRITING, "may not write"),
        (WRITING + "GRANT INSERT, UPDATE ON ALL TABLES IN SCHEMA hookseal TO {role};", "may not write"),
        (
            WRITING + "GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA hookseal TO {role};"
            "ALTER ROLE {role} SET default_transaction_read_only = on;",
            "read-only",
        ),
        ("", "may not"),
    ],
)
async def test_a_role_that_cannot_write_is_refused_at_the_start(grants: str, word: str, tmp_path: Path) -> None:
    """It started, was ready, and answered every request with 503."""
    server = any_server()
    database = await server.new_database()
    role = f"{database}_role"
    try:
        configure(tmp_path, f'url = "{server.url_of(database)}"')
        assert run_hookseal("migrate", folder=tmp_path).code == 0
        await server.run(f"CREATE ROLE {role} LOGIN PASSWORD 'secret-of-the-role'")
        for statement in filter(None, grants.format(role=role).split(";")):
            await server.run(statement, database=database)
        url = server.url_of(database).replace("postgres@", f"{role}:secret-of-the-role@")
        configure(tmp_path, f'url = "{url}"')
        async with serve(folder=tmp_path) as process:
            code, said = await process.ended()
        assert code == 2
        (line,) = (line for line in said.splitlines() if line.startswith("hookseal: ") and "warning" not in line)
        assert word in line
        assert "secret-of-the-role" not in said
    finally:
        await server.run(f"DROP OWNED BY {role}", database=database)
        await server.run(f"DROP ROLE {role}")
        await server.give_back(database)


async def test_a_role_that_may_write_and_owns_nothing_is_accepted(tmp_path: Path) -> None:
    server = any_server()
    database = await server.new_database()
    role = f"{database}_role"
    grants = WRITING + "GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA hookseal TO {role}"
    try:
        configure(tmp_path, f'url = "{server.url_of(database)}"')
        assert run_hookseal("migrate", folder=tmp_path).code == 0
        await server.run(f"CREATE ROLE {role} LOGIN")
        for statement in grants.format(role=role).split(";"):
            await server.run(statement, database=database)
        configure(tmp_path, f'url = "{server.url_of(database).replace("postgres@", f"{role}@")}"')
        async with serve(folder=tmp_path) as process, ClientSession() as session:
            url = await process.listening()
            assert await send(session, url) == 200
            await answered(session, f"{url}/readyz", 200)
    finally:
        await server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", role)
        await server.run(f"DROP OWNED BY {role}", database=database)
        await server.run(f"DROP ROLE {role}")
        await server.give_back(database)


async def ended_after_listening(process: Process) -> str:
    """Its stderr until it listens and after it was stopped."""
    assert process.process.stderr is not None
    said = b""
    async with asyncio.timeout(BOUND_S):
        while line := await process.process.stderr.readline():
            said += line
            if line.startswith(b"listening on"):
                process.process.terminate()
    assert await process.process.wait() == 0
    return said.decode()


NEW = "the store is new and empty"


async def test_a_new_store_beside_an_old_key_file_is_reported(tmp_path: Path) -> None:
    """A volume that is not mounted looks like that: it started as if nothing had ever been stored."""
    configure(tmp_path, f'url = "sqlite:///{tmp_path}/hookseal.db"')
    checked = run_hookseal("check", folder=tmp_path)
    assert (checked.code, NEW in checked.err) == (0, False)
    assert "warning" in checked.err
    assert "[store] url" in checked.err
    async with serve(folder=tmp_path) as process:
        said = await ended_after_listening(process)
    assert sum(line.startswith("hookseal: warning: ") and NEW in line for line in said.splitlines()) == 1
    assert '"level": "warning", "event": "the store is new and empty' in said
    async with serve(folder=tmp_path) as process:
        assert NEW not in await ended_after_listening(process)
    assert "warning" not in run_hookseal("check", folder=tmp_path).err


async def test_a_new_store_with_its_new_key_file_is_not_worth_a_warning(tmp_path: Path) -> None:
    configure(tmp_path, f'url = "sqlite:///{tmp_path}/hookseal.db"', keyring=f"file:{tmp_path}/other.key")
    assert "warning" not in run_hookseal("check", folder=tmp_path).err
    async with serve(folder=tmp_path) as process:
        assert NEW not in await ended_after_listening(process)


async def test_a_store_that_is_not_there_is_not_made_where_the_setting_forbids_it(tmp_path: Path) -> None:
    configure(tmp_path, f'url = "sqlite:///{tmp_path}/hookseal.db"\ncreate = false')
    assert run_hookseal("check", folder=tmp_path).code == 2
    async with serve(folder=tmp_path) as process:
        code, said = await process.ended()
    assert code == 2
    assert "[store] create" in said
    assert not (tmp_path / "hookseal.db").exists()


async def test_neither_store_nor_key_file_is_made_where_the_setting_forbids_it(tmp_path: Path) -> None:
    keyring = f"file:{tmp_path}/other.key"
    configure(tmp_path, f'url = "sqlite:///{tmp_path}/hookseal.db"\ncreate = false', keyring=keyring)
    async with serve(folder=tmp_path) as process:
        assert (await process.ended())[0] == 2
    assert not (tmp_path / "hookseal.db").exists()
    assert not (tmp_path / "other.key").exists()


async def test_a_database_without_a_store_is_reported_and_refused_by_the_setting(tmp_path: Path) -> None:
    server = any_server()
    database = await server.new_database()
    try:
        configure(tmp_path, f'url = "{server.url_of(database)}"\ncreate = false')
        async with serve(folder=tmp_path) as process:
            code, said = await process.ended()
        assert code == 2
        assert "[store] create" in said
        assert await server.run("SELECT 1 FROM pg_namespace WHERE nspname = 'hookseal'", database=database) == []
        configure(tmp_path, f'url = "{server.url_of(database)}"')
        async with serve(folder=tmp_path) as process:
            assert NEW in await ended_after_listening(process)
        configure(tmp_path, f'url = "{server.url_of(database)}"\ncreate = false')
        async with serve(folder=tmp_path) as process:
            assert NEW not in await ended_after_listening(process)
    finally:
        await server.give_back(database)
