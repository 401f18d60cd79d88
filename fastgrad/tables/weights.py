"""The column that says how much each row counts: a column in; checked weights out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._ops.numbers import shown
from . import values as _values
from .columns import Where
from .errors import DataError
from .values import Texts, Values

Weights = NDArray[np.float64]


def of(name: str, values: Values, where: Where, dtype: np.dtype[Any]) -> Weights:
    """(N,) float64: numbers of 0 or more, not all 0, each finite in the model's dtype."""
    title = f"column {shown(name)}, the weights"
    if isinstance(values, _values.Days):
        raise DataError(f"{where(0)}, {title}: holds dates; a weight is a number")
    found = _values.as_numbers(values)
    if isinstance(found, str):
        row = values.first(values.names.index(found)) if isinstance(values, Texts) else 0
        raise DataError(f"{where(row)}, {title}: {shown(found)} is not a number")
    weights = found.values.astype(np.float64)
    for wrong, words in (
        (np.isnan(weights), "no value; a weight must be there, 0 for a row that does not count"),
        (weights < 0, "is negative; a weight is 0 or more"),
        (weights > float(np.finfo(dtype).max), f"is too large for {dtype.name}"),
    ):
        if wrong.any():
            row = int(np.argmax(wrong))
            value = "" if np.isnan(weights[row]) else f"{_values.plain(float(weights[row]))} "
            raise DataError(f"{where(row)}, {title}: {value}{words}")
    if not weights.any():
        raise DataError(f"{where(0)} and all others, {title}: 0; a row or more must count")
    return weights


def described(name: str, weights: Weights) -> str:
    low, high = float(weights.min()), float(weights.max())
    zero = int(np.count_nonzero(weights == 0))
    more = f", 0 in {zero} of {len(weights)}" if zero else ""
    return f"column {shown(name)}, how much a row counts, from {low:.6g} to {high:.6g}{more}"
