"""Pages lead somewhere: links with their anchors, files that are named, examples that are run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastgrad import __version__

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*/*.md")])
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


def test_one_version() -> None:
    """What cannot read fastgrad/_version.py says the same."""
    assert re.findall(r"^version: (.*)$", _text(ROOT / "CITATION.cff"), re.M) == [__version__]
    assert re.findall(r"^## (\S+)", _text(ROOT / "CHANGELOG.md"), re.M)[0] == __version__


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One two\n[a](#one-two) [b](#three) [c](page.md) ![d](gone.png)\n")
    assert _broken(page) == ["#three", "gone.png"]


@by_page
def test_links(page: Path) -> None:
    assert _broken(page) == []


@by_page
def test_what_continues_a_list_is_indented_for_the_site(page: Path) -> None:
    """By four columns, as Python-Markdown wants it; GitHub takes two as well."""
    assert not re.findall(r"^[-*\d].*(?:\n.+)*\n\n( {1,3}\S.*)", _text(page), re.M)


@by_page
def test_files_that_are_named_exist(page: Path) -> None:
    missing = {name for name in NAMED.findall(_text(page)) if not (ROOT / name).exists()}
    assert not missing


def test_modules_of_the_way_exist() -> None:
    names = set(MODULE.findall(_text(ROOT / "docs" / "how-it-works.md")))
    assert len(names) > 20
    assert not names - {path.name for path in (ROOT / "fastgrad").rglob("*.py")}


def test_every_example_is_run() -> None:
    """Those of README and docs/: by test_page_examples.py, test_kernels_page.py, test_api.py."""
    with_code = [p for p in PAGES if "```python" in _text(p)]
    assert {p.parent for p in with_code} == {ROOT, ROOT / "docs"}
    assert [p.name for p in with_code if p.parent == ROOT] == ["README.md"]
