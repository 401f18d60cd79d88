"""Calling a kernel from Python: a struct in, the kernel's status out."""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._kernels.codegen import structs
from .._kernels.gemm.args import Matrix, Rows
from .._kernels.runtime import registry
from .._kernels.runtime.registry import Kernel
from .._kernels.runtime.table import BAD_LABEL, OK

Array = NDArray[Any]
NO_MATRIX, NO_ROWS = Matrix(0, 0, 0), Rows(0, 0)
_DOUBLE, _WORD = struct.Struct("d"), struct.Struct("q")


@functools.cache
def _function(kernel: Kernel, dtype: np.dtype[Any]) -> tuple[Callable[[int], int], Any]:
    index = kernel.slot(dtype.name)
    registry.compile_slot(index)
    words = ctypes.c_int64 * len(structs.names(kernel.struct))
    return registry.function_in(index), words


def run(kernel: Kernel, dtype: np.dtype[Any], args: Any) -> int:
    """The status, OK or BAD_LABEL; any other is raised. The GIL is released meanwhile."""
    assert type(args) is kernel.struct
    function, words = _function(kernel, dtype)
    memory = words(*structs.words(args))
    status = function(ctypes.addressof(memory))
    if status != OK and status != BAD_LABEL:
        registry.raise_status(status)
    return status


def data(a: Array) -> int:
    """The address of the first element."""
    return a.__array_interface__["data"][0]  # type: ignore[no-any-return]


def matrix(a: Array) -> Matrix:
    """(rows, columns) as kernels are given it."""
    return Matrix(data(a), *a.strides)


def rows(a: Array) -> Rows:
    """(rows, columns) whose columns have unit stride."""
    return Rows(data(a), a.strides[0])


def bits(x: float) -> int:
    """Of a float64."""
    return int(_WORD.unpack(_DOUBLE.pack(x))[0])
