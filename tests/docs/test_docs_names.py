"""What pages and docstrings name is there: files, modules with their members, commands and options."""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import pytest

from hookseal.cli.app import MODULES, command
from hookseal.model import EventType

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "hookseal"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE = sorted(PACKAGE.rglob("*.py"))
ELSEWHERE = {
    "embed.py": "of granian",
    "receiver.py": "written by the reader of the quickstart",
}
EVENT_TYPES = {one.value for one in EventType}
_TICKED = re.compile(r"`([^`\n]+)`")
_SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)
_FILE = re.compile(r"(?:\.\./)*((?:[\w*-]+/)*[\w*-]+\.(?:py|sql))")
_DOTTED = re.compile(r"(?:hookseal\.)?([a-z_]+(?:\.[a-z_]+)*)((?:\.[A-Za-z_]+)+)(?:\(\))?")
_OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z-]*)")
_OPTIONS_OF_ALL = {"--help", "--version", "--debug"}


def texts() -> Iterator[tuple[str, str]]:
    """Each page and each docstring or comment of the package, with the place."""
    for page in PAGES:
        yield page.relative_to(ROOT).as_posix(), page.read_text()
    for file in CODE:
        text = file.read_text()
        docstrings = [
            node.value.value
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        ]
        comments = re.findall(r"(?:^|\s)# (.*)$", text, re.MULTILINE)
        yield file.relative_to(ROOT).as_posix(), "\n".join([*docstrings, *comments])


TEXTS = list(texts())
IDS = [place for place, _ in TEXTS]


@pytest.mark.parametrize(("place", "text"), TEXTS, ids=IDS)
def test_every_file_and_module_that_is_named_exists(place: str, text: str) -> None:
    missing = []
    for ticked in _TICKED.findall(text):
        if (file := _FILE.fullmatch(ticked)) is not None:
            if file[1] not in ELSEWHERE and not _exists(file[1].replace("NNNN_name", "*"), ROOT / place):
                missing.append(ticked)
        elif _DOTTED.fullmatch(ticked) and not _resolves(ticked.removesuffix("()")):
            missing.append(ticked)
    assert missing == []


def _exists(file: str, named_in: Path) -> bool:
    """From the root, beside the place that names it, or with its last parts below one of the folders of code."""
    if list(ROOT.glob(file)) or list(named_in.parent.glob(file)):
        return True
    return any(list((ROOT / folder).rglob(file)) for folder in ("src", "tests", "benchmarks"))


def _resolves(name: str) -> bool:
    """True, too, for names that are of no module of this package."""
    if name in EVENT_TYPES:
        return True
    parts = name.removeprefix("hookseal.").split(".")
    if find_spec(f"hookseal.{parts[0]}") is None:
        return True
    for count in range(len(parts), 0, -1):
        try:
            found: Any = import_module(".".join(["hookseal", *parts[:count]]))
        except ImportError:
            continue
        for part in parts[count:]:
            fields = {**getattr(found, "__annotations__", {}), **getattr(found, "__dataclass_fields__", {})}
            if not hasattr(found, part) and part not in fields:
                return False
            found = getattr(found, part, None)
        return True
    return False


@pytest.mark.parametrize(("place", "text"), TEXTS, ids=IDS)
def test_every_command_that_is_named_exists_with_its_options(place: str, text: str) -> None:
    missing = []
    for line in _commands(text):
        words = line.split()[1:]
        if not words or not re.fullmatch(r"[a-z]+", words[0]):
            continue
        if words[0] not in MODULES:
            missing.append(line)
            continue
        known = _options(words)
        missing += [f"{option} of: {line}" for option in _OPTION.findall(line) if option not in known]
    assert missing == []


def _commands(text: str) -> Iterator[str]:
    """`hookseal ...` between backticks, and the lines of shell blocks without comments."""
    for ticked in _TICKED.findall(_SHELL.sub("", text)):
        if ticked.startswith("hookseal ") and "|" not in ticked:
            yield ticked
    for block in _SHELL.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"\s#\s|\$\(|\||&&|;|>", line):
                if part.strip().startswith("hookseal "):
                    yield part.strip()


def _options(words: list[str]) -> set[str]:
    made: Any = command([words[0]])
    found = made.commands.get(words[0], made) if isinstance(made, click.Group) or hasattr(made, "commands") else made
    for word in words[1:]:
        if not hasattr(found, "commands"):
            break
        found = found.commands.get(word, found)
    return {one for parameter in found.params for one in (*parameter.opts, *parameter.secondary_opts)} | _OPTIONS_OF_ALL


def test_the_options_of_a_command_are_found() -> None:
    assert "--state" in _options(["deliveries"])
    assert "--config" in _options(["config", "show"])
    assert "--state" not in _options(["serve"])
    assert not _resolves("receive.core.Nothing")
    assert _resolves("receive.core.Decision")
