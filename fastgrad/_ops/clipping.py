"""The norm of gradients, and its limit."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._kernels.layer import args
from .._kernels.layer.optimizers import LITTLE, LITTLE_SQUARES, MUCH, squares
from . import checks, numbers
from .kernel_call import bits, data, run
from .optimizers import check_written

Array = NDArray[Any]


def clip_grad_norm(grad: Array | Sequence[Array], max_norm: float) -> float:
    """grad: an array of any shape, or a sequence of them, float32 or float64 -> their norm before.

    norm = sqrt of the sum of the squares of all elements. Where it is above max_norm, each element
    is multiplied, in place, by max_norm / norm (Pascanu et al. 2013; PyTorch divides by the norm +
    1e-6); max_norm may be Inf, to measure only. A norm that is not finite changes nothing.

    The order of the sum, in float64, where squares of float32 are exact: in an array, the elements
    in C order, in blocks of 2**14; in a block, element i is in chain i % 32 of fused
    multiply-adds from +0.0, and the upper half of the chains is added to the lower half until one
    is left. Blocks are added in order, then arrays. A sum that is infinite or below 2**-960 is
    taken again, of elements times 2**-600 or 2**600. The product with the factor is one of float64,
    rounded to the dtype; where the factor is below 2**-1022 it is applied in three steps.
    """
    caller = "clip_grad_norm"
    limit = check_max_norm(caller, max_norm)
    grads: dict[str, Any] = {"grad": grad}
    if isinstance(grad, list | tuple):
        grads = {f"grad[{i}]": g for i, g in enumerate(grad)}
    for name, g in grads.items():
        check_written(caller, name, g)
    checks.distinct_outputs(caller, **grads)
    arrays = list(grads.values())
    norm = _norm(arrays)
    if limit < norm < math.inf:
        steps: tuple[float, ...] = (limit / norm,)
        if steps[0] < LITTLE:
            steps = 1 / MUCH, limit * MUCH / (norm / MUCH), 1 / MUCH
        for step in steps:
            for g in arrays:
                with np.errstate(all="ignore"):
                    np.multiply(g, step, out=g, dtype=np.float64, casting="same_kind")
    return norm


def _norm(arrays: list[Array]) -> float:
    flat = [np.ascontiguousarray(g) for g in arrays]
    found = ctypes.c_double()

    def total(factor: float) -> float:
        sum_of_all = 0.0
        for g in flat:
            words = g.size, data(g), bits(factor), ctypes.addressof(found)
            run(squares, g.dtype, args.Squares(*words))
            sum_of_all += found.value
        return sum_of_all

    first = total(1.0)
    if first == math.inf:
        return math.sqrt(total(1 / MUCH)) * MUCH
    if first < LITTLE_SQUARES:
        return math.sqrt(total(MUCH)) / MUCH
    return math.sqrt(first)


def check_max_norm(caller: str, value: float) -> float:
    norm = numbers.number(caller, "max_norm", value)
    if not norm > 0:
        numbers.refuse(caller, "max_norm", value, norm, "it must be above 0")
    return norm
