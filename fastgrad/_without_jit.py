"""Where numba is told not to compile: fastgrad.reference in place of each kernel that Python calls.

In: a kernel's descriptor, its words as the kernel's module names them. Out: what the kernel writes,
with the bits of the contract, some thousand times slower. The first call says so.
"""

from __future__ import annotations

import ctypes
import functools
import math
import struct
import sys
import warnings
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import reference
from ._kernels.formulas import elementwise
from ._kernels.formulas.activations import BY_NAME
from ._kernels.gemm import dispatch
from ._kernels.layer import backward, losses, optimizers, train_step
from ._kernels.runtime import jit
from .reference import losses as formulas
from .reference.lanes import Lanes

Array = NDArray[Any]
_FORMULAS = {0: "none", **{row.code: row.name for row in BY_NAME.values()}}  # by code
_ELEMENTS = 1 << 14  # of a product at a time: what is between them stays in cache


class _Words:
    """A descriptor: its words by their names, and the arrays that they describe."""

    def __init__(self, names: Sequence[str], dtype: np.dtype[Any], address: int) -> None:
        words = (ctypes.c_int64 * len(names)).from_address(address)
        self._words = dict(zip(names, words, strict=True))
        self.dtype, self.address = dtype, address

    def __getattr__(self, name: str) -> int:
        return self._words[name]

    def number(self, name: str) -> float:
        """The word as the bits of a float64."""
        return float(struct.unpack("d", struct.pack("q", self._words[name]))[0])

    def array(self, name: str, lengths: str, strides: str = "", of: Any = None) -> Array:
        """A view. Without strides C-contiguous; a last one that is missing is the element's."""
        shape = tuple(self._words[length] for length in lengths.split())
        dtype = self.dtype if of is None else np.dtype(of)
        if 0 in shape:
            return np.empty(shape, dtype)
        steps: tuple[int, ...] | None = tuple(self._words[stride] for stride in strides.split())
        if steps and len(steps) < len(shape):
            steps += (dtype.itemsize,)
        interface = {
            "version": 3, "data": (self._words[name], False), "shape": shape,
            "strides": steps or None, "typestr": dtype.str,
        }  # fmt: skip
        return np.asarray(SimpleNamespace(__array_interface__=interface))


# formulas of arrays ---------------------------------------------------------------------------


