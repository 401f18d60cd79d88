"""How do we compare with numpy? Our time / numpy's, lower is better, side by side in one process.

Both raw times, over the same names and params: ours are kernels.Square, linear.Shapes, numpy's
stand here. Those that are not products have all three in their files.
"""

from __future__ import annotations

import numpy as np

import fastgrad

from ._abba import ratio
from ._base import Timed
from ._data import DTYPES, PRODUCTS, Layer, backward, layer, product
from .kernels import FORMS, SIZES
from .linear import NAMES


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


class Control(Timed):
    """The machine itself: no line of ours is timed here."""

    version = "1"

    def time_numpy_control(self) -> None:
        data = product("nn", "float32", 256)
        np.matmul(data.left, data.right, out=data.out)

    def track_control_over_numpy(self) -> float:
        """numpy beside itself: how far from 1.0 a ratio can be by chance."""
        data = product("nn", "float32", 256)
        calls = [lambda: np.matmul(data.left, data.right, out=data.out) for _ in range(2)]
        return ratio(*calls)


class Square(Timed):
    version = "1"
    params = [FORMS, DTYPES, SIZES]
    param_names = ["form", "dtype", "size"]
    unit = "time / numpy's"

    def track_matmul_over_numpy(self, form: str, dtype: str, size: int) -> float:
        data, ours = product(form, dtype, size), PRODUCTS[form]
        return ratio(
            lambda: ours(data.a, data.b, data.out),
            lambda: np.matmul(data.left, data.right, out=data.out),
        )

    def time_numpy_matmul(self, form: str, dtype: str, size: int) -> None:
        data = product(form, dtype, size)
        np.matmul(data.left, data.right, out=data.out)


class Shapes(Timed):
    """layer: batch x in x out, with relu."""

    version = "1"
    params = [NAMES, DTYPES]
    param_names = ["layer", "dtype"]
    unit = "time / numpy's"

    def track_forward_over_numpy(self, name: str, dtype: str) -> float:
        data = layer(name, dtype, "relu")
        return ratio(
            lambda: fastgrad.linear_forward(data.x, data.weight, data.bias, "relu", data.y),
            lambda: numpy_forward(data),
        )

    def track_backward_over_numpy(self, name: str, dtype: str) -> float:
        data = layer(name, dtype, "relu")
        return ratio(lambda: backward(data, "relu"), lambda: numpy_backward(data))

    def time_numpy_forward(self, name: str, dtype: str) -> None:
        numpy_forward(layer(name, dtype, "relu"))

    def time_numpy_backward(self, name: str, dtype: str) -> None:
        numpy_backward(layer(name, dtype, "relu"))
