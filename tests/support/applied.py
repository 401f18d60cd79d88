"""The compiled kernels of one formula, on arrays: what fastgrad._ops.elementwise and layers run.

Run as a program, prints digests of the formulas named, as JSON: NUMBA_CPU_NAME chooses the CPU.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zlib
from typing import Any

import numpy as np

from fastgrad._kernels.codegen import target
from fastgrad._kernels.gemm import elementwise
from fastgrad._kernels.gemm.args import Formula, Rows
from fastgrad._kernels.gemm.elementwise import Derivative
from fastgrad._kernels.runtime.table import DTYPES, OK
from fastgrad._ops.kernel_call import data, run
from fastgrad.reference.lanes import Lanes

Array = np.ndarray[Any, np.dtype[Any]]


def apply(name: str, *arrays: Array, out: Array | None = None) -> Array:
    """name(x), or of a name that ends in _backward name(g, saved): a new array, or ``out``.

    All arrays are (rows, n), or (n,), of one dtype, their rows anywhere.
    """
    y = np.empty(arrays[0].shape, arrays[0].dtype) if out is None else out
    for a in (*arrays, y):
        assert a.shape == y.shape and a.dtype == y.dtype and a.strides[-1] == a.itemsize
    size = 1 if y.ndim == 1 else len(y), y.shape[-1]
    rows = [Rows(data(a), a.strides[0] if a.ndim == 2 else 0) for a in (*arrays, y)]
    sums = np.zeros(y.shape[-1], y.dtype)
    args = Derivative(*size, *rows, data(sums)) if len(arrays) == 2 else Formula(*size, *rows)
    assert run(elementwise.KERNELS[name], y.dtype, args) == OK
    return y


def on_lanes(name: str, *arrays: Array) -> Array:
    """The same by fastgrad.reference.lanes."""
    return Lanes(arrays[0].dtype)(elementwise.FORMULAS[name], *arrays)


def operands(name: str, dtype: str, n: int) -> list[Array]:
    """x, or g and what is saved, each (n,): any pattern, NaN and Inf among them, and small ones."""
    rng = np.random.default_rng([zlib.crc32(name.encode()), n])
    unsigned = np.uint32 if dtype == "float32" else np.uint64
    made = []
    for _ in range(2 if name.endswith("_backward") else 1):
        x = rng.integers(0, 2 ** (8 * np.dtype(dtype).itemsize), n, unsigned).view(dtype)
        x[::2] = rng.uniform(-12, 12, len(x[::2]))
        x[1::8] = rng.choice([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan], len(x[1::8]))
        made.append(x)
    return made


def digests(names: list[str]) -> dict[str, str]:
    """Formula and dtype -> hash of the results' bits, NaNs taken as one."""
    found = {}
    for name in names:
        for dtype in DTYPES:
            y = apply(name, *operands(name, dtype, 100_003))
            y[np.isnan(y)] = np.nan
            found[f"{name} {dtype}"] = hashlib.sha256(y.tobytes()).hexdigest()
    return found


if __name__ == "__main__":
    print(json.dumps({"isa": target.current().isa.name, **digests(sys.argv[1:])}))
