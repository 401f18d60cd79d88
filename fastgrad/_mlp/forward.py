"""Inference: settings, parameters and checked x in; logits, classes or probabilities out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._kernels.layer.inference import CLASSES, LOGITS, SIGMOID, SIGNS, SOFTMAX
from .._ops import losses
from .._ops.elementwise import sigmoid
from .._ops.linear import linear_forward
from .config import Config
from .parameters import Parameters
from .step import Step
from .targets import checked_y
from .weighting import loss_of

Array = NDArray[Any]
_ROWS = 1024  # rows of forward at a time: bounds its memory; rows do not depend on each other


# What a loss's predictions and probabilities are, as the compiled call names it
_PREDICTIONS = {"softmax_cross_entropy": CLASSES, "binary_cross_entropy_with_logits": SIGNS}
_PROBABILITIES = {"softmax_cross_entropy": SOFTMAX, "binary_cross_entropy_with_logits": SIGMOID}


def forward(config: Config, parameters: Parameters, step: Step, x: Array) -> Array:
    """x (N, sizes[0]) of the model's dtype -> logits (N, sizes[-1])."""
    logits = step.infer_floats(x, LOGITS)
    return _layer_by_layer(config, parameters, x) if logits is None else logits


def _layer_by_layer(config: Config, parameters: Parameters, x: Array) -> Array:
    """Where the compiled call does not do it: of layers too wide for its scratch."""
    logits = np.empty((len(x), config.sizes[-1]), config.dtype)
    last = len(parameters.weights) - 1
    layers = list(zip(parameters.weights, parameters.biases, strict=True))
    for start in range(0, len(x), _ROWS):
        h = x[start : start + _ROWS]
        for i, (weight, bias) in enumerate(layers):
            out = logits[start : start + _ROWS] if i == last else None
            h = linear_forward(h, weight, bias, config.activation_of(i), out=out)
    return logits


def quick_predictions(config: Config, step: Step, x: Any) -> Array | None:
    """Of a plain x, in one compiled call; None of another, and for mse."""
    what = _PREDICTIONS.get(config.loss)
    return None if what is None else step.infer_numbers(x, what)


def quick_probabilities(config: Config, step: Step, x: Any) -> Array | None:
    """Likewise."""
    what = _PROBABILITIES.get(config.loss)
    return None if what is None else step.infer_floats(x, what)


def predictions(config: Config, logits: Array) -> Array:
    """Class numbers (N,) int64; 0 or 1 an output; for mse the outputs. See MLP.predict."""
    if config.loss == "softmax_cross_entropy":
        classes: Array = np.argmax(logits, axis=1)
        return classes.astype(np.int64, copy=False)
    if config.loss != "mse":
        logits = (logits > 0).astype(np.int64)
    return logits[:, 0] if config.sizes[-1] == 1 else logits


def probabilities(config: Config, logits: Array) -> Array:
    """Of the classes: (N, sizes[-1]); or of each output being 1: (N,) where there is one."""
    if config.loss == "softmax_cross_entropy":
        return losses.softmax(logits)
    found = sigmoid(logits)
    return found[:, 0] if config.sizes[-1] == 1 else found


def evaluate(
    config: Config,
    logits_of: Callable[[Array], Array],
    x: Array,
    y: Array,
    weights: Array | None = None,
    caller: str = "evaluate",
) -> dict[str, float]:
    """x (N, K) and its targets -> {"loss": ...} and, but for mse, "accuracy".

    logits_of: the model's forward. The loss is that of the targets as they are, without label
    smoothing. Accuracy is of rows whose outputs are all right; targets of binary cross-entropy are
    1 above 0.5.
    """
    logits = logits_of(x)
    target = checked_y(config, caller, y, len(logits))
    found = {"loss": loss_of(config, logits, target, weights)}
    if config.loss != "mse":
        right = _are_right(config, logits, target)
        found["accuracy"] = (
            int(np.count_nonzero(right)) / len(right)
            if weights is None
            else float(weights[right].sum() / weights.sum())
        )
    return found


def _are_right(config: Config, logits: Array, target: Array) -> NDArray[np.bool_]:
    """Of each row."""
    right: NDArray[np.bool_]
    if config.loss == "softmax_cross_entropy":
        classes = target if target.ndim == 1 else np.argmax(target, axis=1)
        right = np.argmax(logits, axis=1) == classes
    else:
        right = ((logits > 0) == (target > 0.5)).all(axis=1)
    return right
