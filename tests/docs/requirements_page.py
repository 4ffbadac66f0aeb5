"""Writes docs/requirements.md: each requirement with the tests that prove it.

    python tests/docs/requirements_page.py > docs/requirements.md

A test says what it proves: `@pytest.mark.requirement("Z01", "Z04")`, on a function, a class or a module (`pytestmark`).
The tests are read, not run.
"""

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data" / "requirements.toml"
PAGE = ROOT / "docs" / "requirements.md"
PUBLIC = ("acceptance", "fault")
"""Folders whose tests go through HTTP or the command line."""


def requirements() -> dict[str, dict[str, list[str]]]:
    return tomllib.loads(DATA.read_text())


def proofs() -> dict[str, list[tuple[str, str]]]:
    """Requirement id → (file below tests/, test) of each test that names it."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        name = path.relative_to(ROOT / "tests").as_posix()
        tree = ast.parse(path.read_text())
        for_all = [id for node in tree.body if _is_pytestmark(node) for id in _ids(node)]
        for test, inherited in _tests(tree.body, for_all):
            for id in sorted({*inherited, *(id for mark in test.decorator_list for id in _ids(mark))}):
                found[id].append((name, test.name))
    return found


def _tests(
    body: list[ast.stmt], inherited: list[str]
) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, list[str]]]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node, inherited
        elif isinstance(node, ast.ClassDef):
            own = [id for mark in node.decorator_list for id in _ids(mark)]
            yield from _tests(node.body, [*inherited, *own])


def _is_pytestmark(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and any(
        isinstance(to, ast.Name) and to.id == "pytestmark" for to in node.targets
    )


def _ids(node: ast.AST) -> list[str]:
    """The ids of every `….requirement("…", …)` call inside a node."""
    return [
        argument.value
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "requirement"
        for argument in call.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    ]


def page() -> str:
    found = proofs()
    groups = requirements()
    rows = [(id, *row) for group in groups.values() for id, row in group.items()]
    public = sum(any(file.split("/")[0] in PUBLIC for file, _ in found.get(id, [])) for id, *_ in rows)
    lines = [
        "# What the first documents ask, and what proves it",
        "",
        "<!-- Written by `make docs` from tests/data/requirements.toml and the tests; do not edit. -->",
        "",
        f"{len(rows)} requirements; {sum(id in found for id, *_ in rows)} have a test, {public} of them through HTTP or the",
        "command line. *Optional* ones are off unless configured.",
    ]
    for group, own in groups.items():
        lines += ["", f"## {group}", "", "| | side | | what | proven by |", "|---|---|---|---|---|"]
        for id, (side, level, words) in own.items():
            tests = "<br>".join(
                f"`{file}` {test.removeprefix('test_').replace('_', ' ')}" for file, test in found.get(id, [])
            )
            lines.append(f"| {id} | {side} | {level} | {words} | {tests or '—'} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
