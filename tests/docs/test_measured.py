"""README and docs/benchmarks.md say what benchmarks/compare/measured has; the charts show it."""

from __future__ import annotations

import ast
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


SCRIPTS = {path.stem: path for path in (ROOT / "benchmarks" / "compare").glob("*.py")}


def _names(tree: ast.Module) -> set[str]:
    """What a module has: definitions, assignments, imports."""
    found = set[str]()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {alias.asname or alias.name for alias in node.names}
        else:
            found |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    return found


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_a_script_asks_others_for_what_they_have(script: str) -> None:
    """They import each other by hand, and most are run once in a while."""
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in SCRIPTS.items()}
    wanted = set[tuple[str, str]]()
    imports = [n for n in ast.walk(trees[script]) if isinstance(n, ast.Import)]
    asked = {alias.name for node in imports for alias in node.names} & trees.keys()
    for node in ast.walk(trees[script]):
        if isinstance(node, ast.ImportFrom) and node.module in trees:
            wanted |= {(node.module, alias.name) for alias in node.names}
        elif isinstance(node, ast.Attribute) and getattr(node.value, "id", None) in asked:
            wanted.add((ast.unparse(node.value), node.attr))
    assert not {(name, what) for name, what in wanted if what not in _names(trees[name])}


def test_a_block_is_replaced_and_the_rest_stays(pages: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb\n", encoding="utf-8")
    assert pages.replace(page, "x", "new") and not pages.replace(page, "y", "new")
    assert page.read_text(encoding="utf-8") == "a\n<!-- x:begin -->\nnew\n<!-- x:end -->\nb\n"


def test_the_first_page_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
