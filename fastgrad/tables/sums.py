"""Mean and deviation of a column by sums of our own: the same bits with any numpy, on any CPU.

float64; the halves of an array are added element by element until one is left: an order that only
the length decides, with an error that grows with its logarithm.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def total(values: NDArray[np.float64]) -> float:
    while len(values) > 1:
        half = (len(values) + 1) // 2
        folded = values[:half].copy()
        folded[: len(values) - half] += values[half:]
        values = folded
    return float(values[0]) if len(values) else 0.0


def mean_and_deviation(values: NDArray[Any]) -> tuple[float, float]:
    """Of values without NaN, one or more; a deviation of 0 where all are equal."""
    plain = values.astype(np.float64)
    low, high = float(plain.min()), float(plain.max())
    if low == high:
        return low, 0.0
    _, exponent = math.frexp(max(-low, high))
    np.ldexp(plain, -exponent, out=plain)  # exact, but for what is nothing beside the largest
    mean = total(plain) / len(plain)
    plain -= mean
    plain *= plain
    return math.ldexp(mean, exponent), math.ldexp(math.sqrt(total(plain) / len(plain)), exponent)
