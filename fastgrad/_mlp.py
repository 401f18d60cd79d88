"""The multi-layer perceptron: batches in, trained parameters out.

X (N, sizes[0]) -> act(X·W0 + b0) -> ... -> logits (N, sizes[-1]); hidden layers have the
activation, the last has none. Parameters, gradients and each array of the optimizer are ONE flat
array. The loop over epochs is in _training, the file format in _checkpoint.
"""

from __future__ import annotations

import itertools
import math
import operator
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import _checkpoint, _losses, _training
from ._elementwise import sigmoid
from ._kernels import activations
from ._linear import ActivationName, linear_backward, linear_forward
from ._optim import SGD, Adam, update
from .datasets._draws import INIT, check_seed, stream, uniform

Array = NDArray[Any]

ACTIVATIONS: dict[Any, bool] = {  # name -> its backward needs the pre-activation
    None: False,
    **{row.name: row.saved == "preactivation" for row in activations.TABLE},
}
_GLOROT = (None, "sigmoid", "tanh")  # the others pass about half of a centred input: He
LOSSES = {
    "softmax_cross_entropy": _losses._softmax_cross_entropy,
    "binary_cross_entropy_with_logits": _losses._binary_cross_entropy_with_logits,
    "mse": _losses._mse,
}
LossName = Literal["softmax_cross_entropy", "binary_cross_entropy_with_logits", "mse"]
DEFAULT_OPTIMIZER = SGD(0.01)
_ALIGN = 64  # bytes: every weight and bias starts on a cache line
_ROWS = 1024  # rows of forward at a time: bounds its memory; rows do not depend on each other
_DRAWS = 1 << 20  # initial weights drawn at a time
_KEPT = 4  # batch sizes whose buffers are kept


@dataclass(frozen=True)
class _Buffers:
    """Memory of a step for one batch size; entry i belongs to layer i, (N, sizes[i + 1])."""

    outputs: list[Array]
    preactivations: list[Array | None]
    grads: list[Array]


