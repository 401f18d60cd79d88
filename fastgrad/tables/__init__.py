"""Tables as people have them: .csv, .tsv, .parquet, .feather in; x, y and what was learned out.

pandas reads them (``pip install pandas``). To import this imports neither pandas nor, before a name
is used, the rest: it would be a thirtieth of what ``import fastgrad`` takes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .errors import DataError

if TYPE_CHECKING:
    from .read import Read, is_table, read_table
    from .table import Table

__all__ = ["DataError", "Read", "Table", "is_table", "read_table"]
_PLACES = {"Read": "read", "is_table": "read", "read_table": "read", "Table": "table"}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f".{_PLACES[name]}", __name__), name)
    globals()[name] = found
    return found
