"""The multi-layer perceptron: batches in, trained parameters out.

X (N, sizes[0]) -> act(X·W0 + b0) -> ... -> logits (N, sizes[-1]); hidden layers have the
activation, the last has none. Parameters, gradients and each array of the optimizer are ONE flat
array. A step is in _step, the loop over epochs in _training, the file format in _checkpoint.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import _checkpoint, _grad_norms, _settings, _training
from ._kernels.formulas import activations
from ._ops import checks, losses
from ._ops.elementwise import sigmoid
from ._ops.linear import ActivationName, linear_forward
from ._ops.numbers import shown
from ._ops.optimizers import SGD, Adam
from ._run import run_of
from ._step import ALIGN, Step, aligned
from .datasets._draws import INIT, check_seed, stream, uniform

if TYPE_CHECKING:
    from ._atomic import Path
    from ._ops.schedules import Schedule

Array = NDArray[Any]

ACTIVATIONS: dict[Any, bool] = {  # name -> its backward needs the pre-activation
    None: False,
    **{row.name: row.saved == "preactivation" for row in activations.TABLE},
}
_GLOROT = (None, "sigmoid", "tanh")  # the others pass about half of a centred input: He
LOSSES = {
    "softmax_cross_entropy": losses._softmax_cross_entropy,
    "binary_cross_entropy_with_logits": losses._binary_cross_entropy_with_logits,
    "mse": losses._mse,
}
LossName = Literal["softmax_cross_entropy", "binary_cross_entropy_with_logits", "mse"]
DEFAULT_OPTIMIZER = SGD(0.01)
_ROWS = 1024  # rows of forward at a time: bounds its memory; rows do not depend on each other
_DRAWS = 1 << 20  # initial weights drawn at a time
_SETTINGS = (
    "sizes", "activation", "loss", "optimizer", "dtype", "seed", "label_smoothing", "max_grad_norm",
)  # fmt: skip
_PROGRESS = ("steps", "epochs", "learning_rate")


class MLP:
    """sizes (inputs, hidden ..., outputs); activation, loss: names; optimizer: SGD or Adam.

    float32 or float64; the same seed gives the same bits on every machine. ``weights`` and
    ``biases`` are tuples of live arrays, weight i (sizes[i], sizes[i+1]), bias i (sizes[i+1],): a
    step, and you, change them in place. ``learning_rate``, at first the optimizer's, is the one of
    the next step, and may be set. label_smoothing: the share of every target of softmax
    cross-entropy that is spread over all classes. max_grad_norm: where the norm of all gradients
    together is larger, a step scales them to it. Steps of one model belong in one thread at a time.
    A process forked during a step of another thread refuses steps of that model, whose parameters
    may be half changed there.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: ActivationName | None = "relu",
        loss: LossName = "softmax_cross_entropy",
        optimizer: SGD | Adam = DEFAULT_OPTIMIZER,
        dtype: DTypeLike = np.float32,
        seed: int = 0,
        *,
        label_smoothing: float = 0.0,
        max_grad_norm: float | None = None,
    ):
        self.sizes = _settings.check_sizes(sizes)
        _settings.check_name("activation", activation, ACTIVATIONS)
        _settings.check_name("loss", loss, LOSSES)
        if not isinstance(optimizer, SGD | Adam):
            raise TypeError(f"MLP: optimizer is {shown(optimizer)}; pass SGD(...) or Adam(...)")
        self.activation, self.loss, self.optimizer = activation, loss, optimizer
        self.dtype = _settings.check_dtype(dtype)
        self.seed = check_seed(seed, "MLP")
        self.label_smoothing = _settings.check_smoothing(label_smoothing, loss)
        self.max_grad_norm = _settings.check_max_norm(max_grad_norm)
        self.epochs = 0  # done so far
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
        logits = self.forward(self._look_at_x("MLP.predict", x))
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
        logits = self.forward(self._look_at_x("MLP.predict_proba", x))
        is_softmax = self.loss == "softmax_cross_entropy"
        return losses.softmax(logits) if is_softmax else sigmoid(logits)

    def train_step(self, x: Array, y: Array) -> float:
        """One optimizer step on x (N, sizes[0]) and its targets -> the loss before the step.

        y as the loss takes it: labels (N,) or probabilities (N, M); else (N, M), or (N,) if M is 1.
        An x of the model's dtype and int64 labels are read where they lie, whatever their strides.
        """
        step = self._compiled
        if step.quick(x, y):
            return step.loss.value
        caller = "MLP.train_step"
        x = self._look_at_x(caller, x)
        return step(x, self._look_at_y(caller, y, len(x)))

    def _step(self, x: Array, y: Array) -> float:
        """train_step on checked arrays."""
        return self._compiled(x, y)

    def grad_norms(self, x: Array, y: Array) -> Array:
        """For each row of x (N, sizes[0]) the norm of its own gradient by all parameters: (N,).

        float64. Its own gradient is that of the loss of a batch of this row alone, without clipping
        or weight decay. Nothing in the model changes. See _grad_norms for the formula.
        """
        x = self._check_x("MLP.grad_norms", x)
        return _grad_norms.grad_norms(self, x, self._check_y("MLP.grad_norms", y, len(x)))

    def fit(
        self,
        x: Array,
        y: Array,
        epochs: int,
        batch_size: int,
        validation: tuple[Array, Array] | None = None,
        progress: bool = True,
        *,
        shuffle: bool = True,
        patience: int | None = None,
        schedule: Schedule | None = None,
        checkpoint: Path | None = None,
    ) -> dict[str, list[float]]:
        """``epochs`` passes over x (N, sizes[0]) and y -> history, a list of values for each name.

        shuffle: in an order drawn from the seed, else as they are. history: "loss", the mean over
        each pass, "learning_rate", "seconds"; with ``validation=(x, y)`` also "validation_loss"
        and, for classes, "validation_accuracy". patience: stop after so many epochs without a
        better validation loss, with the parameters of the best. schedule: a function of the number
        of epochs done that gives the learning rate. checkpoint: save to this path after each epoch.
        progress: a bar on a terminal, lines in a pipe.
        """
        if checkpoint is not None:
            checkpoint = _settings.check_place("MLP.fit", "checkpoint", checkpoint)
        return _training.fit(
            self, x, y, epochs, batch_size, validation, progress,
            shuffle, patience, schedule, checkpoint,
        )  # fmt: skip

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write parameters, optimizer state and settings to ``path`` (.npz), all or nothing."""
        _checkpoint.save(self, _settings.check_place("MLP.save", "path", path))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> MLP:
        """The model that ``save`` wrote; any other file is a ValueError of one line."""
        return _checkpoint.load(_settings.check_path("MLP.load", "path", path), cls)

    @property
    def steps(self) -> int:
        """Steps done so far."""
        return self._compiled.steps

    @steps.setter
    def steps(self, value: int) -> None:
        self._compiled.steps = value

    @property
    def learning_rate(self) -> float:
        return self._compiled.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._compiled.learning_rate = _settings.check_number("learning_rate", value)

    @property
    def history(self) -> dict[str, list[float]]:
        """Of all epochs of all calls of fit; NaN where an epoch had no such value."""
        return run_of(self).history

    def optimizer_state(self) -> list[Array]:
        """Copies of the optimizer's arrays (velocity; m, v), flat, in the order of parameters."""
        return [np.concatenate([flat[part] for part in self._parts]) for flat in self._state]

    def set_optimizer_state(self, states: Sequence[Array]) -> None:
        """The reverse of optimizer_state."""
        caller = "MLP.set_optimizer_state"
        size = sum(part.stop - part.start for part in self._parts)
        if not isinstance(states, list | tuple):
            raise TypeError(f"{caller}: states is {shown(states)}; pass a list of arrays")
        if len(states) != len(self._state):
            raise ValueError(
                f"{caller}: states has {len(states)} arrays, "
                f"but the optimizer has {len(self._state)}"
            )
        for i, state in enumerate(states):
            if checks.array(caller, f"states[{i}]", state).shape != (size,):
                raise ValueError(
                    f"{caller}: states[{i}] has shape {state.shape} but the model has {size} "
                    f"parameters; pass an array of shape ({size},)"
                )
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
        state = {name: getattr(self, name) for name in (*_SETTINGS, *_PROGRESS)}
        if "_run" in vars(self):
            state["_run"] = vars(self)["_run"]
        return state | {"_flat": (self._params.copy(), [flat.copy() for flat in self._state])}

    def __setstate__(self, state: dict[str, Any]) -> None:
        params, states = state.pop("_flat")
        progress = {name: state.pop(name) for name in _PROGRESS}
        self.__dict__.update(state)
        self._allocate()
        for name, value in progress.items():
            setattr(self, name, value)
        self._params[...] = params
        for flat, old in zip(self._state, states, strict=True):
            flat[...] = old

    def _allocate(self) -> None:
        step, start = ALIGN // self.dtype.itemsize, 0
        self._parts: list[slice] = []  # of weight 0, bias 0, weight 1, ...; zeros between them
        for fan_in, fan_out in itertools.pairwise(self.sizes):
            for size in (fan_in * fan_out, fan_out):
                self._parts.append(slice(start, start + size))
                start = -(-(start + size) // step) * step
        self._params, self._grads, *state = (
            aligned(start, self.dtype, np.zeros) for _ in range(2 + self.optimizer.slots)
        )
        self._state = tuple(state)
        self.weights, self.biases = self._views(self._params)
        self._weight_grads, self._bias_grads = self._views(self._grads)
        self._compiled = Step(self)

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

    def _check_x(self, caller: str, x: Array) -> Array:
        """x of the model's dtype."""
        x = self._look_at_x(caller, x)
        with np.errstate(over="ignore"):
            return x.astype(self.dtype, copy=False)

    def _look_at_x(self, caller: str, x: Array) -> Array:
        """x; 64-bit integers, which numpy promotes to float64, as that."""
        x = checks.array(caller, "x", x)
        if x.ndim != 2 or x.shape[1] != self.sizes[0]:
            raise ValueError(f"{caller}: x has shape {x.shape}; pass (rows, {self.sizes[0]})")
        return x if x.dtype.kind == "f" or x.itemsize < 8 else x.astype(np.float64)

    def _check_y(self, caller: str, y: Array, rows: int) -> Array:
        """y: labels as they are, or (rows, outputs) of the model's dtype."""
        y = self._look_at_y(caller, y, rows)
        return y if y.ndim == 1 else y.astype(self.dtype, copy=False)

    def _look_at_y(self, caller: str, y: Array, rows: int) -> Array:
        """y: integers (rows,) or numbers (rows, outputs)."""
        classes = self.sizes[-1]
        if rows == 0:
            raise ValueError(f"{caller}: x has no rows; a mean loss needs 1 or more")
        if self.loss == "softmax_cross_entropy":
            losses.check_labels(caller, y, rows, classes, "x")
            return y
        y = losses.as_float(caller, "y", y)
        if y.ndim == 1 and classes == 1:
            y = y[:, None]
        losses.check_targets(caller, "the output", (rows, classes), y, "y")
        if self.loss != "mse" and not (y.min() >= 0 and y.max() <= 1):
            losses.check_probabilities(caller, "y", y)
        return y
