"""The import rules, as a table: a line imports only from lines above it.

An exception stands in `EXCEPTIONS` with its reason. Words (`errors`, `model`, ...) may be imported by everybody; ports
are protocols and values without behaviour and may be imported by every layer below them.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "src" / "hookseal"

LAYERS: list[set[str]] = [
    {"clock"},
    {"released"},
    {"model", "time_source"},
    {"errors", "message", "ids", "probe", "steps"},
    {"sealing", "settings", "logs"},
    {"schemes"},
    {"catalogue"},
    {"identity"},
    {"store.port", "egress.port"},
    {"destinations.port"},
    {"egress"},
    {"receive"},
    {"delivery"},
    {"destinations"},
    {"store"},
    {"manage"},
    {"simulate", "stamp"},
    {"api", "offline"},
    {"web"},
    {"cli"},
    {"__init__", "__main__"},
]

EXCEPTIONS: dict[tuple[str, str], str] = {
    ("identity.normalise", "store.port"): "an event is read from its stored row; the port holds values only",
}

CONCRETE = {"store.sqlite", "store.postgres", "destinations.http", "destinations.handler", "web.server"}
MAY_NAME_CONCRETE = {"web.app", "cli"}
FOREIGN = {
    "apsw": {"store"},
    "asyncpg": {"store"},
    "aiohttp": {"egress", "simulate", "cli"},
    "granian": {"web"},
    "starlette": {"api"},
    "typer": {"cli"},
    "jwt": {"schemes"},
    "prometheus_client": {"api"},
    "structlog": {"logs"},
    "zstandard": {"sealing"},
    "pyhanko": {"stamp"},
    "pyhanko_certvalidator": {"stamp"},
    "asn1crypto": {"stamp"},
    "PIL": {"stamp"},
    "fontTools": {"stamp"},
    "tomllib": {"settings", "catalogue"},
}
"""Who may import a library; every library that could be replaced one day stands behind one door."""


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(ROOT.rglob("*.py")):
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        if parts[-1] == "__init__" and len(parts) > 1:
            parts.pop()
        yield ".".join(parts), path


@cache  # Every test reads the same files. Parsing each file once reduced this module from 28 s to 4 s (2 cores).
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """(module, what is named of it) of every import, those inside functions too."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, ""
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for name in node.names:
                yield node.module or "", name.name


def layer_of(module: str) -> int | None:
    for number, layer in enumerate(LAYERS):
        for name in layer:
            if "." in name and (module == name or module.startswith(name + ".")):
                return number
    for number, layer in enumerate(LAYERS):
        if module.split(".")[0] in layer:
            return number
    return None


def own(module: str, name: str) -> str | None:
    """The dotted name inside hookseal that an import reaches, or None for a foreign one."""
    if module != "hookseal" and not module.startswith("hookseal."):
        return None
    inner = module.removeprefix("hookseal").removeprefix(".")
    candidate = f"{inner}.{name}" if inner and name else inner or name
    if candidate in KNOWN:
        return candidate
    return inner or "__init__"


MODULES = list(modules())
KNOWN = {module for module, _ in MODULES}


def test_every_module_has_a_layer() -> None:
    assert [module for module, _ in MODULES if layer_of(module) is None] == []


@pytest.mark.parametrize(("module", "path"), MODULES, ids=[module for module, _ in MODULES])
def test_imports_point_up_the_table(module: str, path: Path) -> None:
    mine = layer_of(module)
    assert mine is not None
    wrong = []
    for imported, name in imports(path):
        target = own(imported, name)
        if target is None or target == "__init__" or (module, target) in EXCEPTIONS:
            continue
        theirs = layer_of(target)
        same_part = target.split(".")[0] == module.split(".")[0]
        if theirs is None or (theirs >= mine and not same_part):
            wrong.append(target)
    assert wrong == [], f"{module} imports from below or beside itself"


@pytest.mark.parametrize(("module", "path"), MODULES, ids=[module for module, _ in MODULES])
def test_only_the_rim_names_a_concrete_part(module: str, path: Path) -> None:
    if any(module == rim or module.startswith(rim + ".") for rim in MAY_NAME_CONCRETE):
        return
    named = {own(imported, name) or "" for imported, name in imports(path)}
    foreign = {
        part
        for part in CONCRETE
        for target in named
        if (target == part or target.startswith(part + ".")) and not (module == part or module.startswith(part))
    }
    assert {part for part in foreign if part.split(".")[0] != module.split(".")[0]} == set()


@pytest.mark.parametrize(("module", "path"), MODULES, ids=[module for module, _ in MODULES])
def test_each_library_has_one_door(module: str, path: Path) -> None:
    wrong = [
        library
        for imported, _ in imports(path)
        if (library := imported.split(".")[0]) in FOREIGN
        and not any(module == door or module.startswith(door + ".") for door in FOREIGN[library])
    ]
    assert wrong == []


@pytest.mark.parametrize(("module", "path"), MODULES, ids=[module for module, _ in MODULES])
def test_time_environment_and_sql_have_their_place(module: str, path: Path) -> None:
    tree = tree_of(path)
    part = module.split(".")[0]
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = f"{node.value.id}.{node.attr}"
            if (
                name in {"time.time", "time.time_ns", "time.monotonic", "datetime.now", "datetime.utcnow"}
                and part != "clock"
            ):
                found.append(name)
            if name in {"os.environ", "os.getenv"} and part != "settings":
                found.append(name)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and part not in {"store", "model"}:
            words = node.value.split()
            if len(words) > 3 and words[0] in {"SELECT", "INSERT", "UPDATE", "DELETE"}:
                found.append(node.value[:30])
    assert found == []


def test_no_module_is_named_for_nothing_in_particular() -> None:
    empty_words = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}
    assert [module for module, _ in MODULES if empty_words & set(module.split("."))] == []
