"""Runs the real command in a process of its own, with an environment that holds nothing but what a test gives."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


class Ended:
    def __init__(self, done: "subprocess.CompletedProcess[bytes]") -> None:
        self.code = done.returncode
        self.raw = done.stdout
        self.out = done.stdout.decode()
        self.err = done.stderr.decode()

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


def hookseal(
    *arguments: str | bytes | Path,
    folder: Path,
    stdin: bytes = b"",
    environ: dict[str, str] | None = None,
    python: Sequence[str] = (),
) -> Ended:
    """Run `python -m hookseal ARGUMENTS` in `folder` until it ends."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, *python, "-m", "hookseal", *arguments],
        cwd=folder,
        input=stdin,
        env={**kept, **(environ or {})},
        capture_output=True,
        timeout=60,
        check=False,
    )
    return Ended(done)
