"""What the tests of the builtins behind the public functions share."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
ALL = (True, True, True)
NONE = (None, None, None)
DTYPES = ("float32", "float64")


def integers(*shape: int, dtype: str = "float32") -> Array:
    """Exact in products: small, and different at every place."""
    values = np.arange(int(np.prod(shape))) * 7 % 11 - 5
    return values.reshape(shape).astype(dtype)


class Layer(NamedTuple):
    x: Array
    w: Array
    bias: Array
    g: Array
    y: Array
    dx: Array
    dw: Array
    db: Array


def layer(dtype: str = "float32") -> Layer:
    """N 3, K 4, M 5, exact; outputs hold NaN."""
    shapes = ((3, 4), (4, 5), (5,), (3, 5), (3, 5), (3, 4), (4, 5), (5,))
    made = Layer(*(integers(*shape, dtype=dtype) for shape in shapes))
    for a in made[4:]:
        a.fill(np.nan)
    return made


class Odd(np.ndarray):  # type: ignore[type-arg]
    pass


def read_only(a: Array) -> Array:
    a.flags.writeable = False
    return a
