"""What is minimised, as scikit-learn counts it: a batch in, its loss out, gradients in the network.

With N rows, or their weights' sum, M outputs, p the output and t the target of a row:

    out_activation_   loss_ without the penalty           gradient by the logits
    softmax           Σ -log p[t] / N                     (p - t) / N
    logistic          Σ binary cross-entropies / N        (p - t) / N
    identity          Σ (p - t)**2 / (2·N·M)              (p - t) / N, M times that of loss_
    exp               Σ (t·log(t/p) - t + p) / N          (p - t) / N

The penalty adds alpha/2 · Σ coefs_**2 / N, and alpha · coefs_ / N to their gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from .. import MLP, matmul

Array = NDArray[Any]


class Objective(NamedTuple):
    """``loss_and_grads`` is in the network's own measure: ``share`` of it is scikit-learn's loss;
    its gradient is ``unit`` times scikit-learn's."""

    loss_and_grads: Callable[[Array, Array, Array | None], float]
    share: float
    unit: float


def objective(net: MLP, out: str) -> Objective:
    """Of out_activation_."""
    outputs = net.sizes[-1]
    if out == "softmax":
        return Objective(net.loss_and_grads, 1.0, 1.0)
    if out == "logistic":  # ours is a mean over outputs, too
        return Objective(net.loss_and_grads, float(outputs), 1 / outputs)
    if out == "identity":  # ours has no half, and is the gradient of a mean over outputs
        return Objective(net.loss_and_grads, 0.5, 2 / outputs)
    return Objective(_Poisson(net), 1.0, 1.0)


class _Poisson:
    """Half of the Poisson deviance of p = exp(logits)."""

    def __init__(self, net: MLP) -> None:
        self.net = net

    def __call__(self, x: Array, y: Array, weights: Array | None) -> float:
        z = self.net.forward(x, keep=True)
        w: Any = 1.0 if weights is None else weights[:, None]
        total = len(x) if weights is None else weights.sum()
        with np.errstate(all="ignore"):
            p = np.exp(z)
            self.net.backward((p - y) * w / total)
            return float(np.sum((xlogy(y, y) - y * z - y + p) * w, dtype=np.float64) / total)


def squares(net: MLP) -> Callable[[], float]:
    """A function that gives Σ coefs_**2: in our inner product's order, the same on every CPU."""
    flat = [weight.reshape(-1) for weight in net.weights]

    def total() -> float:
        found = 0.0
        for weight in flat:
            found += float(matmul(weight, weight))
        return found

    return total
