"""benchmarks/sweeps/price.py: its patches fit the kernels, and docs/contract.md has its marks."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SWEEPS = ROOT / "benchmarks" / "sweeps"


@pytest.fixture
def price(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", list(sys.path))  # it adds a folder
    spec = importlib.util.spec_from_file_location("price", SWEEPS / "price.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_patches_fit(price: Any, tmp_path: Path) -> None:
    """Each once, and what comes out is Python."""
    price.relax(tmp_path)
    copy = tmp_path / "fastgrad" / "_kernels" / "gemm"
    changed = {path.name for path in (SWEEPS / "relaxed").glob("*.py")}
    assert {"inner_product.py", "row_dots.py"} <= changed and (copy / "sums.py").exists()
    for name in {*price.RELAXED, *changed}:
        compile((copy / name).read_text(), name, "exec")


def test_a_patch_that_does_not_fit_ends_it(price: Any, tmp_path: Path) -> None:
    price.RELAXED["dispatch.py"].append(("no such text", ""))
    with pytest.raises(SystemExit, match=r"dispatch.py has 'no such text' 0 times"):
        price.relax(tmp_path)


def test_the_docs_have_the_marks() -> None:
    text = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
    begin, end = "<!-- price:begin -->", "<!-- price:end -->"
    assert text.count(begin) == text.count(end) == 1
    assert text.index(begin) < text.index(end)
