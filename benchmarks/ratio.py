"""How do we compare with numpy? Our time / numpy's, lower is better, side by side in one process.

The raw times: ours in kernels.py and linear.py, numpy's here, over the same parameters.
"""

from __future__ import annotations

import numpy as np

import fastgrad

from ._abba import ratio
from ._data import DTYPES, PRODUCTS, Layer, backward, layer, product
from .kernels import FORMS, SIZES
from .linear import NAMES


def time_numpy_control() -> None:
    """The machine itself: no line of ours runs here."""
    data = product("nn", "float32", 256)
    np.matmul(data.left, data.right, out=data.out)


time_numpy_control.version = "1"  # type: ignore[attr-defined]


def numpy_forward(data: Layer) -> None:
    """With relu, as one would write it with out=."""
    np.matmul(data.x, data.weight, out=data.y)
    np.add(data.y, data.bias, out=data.y)
    np.maximum(data.y, 0, out=data.y)


def numpy_backward(data: Layer) -> None:
    """H, then the three statements; data.z is free to hold H."""
    h = np.multiply(data.grad, data.y > 0, out=data.z)
    np.matmul(h, data.weight.T, out=data.dx)
    np.matmul(data.x.T, h, out=data.dw)
    np.sum(h, axis=0, out=data.db)


class Square:
    version = "1"
    params = [FORMS, DTYPES, SIZES]
    param_names = ["form", "dtype", "size"]
    unit = "time / numpy's"

    def track_ratio_matmul(self, form: str, dtype: str, size: int) -> float:
        data, ours = product(form, dtype, size), PRODUCTS[form]
        return ratio(
            lambda: ours(data.a, data.b, data.out),
            lambda: np.matmul(data.left, data.right, out=data.out),
        )

    def time_numpy_matmul(self, form: str, dtype: str, size: int) -> None:
        data = product(form, dtype, size)
        np.matmul(data.left, data.right, out=data.out)


class Shapes:
    """layer: batch x in x out, with relu."""

    version = "1"
    params = [NAMES, DTYPES]
    param_names = ["layer", "dtype"]
    unit = "time / numpy's"

    def track_ratio_forward(self, name: str, dtype: str) -> float:
        data = layer(name, dtype, "relu")
        return ratio(
            lambda: fastgrad.linear_forward(data.x, data.weight, data.bias, "relu", data.y),
            lambda: numpy_forward(data),
        )

    def track_ratio_backward(self, name: str, dtype: str) -> float:
        data = layer(name, dtype, "relu")
        return ratio(lambda: backward(data, "relu"), lambda: numpy_backward(data))

    def time_numpy_forward(self, name: str, dtype: str) -> None:
        numpy_forward(layer(name, dtype, "relu"))

    def time_numpy_backward(self, name: str, dtype: str) -> None:
        numpy_backward(layer(name, dtype, "relu"))
