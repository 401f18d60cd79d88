"""Pages lead somewhere: links, files that are named, examples that some test runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*/*.md")])
# by test_readme.py, tests/njit/test_page.py, test_contributing.py and the tests of the doors
RUN = {"README.md", "docs/njit.md", "CONTRIBUTING.md", "docs/sklearn.md", "docs/torch.md"}
SIGNATURES = {"docs/api.md"}
LINK = re.compile(r"\]\(([^()\s]*)(?:\s[^()]*)?\)")
NAMED = re.compile(r"\b(?:benchmarks|tests|docs|examples|fastgrad)/[\w/]+\.(?:py|md|csv|txt)\b")
MODULE = re.compile(r"`(\w+\.py)`")
by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def _anchors(text: str) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    kept = (re.sub(r"[^\w\- ]", "", h.lower()) for h in headings)
    return {h.replace(" ", "-") for h in kept}


def _broken(page: Path) -> list[str]:
    broken = []
    for link in LINK.findall(_text(page)):
        path, _, anchor = link.partition("#")
        if not re.match(r"https?:", link):
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and anchor not in _anchors(_text(target))):
                broken.append(link)
    return broken


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One two\n[a](#one-two) [b](#three) [c](page.md) ![d](gone.png)\n")
    assert _broken(page) == ["#three", "gone.png"]


@by_page
def test_links(page: Path) -> None:
    assert _broken(page) == []


@by_page
def test_files_that_are_named_exist(page: Path) -> None:
    missing = {name for name in NAMED.findall(_text(page)) if not (ROOT / name).exists()}
    assert not missing


def test_modules_of_the_way_exist() -> None:
    names = set(MODULE.findall(_text(ROOT / "docs" / "how-it-works.md")))
    assert len(names) > 20
    assert not names - {path.name for path in (ROOT / "fastgrad").rglob("*.py")}


def test_every_example_is_run() -> None:
    with_code = {p.relative_to(ROOT).as_posix() for p in PAGES if "```python" in _text(p)}
    assert with_code == RUN | SIGNATURES
