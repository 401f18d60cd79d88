"""The table that kernels read a model from, and its memory: settings and parameters in.

A Net and a Layer a layer (see _kernels/layer/args.py) describe the net once; a call writes into it
where the batch is. Memory for activations and their gradients grows with the largest batch and is
kept.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._kernels.codegen import structs
from .._kernels.codegen.structs import make
from .._kernels.codegen.target import KC
from .._kernels.formulas.activations import BY_NAME
from .._kernels.layer import args, losses
from .._kernels.layer.args import Layer, Net
from .._kernels.layer.conversion import CONVERT
from .._ops.optimizers import SGD, Adam
from .config import Config
from .parameters import ALIGN, Parameters, aligned

Array = NDArray[Any]
G_BYTES = 4 << 20  # of dX of one layer, or KC rows: what a large batch is cut for
# A step goes in two joins where its hidden layers and its parameters are not larger.
JOINED_BYTES, JOINED_SIZE = 1 << 21, 1 << 17
# Where the words of the table are
AT = {name: i for i, name in enumerate(structs.names(Net))}
_OPTIMIZER = structs.offset(Net, "optimizer.words")
_Y, _Z, _G, _ROW = (structs.offset(Layer, name) for name in ("y", "z", "g", "row"))
_CODES: dict[str | None, int] = {None: 0, **{name: row.code for name, row in BY_NAME.items()}}
_KERNELS = {  # of targets (rows,), and of (rows, outputs)
    "softmax_cross_entropy": (losses.SOFTMAX_LABELS, losses.SOFTMAX_PROBABILITIES),
    "binary_cross_entropy_with_logits": (losses.BINARY_CROSS_ENTROPY,) * 2,
    "mse": (losses.MSE,) * 2,
}


class Table:
    """``_table``, words; ``loss``, the last one computed."""

    def __init__(self, config: Config, parameters: Parameters) -> None:
        self._parameters = parameters  # the table has their addresses
        self._dtype, self._name, self._outputs = config.dtype, config.dtype.name, config.sizes[1:]
        self._table = np.zeros(len(AT) + len(parameters.weights) * len(Layer._fields), np.int64)
        self._reals = self._table.view(np.float64)
        self._layers = self._table[len(AT) :].reshape(-1, len(Layer._fields))
        self._address = self._table.ctypes.data
        self.loss = ctypes.c_double.from_address(self._address + 8 * AT["loss"])
        self._rows = 0  # that there is memory for; the table's most_rows is 0 during a slow call
        self._memory: list[Array] = []
        self._copies: dict[str, Array] = {}  # where what cannot be read where it lies goes
        self._own = CONVERT[self._name].slot(self._name)  # what copies floats of the dtype
        self._needs_z: list[bool] = []
        self._describe(config, parameters)

    def _describe(self, config: Config, parameters: Parameters) -> None:
        self._losses = _KERNELS[config.loss]
        self._set(
            loss_slot=self._losses[0].slot(self._name),
            smoothing=float(config.label_smoothing),
            max_norm=float(config.max_grad_norm or 0),
            layers=len(parameters.weights),
            inputs=config.sizes[0],
            outputs=config.sizes[-1],
            widest=max(config.sizes[1:-1], default=0),
            row_fmas=3 * sum(weight.size for weight in parameters.weights),
            is_double=int(self._name == "float64"),
            takes_labels=int(config.loss == "softmax_cross_entropy"),
        )
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
            words = make(args.Adam, param.size, *addresses, 0, *numbers, int(settings.decoupled))
        else:
            addresses += [0] * (1 - len(state))
            numbers = (settings.lr, settings.momentum, settings.nesterov, settings.weight_decay)
            words = make(args.Sgd, param.size, *addresses, *numbers)
        self._put(AT["optimizer.counts_steps"], int(isinstance(settings, Adam)))
        for i, word in enumerate(words, _OPTIMIZER):
            self._put(i, word)
        self._rate = _OPTIMIZER + structs.offset(words.__class__, "lr")

    def _get(self, name: str) -> int:
        """A word of the table's head."""
        return int(self._table[AT[name]])

    def _set(self, **words: int | float) -> None:
        """Words of the table's head."""
        for name, value in words.items():
            self._put(AT[name], value)

    def _put(self, index: int, value: int | float) -> None:
        """Floats as their bits."""
        (self._reals if isinstance(value, float) else self._table)[index] = value

    @property
    def steps(self) -> int:
        """Steps done so far."""
        return self._get("steps")

    @steps.setter
    def steps(self, value: int) -> None:
        self._set(steps=int(value))

    @property
    def learning_rate(self) -> float:
        return float(self._reals[self._rate])

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._reals[self._rate] = value

    def _grow(self, rows: int) -> None:
        """Memory for batches of up to so many rows."""
        size = self._dtype.itemsize
        self._rows = 0  # nothing, should there be no memory
        self._set(kept=0, x_copy=0)
        self._copies.clear()
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
        self._set(block=block, row_losses=new(rows, 8) if joined else 0)
        self._rows = rows

    def _make_copies(self) -> None:
        """Memory for what cannot be read where it lies; builtins convert into it as well."""
        count, double = self._rows, np.dtype(np.float64)
        self._copies = {
            "weights": aligned(count, double),
            "targets": aligned((count + 1) * self._get("outputs"), double),
            "x": aligned(count * self._get("inputs"), self._dtype),
        }
        self._set(**{f"{name}_copy": a.ctypes.data for name, a in self._copies.items()})
        self._set(wants_copies=0)

    def _readable(self, name: str, a: Array, dtype: np.dtype[Any]) -> Array:
        """x or targets: a where its elements are of the dtype, else a copy."""
        if a.dtype == dtype:
            return a
        if not self._copies:
            self._make_copies()
        copy: Array = self._copies[name].view(dtype)[: a.size].reshape(a.shape)
        with np.errstate(all="ignore"):  # what is too large becomes Inf
            np.copyto(copy, a, casting="unsafe")
        return copy


def _padded(row: int) -> int:
    """Bytes of a row in whole cache lines, an odd number of them: rows, and arrays, that are a
    power of two apart would share cache sets."""
    return (-(-row // ALIGN) | 1) * ALIGN
