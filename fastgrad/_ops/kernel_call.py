"""Calling a kernel from Python: a descriptor of 64-bit words, and its status."""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._kernels.runtime import jit

_DOUBLE, _WORD = struct.Struct("d"), struct.Struct("q")


@functools.cache
def _kernel(number: int, dtype: np.dtype[Any] | str) -> Callable[[int], int]:
    index = jit.slot(number, np.dtype(dtype).name)
    jit.compile_slot(index)
    return jit.KERNEL_TYPE(jit.TABLE[index])


@functools.cache
def _words(count: int) -> Any:
    return ctypes.c_int64 * count


def run(number: int, dtype: np.dtype[Any] | str, *words: int) -> int:
    """The kernel's status, OK or BAD_LABEL; any other is raised. The GIL is released meanwhile."""
    descriptor = _words(len(words))(*words)
    status = _kernel(number, dtype)(ctypes.addressof(descriptor))
    if status != jit.OK and status != jit.BAD_LABEL:
        jit.raise_status(status)
    return status


def data(a: NDArray[Any]) -> int:
    return a.__array_interface__["data"][0]  # type: ignore[no-any-return]


def bits(x: float) -> int:
    """Of a float64."""
    return int(_WORD.unpack(_DOUBLE.pack(x))[0])
