"""exp, log, erf, erfc, tanh, sigmoid of whole arrays: ours, with the same bits everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._kernels.gemm.args import Formula, Rows
from .._kernels.gemm.elementwise import KERNELS
from . import checks
from .kernel_call import data, run


def activation(name: str | None, z: NDArray[Any]) -> NDArray[Any]:
    """act(z), elementwise: name as linear_forward's activation, z of any shape -> a new array.

    float32 or float64 as z: the bits of a linear_forward whose pre-activation is z.
    """
    row = checks.activation("activation", name)
    z = checks.array("activation", "z", z)
    z = checks.cast(z, checks.result_dtype(z))
    return np.array(z, order="C") if row is None else _apply(row.name, z)


def _apply(name: str, x: NDArray[Any]) -> NDArray[Any]:
    """x float32 or float64, any shape -> new array of the same shape and dtype."""
    source = np.ascontiguousarray(x)
    result = np.empty(source.shape, source.dtype)
    args = Formula(1, source.size, Rows(data(source), 0), Rows(data(result), 0))
    run(KERNELS[name], source.dtype, args)
    return result.reshape(x.shape)


def exp(x: NDArray[Any]) -> NDArray[Any]:
    return _apply("exp", x)


def log(x: NDArray[Any]) -> NDArray[Any]:
    return _apply("log", x)


def tanh(x: NDArray[Any]) -> NDArray[Any]:
    return _apply("tanh", x)


def erf(x: NDArray[Any]) -> NDArray[Any]:
    return _apply("erf", x)


def erfc(x: NDArray[Any]) -> NDArray[Any]:
    return _apply("erfc", x)


def sigmoid(x: NDArray[Any]) -> NDArray[Any]:
    return _apply("sigmoid", x)
