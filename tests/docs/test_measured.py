"""README and docs/benchmarks.md say what benchmarks/compare/measured has; the charts show it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pages() -> Any:
    sys.path.insert(0, str(ROOT / "benchmarks" / "compare"))
    try:
        return importlib.import_module("pages")
    finally:
        sys.path.pop(0)


def test_the_tables_are_those_of_the_measured_files(pages: Any) -> None:
    for path, blocks in pages.texts().items():
        page = path.read_text(encoding="utf-8")
        for name, text in blocks.items():
            block = f"<!-- {name}:begin -->\n{text}\n<!-- {name}:end -->"
            assert block in page, f"{path.name} is stale: python benchmarks/compare/pages.py"


def test_the_charts_are_those_of_the_measured_file(pages: Any) -> None:
    for name, drawn in pages.charts().items():
        assert (ROOT / "docs" / name).read_text(encoding="utf-8") == drawn, name
        assert ElementTree.fromstring(drawn).tag.endswith("svg")


def test_a_block_is_replaced_and_the_rest_stays(pages: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb\n", encoding="utf-8")
    assert pages.replace(page, "x", "new") and not pages.replace(page, "y", "new")
    assert page.read_text(encoding="utf-8") == "a\n<!-- x:begin -->\nnew\n<!-- x:end -->\nb\n"


def test_the_first_page_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
