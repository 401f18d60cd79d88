"""Losses: network outputs and targets in, (mean loss, its gradient) out.

Every sum has the order of the contract: a chain along a row, started at +0.0, then a chain over
the rows of each block of KC, then the blocks in order. numpy's own sum would not do (its order
depends on the CPU), so sums are ``np.add.accumulate``, which numpy defines as that chain. exp, log
and sigmoid are the project's own. Each public function checks its arguments and calls its twin.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _validate
from ._elementwise import exp, log, sigmoid
from ._kernels.target import KC

Array = NDArray[Any]


def softmax_cross_entropy(logits: Array, labels: Array) -> tuple[float, Array]:
    """logits (N, M), labels (N,) integers or (N, M) probabilities -> loss, gradient (N, M).

    loss = mean over rows of log(sum exp(z)) - z[label]; gradient = (softmax(z) - target) / N.
    The row's maximum is taken off first, so no exp overflows. float32 or float64 as the logits.
    """
    caller = "softmax_cross_entropy"
    z = as_float(caller, "logits", logits)
    if z.ndim != 2 or z.size == 0:
        raise ValueError(
            f"{caller}: logits has shape {z.shape}; pass (rows, classes), both above 0"
        )
    check_labels(caller, labels, len(z), z.shape[1])
    grad = np.empty(z.shape, z.dtype)
    return _softmax_cross_entropy(z, labels, grad), grad


def binary_cross_entropy_with_logits(logits: Array, targets: Array) -> tuple[float, Array]:
    """logits (..., M), targets of that shape, each from 0 to 1 -> loss, gradient of that shape.

    loss = mean of max(z, 0) - z*t + log(1 + exp(-|z|)); gradient = (sigmoid(z) - t) / size.
    """
    caller = "binary_cross_entropy_with_logits"
    z = as_float(caller, "logits", logits)
    check_targets(caller, "logits", z.shape, targets)
    check_probabilities(caller, "targets", targets)
    grad = np.empty(z.shape, z.dtype)
    return _binary_cross_entropy_with_logits(z, targets.astype(z.dtype), grad), grad


def mse(prediction: Array, target: Array) -> tuple[float, Array]:
    """prediction (..., M), target of that shape -> mean of (p - t)**2, gradient 2(p - t) / size."""
    p = as_float("mse", "prediction", prediction)
    check_targets("mse", "prediction", p.shape, target)
    grad = np.empty(p.shape, p.dtype)
    return _mse(p, target.astype(p.dtype), grad), grad


def _softmax_cross_entropy(z: Array, labels: Array, grad: Array) -> float:
    """Checked arguments; grad (N, M) is overwritten."""
    with np.errstate(all="ignore"):
        number = z.dtype.type
        count = number(len(z))
        shifted, total = _exp_rows(z, grad)
        log_total = log(total)
        grad *= (1 / total)[:, None]
        if labels.ndim == 1:
            rows = np.arange(len(z))
            losses = log_total - shifted[rows, labels]
            grad[rows, labels] -= number(1)
        else:
            target = labels.astype(z.dtype, copy=False)
            terms = target * (log_total[:, None] - shifted)
            terms[target == 0] = 0  # 0 * inf where a logit is -inf
            losses = _row_chain(terms)
            grad -= target
        grad *= number(1) / count
        return float(_chain(losses) / count)


def _binary_cross_entropy_with_logits(z: Array, target: Array, grad: Array) -> float:
    with np.errstate(all="ignore"):
        number = z.dtype.type
        e = exp(-np.abs(z))
        u = 1 + e  # log(1 + e) to the last bits although 1 + e rounds: W. Kahan's correction
        log1p = np.where(u == 1, e, log(u) * (e / (u - 1)))
        slope = np.where(z > 0, 1 - target, -target)  # max(z, 0) - z*t = slope * z
        terms = np.where(slope == 0, number(0), slope * z) + log1p  # 0 * inf is 0 here
        count = number(z.size)
        np.subtract(sigmoid(z), target, out=grad)
        grad *= number(1) / count
        return float(_sum(terms) / count)


def _mse(prediction: Array, target: Array, grad: Array) -> float:
    with np.errstate(all="ignore"):
        number = prediction.dtype.type
        count = number(prediction.size)
        np.subtract(prediction, target, out=grad)
        loss = float(_sum(grad * grad) / count)
        grad *= number(2) / count
        return loss


def softmax(z: Array) -> Array:
    """Rows of z (N, M), M of 1 or more -> rows of probabilities (N, M)."""
    with np.errstate(all="ignore"):
        p = np.empty(z.shape, z.dtype)
        _, total = _exp_rows(z, p)
        p *= (1 / total)[:, None]
        return p


def _exp_rows(z: Array, e: Array) -> tuple[Array, Array]:
    """z (N, M) -> z less its row maximum, row sums (N,) of exp of that; the exp is left in e."""
    shifted = z - z.max(axis=1, keepdims=True)
    e[...] = exp(shifted)
    return shifted, _row_chain(e)


def _row_chain(a: Array) -> Array:
    """(N, M) -> (N,): ((0 + a0) + a1) + ... along each row."""
    last: Array = np.add.accumulate(a, axis=1)[:, -1]
    last += a.dtype.type(0)  # a chain of -0.0, started at +0.0, is +0.0
    return last


def _chain(a: Array) -> Any:
    """(N,) -> scalar: one chain in each block of KC, the blocks added in order."""
    step, total = KC[a.dtype.name], a.dtype.type(0)
    for start in range(0, len(a), step):
        total = total + np.add.accumulate(a[start : start + step])[-1]
    return total


def _sum(a: Array) -> Any:
    """(..., M) -> scalar: along the rows, then down the batch; (N,) is N rows of one."""
    return _chain(a if a.ndim == 1 else _row_chain(a.reshape(-1, a.shape[-1])))


# Checks, shared with the model: `caller` opens the one-line message.


def as_float(caller: str, name: str, value: Array) -> Array:
    """The array as float32 or float64; integers and bools become what float32 promotes them to."""
    checked = _validate.array(caller, name, value)
    return _validate.cast(checked, _validate.result_dtype(checked))


def check_labels(caller: str, labels: Array, rows: int, classes: int) -> None:
    """labels: (rows,) integers below classes, or (rows, classes) probabilities."""
    _validate.array(caller, "labels", labels)
    if labels.ndim == 2:
        check_targets(caller, "logits", (rows, classes), labels, "labels")
        check_probabilities(caller, "labels", labels)
        sums = _row_chain(labels.astype(np.float64))
        off = np.abs(sums - 1) > 1e-3
        if off.any():
            row = int(np.argmax(off))
            raise ValueError(f"{caller}: labels row {row} sums to {sums[row]:.6g}; it must be 1")
        return
    if labels.dtype.kind not in "iu":
        raise TypeError(
            f"{caller}: labels has dtype {labels.dtype}, shape {labels.shape}, expected integers "
            f"(rows,) or probabilities (rows, classes); pass labels.astype(np.int64)"
        )
    if labels.shape != (rows,):
        raise ValueError(f"{caller}: labels has shape {labels.shape} but logits has {rows} rows")
    if not (labels.min() >= 0 and labels.max() < classes):
        row = int(np.argmax((labels < 0) | (labels >= classes)))
        raise ValueError(
            f"{caller}: labels[{row}] is {labels[row]} but logits has {classes} columns; "
            f"labels run from 0 to {classes - 1}"
        )


def check_targets(
    caller: str, other: str, shape: tuple[int, ...], target: Array, name: str | None = None
) -> None:
    """The target is an array of numbers of exactly the shape of ``other``, not empty."""
    name = name or ("target" if other == "prediction" else "targets")
    as_float(caller, name, target)
    if target.shape != shape:
        raise ValueError(f"{caller}: {name} has shape {target.shape} but {other} has {shape}")
    if not shape or 0 in shape:
        raise ValueError(f"{caller}: {other} has shape {shape}; a mean needs 1 element or more")


def check_probabilities(caller: str, name: str, values: Array) -> None:
    ok = (values >= 0) & (values <= 1)  # False for NaN
    if not ok.all():
        place = tuple(int(i) for i in np.argwhere(~ok)[0])
        raise ValueError(f"{caller}: {name}{list(place)} is {values[place]}; it must be in 0..1")
