"""Losses: network outputs and targets in, (mean loss, its gradient) out.

Every sum has the order of the contract: a chain along a row, started at +0.0, then a chain over
the rows of each block of KC, then the blocks in order. The kernels are in _kernels/layer/losses.py;
reference.losses states them in numpy. Each public function checks its arguments and calls its twin.
"""

from __future__ import annotations

import ctypes
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from .._kernels.bind import builtins
from .._kernels.codegen.structs import make
from .._kernels.gemm.args import Matrix
from .._kernels.layer.args import Loss
from .._kernels.layer.losses import (
    BINARY_CROSS_ENTROPY,
    MSE,
    SOFTMAX_LABELS,
    SOFTMAX_PROBABILITIES,
)
from .._kernels.runtime.registry import Kernel
from .._kernels.runtime.table import BAD_LABEL
from . import checks, numbers
from .elementwise import exp
from .kernel_call import bits, data, matrix, rows, run

Array = NDArray[Any]


def softmax_cross_entropy(
    logits: Array, labels: Array, label_smoothing: float = 0.0
) -> tuple[float, Array]:
    """logits (N, M), labels (N,) integers or (N, M) probabilities -> loss, gradient (N, M).

    loss = mean over rows of the sum of t*(log(sum exp(z)) - z); gradient = (softmax(z) - t) / N.
    t is the row of probabilities, or 1 at the label and 0 elsewhere; label_smoothing s, from 0 to
    1, makes it (1 - s)*t + s/M (Szegedy et al. 2016, as PyTorch writes it). Where t is 0 so is the
    term, also of -Inf. The row's maximum is taken off first, so no exp overflows. float32 or
    float64 as the logits.
    """
    result = builtins.softmax_cross_entropy(logits, labels, label_smoothing)
    if result is not None:
        return result  # type: ignore[no-any-return]
    caller = "softmax_cross_entropy"
    z = as_float(caller, "logits", logits)
    if z.ndim != 2 or z.size == 0:
        raise ValueError(
            f"{caller}: logits has shape {z.shape}; pass (rows, classes), both above 0"
        )
    labels = check_labels(caller, labels, len(z), z.shape[1], any_range=True)
    smoothing = check_smoothing(caller, label_smoothing)
    grad = np.empty(z.shape, z.dtype)
    return _smoothed_cross_entropy(z, labels, grad, smoothing), grad


def binary_cross_entropy_with_logits(logits: Array, targets: Array) -> tuple[float, Array]:
    """logits (..., M), targets of that shape, each from 0 to 1 -> loss, gradient of that shape.

    loss = mean of max(z, 0) - z*t + log(1 + exp(-|z|)); gradient = (sigmoid(z) - t) / size.
    """
    result = builtins.binary_cross_entropy_with_logits(logits, targets)
    if result is not None:
        return result  # type: ignore[no-any-return]
    caller = "binary_cross_entropy_with_logits"
    z = as_float(caller, "logits", logits)
    targets = check_targets(caller, "logits", z.shape, targets)
    check_probabilities(caller, "targets", targets)
    grad = np.empty(z.shape, z.dtype)
    return _binary_cross_entropy_with_logits(z, targets, grad), grad


def mse(prediction: Array, target: Array) -> tuple[float, Array]:
    """prediction (..., M), target of that shape -> mean of (p - t)**2, gradient 2(p - t) / size."""
    result = builtins.mse(prediction, target)
    if result is not None:
        return result  # type: ignore[no-any-return]
    p = as_float("mse", "prediction", prediction)
    target = check_targets("mse", "prediction", p.shape, target)
    grad = np.empty(p.shape, p.dtype)
    return _mse(p, target, grad), grad


# On checked arguments; grad, C-contiguous, is overwritten.


def _softmax_cross_entropy(z: Array, labels: Array, grad: Array) -> float:
    return _smoothed_cross_entropy(z, labels, grad, 0.0)


def _smoothed_cross_entropy(z: Array, labels: Array, grad: Array, smoothing: float) -> float:
    if labels.ndim == 2:
        return _mean(SOFTMAX_PROBABILITIES, z, labels, grad, smoothing)
    aligned = labels.astype(np.int64, copy=not labels.flags.aligned)
    loss = ctypes.c_double()
    args = make(Loss,
        *z.shape, matrix(z), Matrix(data(aligned), aligned.strides[0], 0), rows(grad),
        ctypes.addressof(loss), bits(smoothing), len(z), 0,
    )  # fmt: skip
    if run(SOFTMAX_LABELS, z.dtype, args) == BAD_LABEL:
        _refuse_label("softmax_cross_entropy", labels, z.shape[1])
    return loss.value


def _binary_cross_entropy_with_logits(z: Array, target: Array, grad: Array) -> float:
    return _mean(BINARY_CROSS_ENTROPY, z, target, grad)


def _mse(prediction: Array, target: Array, grad: Array) -> float:
    return _mean(MSE, prediction, target, grad)


