"""The examples in docstrings give what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import fastgrad

DOORS = {"fastgrad.mpi", "fastgrad._mlp.ranks"}  # import a library that may not be there
MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(fastgrad.__path__, "fastgrad.")
    if not name.endswith("__main__") and name not in DOORS
]


def test_docstrings() -> None:
    results = [doctest.testmod(importlib.import_module(name)) for name in MODULES]
    assert sum(r.attempted for r in results) > 0
    assert sum(r.failed for r in results) == 0