class MLP:
    """sizes (inputs, hidden ..., outputs); activation, loss: names; optimizer: SGD or Adam.

    float32 or float64; the same seed gives the same bits on every machine. ``weights`` and
    ``biases`` are tuples of live arrays, weight i (sizes[i], sizes[i+1]), bias i (sizes[i+1],): a
    step, and you, change them in place. Steps of one model belong in one thread at a time.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: ActivationName | None = "relu",
        loss: LossName = "softmax_cross_entropy",
        optimizer: SGD | Adam = DEFAULT_OPTIMIZER,
        dtype: DTypeLike = np.float32,
        seed: int = 0,
    ):
        self.sizes = _check_sizes(sizes)
        _check_name("activation", activation, ACTIVATIONS)
        _check_name("loss", loss, LOSSES)
        if not isinstance(optimizer, SGD | Adam):
            raise TypeError(f"MLP: optimizer is {optimizer!r}; pass SGD(...) or Adam(...)")
        self.activation, self.loss, self.optimizer = activation, loss, optimizer
        self.dtype = _check_dtype(dtype)
        self.seed = check_seed(seed, "MLP")
        self.steps = self.epochs = 0  # done so far
        self._allocate()
        self._initialise()

    def forward(self, x: Array) -> Array:
        """x (N, sizes[0]) -> logits (N, sizes[-1]), of the model's dtype."""
        x = self._check_x("MLP.forward", x)
        logits = np.empty((len(x), self.sizes[-1]), self.dtype)
        last = len(self.weights) - 1
        for start in range(0, len(x), _ROWS):
            h = x[start : start + _ROWS]
            for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
                out = logits[start : start + _ROWS] if i == last else None
                h = linear_forward(h, weight, bias, self._activation(i), out=out)
        return logits

    def predict(self, x: Array) -> Array:
        """Class numbers (N,) int64; for binary cross-entropy 0 or 1 an output; for mse the outputs.

        The last two are (N, sizes[-1]), or (N,) where sizes[-1] is 1.
        """
        logits = self.forward(x)
        if self.loss == "softmax_cross_entropy":
            classes: Array = np.argmax(logits, axis=1)
            return classes.astype(np.int64, copy=False)
        if self.loss != "mse":
            logits = (logits > 0).astype(np.int64)
        return logits[:, 0] if self.sizes[-1] == 1 else logits

    def predict_proba(self, x: Array) -> Array:
        """Probabilities (N, sizes[-1]): softmax of the logits; sigmoid for binary cross-entropy."""
        if self.loss == "mse":
            raise ValueError("MLP.predict_proba: a model with loss 'mse' has no probabilities")
        logits = self.forward(x)
        is_softmax = self.loss == "softmax_cross_entropy"
        return _losses.softmax(logits) if is_softmax else sigmoid(logits)

    def train_step(self, x: Array, y: Array) -> float:
        """One optimizer step on x (N, sizes[0]) and its targets -> the loss before the step.

        y as the loss takes it: labels (N,) or probabilities (N, M); else (N, M), or (N,) if M is 1.
        """
        x = self._check_x("MLP.train_step", x)
        return self._step(x, self._check_y("MLP.train_step", y, len(x)))

    def fit(
        self,
        x: Array,
        y: Array,
        epochs: int,
        batch_size: int,
        validation: tuple[Array, Array] | None = None,
        progress: bool = True,
    ) -> dict[str, list[float]]:
        """``epochs`` passes over x (N, sizes[0]) and y in an order drawn from the seed -> history.

        history["loss"]: the mean over each pass; with ``validation=(x, y)`` also "validation_loss"
        and, for classes, "validation_accuracy". progress: a bar on a terminal, lines in a pipe.
        """
        return _training.fit(self, x, y, epochs, batch_size, validation, progress)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write parameters, optimizer state and settings to ``path`` (.npz), all or nothing."""
        _checkpoint.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> MLP:
        """The model that ``save`` wrote; any other file is a ValueError of one line."""
        return _checkpoint.load(path, cls)

    def optimizer_state(self) -> list[Array]:
        """Copies of the optimizer's arrays (velocity; m, v), flat, in the order of parameters."""
        return [np.concatenate([flat[part] for part in self._parts]) for flat in self._state]

    def set_optimizer_state(self, states: Sequence[Array]) -> None:
        """The reverse of optimizer_state."""
        for flat, state in zip(self._state, states, strict=True):
            start = 0
            for part in self._parts:
                stop = start + part.stop - part.start
                flat[part] = state[start:stop]
                start = stop

    def __repr__(self) -> str:
        return (
            f"MLP({self.sizes}, {self.activation!r}, {self.loss!r}, {self.optimizer}, "
            f"{self.dtype.name}, seed={self.seed})"
        )

    def __getstate__(self) -> dict[str, Any]:
        """For copy and pickle: everything but the views and buffers, which are laid out anew."""
        kept = ("sizes", "activation", "loss", "optimizer", "dtype", "seed", "steps", "epochs")
        state = {name: getattr(self, name) for name in kept}
        return state | {"_flat": (self._params.copy(), [flat.copy() for flat in self._state])}

    def __setstate__(self, state: dict[str, Any]) -> None:
        params, states = state.pop("_flat")
        self.__dict__.update(state)
        self._allocate()
        self._params[...] = params
        for flat, old in zip(self._state, states, strict=True):
            flat[...] = old

    def _allocate(self) -> None:
        step, start = _ALIGN // self.dtype.itemsize, 0
        self._parts: list[slice] = []  # of weight 0, bias 0, weight 1, ...; zeros between them
        for fan_in, fan_out in itertools.pairwise(self.sizes):
            for size in (fan_in * fan_out, fan_out):
                self._parts.append(slice(start, start + size))
                start = -(-(start + size) // step) * step
        self._params, self._grads, self._work = (_zeros(start, self.dtype) for _ in range(3))
        self._state = tuple(_zeros(start, self.dtype) for _ in range(self.optimizer.slots))
        self.weights, self.biases = self._views(self._params)
        self._weight_grads, self._bias_grads = self._views(self._grads)
        self._kept: dict[int, _Buffers] = {}

    def _views(self, flat: Array) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        shapes = itertools.pairwise(self.sizes)
        weights = (flat[p].reshape(s) for p, s in zip(self._parts[::2], shapes, strict=True))
        return tuple(weights), tuple(flat[p] for p in self._parts[1::2])

    def _initialise(self) -> None:
        """Weights uniform in ±limit: He et al. 2015 sqrt(6/in), Glorot & Bengio 2010
        sqrt(6/(in+out)); biases zero."""
        generator = stream(self.seed, INIT)
        for i, weight in enumerate(self.weights):
            fan_in, fan_out = weight.shape
            is_glorot = self._activation(i) in _GLOROT
            limit = math.sqrt(6 / (fan_in + fan_out if is_glorot else fan_in))
            flat = weight.reshape(-1)
            for start in range(0, flat.size, _DRAWS):
                part = flat[start : start + _DRAWS]
                part[...] = (2 * uniform(part.size, generator) - 1) * limit

    def _activation(self, layer: int) -> ActivationName | None:
        return self.activation if layer < len(self.weights) - 1 else None

    def _buffers(self, rows: int) -> _Buffers:
        if rows not in self._kept:
            if len(self._kept) == _KEPT:
                self._kept.pop(next(iter(self._kept)))
            shapes = [(rows, size) for size in self.sizes[1:]]
            needs_z = ACTIVATIONS[self.activation]
            self._kept[rows] = _Buffers(
                [np.empty(shape, self.dtype) for shape in shapes],
                [np.empty(shape, self.dtype) if needs_z else None for shape in shapes[:-1]]
                + [None],
                [np.empty(shape, self.dtype) for shape in shapes],
            )
        return self._kept[rows]

    def _step(self, x: Array, y: Array) -> float:
        """train_step on checked arrays of the model's dtype."""
        buffers = self._buffers(len(x))
        h = x
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            z = buffers.preactivations[i]
            h = linear_forward(h, weight, bias, self._activation(i), buffers.outputs[i], z)
        loss = LOSSES[self.loss](h, y, buffers.grads[-1])
        for i in reversed(range(len(self.weights))):
            linear_backward(
                buffers.grads[i],
                buffers.outputs[i - 1] if i else x,
                self.weights[i],
                self._activation(i),
                output=buffers.outputs[i],
                preactivation=buffers.preactivations[i],
                needs=(i > 0, True, True),
                out=(
                    buffers.grads[i - 1] if i else None,
                    self._weight_grads[i],
                    self._bias_grads[i],
                ),
            )
        self.steps += 1
        update(self.optimizer, self._params, self._grads, self._state, self.steps, self._work)
        return loss

    def _check_x(self, caller: str, x: Array) -> Array:
        x = _losses.as_float(caller, "x", x)
        if x.ndim != 2 or x.shape[1] != self.sizes[0]:
            raise ValueError(f"{caller}: x has shape {x.shape}; pass (rows, {self.sizes[0]})")
        with np.errstate(over="ignore"):
            return x.astype(self.dtype, copy=False)

    def _check_y(self, caller: str, y: Array, rows: int) -> Array:
        """The targets as the loss's inner function takes them."""
        classes = self.sizes[-1]
        if rows == 0:
            raise ValueError(f"{caller}: x has no rows; a mean loss needs 1 or more")
        if self.loss == "softmax_cross_entropy":
            _losses.check_labels(caller, y, rows, classes)
            return y if y.ndim == 1 else y.astype(self.dtype, copy=False)
        y = _losses.as_float(caller, "y", y)
        if y.ndim == 1 and classes == 1:
            y = y[:, None]
        _losses.check_targets(caller, "the output", (rows, classes), y, "y")
        if self.loss != "mse":
            _losses.check_probabilities(caller, "y", y)
        return y.astype(self.dtype, copy=False)


def _zeros(size: int, dtype: np.dtype[Any]) -> Array:
    """(size,) zeros that start on a cache line."""
    raw = np.zeros(size + _ALIGN // dtype.itemsize, dtype)
    start = -raw.ctypes.data % _ALIGN // dtype.itemsize
    return raw[start : start + size]


def _check_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    try:
        checked = tuple(operator.index(n) for n in sizes)
    except TypeError:
        raise TypeError(
            f"MLP: sizes is {sizes!r}; pass integers, inputs first, e.g. (64, 10)"
        ) from None
    if len(checked) < 2 or min(checked) < 1:
        raise ValueError(f"MLP: sizes is {checked}; pass two or more sizes of 1 or more")
    return checked


def _check_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        found: np.dtype[Any] = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"MLP: dtype is {dtype!r}; pass float32 or float64") from None
    if found.name not in ("float32", "float64"):
        raise TypeError(f"MLP: dtype is {found}; pass float32 or float64")
    native: np.dtype[Any] = np.dtype(found.name)
    return native


def _check_name(argument: str, name: object, table: dict[Any, Any]) -> None:
    if not (name is None or isinstance(name, str)) or name not in table:
        known = ", ".join(repr(key) for key in table)
        raise ValueError(f"MLP: {argument} is {name!r}; pass one of {known}")
