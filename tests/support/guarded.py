"""Arrays between pages that may not be touched: a byte read or written beside them is a SIGSEGV.

An array ends where the page above begins, or begins where the page below ends. What its pages hold
beside it, gaps between its elements too, is rogue: see layouts.Placed.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from support.layouts import Placed

Array = NDArray[Any]
_ROGUE = 0xFF
_NONE = 0  # PROT_NONE


def pages(size: int) -> NDArray[np.uint8]:
    """Rogue bytes in whole pages, ``size`` or more of them, between two that may not be touched."""
    page = mmap.PAGESIZE
    inside = max(1, -(-size // page)) * page
    whole = mmap.mmap(-1, inside + 2 * page, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory = np.frombuffer(whole, np.uint8)
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for guard in (memory.ctypes.data, memory.ctypes.data + page + inside):
        if protect(guard, page, _NONE):
            raise OSError(ctypes.get_errno(), "mprotect")
    body = memory[page:-page]
    body[:] = _ROGUE
    return body


def guard(a: Array, upper: bool, slack: int = 0) -> Placed:
    """``a`` with its values and strides, flush against the upper guard or else the lower one.

    slack: bytes off that guard, for elements that are not aligned.
    """
    reaches = [(n - 1) * step for n, step in zip(a.shape, a.strides, strict=True)] if a.size else []
    below = -sum(min(0, reach) for reach in reaches)
    size = below + sum(max(0, reach) for reach in reaches) + a.itemsize if a.size else 0
    body = pages(size + slack)
    first = len(body) - slack - size if upper else slack
    array: Array = np.ndarray(a.shape, a.dtype, body, first + below, a.strides)
    if a.size:
        array[...] = a
    array.flags.writeable = a.flags.writeable
    return Placed(array, body)


def flat(size: int, dtype: Any, upper: bool = True) -> Array:
    """(size,) zeros, flush."""
    return guard(np.zeros(size, dtype), upper).array
