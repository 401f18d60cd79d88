"""The examples of README.md and of the pages in docs/ run, and print what they say they print."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import pages
from support.printed import promised

ROOT = Path(__file__).parents[2]
# Signatures; a kernel that test_kernels_page.py runs; what test_torch_door.py does
OTHERS = {"api.md", "kernels.md", "torch.md"}
PAGES = [
    path
    for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))
    if "```python" in path.read_text(encoding="utf-8") and path.name not in OTHERS
]


def test_comments_are_read() -> None:
    code = 'print(1)  # 1\nx = 2  # two\nprint("·#", [\n    x])  # [2]\n# and\n#  more\n\n# prose\n'
    assert promised(code) == ["1", "[2]", "and", " more"]


def test_a_library_that_is_missing_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages.importlib.util, "find_spec", lambda name: None)
    assert pages.missing("from fastgrad.sklearn import MLPClassifier\n") == ["sklearn"]
    assert pages.missing("import torch\n") == ["torch"]
    assert pages.missing("import fastgrad\nfrom fastgrad.datasets import load_digits\n") == []


def test_a_wrong_comment_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1)  # 2\n```\n")
    with pytest.raises(AssertionError):
        pages.run(page, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert pages.run(page, tmp_path)


def test_pages_that_must_have_examples() -> None:
    names = {page.name for page in PAGES}
    assert names >= {"README.md", "tutorial.md", "tables.md", "njit.md", "threads.md"}
