"""`--help` of every command, and completion for shells, as a user gets them.

Oracles: exit code, stdout, and the files below a HOME of the test's own.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "hookseal"]
LISTED = re.compile(r"^│ ([a-z]+) ", re.MULTILINE)


def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200", "PYTHONIOENCODING": "utf-8", **more}
    return subprocess.run([*COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=60)


def listed(help_text: str) -> list[str]:
    return LISTED.findall(help_text[help_text.index("─ Commands ") :])


def commands() -> list[str]:
    names = listed(run("--help").stdout)
    assert len(names) > 15
    return [f"config {name}" for name in listed(run("config", "--help").stdout)] + [
        name for name in names if name != "config"
    ]


@pytest.mark.parametrize("command", commands())
def test_the_help_of_a_command_ends_with_an_example_of_options_that_it_has(command: str) -> None:
    text = run(*command.split(), "--help").stdout
    example = text[text.index("Example:") + len("Example:") :].strip()
    words = shlex.split(example)
    assert words[: 1 + len(command.split())] == ["hookseal", *command.split()]
    options = text[: text.index("Example:")]
    for word in words:
        if word.startswith("-"):
            assert re.search(rf"{re.escape(word)}\b", options), word


def test_completion_is_installed_for_bash_and_completes_commands_and_options(tmp_path: Path) -> None:
    # The shell is found among the parents of the process. The second command keeps bash from replacing itself.
    installed = subprocess.run(
        ["bash", "-c", f"{shlex.join([*COMMAND, '--install-completion'])}; exit $?"],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (installed.returncode, installed.stderr) == (0, "")
    assert str(tmp_path / ".bash_completions") in (tmp_path / ".bashrc").read_text()
    environment = {"_HOOKSEAL_COMPLETE": "complete_bash", "HOME": str(tmp_path)}
    assert "deliveries" in run(COMP_WORDS="hookseal del", COMP_CWORD="1", **environment).stdout.split()
    completed = run(COMP_WORDS="hookseal events --sou", COMP_CWORD="2", **environment).stdout.split()
    assert completed == ["--source"]
