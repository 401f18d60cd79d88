"""How long do exp, log, tanh, ... and the activations take, and how do they compare with numpy?

Arrays that stay in the second cache. time / numpy's: lower is better.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ._abba import ratio
from ._base import Timed, need, warm
from ._data import DTYPES

Array = Any
NEEDS = (
    "fastgrad._kernels.gemm.elementwise.KERNELS",
    "fastgrad._kernels.codegen.structs.words",
    "fastgrad._kernels.runtime.registry.function_in",
)
SIZES = [32768]  # elements: read and written, 256 and 512 kB


def _numpy_sigmoid(x: Array, out: Array) -> None:
    np.negative(x, out=out)
    np.exp(out, out=out)
    np.add(out, 1, out=out)
    np.reciprocal(out, out=out)


def _numpy_silu(x: Array, out: Array) -> None:
    _numpy_sigmoid(x, out)
    np.multiply(out, x, out=out)


def _numpy_gelu_tanh(x: Array, out: Array) -> None:
    """x·sigmoid(2u), as ours."""
    np.multiply(x, x, out=out)
    np.multiply(out, -2 * 0.7978845608028654 * 0.044715, out=out)
    np.subtract(out, 2 * 0.7978845608028654, out=out)
    np.multiply(out, x, out=out)
    np.exp(out, out=out)
    np.add(out, 1, out=out)
    np.divide(x, out, out=out)


# What numpy has, or is made of in its operations, in place. It has no erf, so no gelu.
NUMPY: dict[str, Callable[..., object]] = {
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "sigmoid": _numpy_sigmoid,
    "silu": _numpy_silu,
    "gelu_tanh": _numpy_gelu_tanh,
}
OURS = [*NUMPY, "erf", "erfc", "gelu"]


@cache
def ours(name: str, dtype: str, size: int) -> Callable[[], object]:
    """A call of the kernel, without arguments, on operands of its own."""
    need(NEEDS)
    from fastgrad._kernels.codegen import structs
    from fastgrad._kernels.gemm.args import Formula, Rows
    from fastgrad._kernels.gemm.elementwise import KERNELS
    from fastgrad._kernels.runtime import registry

    x, out = operands(name, dtype, size)
    rows = (Rows(a.ctypes.data, 0) for a in (x, out))
    args = np.array([*structs.words(Formula(1, size, *rows))], np.int64)
    index = KERNELS[name].slot(dtype)
    registry.compile_slot(index)
    function, address = registry.function_in(index), args.ctypes.data

    def call(kept: object = (x, out, args)) -> None:
        function(address)

    return call


@cache
def theirs(name: str, dtype: str, size: int) -> Callable[[], object]:
    """The same by numpy; its result and ours are compared first."""
    x, out = operands(name, dtype, size)
    function = NUMPY[name]
    ours(name, dtype, size)()
    result = out.copy()
    function(x, out)
    np.testing.assert_allclose(result, out, rtol=64 * np.finfo(dtype).eps)
    return lambda: function(x, out)


@cache
def operands(name: str, dtype: str, size: int) -> tuple[Array, Array]:
    x = 1.5 * np.random.default_rng(size).standard_normal(size)
    return np.abs(x).astype(dtype) if name == "log" else x.astype(dtype), np.full(
        size, np.nan, dtype
    )


def _all() -> None:
    for name in OURS:
        for dtype in DTYPES:
            ours(name, dtype, 8)()


warm(_all)


class Functions(Timed):
    version = "1"
    params = [OURS, DTYPES, SIZES]
    param_names = ["function", "dtype", "size"]

    def time_function(self, name: str, dtype: str, size: int) -> None:
        ours(name, dtype, size)()


class Ratios(Timed):
    version = "1"
    params = [list(NUMPY), DTYPES, SIZES]
    param_names = ["function", "dtype", "size"]
    unit = "time / numpy's"

    def track_function_over_numpy(self, name: str, dtype: str, size: int) -> float:
        return ratio(ours(name, dtype, size), theirs(name, dtype, size))

    def time_numpy_function(self, name: str, dtype: str, size: int) -> None:
        theirs(name, dtype, size)()
