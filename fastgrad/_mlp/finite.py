"""Numbers that are none: arrays of the model's dtype in, a ValueError that names row and column."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_ELEMENTS = 1 << 20  # at a time


def check_finite(caller: str, **arrays: Array) -> None:
    """Each (N,) or (N, M); integers are finite."""
    for name, a in arrays.items():
        rows = max(1, _ELEMENTS // max(1, a[:1].size))
        for start in range(0, len(a), rows):
            check_rows(caller, name, a, start, start + rows)


def check_rows(caller: str, name: str, a: Array, start: int, stop: int) -> None:
    """Those of one array; stop may be beyond its end."""
    if a.dtype.kind != "f":
        return
    ok = np.isfinite(a[start:stop])
    if ok.all():
        return
    place = [int(i) for i in np.argwhere(~ok)[0]]
    place[0] += start
    where = f"row {place[0]}" + (f", column {place[1]}" if a.ndim > 1 else "")
    raise ValueError(
        f"{caller}: {name}{place} ({where}) is {a[tuple(place)]} as {a.dtype}; "
        f"clean the data, or pass check_finite=False"
    )
