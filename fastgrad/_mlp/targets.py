"""A user's y in, targets as the loss takes them out; what messages call y is what the user wrote.

softmax cross-entropy: labels (rows,) of integers, or probabilities (rows, classes). The others:
numbers (rows, outputs), for binary cross-entropy from 0 to 1. Bools are 0 and 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._ops import checks, losses
from .config import Config

Array = NDArray[Any]


def looked_at_y(config: Config, caller: str, y: Array, rows: int) -> Array:
    """y as the loss takes it: labels (rows,) of integers, or numbers (rows, sizes[-1])."""
    outputs = config.sizes[-1]
    if rows == 0:
        raise ValueError(f"{caller}: x has no rows; a mean loss needs 1 or more")
    if config.loss == "softmax_cross_entropy":
        return _classes(caller, y, rows, outputs)
    y = losses.as_float(caller, "y", y)
    if config.loss != "mse" and not (y.size == 0 or (y.min() >= 0 and y.max() <= 1)):
        losses.check_probabilities(caller, "y", y)
    if y.ndim == 1 and outputs == 1:
        y = y[:, None]
    losses.check_targets(caller, "the output", (rows, outputs), y, "y")
    return y


def checked_y(config: Config, caller: str, y: Array, rows: int) -> Array:
    """y: labels as they are, or (rows, sizes[-1]) of the model's dtype."""
    y = looked_at_y(config, caller, y, rows)
    with np.errstate(over="ignore"):
        return y if y.ndim == 1 else y.astype(config.dtype, copy=False)


def checked_grad(config: Config, caller: str, grad: Array, rows: int) -> Array:
    """grad (rows, sizes[-1]) of any dtype; rows: of the forward pass that was kept."""
    grad = checks.array(caller, "grad_logits", grad)
    expected = (rows, config.sizes[-1])
    if grad.shape != expected:
        raise ValueError(
            f"{caller}: grad_logits has shape {grad.shape} but the logits that are kept have "
            f"{expected}; pass grad_logits of shape {expected}"
        )
    return grad


def _classes(caller: str, y: Array, rows: int, classes: int) -> Array:
    expected = "expected integers (rows,) or probabilities (rows, classes)"
    if type(y) is np.ndarray and y.dtype.kind in "OSTU":
        raise TypeError(
            f"{caller}: y has dtype {y.dtype}, shape {y.shape}, {expected}; "
            f"number the classes with np.unique(y, return_inverse=True)[1]"
        )
    y = checks.array(caller, "y", y)
    if y.dtype.kind == "b" and y.ndim == 1:
        y = y.astype(np.int64)
    if y.ndim == 2:
        return _shares(caller, y, rows, classes)
    if y.dtype.kind not in "iu":
        raise TypeError(
            f"{caller}: y has dtype {y.dtype}, shape {y.shape}, {expected}; pass y.astype(np.int64)"
        )
    if y.shape != (rows,):
        raise ValueError(
            f"{caller}: y has shape {y.shape} but x has {rows} rows; pass y of shape ({rows},)"
        )
    if not (y.min() >= 0 and y.max() < classes):
        row = int(np.argmax((y < 0) | (y >= classes)))
        raise ValueError(
            f"{caller}: y[{row}] is {y[row]} but the model has {classes} outputs; "
            f"labels run from 0 to {classes - 1}"
        )
    return y


def _shares(caller: str, y: Array, rows: int, classes: int) -> Array:
    if y.shape == (rows, 1) and classes > 1 and y.dtype.kind in "biu":
        raise ValueError(
            f"{caller}: y has shape {y.shape}, expected integers ({rows},); pass y[:, 0]"
        )
    losses.check_targets(caller, "the output", (rows, classes), y, "y")
    losses.check_probabilities(caller, "y", y)
    sums = np.add.reduce(y, axis=1, dtype=np.float64)
    off = np.abs(sums - 1) > 1e-3
    if off.any():
        row = int(np.argmax(off))
        raise ValueError(f"{caller}: y row {row} sums to {sums[row]:.6g}; it must be 1")
    return y
