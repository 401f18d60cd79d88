"""A model's Table as bytes in its file: JSON, a list a column, and back with every check."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ..tables import Table

MAX_TABLE = 1 << 24  # bytes; parsed JSON takes many times as much
_MAX_DEPTH = 8  # of brackets; ours has 4. json, nested deep, overflows a thread's small stack
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.S)


def table_to_bytes(table: Table) -> NDArray[np.uint8]:
    from ..tables import table as tables

    text = json.dumps(tables.to_plain(table), allow_nan=False, separators=(",", ":"))
    data = np.frombuffer(text.encode(), np.uint8)
    if data.size > MAX_TABLE:
        raise ValueError(f"the table takes {data.size} bytes; {MAX_TABLE} is the limit of a file")
    return data


def table_from_bytes(data: NDArray[Any], inputs: int, outputs: int) -> Table:
    """ValueError, KeyError, TypeError or OverflowError for what is damaged."""
    from ..tables import table as tables

    text = data.tobytes()
    depth = deepest = 0
    for bracket in re.findall(rb"[\[\]{}]", _STRING.sub(b"", text)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    if deepest > _MAX_DEPTH:
        raise ValueError("its table is damaged")
    try:
        plain = json.loads(text.decode())
    except (ValueError, RecursionError):
        raise ValueError("its table is damaged") from None
    table = tables.from_plain(plain)
    tables.check(table, inputs, outputs)
    return table
