"""The house: kernels import nothing from above them, and compile through one place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastgrad

PACKAGE = Path(fastgrad.__file__).parent
KERNELS = sorted((PACKAGE / "_kernels").rglob("*.py"))
SOURCES = sorted(PACKAGE.rglob("*.py"))
COMPILERS = {
    "njit", "jit", "cfunc", "CFunc", "vectorize", "guvectorize", "stencil", "generated_jit",
}  # fmt: skip


def _name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _numba_names(tree: ast.AST) -> Iterator[str]:
    """Everything of numba that a file names: ``numba.x`` and ``from numba... import x``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id in ("numba", "nb"):
                yield node.attr
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "numba":
            yield from (alias.name for alias in node.names)


def test_there_is_something_to_read() -> None:
    assert {"dispatch.py", "compiler.py", "microkernel.py"} <= {path.name for path in KERNELS}
    assert len(SOURCES) > len(KERNELS) + 5


@pytest.mark.parametrize("path", KERNELS, ids=_name)
def test_kernels_import_nothing_from_above(path: Path) -> None:
    depth = len(path.relative_to(PACKAGE / "_kernels").parts)
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level <= depth, f"line {node.lineno}"
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] != "fastgrad", f"line {node.lineno}"
        elif isinstance(node, ast.Import):
            assert all(a.name.split(".")[0] != "fastgrad" for a in node.names), node.lineno


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_only_the_compiler_compiles(path: Path) -> None:
    used = set(_numba_names(_tree(path))) & COMPILERS
    assert path == PACKAGE / "_kernels" / "runtime" / "compiler.py" or not used


def test_the_compiler_does_compile() -> None:
    used = set(_numba_names(_tree(PACKAGE / "_kernels" / "runtime" / "compiler.py")))
    assert "CFunc" in used


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_options_are_the_common_ones(path: Path) -> None:
    """register_jitable takes **OPTIONS; nobody sets fastmath or parallel, or uses prange."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef):
            for decorator in node.decorator_list:
                call = decorator if isinstance(decorator, ast.Call) else None
                named = call.func if call else decorator
                if isinstance(named, ast.Name) and named.id == "register_jitable":
                    spread = [k.value for k in call.keywords if k.arg is None] if call else []
                    assert [ast.unparse(value) for value in spread] == ["OPTIONS"], node.name
        elif isinstance(node, ast.keyword) and node.arg in ("fastmath", "parallel"):
            raise AssertionError(f"{node.arg} is set by {ast.unparse(node.value)}")
        elif isinstance(node, ast.Name | ast.Attribute | ast.alias):
            name = getattr(node, "id", getattr(node, "attr", getattr(node, "name", "")))
            assert name != "prange"


def test_common_options_are_strict() -> None:
    from fastgrad._kernels.runtime.compiler import OPTIONS

    assert OPTIONS["fastmath"] is False and OPTIONS["error_model"] == "numpy"


def test_kernels_have_names_of_their_own() -> None:
    """Or the cache, which knows them by name and sources, would give one the code of another."""
    from fastgrad._kernels.runtime import registry

    names = [made.name for made in registry.kernels()]
    assert len(names) > 40 and len(set(names)) == len(names)
    # a dtype, and the start of a builtin's, end in a point: see registry.py and builtins.py
    assert not [name for name in names if "." in name or name.startswith("python_")]


def test_formulas_know_no_back_end() -> None:
    """elementary.py and activations.py run on LLVM and on numpy alike: they import neither."""
    for name in ("elementary", "activations"):
        for node in ast.walk(_tree(PACKAGE / "_kernels" / "formulas" / f"{name}.py")):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module or ""]
            assert all(m.split(".")[0] not in ("numba", "llvmlite") for m in modules)
