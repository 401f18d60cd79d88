"""The examples in docstrings give what they say."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import pkgutil

import fastgrad

# Modules that need the library of the same name, as others do not
DOORS = {"sklearn"}
ABSENT = {f"fastgrad.{door}" for door in DOORS if importlib.util.find_spec(door) is None}
MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(fastgrad.__path__, "fastgrad.")
    if not name.endswith("__main__") and ".".join(name.split(".")[:2]) not in ABSENT
]


def test_docstrings() -> None:
    results = [doctest.testmod(importlib.import_module(name)) for name in MODULES]
    assert sum(r.attempted for r in results) > 0
    assert sum(r.failed for r in results) == 0
