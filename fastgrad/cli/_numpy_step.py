"""The same training step in plain numpy, written by hand, and the timer that compares the two.

Products write into kept arrays (``out=``) and parameters are one flat array, as in the model.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._ops.optimizers import SGD

if TYPE_CHECKING:
    from .._mlp import MLP

Array = NDArray[Any]
_ROUND = 0.03  # seconds; above 0.5 ms numpy against itself is within 1 % (samples taken in turns)
_ROUNDS = (3, 15)
_BUDGET = 1.0  # seconds for both together, where a step allows it


def _relu(z: Array) -> tuple[Array, Array]:
    return np.maximum(z, 0), z > 0


def _sigmoid(z: Array) -> tuple[Array, Array]:
    s = 1 / (1 + np.exp(-z))
    return s, s * (1 - s)


def _tanh(z: Array) -> tuple[Array, Array]:
    y = np.tanh(z)
    return y, 1 - y * y


def _gelu_tanh(z: Array) -> tuple[Array, Array]:
    c = math.sqrt(2 / math.pi)
    t = np.tanh(c * (z + 0.044715 * z * z * z))
    return 0.5 * z * (1 + t), 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * c * (1 + 0.134145 * z * z)


def _silu(z: Array) -> tuple[Array, Array]:
    s = 1 / (1 + np.exp(-z))
    return z * s, s * (1 + z * (1 - s))


# z -> act(z), act'(z); numpy has no erf, so gelu is its tanh form. Others are not raced with.
ACTIVATIONS: dict[str | None, Callable[[Array], tuple[Array, Array | None]]] = {
    None: lambda z: (z, None),
    "relu": _relu,
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "gelu": _gelu_tanh,
    "gelu_tanh": _gelu_tanh,
    "silu": _silu,
}


class NumpyNet:
    """A copy of a model's parameters and the step of softmax cross-entropy with SGD or Adam."""

    def __init__(self, model: MLP):
        self.activation, self.optimizer = model.activation, model.optimizer
        arrays = [a for pair in zip(model.weights, model.biases, strict=True) for a in pair]
        self.flat = np.concatenate([a.ravel() for a in arrays])
        self.grad = np.empty_like(self.flat)
        self.m, self.v = np.zeros_like(self.flat), np.zeros_like(self.flat)
        self.steps, stops = 0, np.cumsum([a.size for a in arrays])
        cut = [slice(stop - a.size, stop) for stop, a in zip(stops, arrays, strict=True)]
        views: list[tuple[Array, Array]] = []
        for part, a in zip(cut, arrays, strict=True):
            views.append((self.flat[part].reshape(a.shape), self.grad[part].reshape(a.shape)))
        self.layers = list(zip(views[::2], views[1::2], strict=True))  # (W, dW), (b, db)
        self._memory: dict[tuple[int, int, str], Array] = {}

    def _out(self, rows: int, layer: int, use: str, columns: int) -> Array:
        key = (rows, layer, use)
        if key not in self._memory:
            self._memory[key] = np.empty((rows, columns), self.flat.dtype)
        return self._memory[key]

    def step(self, x: Array, y: Array) -> float:
        h, rows = x, len(x)
        kept: list[tuple[Array, Array | None]] = []
        for i, ((w, _), (b, _)) in enumerate(self.layers):
            z = self._out(rows, i, "z", w.shape[1])
            np.matmul(h, w, out=z)
            z += b
            is_last = i == len(self.layers) - 1
            out, slope = ACTIVATIONS[None if is_last else self.activation](z)
            kept.append((h, slope))
            h = out
        z = h - h.max(axis=1, keepdims=True)
        p: Array = np.exp(z)
        total = p.sum(axis=1, keepdims=True)
        index = np.arange(rows)
        loss = float(np.mean(np.log(total[:, 0]) - z[index, y]))
        p /= total
        p[index, y] -= 1
        p /= rows
        for i in reversed(range(len(self.layers))):
            (w, dw), (_, db) = self.layers[i]
            h, slope = kept[i]
            if slope is not None:
                p *= slope
            np.matmul(h.T, p, out=dw)
            np.sum(p, axis=0, out=db)
            if i:
                below = self._out(rows, i, "d", w.shape[0])
                np.matmul(p, w.T, out=below)
                p = below
        self._update()
        return loss

    def _update(self) -> None:
        s, g, m, v = self.optimizer, self.grad, self.m, self.v
        self.steps += 1
        if isinstance(s, SGD):
            m *= s.momentum
            m += g
            self.flat -= s.lr * m
            return
        b1, b2 = s.betas
        m *= b1
        m += (1 - b1) * g
        v *= b2
        v += (1 - b2) * g * g
        root = np.sqrt(v)
        root /= math.sqrt(1 - b2**self.steps)
        root += s.eps
        self.flat -= s.lr / (1 - b1**self.steps) * m / root


def race(ours: Callable[[], Any], theirs: Callable[[], Any]) -> tuple[float, float, int]:
    """Median seconds a call of each, and the number of rounds: each round times both, in turns of
    order, over as many calls as take about 30 ms."""
    for function in (ours, theirs):
        function()  # buffers, caches
    guess = max(_seconds(ours, 1), _seconds(theirs, 1))
    calls = max(1, int(_ROUND / guess))
    rounds = min(max(int(_BUDGET / (2 * calls * guess)), _ROUNDS[0]), _ROUNDS[1])
    times: tuple[list[float], list[float]] = ([], [])
    for i in range(rounds):
        for which in ((0, 1), (1, 0))[i % 2]:
            times[which].append(_seconds((ours, theirs)[which], calls))
    return median(times[0]), median(times[1]), rounds


def _seconds(function: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls
