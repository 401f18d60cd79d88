"""Losses: network outputs and targets in, (mean loss, its gradient) out.

Terms are of the dtype, sums float64, in the order of the contract: along a row, then over the rows
of each block of KC, then the blocks. The kernels are in _kernels/layer/losses.py; reference.losses
states them in numpy. Each public function checks its arguments and calls its twin.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._kernels.bind import builtins
from .._kernels.codegen.structs import make
from .._kernels.gemm.args import Matrix
from .._kernels.layer.args import Loss
from .._kernels.layer.inference import Scores, softmax_of_rows
from .._kernels.layer.losses import (
    BINARY_CROSS_ENTROPY,
    BINARY_CROSS_ENTROPY_POSITIVE,
    MSE,
    SOFTMAX_LABELS,
    SOFTMAX_PROBABILITIES,
)
from .._kernels.runtime.registry import Kernel
from .._kernels.runtime.table import BAD_LABEL
from .kernel_call import bits, data, matrix, rows, run
from .loss_checks import (
    How,
    check_how,
    check_ignored,
    check_labels_of,
    check_pos_weight,
    refuse_label,
)
from .loss_checks import as_float as as_float
from .loss_checks import check_labels as check_labels
from .loss_checks import check_probabilities as check_probabilities
from .loss_checks import check_smoothing as check_smoothing
from .loss_checks import check_targets as check_targets

Array = NDArray[Any]


def softmax_cross_entropy(
    logits: Array,
    labels: Array,
    label_smoothing: float = 0.0,
    *,
    weights: Array | None = None,
    denominator: float | None = None,
    ignore_index: int | None = None,
) -> tuple[float, Array]:
    """logits (..., M), labels (...) integers or (..., M) probabilities -> loss, gradient (..., M).

    loss = sum over rows of w*l / D; l = the sum of t*(log(sum exp(z)) - z); the row's gradient is
    w/D * (softmax(z) - t). t is the row of probabilities, or 1 at the label and 0 elsewhere;
    label_smoothing s, from 0 to 1, makes it (1 - s)*t + s/M (Szegedy et al. 2016, as PyTorch writes
    it). Where t is 0 so is the term, also of -Inf. The row's maximum is taken off first, so no exp
    overflows. float32 or float64 as the logits.

    weights (...): w of each row, 0 or more; None: 1. D is the denominator or, where it is None, the
    sum of weights: with the D of a whole batch, the losses and gradients of its parts add up.
    ignore_index: rows of that label are left out: no loss, a gradient of 0, no weight in D.
    """
    if weights is None and denominator is None and ignore_index is None:
        result = builtins.softmax_cross_entropy(logits, labels, label_smoothing)
        if result is not None:
            return result  # type: ignore[no-any-return]
    caller = "softmax_cross_entropy"
    z = as_float(caller, "logits", logits)
    if z.ndim == 0 or z.size == 0:
        raise ValueError(
            f"{caller}: logits has shape {z.shape}; pass (..., classes), each of 1 or more"
        )
    lead, classes = z.shape[:-1], z.shape[-1]
    ignored = check_ignored(caller, ignore_index)
    labels = check_labels_of(caller, labels, lead, classes, ignored, denominator is not None)
    smoothing = check_smoothing(caller, label_smoothing)
    how = check_how(caller, weights, lead, denominator, ignored)
    grad = np.empty(z.shape, z.dtype)
    flat = z.reshape(-1, classes), labels, grad.reshape(-1, classes)
    return _smoothed_cross_entropy(*flat, smoothing, how), grad


def binary_cross_entropy_with_logits(
    logits: Array,
    targets: Array,
    *,
    weights: Array | None = None,
    denominator: float | None = None,
    pos_weight: Array | float | None = None,
) -> tuple[float, Array]:
    """logits (N, ...), targets of that shape, each from 0 to 1 -> loss, gradient of that shape.

    A row is an index of the first axis, M the elements of one; no axis: one row of one.
    loss = sum over rows of w*l / D; l = the sum of max(z, 0) - z*t + log(1 + exp(-|z|)); gradient =
    w/D * (sigmoid(z) - t). weights (N,), 0 or more, and the denominator D: see mse.
    pos_weight: p, 0 or more, a number or (M,): what a target of 1 counts. l is then the sum of
    p*t*log(1 + exp(-z)) + (1 - t)*log(1 + exp(z)).
    """
    if weights is None and denominator is None and pos_weight is None:
        result = builtins.binary_cross_entropy_with_logits(logits, targets)
        if result is not None:
            return result  # type: ignore[no-any-return]
    caller = "binary_cross_entropy_with_logits"
    z = as_float(caller, "logits", logits)
    targets = check_targets(caller, "logits", z.shape, targets)
    check_probabilities(caller, "targets", targets)
    how = check_how(caller, weights, z.shape[:1] or (1,), denominator)
    how = how._replace(positive=check_pos_weight(caller, pos_weight, z))
    grad = np.empty(z.shape, z.dtype)
    return _binary_cross_entropy_with_logits(z, targets, grad, how), grad


def mse(
    prediction: Array,
    target: Array,
    *,
    weights: Array | None = None,
    denominator: float | None = None,
) -> tuple[float, Array]:
    """prediction (N, ...), target of that shape -> loss, gradient of that shape.

    A row is an index of the first axis, M the elements of one; no axis: one row of one.
    loss = sum over rows of w*l / D; l = the sum of (p - t)**2; gradient = 2w/D * (p - t).
    weights (N,): w of each row, 0 or more; None: 1. D is the denominator or, where it is None, M
    times the sum of weights, which makes the loss a mean: with the D of a whole batch, the losses
    and gradients of its parts add up, also of one whose weights are all 0: its own are 0. Without a
    denominator such weights are a ValueError, as negative and infinite ones and NaN always are.
    """
    if weights is None and denominator is None:
        result = builtins.mse(prediction, target)
        if result is not None:
            return result  # type: ignore[no-any-return]
    p = as_float("mse", "prediction", prediction)
    target = check_targets("mse", "prediction", p.shape, target)
    how = check_how("mse", weights, p.shape[:1] or (1,), denominator)
    grad = np.empty(p.shape, p.dtype)
    return _mse(p, target, grad, how), grad


def softmax(logits: Array) -> Array:
    """logits (..., M), M of 1 or more -> probabilities of that shape: exp(z - max z) / their sum.

    float32 or float64 as the logits; the sum is that of softmax_cross_entropy.
    """
    z = as_float("softmax", "logits", logits)
    if z.ndim == 0 or z.shape[-1] == 0:
        raise ValueError(f"softmax: logits has shape {z.shape}; pass (..., classes), 1 or more")
    result = np.array(z, order="C")
    if result.size:
        place = rows(result.reshape(-1, z.shape[-1]))
        run(softmax_of_rows, z.dtype, Scores(result.size // z.shape[-1], z.shape[-1], place, 0))
    return result


# On checked arguments; grad, C-contiguous, is overwritten.


PLAIN = How()


def _softmax_cross_entropy(z: Array, labels: Array, grad: Array) -> float:
    return _smoothed_cross_entropy(z, labels, grad, 0.0)


def _smoothed_cross_entropy(
    z: Array, labels: Array, grad: Array, smoothing: float, how: How = PLAIN
) -> float:
    if labels.ndim == 2:
        return _mean(SOFTMAX_PROBABILITIES, z, labels, grad, smoothing, how)
    aligned = labels.astype(np.int64, copy=not labels.flags.aligned)
    loss = ctypes.c_double()
    place = Matrix(data(aligned), aligned.strides[0], 0)
    args = _args(z, place, grad, loss, smoothing, how)
    if run(SOFTMAX_LABELS, z.dtype, args) == BAD_LABEL:
        refuse_label("softmax_cross_entropy", labels, z.shape[1])
    return loss.value


def _binary_cross_entropy_with_logits(
    z: Array, target: Array, grad: Array, how: How = PLAIN
) -> float:
    kernel = BINARY_CROSS_ENTROPY if how.positive is None else BINARY_CROSS_ENTROPY_POSITIVE
    return _mean(kernel, z, target, grad, 0.0, how)


def _mse(prediction: Array, target: Array, grad: Array, how: How = PLAIN) -> float:
    return _mean(MSE, prediction, target, grad, 0.0, how)


def _mean(
    kernel: Kernel, z: Array, target: Array, grad: Array, smoothing: float, how: How
) -> float:
    t = target
    if t.dtype != z.dtype:
        with np.errstate(all="ignore"):
            t = target.astype(z.dtype)
    z, t, grad = _as_rows(z), _as_rows(t), _as_rows(grad)
    loss = ctypes.c_double()
    run(kernel, z.dtype, _args(z, matrix(t), grad, loss, smoothing, how))
    return loss.value


def _args(
    z: Array, targets: Matrix, grad: Array, loss: ctypes.c_double, smoothing: float, how: How
) -> Loss:
    weights, positive = how.weights, how.positive
    return make(Loss,  # type: ignore[no-any-return]
        *z.shape, matrix(z), targets, rows(grad), ctypes.addressof(loss), bits(smoothing),
        bits(how.denominator), 0,
        *((0, 0) if weights is None else (data(weights), weights.strides[0])),
        *((0, 0) if how.ignored is None else (1, how.ignored)),
        *((0, 0) if positive is None else (data(positive), *(positive.strides or (0,)))),
    )  # fmt: skip


def _as_rows(a: Array) -> Array:
    """(N, ...) -> (N, M), a copy where no view can be had; () is a row of one."""
    if a.ndim == 2:
        return a
    return a.reshape(len(a) if a.ndim else 1, -1)
