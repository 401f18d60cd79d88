"""The short way into the products and the layer for arguments that need no second look.

2-D ndarrays of one dtype, outputs that kernels can write, nothing overlapping: a few tests of
types here, the rest in the compiled entry. None means: nothing was written, take the careful way.
The dtypes are compared here because numba's fast way to an array's type is blind to byte order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._kernels import entries, jit
from ._kernels.activations import TABLE

Array = NDArray[Any]
_KIND = np.ndarray
_CODES: dict[str | None, int] = {None: 0, **{row.name: row.code for row in TABLE}}
_SAVES_OUTPUT = {row.name for row in TABLE if row.saved == "output"}
_NONE = {np.dtype(t): (np.empty(0, t), np.empty((0, 0), t)) for t in (np.float32, np.float64)}
_ALL = (True, True, True)
_REFUSED = (TypeError, KeyError, IndexError, ValueError)  # what is not for this way


def quick_product(a: Any, b: Any, out: Any, accumulate: Any) -> Any:
    """out, or None."""
    if type(a) is not _KIND or type(b) is not _KIND or b.dtype is not a.dtype:
        return None
    if a.ndim != 2 or b.ndim != 2:
        return None  # sooner than numba, which takes 200 us to refuse
    try:
        dtype = a.dtype
        if out is None:
            if accumulate is not False:
                return None
            out = np.empty((a.shape[0], b.shape[1]), dtype)
        elif type(out) is not _KIND or out.dtype is not dtype or type(accumulate) is not bool:
            return None
        status = entries.PRODUCT[dtype](out, a, b, accumulate)
    except _REFUSED:
        return None
    return out if _is_done(status) else None


def quick_forward(x: Any, weight: Any, bias: Any, activation: Any, y: Any, z: Any) -> Any:
    if type(x) is not _KIND or x.ndim != 2:
        return None
    try:
        dtype = x.dtype
        no_row, no_matrix = _NONE[dtype]
        if y is None:
            y = np.empty((x.shape[0], weight.shape[1]), dtype)
        if not (_are(dtype, weight, y) and _are_or_none(dtype, bias, z)):
            return None
        status = entries.FORWARD[dtype](
            y,
            x,
            weight,
            no_row if bias is None else bias,
            bias is not None,
            no_matrix if z is None else z,
            z is not None,
            _CODES[activation],
        )
    except _REFUSED:
        return None
    return y if _is_done(status) else None


def quick_backward(
    g: Any,
    x: Any,
    weight: Any,
    activation: Any,
    output: Any,
    preactivation: Any,
    needs: Any,
    out: Any,
    accumulate: Any,
) -> Any:
    """The three gradients as a tuple, or None."""
    if type(x) is not _KIND or x.ndim != 2 or type(weight) is not _KIND:
        return None
    if needs is not _ALL and not _are_bools(needs):
        return None
    try:
        saved = g
        if activation is not None:
            saved = output if activation in _SAVES_OUTPUT else preactivation
        dtype = x.dtype
        no_row, no_matrix = _NONE[dtype]
        dx, dw, db = out
        add = 0
        if accumulate is not False:
            flags = (accumulate,) * 3 if type(accumulate) is bool else accumulate
            if not _are_bools(flags) or (any(flags) and all(o is None for o in out)):
                return None
            add = sum(bit for bit, f, o in zip((1, 2, 4), flags, out) if f and o is not None)  # noqa: B905
        if not (_are(dtype, g, weight, saved) and _are_or_none(dtype, dx, dw, db)):
            return None
        need = 0
        if needs[0]:
            need, dx = 1, np.empty(x.shape, dtype) if dx is None else dx
        if needs[1]:
            need, dw = need | 2, np.empty(weight.shape, dtype) if dw is None else dw
        if needs[2]:
            need, db = need | 4, np.empty(weight.shape[1], dtype) if db is None else db
        status = entries.BACKWARD[dtype](
            g,
            x,
            weight,
            saved,
            dx if needs[0] else no_matrix,
            dw if needs[1] else no_matrix,
            db if needs[2] else no_row,
            _CODES[activation],
            need,
            add,
        )
    except _REFUSED:
        return None
    if not _is_done(status):
        return None
    return (dx if needs[0] else None, dw if needs[1] else None, db if needs[2] else None)


def _are(dtype: Any, *arrays: Any) -> bool:
    return all([type(a) is _KIND and a.dtype is dtype for a in arrays])


def _are_or_none(dtype: Any, *arrays: Any) -> bool:
    return all([a is None or (type(a) is _KIND and a.dtype is dtype) for a in arrays])


def _are_bools(flags: Any) -> bool:
    return type(flags) is tuple and len(flags) == 3 and all(type(f) is bool for f in flags)


def _is_done(status: int) -> bool:
    """False: the entry refused. Another failure is raised."""
    if status and status != entries.SLOW:
        jit.raise_status(status)
    return not status
