"""Calling a kernel from Python: a struct in, the kernel's status out."""

from __future__ import annotations

import ctypes
import functools
import operator
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._kernels.bind import abi
from .._kernels.codegen import structs
from .._kernels.gemm.args import Matrix, Rows
from .._kernels.runtime import registry
from .._kernels.runtime.registry import Kernel
from .._kernels.runtime.table import BAD_LABEL, OK, TABLE

Array = NDArray[Any]
NO_MATRIX, NO_ROWS = Matrix(0, 0, 0), Rows(0, 0)
_DOUBLE, _WORD = struct.Struct("d"), struct.Struct("q")
_ON_BYTES = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_char_p)


@functools.cache
def _function(kernel: Kernel, dtype: np.dtype[Any]) -> tuple[Callable[[bytes], int], Any, Any]:
    """The kernel, and how its struct becomes words, and they bytes."""
    index = kernel.slot(dtype.name)
    registry.compile_slot(index)
    names = structs.names(kernel.struct)
    return (
        _ON_BYTES(TABLE[index]),
        operator.attrgetter(*names) if len(names) > 1 else tuple,
        struct.Struct(f"{len(names)}q").pack,
    )


def run(kernel: Kernel, dtype: np.dtype[Any], args: Any) -> int:
    """The status, OK or BAD_LABEL; any other is raised. The GIL is released meanwhile."""
    assert type(args) is kernel.struct
    function, words, pack = _function(kernel, dtype)
    status = function(pack(*words(args)))
    if status != OK and status != BAD_LABEL:
        registry.raise_status(status)
    return status


def data(a: Array) -> int:
    """The address of the first element."""
    if abi.verify():  # a microsecond less, of which a call makes several
        return ctypes.c_int64.from_address(id(a) + abi.DATA).value
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
