"""Losses with a weight a row: settings and weights in, a function of logits and targets out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._ops import checks, losses, numbers
from .config import Config

Array = NDArray[Any]
Loss = Callable[[Array, Array], tuple[float, Array]]  # logits, targets -> loss, its gradient
_FUNCTIONS: dict[str, Callable[..., tuple[float, Array]]] = {
    "softmax_cross_entropy": losses.softmax_cross_entropy,
    "binary_cross_entropy_with_logits": losses.binary_cross_entropy_with_logits,
    "mse": losses.mse,
}


def checked_weights(caller: str, weights: Array, rows: int) -> Array:
    """weights (rows,) float64, 0 or more, not all of them 0."""
    w = checks.array(caller, "weights", weights).astype(np.float64)
    if w.shape != (rows,):
        raise ValueError(
            f"{caller}: weights has shape {w.shape} but x has {rows} rows; "
            f"pass weights of shape ({rows},)"
        )
    bad = ~((w >= 0) & (w < np.inf))  # also NaN
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"{caller}: weights[{row}] is {w[row]}; it must be 0 or more and finite")
    if not w.any():
        raise ValueError(f"{caller}: weights are all 0; no row counts")
    return w


def checked_denominator(caller: str, value: float) -> float:
    number = numbers.number(caller, "denominator", value)
    if not 0 < number < np.inf:
        numbers.refuse(caller, "denominator", value, number, "it must be above 0 and finite")
    return number


def weighted_loss(
    config: Config, weights: Array | None, denominator: float | None, smoothing: float = 0.0
) -> Loss:
    """The public loss function of the model with what a call was given."""
    more: dict[str, Any] = {"weights": weights, "denominator": denominator}
    if config.loss == "softmax_cross_entropy":
        more["label_smoothing"] = smoothing
    function = _FUNCTIONS[config.loss]
    return lambda logits, targets: function(logits, targets, **more)
