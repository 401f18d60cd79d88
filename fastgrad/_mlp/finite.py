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
        if a.dtype.kind == "f":
            rows = max(1, _ELEMENTS // max(1, a[:1].size))
            for start in range(0, len(a), rows):
                ok = np.isfinite(a[start : start + rows])
                if not ok.all():
                    _refuse(caller, name, a, start, ok)


def _refuse(caller: str, name: str, a: Array, start: int, ok: NDArray[np.bool_]) -> None:
    place = [int(i) for i in np.argwhere(~ok)[0]]
    place[0] += start
    where = f"row {place[0]}" + (f", column {place[1]}" if a.ndim > 1 else "")
    raise ValueError(
        f"{caller}: {name}{place} ({where}) is {a[tuple(place)]} as {a.dtype}; "
        f"clean the data, or pass check_finite=False"
    )
