"""The same training step in plain numpy, by hand: what ``bench`` and ``train`` time ours beside.

Products write into kept arrays (``out=``) and parameters are one flat array, as in the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._mlp import MLP
from .._ops.optimizers import SGD

Array = NDArray[Any]


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


# The losses: the last layer's outputs and the targets -> the mean, its gradient.


def _softmax_cross_entropy(out: Array, y: Array) -> tuple[float, Array]:
    rows = len(out)
    z = out - out.max(axis=1, keepdims=True)
    p: Array = np.exp(z)
    total = p.sum(axis=1, keepdims=True)
    index = np.arange(rows)
    loss = float(np.mean(np.log(total[:, 0]) - z[index, y]))
    p /= total
    p[index, y] -= 1
    p /= rows
    return loss, p


def _binary_cross_entropy(out: Array, y: Array) -> tuple[float, Array]:
    loss = float(np.mean(np.maximum(out, 0) - out * y + np.log1p(np.exp(-np.abs(out)))))
    p = 1 / (1 + np.exp(-out))
    p -= y
    p /= out.size
    return loss, p


def _mse(out: Array, y: Array) -> tuple[float, Array]:
    p = out - y
    loss = float(np.mean(p * p))
    p *= 2
    p /= out.size
    return loss, p


LOSSES: dict[str, Callable[[Array, Array], tuple[float, Array]]] = {
    "softmax_cross_entropy": _softmax_cross_entropy,
    "binary_cross_entropy_with_logits": _binary_cross_entropy,
    "mse": _mse,
}


def prepare(model: MLP, x: Array, y: Array) -> tuple[Callable[[], Any], Callable[[], Any], str]:
    """Our step of a batch, numpy's, and why they are not to be compared, or ""."""
    if isinstance(model.activation, tuple) or model.activation not in ACTIVATIONS:
        return _nothing, _nothing, f"there is no {model.activation} in plain numpy's step"
    if model.max_grad_norm is not None or model.optimizer.weight_decay:
        return _nothing, _nothing, "plain numpy's step has no weight decay and no limit of norms"
    twin = NumpyNet(model)
    losses = model.train_step(x, y), twin.step(x, y)
    limit = 0.05 if model.activation == "gelu" else 1e-3  # numpy's gelu is the tanh form
    fault = ""
    if not np.allclose(losses[0], losses[1], rtol=limit, atol=1e-6, equal_nan=True):
        fault = f"the first loss is {losses[0]:.6g} but {losses[1]:.6g} in plain numpy"
    return lambda: model.train_step(x, y), lambda: twin.step(x, y), fault


def _nothing() -> None:
    pass


class NumpyNet:
    """A copy of a model's parameters and the step of its loss with SGD or Adam."""

    def __init__(self, model: MLP):
        self.activation: Any = model.activation  # one name
        self.optimizer = model.optimizer
        self.loss = LOSSES[model.loss]
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
        loss, p = self.loss(h, y)
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