def _mean(kernel: Kernel, z: Array, target: Array, grad: Array, smoothing: float = 0.0) -> float:
    t = target
    if t.dtype != z.dtype:
        with np.errstate(all="ignore"):
            t = target.astype(z.dtype)
    z, t, grad = _as_rows(z), _as_rows(t), _as_rows(grad)
    loss = ctypes.c_double()
    args = make(
        Loss,
        *z.shape,
        matrix(z),
        matrix(t),
        rows(grad),
        ctypes.addressof(loss),
        bits(smoothing),
        len(z),
        0,
    )
    run(kernel, z.dtype, args)
    return loss.value


def _as_rows(a: Array) -> Array:
    """(..., M) -> (rows, M), a copy where no view can be had; (N,) is N rows of one."""
    if a.ndim == 2:
        return a
    return a[:, None] if a.ndim == 1 else a.reshape(-1, a.shape[-1])


def softmax(z: Array) -> Array:
    """Rows of z (N, M), M of 1 or more -> rows of probabilities (N, M)."""
    with np.errstate(all="ignore"):
        p = exp(z - z.max(axis=1, keepdims=True))
        p *= (1 / _row_chain(p))[:, None]
        return p


def _row_chain(a: Array) -> Array:
    """(N, M) -> (N,): ((0 + a0) + a1) + ... along each row, as numpy defines accumulate."""
    last: Array = np.add.accumulate(a, axis=1)[:, -1]
    last += a.dtype.type(0)  # a chain of -0.0, started at +0.0, is +0.0
    return last


# Checks, shared with the model: `caller` opens the one-line message.


def as_float(caller: str, name: str, value: Array) -> Array:
    """The array as float32 or float64; integers and bools become what float32 promotes them to."""
    checked = checks.array(caller, name, value)
    return checks.cast(checked, checks.result_dtype(checked))


def check_labels(
    caller: str,
    labels: Array,
    rows: int,
    classes: int,
    inputs: str = "logits",
    any_range: bool = False,
) -> Array:
    """labels: (rows,) integers below classes, or (rows, classes) probabilities.

    any_range: whether integers are from 0 to classes - 1 is left to the kernel.
    """
    expected = "expected integers (rows,) or probabilities (rows, classes)"
    if type(labels) is np.ndarray and labels.dtype.kind in "OSTU":
        raise TypeError(
            f"{caller}: labels has dtype {labels.dtype}, shape {labels.shape}, {expected}; "
            f"number the classes with np.unique(labels, return_inverse=True)[1]"
        )
    labels = checks.array(caller, "labels", labels)
    if labels.ndim == 2:
        if labels.shape == (rows, 1) and classes > 1 and labels.dtype.kind in "iu":
            raise ValueError(
                f"{caller}: labels has shape {labels.shape}, expected integers ({rows},); "
                f"pass labels[:, 0]"
            )
        of = inputs if inputs == "logits" else "the output"
        check_targets(caller, of, (rows, classes), labels, "labels")
        check_probabilities(caller, "labels", labels)
        sums = _row_chain(labels.astype(np.float64))
        off = np.abs(sums - 1) > 1e-3
        if off.any():
            row = int(np.argmax(off))
            raise ValueError(f"{caller}: labels row {row} sums to {sums[row]:.6g}; it must be 1")
        return labels
    if labels.dtype.kind not in "iu":
        raise TypeError(
            f"{caller}: labels has dtype {labels.dtype}, shape {labels.shape}, {expected}; "
            f"pass labels.astype(np.int64)"
        )
    if labels.shape != (rows,):
        raise ValueError(
            f"{caller}: labels has shape {labels.shape} but {inputs} has {rows} rows; "
            f"pass labels of shape ({rows},)"
        )
    if not (any_range or (labels.min() >= 0 and labels.max() < classes)):
        _refuse_label(caller, labels, classes, inputs)
    return labels


def _refuse_label(caller: str, labels: Array, classes: int, inputs: str = "logits") -> NoReturn:
    row = int(np.argmax((labels < 0) | (labels >= classes)))
    has = (
        f"logits has {classes} columns"
        if inputs == "logits"
        else f"the model has {classes} outputs"
    )
    raise ValueError(
        f"{caller}: labels[{row}] is {labels[row]} but {has}; labels run from 0 to {classes - 1}"
    )


def check_smoothing(caller: str, value: float) -> float:
    """label_smoothing: a number from 0 to 1."""
    return numbers.from_0_to_1(caller, "label_smoothing", value)


def check_targets(
    caller: str, other: str, shape: tuple[int, ...], target: Array, name: str | None = None
) -> Array:
    """The target is an array of numbers of exactly the shape of ``other``, not empty."""
    name = name or ("target" if other == "prediction" else "targets")
    target = checks.array(caller, name, target)
    if target.shape != shape:
        raise ValueError(
            f"{caller}: {name} has shape {target.shape} but {other} has {shape}; "
            f"pass {name} of shape {shape}"
        )
    if not shape or 0 in shape:
        raise ValueError(f"{caller}: {other} has shape {shape}; a mean needs 1 element or more")
    return target


def check_probabilities(caller: str, name: str, values: Array) -> None:
    ok = (values >= 0) & (values <= 1)  # False for NaN
    if not ok.all():
        place = tuple(int(i) for i in np.argwhere(~ok)[0])
        raise ValueError(
            f"{caller}: {name}{list(place)} is {values[place]}; it must be from 0 to 1"
        )
