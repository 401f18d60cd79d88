"""How rows count in a loss: a user's weights and denominator in, checked ones out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._ops import losses
from .._ops.loss_checks import How, check_how
from .._ops.losses import PLAIN
from .config import LOSSES, Config

Array = NDArray[Any]


def counted(caller: str, weights: Array | None, rows: int, denominator: float | None = None) -> How:
    """weights (rows,) of any dtype, denominator: see the loss functions; None: as without."""
    if weights is None and denominator is None:
        return PLAIN
    return check_how(caller, weights, (rows,), denominator)


def in_dtype(config: Config, weights: Array | None) -> dict[str, Array]:
    """Checked weights as the model's dtype holds them, by their name."""
    with np.errstate(over="ignore"):
        return {} if weights is None else {"weights": weights.astype(config.dtype)}


def loss_of(config: Config, logits: Array, targets: Array, weights: Array | None) -> float:
    """Without label smoothing. weights: checked."""
    grad, how = np.empty_like(logits), How(weights)
    if config.loss == "softmax_cross_entropy":
        return losses._smoothed_cross_entropy(logits, targets, grad, 0.0, how)
    return LOSSES[config.loss](logits, targets, grad, how)
