"""The examples in docstrings give what they say."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import pkgutil

import fastgrad

DOORS = ("sklearn", "torch")  # modules named as the library that they are for, which may be absent


def _is_here(name: str) -> bool:
    part = name.split(".")[1]
    if name in {"fastgrad.mpi", "fastgrad._mlp.ranks"}:  # importing mpi4py starts MPI
        return False
    return part not in DOORS or importlib.util.find_spec(part) is not None


MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(fastgrad.__path__, "fastgrad.")
    if not name.endswith("__main__") and _is_here(name)
]


def test_docstrings() -> None:
    results = [doctest.testmod(importlib.import_module(name)) for name in MODULES]
    assert sum(r.attempted for r in results) > 0
    assert sum(r.failed for r in results) == 0
