"""How long does a training step take, and how does it compare with numpy by hand?

One batch, softmax cross-entropy and SGD: forward, loss, backward and the step. Ours is
MLP.train_step, numpy's is below, in place wherever numpy can. time / numpy's: lower is better.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

import fastgrad

from ._abba import ratio
from ._base import Timed, warm
from ._data import DTYPES

Array = Any
RATE = 1e-3
NETS = {  # batch, sizes: the digits and MNIST as README trains them
    "32: 64-128-10": (32, (64, 128, 10)),
    "128: 784-512-10": (128, (784, 512, 10)),
}


def batch(name: str, dtype: str) -> tuple[Array, Array]:
    rows, sizes = NETS[name]
    rng = np.random.default_rng(rows)
    x = rng.standard_normal((rows, sizes[0])).astype(dtype)
    return x, rng.integers(0, sizes[-1], rows)


def model(name: str, dtype: str) -> fastgrad.MLP:
    return fastgrad.MLP(NETS[name][1], optimizer=fastgrad.SGD(RATE), dtype=dtype)


def numpy_step(x: Array, labels: Array, weights: list[Array], biases: list[Array]) -> Any:
    """A net with relu by hand; -> step, which trains ``weights`` and ``biases`` in place."""
    rows, last = np.arange(len(x)), len(weights) - 1
    ys, hs = ([np.empty((len(x), len(b)), x.dtype) for b in biases] for _ in range(2))
    dws, dbs = ([np.empty_like(a) for a in arrays] for arrays in (weights, biases))
    rate = x.dtype.type(RATE)

    def step() -> float:
        for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            np.matmul(ys[i - 1] if i else x, weight, out=ys[i])
            np.add(ys[i], bias, out=ys[i])
            if i < last:
                np.maximum(ys[i], 0, out=ys[i])
        h = np.subtract(ys[last], ys[last].max(1, keepdims=True), out=hs[last])
        of_label = h[rows, labels]
        sums = np.exp(h, out=h).sum(1, keepdims=True)
        loss = float((np.log(sums[:, 0]) - of_label).mean())
        np.divide(h, sums, out=h)
        h[rows, labels] -= 1
        np.divide(h, x.dtype.type(len(x)), out=h)
        for i in range(last, -1, -1):
            np.matmul((ys[i - 1] if i else x).T, hs[i], out=dws[i])
            np.sum(hs[i], axis=0, out=dbs[i])
            if i:
                np.matmul(hs[i], weights[i].T, out=hs[i - 1])
                np.multiply(hs[i - 1], ys[i - 1] > 0, out=hs[i - 1])
        for values, gradients in ((weights, dws), (biases, dbs)):
            for value, gradient in zip(values, gradients, strict=True):
                np.subtract(value, np.multiply(gradient, rate, out=gradient), out=value)
        return loss

    return step


@cache
def steps(name: str, dtype: str) -> tuple[Callable[[], float], Callable[[], float]]:
    """Ours and numpy's, each on parameters of its own: equal after three steps of both."""
    net, (x, labels) = model(name, dtype), batch(name, dtype)
    weights, biases = ([np.array(a) for a in arrays] for arrays in (net.weights, net.biases))

    def ours() -> float:
        return net.train_step(x, labels)

    theirs = numpy_step(x, labels, weights, biases)
    bound = 1e3 * np.finfo(dtype).eps
    for _ in range(3):
        np.testing.assert_allclose(ours(), theirs(), rtol=bound)
    for found, exact in zip((*net.weights, *net.biases), (*weights, *biases), strict=True):
        np.testing.assert_allclose(found, exact, rtol=bound, atol=bound)
    return ours, theirs


for _dtype in DTYPES:
    warm(steps, "32: 64-128-10", _dtype)


class Step(Timed):
    """net: the batch, and the width of each layer."""

    version = "1"
    params = [list(NETS), DTYPES]
    param_names = ["net", "dtype"]

    def time_step(self, name: str, dtype: str) -> None:
        steps(name, dtype)[0]()

    def time_numpy_step(self, name: str, dtype: str) -> None:
        steps(name, dtype)[1]()


class Ratio(Timed):
    version = "1"
    params = [list(NETS), DTYPES]
    param_names = ["net", "dtype"]
    unit = "time / numpy's"

    def track_step_over_numpy(self, name: str, dtype: str) -> float:
        return ratio(*steps(name, dtype))
