"""What the gate shares with the other benchmarks, of this checkout: operands, and the timer."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any


def _load(name: str) -> Any:
    spec: Any = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HERE = Path(__file__).parents[1]
data, timer = _load("_data"), _load("_timer")
