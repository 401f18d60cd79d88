"""The house: who may import whom, as a table, with no way round; and one place that compiles."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastgrad
from support.imports import cycles, edges, modules

PACKAGE = Path(fastgrad.__file__).parent
KERNELS = sorted((PACKAGE / "_kernels").rglob("*.py"))
SOURCES = sorted(PACKAGE.rglob("*.py"))
COMPILER = PACKAGE / "_kernels" / "runtime" / "compiler.py"
COMPILERS = {
    "njit", "jit", "cfunc", "CFunc", "vectorize", "guvectorize", "stencil", "generated_jit",
}  # fmt: skip


MODULES = modules(PACKAGE)
EDGES = edges(MODULES)

STAGES = ("codegen", "runtime", "formulas", "gemm", "layer", "bind")
_C, _R, _F, _G, _L, _B = (f"_kernels.{stage}" for stage in STAGES)
# A stage, a folder or a file of the package, and those that it may import. Data flow downwards.
ALLOWED: dict[str, tuple[str, ...]] = {
    "_version": (),
    "_needs": (),
    _C: (),
    _R: (_C,),
    _F: (_C, _R),
    _G: (_C, _R, _F),
    _L: (_C, _R, _F, _G),
    _B: (_C, _R, _F, _G, _L),
    "_kernels": (_R,),  # the hash of the sources, before the sources
    "reference": (_C, _F),  # of codegen KC and the CPU alone, see below
    "_ops": (_C, _R, _F, _G, _L, _B, "reference"),
    "threads": (_R, "_ops"),
    "_njit": (_C, _R, _F, _B, "_ops", "threads"),
    "testing": ("_ops",),
    "_draws": ("_ops",),
    "_files": ("_ops",),
    "_npz": ("_ops",),
    "tables": ("_ops", "_files", "threads"),
    "datasets": ("_ops", "_draws", "_files", "_npz", "tables"),
    "mpi": ("_ops", "threads"),
    "_mlp": (
        _C, _R, _F, _G, _L, _B, "_ops", "_draws", "_files", "_npz", "datasets", "_version",
        "tables", "mpi",
    ),
    "_config": (_C, _R, _B, "threads", "_version"),
    "_bench": (),
    "": (
        _C, "reference", "_ops", "_njit", "testing", "threads", "_config", "_mlp", "_needs",
        "_version",
    ),  # fastgrad itself
    "cli": (
        "", _C, _R, "reference", "_ops", "testing", "threads", "datasets", "_files", "_mlp",
        "_config", "_bench", "_version", "tables",
    ),
    "sklearn": ("",),  # the public API alone
    "__main__": ("cli",),
    "torch": ("",),  # a door: on what users have
}  # fmt: skip


# imports ------------------------------------------------------------------------------------------


def stage(module: str) -> str:
    """The row of the table that a module belongs to."""
    parts = module.split(".")[1:]
    return ".".join(parts[: 2 if parts[:1] == ["_kernels"] else 1])


def short(module: str) -> str:
    return module.removeprefix("fastgrad.")


def test_every_module_has_a_row() -> None:
    assert {stage(module) for module in MODULES} == set(ALLOWED)
    assert len(MODULES) > 100


@pytest.mark.parametrize("row", ALLOWED)
def test_imports_are_allowed(row: str) -> None:
    wrong = {
        (short(module), short(target))
        for module in MODULES
        if stage(module) == row
        for target in EDGES[module]
        if stage(target) not in (row, *ALLOWED[row])
    }
    assert not wrong


@pytest.mark.parametrize("row", ALLOWED)
def test_what_is_allowed_is_used(row: str) -> None:
    """Or the table says less than it could."""
    used = {stage(t) for module in MODULES if stage(module) == row for t in EDGES[module]}
    assert set(ALLOWED[row]) <= used | set(_below(row)), set(ALLOWED[row]) - used


def _below(row: str) -> tuple[str, ...]:
    """The stages of kernels are in a line: what is further down may be used, or not."""
    return ALLOWED[row] if row.startswith("_kernels") else ()


def test_the_table_has_no_way_round() -> None:
    assert cycles({row: set(targets) for row, targets in ALLOWED.items()}) == []


def test_there_is_no_import_cycle() -> None:
    assert cycles(EDGES) == []


def test_files_of_the_model_import_from_those_above_them_on_its_page() -> None:
    # of the checkout: a wheel has no READMEs of folders
    folder = Path(__file__).parents[2] / "fastgrad" / "_mlp"
    page = (folder / "README.md").read_text(encoding="utf-8")
    order = [f"fastgrad._mlp.{name}" for name in re.findall(r"^\| (\w+)\.py ", page, re.M)]
    assert set(order) | {"fastgrad._mlp"} == {m for m in MODULES if stage(m) == "_mlp"}
    for i, module in enumerate(order):
        assert {t for t in EDGES[module] if stage(t) == "_mlp"} <= set(order[:i]), module


def test_the_mathematics_knows_formulas_and_kc_alone() -> None:
    for module in MODULES:
        if stage(module) == "reference":
            targets = {short(t) for t in EDGES[module] if not stage(t) == "reference"}
            ours = {t for t in targets if not t.startswith(_F)}
            assert ours <= {"_kernels.codegen.target"}, module


def test_imports_are_seen_wherever_they_stand(tmp_path: Path) -> None:
    """Inside functions, under TYPE_CHECKING, relative, absolute, of a package."""
    package = tmp_path / "p"
    (package / "q").mkdir(parents=True)
    sources = {
        "__init__.py": "from .a import f\n",
        "a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .q.b import B\n",
        "q/__init__.py": "",
        "q/b.py": "def f():\n    from ..a import f\n    import p.q.c\n",
        "q/c.py": "from . import b, nothing\nfrom .. import __version__\n",
    }
    for name, text in sources.items():
        (package / name).write_text(text)
    found = edges(modules(package))
    assert found == {
        "p": {"p.a"}, "p.a": {"p.q.b"}, "p.q": set(), "p.q.b": {"p.a", "p.q.c"},
        "p.q.c": {"p.q.b", "p.q", "p"},
    }  # fmt: skip
    assert ["p.a", "p.q.b", "p.a"] in cycles(found)


# compiling ----------------------------------------------------------------------------------------


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
    assert {"dispatch.py", "registry.py", "microkernel.py"} <= {path.name for path in KERNELS}
    assert len(SOURCES) > len(KERNELS) + 5


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_only_one_file_compiles(path: Path) -> None:
    used = set(_numba_names(_tree(path))) & COMPILERS
    assert path == COMPILER or not used


def test_that_file_does_compile() -> None:
    assert "CFunc" in set(_numba_names(_tree(COMPILER)))


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
    from fastgrad._kernels.runtime import compiler

    options = compiler.OPTIONS
    assert options["fastmath"] is False and options["error_model"] == "numpy"


@pytest.mark.parametrize("path", KERNELS, ids=_name)
def test_words_have_names(path: Path) -> None:
    """Words of memory are fields of a struct: no word by a number, no long tuple of them."""
    for node in ast.walk(_tree(path)):
        if not isinstance(node, ast.Call):
            continue
        called = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if called == "word":
            assert not isinstance(node.args[1], ast.Constant), ast.unparse(node)
        if called in ("call", "on_stack", "fork_join", "run_task", "emit_call"):
            for argument in node.args:
                long = isinstance(argument, ast.Tuple | ast.List) and len(argument.elts) > 4
                assert not long, ast.unparse(node)


def test_names_of_kernels_are_their_own() -> None:
    """The name, the dtype and the hash of the sources are what the disk cache knows a kernel by."""
    from fastgrad._kernels.runtime import registry

    names = [kernel.name for kernel in registry.kernels()]
    assert len(names) > 40 and len(set(names)) == len(names)


def test_formulas_know_no_back_end() -> None:
    """elementary.py and activations.py run on LLVM and on numpy alike: they import neither."""
    for name in ("elementary", "activations"):
        for node in ast.walk(_tree(PACKAGE / "_kernels" / "formulas" / f"{name}.py")):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module or ""]
            assert all(m.split(".")[0] not in ("numba", "llvmlite") for m in modules)
