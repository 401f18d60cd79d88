"""What an MLP is made with: settings in, plain values out, or an error of one line."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from . import _losses


def check_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    try:
        checked = tuple(operator.index(n) for n in sizes)
    except TypeError:
        raise TypeError(
            f"MLP: sizes is {sizes!r}; pass integers, inputs first, e.g. (64, 10)"
        ) from None
    if len(checked) < 2 or min(checked) < 1:
        raise ValueError(f"MLP: sizes is {checked}; pass two or more sizes of 1 or more")
    return checked


def check_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        found: np.dtype[Any] = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"MLP: dtype is {dtype!r}; pass float32 or float64") from None
    if found.name not in ("float32", "float64"):
        raise TypeError(f"MLP: dtype is {found}; pass float32 or float64")
    native: np.dtype[Any] = np.dtype(found.name)
    return native


def check_name(argument: str, name: object, table: dict[Any, Any]) -> None:
    if not (name is None or isinstance(name, str)) or name not in table:
        known = ", ".join(repr(key) for key in table)
        raise ValueError(f"MLP: {argument} is {name!r}; pass one of {known}")


def check_number(name: str, value: float) -> float:
    try:
        ok = 0 <= value < math.inf
    except (TypeError, ValueError):
        raise TypeError(f"MLP: {name} is {value!r}; pass a number") from None
    if not ok:
        raise ValueError(f"MLP: {name} is {value}; it must be 0 or more and finite")
    return float(value)


def check_smoothing(value: float, loss: str) -> float:
    smoothing = _losses.check_smoothing("MLP", value)
    if smoothing and loss != "softmax_cross_entropy":
        raise ValueError(f"MLP: label_smoothing is {value}, but loss {loss!r} has no labels")
    return smoothing


def check_max_norm(value: float | None) -> float | None:
    norm = None if value is None else check_number("max_grad_norm", value)
    if norm == 0:
        raise ValueError("MLP: max_grad_norm is 0; it must be above 0, or None for no limit")
    return norm
