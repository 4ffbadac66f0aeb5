"""The commands of docs/quickstart.md do what the page says, in its order, and the README's configuration is accepted.

A shell runs every `sh` block in an empty folder, with the page's files and real processes. Each `text` block is what the block
before it promises: its lines stand in the shell's output in this order, `...` for any text, blank space of any width. `ID` in a
command is the id that was printed last. Ports are free ones.
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "quickstart.md").read_text()
README = (ROOT / "README.md").read_text()
BOUND_S = 120
_BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
_FILE = re.compile(r"Write `([\w.]+)`:\s*$")
_ID = re.compile(r"^(msg_[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b", re.MULTILINE)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def pattern_of(promised: str) -> re.Pattern[str]:
    """All lines of a block, in order; other lines may stand between them."""
    lines = [
        re.sub(r"(?:\\ )+", "[ ]*", re.escape(line)).replace(r"\.\.\.", r"[^\n]*?") for line in promised.splitlines()
    ]
    return re.compile(r"\n(?s:.*?)".join(lines))


class Shell:
    """One shell, and everything that it and its processes have printed."""

    def __init__(self, folder: Path) -> None:
        self._printed = folder.parent / "printed.txt"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HOOKSEAL_", "COV_"))}
        with self._printed.open("wb") as out:
            self.process = subprocess.Popen(
                ["bash"],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**kept, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
                start_new_session=True,
            )
        self._blocks = 0
        self._start = 0

    @property
    def printed(self) -> str:
        return self._printed.read_text(errors="replace")

    def run(self, commands: str) -> None:
        """Return when the block's commands have ended; those that go on with `&` go on."""
        assert self.process.stdin is not None
        self._start, self._blocks = len(self.printed), self._blocks + 1
        end = f"end of block {self._blocks}"
        self.process.stdin.write(f"{commands}\necho '{end}'\n".encode())
        self.process.stdin.flush()
        self._until(lambda: end in self.printed, commands)

    def expect(self, promised: str) -> None:
        pattern = pattern_of(promised)
        self._until(lambda: pattern.search(self.printed, self._start) is not None, promised)

    def _until(self, is_so: Callable[[], bool], what: str) -> None:
        ends = time.monotonic() + BOUND_S
        while not is_so():
            assert time.monotonic() < ends, f"not within {BOUND_S} s:\n{what}\nprinted:\n{self.printed[self._start :]}"
            time.sleep(0.02)


@contextlib.contextmanager
def shell(folder: Path) -> Iterator[Shell]:
    made = Shell(folder)
    try:
        yield made
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(made.process.pid, 9)
        made.process.wait()


@pytest.mark.skipif(shutil.which("bash") is None, reason="the page's commands are of a shell")
def test_the_quickstart_does_what_it_says(tmp_path: Path) -> None:
    page = PAGE.replace("8400", str(free_port())).replace("9000", str(free_port()))
    folder = tmp_path / "empty"
    folder.mkdir()
    kinds = []
    with shell(folder) as here:
        for block in _BLOCK.finditer(page):
            kind, text = block.groups()
            kinds.append(kind)
            if kind == "sh":
                ids = _ID.findall(here.printed)
                here.run(re.sub(r"\bID\b", ids[-1] if ids else "ID", text))
            elif kind == "text":
                here.expect(text)
            else:
                named = _FILE.search(page[: block.start()])
                assert named, f"a block of {kind} that is no file"
                (folder / named[1]).write_text(text)
        received = [line for line in here.printed.splitlines() if line.startswith("received ")]
        assert received == ["received identity.verification.completed approved"]
        assert here.process.poll() is None
    assert set(kinds) == {"sh", "text", "toml", "python"}
    assert "Traceback" not in here.printed


def test_the_configuration_of_the_readme_has_ten_lines_and_no_fault(tmp_path: Path) -> None:
    [(_, text)] = [block for block in _BLOCK.findall(README) if block[0] == "toml"]
    assert len([line for line in text.splitlines() if not line.startswith("#")]) == 10
    (tmp_path / "hookseal.toml").write_text(text)
    names = re.findall(r"env:(\w+)", text)
    given = dict.fromkeys(names, "a secret that is long enough")
    checked = subprocess.run(
        [sys.executable, "-m", "hookseal", "check"],
        cwd=tmp_path,
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    assert "4 sources, 1 endpoint, no fault" in checked.stderr
    # One thing has one name: what both pages configure is named alike.
    assert set(re.findall(r"IDENFY_\w+", README)) == set(re.findall(r"IDENFY_\w+", PAGE))
    assert set(re.findall(r"HOOKSEAL_\w*KEY\w*", README + PAGE)) == {"HOOKSEAL_KEY"}
