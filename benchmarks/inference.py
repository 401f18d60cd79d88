"""How long does a prediction take, of one row and of many, and how does it compare with numpy?

MLP.predict: the class of each row. numpy's is the forward and argmax, in place. time / numpy's:
lower is better. float32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

import fastgrad

from ._abba import ratio
from ._base import Timed, warm
from .training import NETS

ROWS = [1, 32, 1024]


@cache
def predictions(name: str, rows: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """Ours and numpy's, which name the same classes. The net is that of training.py."""
    sizes = NETS[name][1]
    net = fastgrad.MLP(sizes)
    x = np.random.default_rng(rows).standard_normal((rows, sizes[0]), np.float32)
    zs = [np.empty((rows, m), np.float32) for m in sizes[1:]]

    def numpys() -> object:
        y = x
        for z, weight, bias in zip(zs, net.weights, net.biases, strict=True):
            np.matmul(y, weight, out=z)
            np.add(z, bias, out=z)
            y = np.maximum(z, 0, out=z) if z is not zs[-1] else z
        return y.argmax(1)

    def ours() -> object:
        return net.predict(x)

    np.testing.assert_array_equal(ours(), numpys())
    return ours, numpys


for _name in NETS:
    for _rows in ROWS:
        warm(predictions, _name, _rows)


class Predict(Timed):
    """net: as in training.py."""

    version = "1"
    params = [list(NETS), ROWS]
    param_names = ["net", "rows"]

    def time_predict(self, name: str, rows: int) -> None:
        predictions(name, rows)[0]()


class Ratio(Timed):
    version = "1"
    params = [list(NETS), ROWS]
    param_names = ["net", "rows"]
    unit = "time / numpy's"

    def track_predict_over_numpy(self, name: str, rows: int) -> float:
        return ratio(*predictions(name, rows))