def _product(a: Array, b: Array, old: Array | None = None, bias: Array | None = None) -> Array:
    """a (m, k) · b (k, n), by some rows at a time: none depends on the others."""
    m, n = len(a), b.shape[1]
    result = np.empty((m, n), a.dtype)
    count = max(1, _ELEMENTS // max(n, 1))
    for start in range(0, m, count):
        rows = slice(start, start + count)
        result[rows] = reference.contract_matmul(
            a[rows], b, bias=bias, c_old=None if old is None else old[rows]
        )
    return result


def _formula(name: str, *arrays: Array) -> Array:
    return Lanes(arrays[0].dtype)(elementwise.FORMULAS[name], *arrays)


def _activate(code: int, z: Array) -> Array:
    return _formula(_FORMULAS[code], z)


def _derive(code: int, g: Array, saved: Array) -> Array:
    """H = G ∘ act'"""
    return _formula(_FORMULAS[code] + "_backward", g, saved)


def _loss(number: int, z: Array, d: _Words, lengths: str) -> tuple[float, Array] | None:
    """Of the targets that d has, of these lengths. None: a label is none."""
    if number == losses.SOFTMAX_LABELS:
        labels = d.array("targets", lengths.split(maxsplit=1)[0], "targets_row", np.int64)
        if not ((labels >= 0) & (labels < z.shape[1])).all():
            return None
        return formulas.softmax_cross_entropy(z, labels, d.number("smoothing"))
    targets = d.array("targets", lengths, "targets_row targets_column")
    if number == losses.MSE:
        return formulas.mse(z, targets)
    if number == losses.BINARY_CROSS_ENTROPY:
        return formulas.binary_cross_entropy_with_logits(z, targets)
    return formulas.softmax_cross_entropy(z, targets, d.number("smoothing"))


# kernels: (dtype, address of the descriptor) -> status --------------------------------------------


def _gemm(dtype: np.dtype[Any], address: int) -> int:
    d = _Words(dispatch.DESCRIPTOR, dtype, address)
    c = d.array("c", "m n", "c_row c_column")
    a, b = d.array("a", "m k", "a_row a_k"), d.array("b", "k n", "b_k b_column")
    bias = d.array("bias", "n") if d.bias else None
    z = _product(a, b, c if d.accumulate else None, bias)
    if d.z:
        d.array("z", "m n", "z_row")[...] = z
    c[...] = _activate(d.activation, z)
    return jit.OK


def _backward(dtype: np.dtype[Any], address: int) -> int:
    d = _Words(backward.DESCRIPTOR, dtype, address)
    h, x = d.array("g", "n m", "g_row g_column"), d.array("x", "n k", "x_row x_column")
    w = d.array("w", "k m", "w_row w_column")
    if d.activation:
        h = _derive(d.activation, h, d.array("saved", "n m", "saved_row saved_column"))
    if d.dx:
        dx = d.array("dx", "n k", "dx_row dx_column")
        dx[...] = _product(h, w.T, dx if d.accumulate_x else None)
    if d.dw:
        dw = d.array("dw", "k m", "dw_row dw_column")
        dw[...] = _product(x.T, h, dw if d.accumulate_w else None)
    if d.db:
        db = d.array("db", "m")
        db[...] = reference.contract_colsum(h, c_old=db if d.accumulate_b else None)
    return jit.OK


def _one_formula(name: str, dtype: np.dtype[Any], address: int) -> int:
    """See elementwise._emit."""
    names = ["rows", "columns", "x", "x_row", "s", "s_row", "y", "y_row", "sums"]
    is_backward = name.endswith("_backward")
    d = _Words(names if is_backward else names[:4] + names[6:8], dtype, address)
    inputs = [d.array(x, "rows columns", f"{x}_row") for x in ("xs" if is_backward else "x")]
    y = d.array("y", "rows columns", "y_row")
    y[...] = _formula(name, *inputs)
    if is_backward:
        sums = d.array("sums", "columns")
        with np.errstate(all="ignore"):
            for row in y:
                sums += row
    return jit.OK


def _mean(number: int, dtype: np.dtype[Any], address: int) -> int:
    d = _Words(losses.DESCRIPTOR, dtype, address)
    z = d.array("logits", "n m", "logits_row logits_column")
    found = _loss(number, z, d, "n m")
    if found is None:
        return jit.BAD_LABEL
    ctypes.c_double.from_address(d.loss).value = found[0]
    d.array("grad", "n m", "grad_row")[...] = found[1]
    return jit.OK


def _sgd(dtype: np.dtype[Any], address: int) -> int:
    d = _Words(optimizers.SGD_DESCRIPTOR, dtype, address)
    velocity = d.array("velocity", "count") if d.velocity else None
    numbers = (d.number("momentum"), bool(d.nesterov), d.number("weight_decay"))
    param, grad = d.array("param", "count"), d.array("grad", "count")
    formulas.sgd_step(param, grad, d.number("lr"), velocity, *numbers)
    return jit.OK


def _adam(dtype: np.dtype[Any], address: int, count: int | None = None) -> int:
    """count: of this step, if it is not the descriptor's."""
    d = _Words(optimizers.ADAM_DESCRIPTOR, dtype, address)
    lr, *betas, eps, decay = (d.number(name) for name in optimizers.ADAM_DESCRIPTOR[6:])
    param, grad, m, v = (d.array(name, "count") for name in optimizers.ADAM_DESCRIPTOR[1:5])
    number = count or d.step
    formulas.adam_step(param, grad, m, v, number, lr, (betas[0], betas[1]), eps, decay)
    return jit.OK


def _squares(dtype: np.dtype[Any], address: int) -> int:
    d = _Words(optimizers.SQUARES_DESCRIPTOR, dtype, address)
    ctypes.c_double.from_address(d.sum).value = formulas.squares(d.array("values", "count"))
    return jit.OK


def _step(dtype: np.dtype[Any], address: int) -> int:
    """A training step. Layers keep their arrays here, not in the memory of the table."""
    table = ctypes.c_int64.from_address(address).value
    head, size = _Words(train_step.HEAD, dtype, table), 8 * len(train_step.LAYER)
    start = table + 8 * len(train_step.HEAD)
    layers = [_Words(train_step.LAYER, dtype, start + i * size) for i in range(head.layers)]
    x = head.array("x", "rows inputs", "x_row x_column")
    weights = [layer.array("weight", "k m") for layer in layers]
    inputs, saved = [], []
    for layer, weight in zip(layers, weights, strict=True):
        inputs.append(x)
        z = _product(x, weight, bias=layer.array("bias", "m"))
        x = _activate(layer.activation, z)
        saved.append(z if layer.z else x)

    found = _loss((head.loss_slot - jit.SLOTS) // 2, x, head, "rows outputs")
    if found is None:
        return jit.BAD_LABEL
    ctypes.c_double.from_address(table + 8 * train_step.PLACE["loss"]).value, h = found

    grads: list[Array] = []
    for i in reversed(range(len(layers))):
        if layers[i].activation:
            h = _derive(layers[i].activation, h, saved[i])
        dw, db = layers[i].array("weight_grad", "k m"), layers[i].array("bias_grad", "m")
        dw[...], db[...] = _product(inputs[i].T, h), reference.contract_colsum(h)
        grads[:0] = dw, db
        if i:
            h = _product(h, weights[i].T)
    _clip(head, grads)

    settings = table + 8 * train_step.PLACE["optimizer_0"]
    if head.counts_steps:
        _adam(dtype, settings, head.steps + 1)
    else:
        _sgd(dtype, settings)
    ctypes.c_int64.from_address(table + 8 * train_step.PLACE["steps"]).value += 1
    return jit.OK


def _clip(head: _Words, grads: list[Array]) -> None:
    """As step.clip_layers."""
    limit = head.number("max_norm")
    if not limit:
        return
    norm = formulas.norm(*grads)
    ctypes.c_double.from_address(head.address + 8 * train_step.PLACE["norm"]).value = norm
    if limit < norm < math.inf:
        with np.errstate(all="ignore"):
            for grad in grads:
                grad *= grad.dtype.type(limit / norm)


# in their places ------------------------------------------------------------------------------

_KERNELS: dict[int, Callable[[np.dtype[Any], int], int]] = {
    dispatch.GEMM: _gemm,
    backward.BACKWARD_KERNEL: _backward,
    optimizers.SGD: _sgd,
    optimizers.ADAM: _adam,
    optimizers.SQUARES: _squares,
    train_step.STEP: _step,
    **{number: functools.partial(_mean, number) for number in losses.LOSSES.values()},
    **{
        number: functools.partial(_one_formula, name)
        for name, number in elementwise.NUMBERS.items()
    },
}
_said = False


def install() -> None:
    """Before the first call of any kernel."""
    for number, kernel in _KERNELS.items():
        for name in jit.DTYPES:
            jit.replace(number, name, functools.partial(_run, kernel, np.dtype(name)))


def _run(kernel: Callable[[np.dtype[Any], int], int], dtype: np.dtype[Any], address: int) -> int:
    global _said
    if not _said:
        _said = True
        warnings.warn(
            "fastgrad: NUMBA_DISABLE_JIT is set, so nothing is compiled and fastgrad.reference "
            "computes: the same bits, a hundred to some thousand times slower",
            RuntimeWarning,
            stacklevel=_level(),
        )
    return kernel(dtype, address)


def _level() -> int:
    """The stacklevel, for a warning of the caller, of the first frame outside of the package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == "fastgrad":
        level, frame = level + 1, frame.f_back
    return level
