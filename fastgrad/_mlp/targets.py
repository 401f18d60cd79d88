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
        return np.asarray(losses.check_labels(caller, y, rows, outputs, "x"))
    y = np.asarray(losses.as_float(caller, "y", y))
    if config.loss != "mse" and not (y.size == 0 or (y.min() >= 0 and y.max() <= 1)):
        losses.check_probabilities(caller, "y", y)
    if y.ndim == 1 and outputs == 1:
        y = y[:, None]
    losses.check_targets(caller, "the output", (rows, outputs), y, "y")
    return y


def checked_y(config: Config, caller: str, y: Array, rows: int) -> Array:
    """y: labels as they are, or (rows, sizes[-1]) of the model's dtype."""
    y = looked_at_y(config, caller, y, rows)
    with np.errstate(all="ignore"):
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
