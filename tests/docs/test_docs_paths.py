"""What the docs point at is there."""

import re
from pathlib import Path

import pytest

from hookseal.delivery.states import diagram

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_TEST_FILE = re.compile(r"(?:tests/\w+/)*test_\w+\.py")
_PATH = re.compile(r"(?:src|tests|docs|benchmarks)/[\w./*-]+")


def test_how_it_works_shows_the_states_of_a_delivery() -> None:
    assert f"```mermaid\n{diagram()}```" in (ROOT / "docs" / "how-it-works.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=[page.relative_to(ROOT).as_posix() for page in PAGES])
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    missing = [link for link in _LINK.findall(text) if "://" not in link and not (page.parent / link).exists()]
    known = {path.name for path in (ROOT / "tests").rglob("*.py")}
    for code in _CODE.findall(text):
        lost_path = _PATH.fullmatch(code) and not list(ROOT.glob(code.rstrip("/")))
        lost_test = _TEST_FILE.fullmatch(code) and code.rsplit("/", 1)[-1] not in known
        if lost_path or lost_test:
            missing.append(code)
    assert missing == []
