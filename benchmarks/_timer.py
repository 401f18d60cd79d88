"""The package's timer as it is in this checkout, whatever commit of fastgrad is measured."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any


def load(path: Path) -> Any:
    """A module from its file: nothing of the package around it."""
    spec: Any = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_bench = load(Path(__file__).parents[1] / "fastgrad" / "_bench.py")
calls_to_fill, quiet, seconds = _bench.calls_to_fill, _bench.quiet, _bench.seconds
fill = _bench.fill
