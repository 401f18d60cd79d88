"""One training step of a model: batches in, changed parameters and the loss out.

A table (see _kernels/layer/train_step.py) describes the net once; a step writes into it where the
batch is and makes one call. Its memory grows with the largest batch and is kept.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._kernels.bind import builtins, step_builtin
from .._kernels.codegen import structs
from .._kernels.codegen.structs import make
from .._kernels.codegen.target import KC
from .._kernels.formulas.activations import BY_NAME
from .._kernels.layer import args, losses
from .._kernels.layer.args import Layer, Net
from .._kernels.layer.train_step import train_step
from .._kernels.runtime import registry
from .._kernels.runtime.table import BAD_LABEL, OK
from .._ops.optimizers import SGD, Adam
from .config import Config
from .parameters import ALIGN, Parameters, aligned

Array = NDArray[Any]
G_BYTES = 4 << 20  # of dX of one layer, or KC rows: what a large batch is cut for
# A step goes in two joins where its hidden layers and its parameters are not larger.
JOINED_BYTES, JOINED_SIZE = 1 << 21, 1 << 17
_BUSY = "MLP.train_step: another thread is in a step of this model"
_FORKED = (
    "MLP.train_step: this process was forked while another thread was in a step of this model, "
    "whose parameters may be half changed; load or make it anew in this process, or fork between "
    "steps"
)
_steps: weakref.WeakSet[Step] = weakref.WeakSet()  # all there are: a fork looks which are at work
# Where the words of the table are
_AT = {name: i for i, name in enumerate(structs.names(Net))}
_OPTIMIZER = structs.offset(Net, "optimizer.words")
_Y, _Z, _G, _ROW = (structs.offset(Layer, name) for name in ("y", "z", "g", "row"))
_CODES: dict[str | None, int] = {None: 0, **{name: row.code for name, row in BY_NAME.items()}}
_KERNELS = {
    "softmax_cross_entropy": losses.SOFTMAX_LABELS,
    "binary_cross_entropy_with_logits": losses.BINARY_CROSS_ENTROPY,
    "mse": losses.MSE,
}


class Step:
    """The table and the memory of one model; calls take checked arrays and return the loss.

    ``quick(x, y)`` does the same with any arguments, where they can be read where they lie: True
    once done, and the loss is ``loss.value``; else None.
    """

    def __init__(self, config: Config, parameters: Parameters) -> None:
        self._parameters = parameters  # the table has their addresses
        self._dtype, self._name, self._outputs = config.dtype, config.dtype.name, config.sizes[1:]
        self._table = np.zeros(len(_AT) + len(parameters.weights) * len(Layer._fields), np.int64)
        self._reals = self._table.view(np.float64)
        self._layers = self._table[len(_AT) :].reshape(-1, len(Layer._fields))
        address = self._table.ctypes.data
        self._descriptor = ctypes.c_int64(address)
        self.loss = ctypes.c_double.from_address(address + 8 * _AT["loss"])
        self.quick: Callable[[Any, Any], bool | None] = builtins.refuse
        self.infer_floats, self.infer_numbers = (
            step_builtin.of_table(name, self._table) for name in ("infer_floats", "infer_numbers")
        )
        self._x = self._y = np.empty(0)
        self._lock = threading.Lock()
        self._rows = 0  # that there is memory for; the table's most_rows is 0 during a slow step
        self._memory: list[Array] = []
        self._needs_z: list[bool] = []
        self._is_cut_off = False  # by a fork, in the middle of a step of a thread that is not here
        self._describe(config, parameters)
        _steps.add(self)

    def _describe(self, config: Config, parameters: Parameters) -> None:
        self._is_softmax = is_softmax = config.loss == "softmax_cross_entropy"
        self._loss_slot = _KERNELS[config.loss].slot(self._name)
        self._set(
            loss_slot=self._loss_slot,
            smoothing=float(config.label_smoothing),
            max_norm=float(config.max_grad_norm or 0),
            layers=len(parameters.weights),
            inputs=config.sizes[0],
            outputs=config.sizes[-1],
            widest=max(config.sizes[1:-1], default=0),
            row_fmas=3 * sum(weight.size for weight in parameters.weights),
            is_double=int(self._name == "float64"),
            targets_ndim=1 if is_softmax else 2,
        )
        kind = np.dtype(np.int64) if is_softmax else config.dtype
        self._set(targets_format=step_builtin.format_of(kind))
        self._describe_optimizer(
            config.optimizer, parameters.flat, parameters.grads, parameters.state
        )
        for i, row in enumerate(self._layers):
            weight, bias = parameters.weights[i], parameters.biases[i]
            arrays = (weight, bias, parameters.weight_grads[i], parameters.bias_grads[i])
            w, b, dw, db = (a.ctypes.data for a in arrays)
            name = config.activation_of(i)
            row[:] = make(
                Layer, *weight.shape, w, b, _CODES[name], dw, db, 0, 0, 0, 0
            )  # no memory yet
            self._needs_z.append(name is not None and BY_NAME[name].saved == "preactivation")

    def _describe_optimizer(
        self, settings: SGD | Adam, param: Array, grad: Array, state: tuple[Array, ...]
    ) -> None:
        addresses = [a.ctypes.data for a in (param, grad, *state)]
        words: Any
        if isinstance(settings, Adam):
            numbers: tuple[float, ...] = (
                settings.lr,
                *settings.betas,
                settings.eps,
                settings.weight_decay,
            )
            words = make(args.Adam, param.size, *addresses, 0, *numbers)
        else:
            addresses += [0] * (1 - len(state))
            numbers = (settings.lr, settings.momentum, settings.nesterov, settings.weight_decay)
            words = make(args.Sgd, param.size, *addresses, *numbers)
        self._put(_AT["optimizer.counts_steps"], int(isinstance(settings, Adam)))
        for i, word in enumerate(words, _OPTIMIZER):
            self._put(i, word)
        self._rate = _OPTIMIZER + structs.offset(words.__class__, "lr")

    def _set(self, **words: int | float) -> None:
        """Words of the table's head."""
        for name, value in words.items():
            self._put(_AT[name], value)

    def _put(self, index: int, value: int | float) -> None:
        """Floats as their bits."""
        (self._reals if isinstance(value, float) else self._table)[index] = value

    @property
    def steps(self) -> int:
        """Steps done so far."""
        return int(self._table[_AT["steps"]])

    @steps.setter
    def steps(self, value: int) -> None:
        self._set(steps=int(value))

    @property
    def learning_rate(self) -> float:
        return float(self._reals[self._rate])

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._reals[self._rate] = value

    def __call__(self, x: Array, y: Array) -> float:
        """x (N, K) floats; y (N,) integer labels, or (N, M) floats; N of 1 or more."""
        if self.quick(x, y):
            return self.loss.value
        if self._is_cut_off:
            raise RuntimeError(_FORKED)
        if self._lock.locked():
            raise RuntimeError(_BUSY)
        # Safe from interrupts: "with" loses no lock, and a table that is left closed is opened by
        # the next call. A thread that has come since the lock was seen free waits its turn.
        with self._lock:
            self._set(most_rows=0)  # from now on no quick step begins; one may be running
            if self._table[_AT["busy"]]:
                self._set(most_rows=self._rows)
                raise RuntimeError(_BUSY)
            status = self._run(x, y)
            loss = self.loss.value
            self._set(loss_slot=self._loss_slot)
            self._set(most_rows=self._rows)
        if status == BAD_LABEL:
            raise ValueError("MLP.train_step: labels changed during the step, to one that is none")
        if status != OK:
            registry.raise_status(status)
        return loss

    def _run(self, x: Array, y: Array) -> int:
        rows, dtype, loss_slot = len(x), self._dtype, self._loss_slot
        if rows > self._rows:
            self._grow(rows)
        self._x, x = _readable(x, dtype, self._x)
        if y.ndim == 1:
            self._y, y = _readable(y, np.dtype(np.int64), self._y)
        else:
            self._y, y = _readable(y, dtype, self._y)
            if self._is_softmax:
                loss_slot = losses.SOFTMAX_PROBABILITIES.slot(self._name)
        self._set(loss_slot=loss_slot)
        self._set(rows=rows)
        for name, a in (("x", x), ("targets", y)):
            at = structs.offset(Net, name)
            self._table[at : at + 1 + a.ndim] = a.ctypes.data, *a.strides
        return registry.function_in(train_step.slot(self._name))(ctypes.addressof(self._descriptor))

    def _grow(self, rows: int) -> None:
        """Memory for batches of up to so many rows."""
        size = self._dtype.itemsize
        self._rows = 0  # nothing, should there be no memory
        self._memory.clear()

        def new(count: int, row: int) -> int:
            self._memory.append(aligned(count * row // size, self._dtype))
            return self._memory[-1].ctypes.data

        bytes_of_rows = [_padded(m * size) for m in self._outputs]
        hidden = bytes_of_rows[:-1]
        kc = KC[self._name]
        block = max(1, G_BYTES // (max(hidden, default=1) * kc)) * kc
        # in two joins every layer keeps its dX; else it is read by the layer below alone: two
        # buffers, in turn
        joined = rows * sum(hidden) <= JOINED_BYTES and self._parameters.flat.size <= JOINED_SIZE
        if joined:
            gs = [new(rows, pitch) for pitch in hidden]
        else:
            gs = [new(min(rows, block), max(hidden[i::2], default=0)) for i in range(2)]
        for i, (row, pitch) in enumerate(zip(self._layers, bytes_of_rows, strict=True)):
            is_last = i == len(hidden)
            z = new(rows, pitch) if self._needs_z[i] else 0
            row[_Y], row[_Z], row[_ROW] = new(rows, pitch), z, pitch
            row[_G] = new(rows, pitch) if is_last else gs[i % len(gs)]
        self._set(block=block, row_losses=new(rows, size) if joined else 0)
        self.quick = step_builtin.of_table("train_step", self._table)
        self._rows = rows


def _look_after_fork() -> None:
    """In a child: which models a thread was in a step of. No step of theirs begins here."""
    for step in list(_steps):
        if step._lock.locked() or step._table[_AT["busy"]]:
            step._is_cut_off = True
            step._set(most_rows=0)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_look_after_fork)


def _padded(row: int) -> int:
    """Bytes of a row in whole cache lines, an odd number of them: rows, and arrays, that are a
    power of two apart would share cache sets."""
    return (-(-row // ALIGN) | 1) * ALIGN


def _readable(a: Array, dtype: np.dtype[Any], kept: Array) -> tuple[Array, Array]:
    """kept, a where its elements are of the dtype; else a copy of it in kept, which may grow."""
    if a.dtype == dtype:
        return kept, a
    if kept.dtype != dtype or kept.size < a.size:
        kept = np.empty(a.size, dtype)
    copy = kept[: a.size].reshape(a.shape)
    with np.errstate(over="ignore"):
        np.copyto(copy, a, casting="unsafe")
    return kept, copy
