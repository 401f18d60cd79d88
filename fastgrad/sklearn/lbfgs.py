"""The solver "lbfgs": scipy's L-BFGS-B on all parameters and gradients as one flat array."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from .. import MLP
from .network import gradients, parameters
from .objective import Objective, squares
from .rows import Rows

Array = NDArray[Any]


def minimise(estimator: Any, net: MLP, of: Objective, rows: Rows) -> None:
    """All rows are one batch. Sets loss_ and n_iter_."""
    loss_and_grads, share, unit = of
    alpha, coefs_squared, arrays = estimator.alpha, squares(net), parameters(net)
    x, y, weights = rows
    count = len(x) if weights is None else float(weights.sum())
    losses: dict[str, float] = {}

    def value_and_gradient(flat: Array) -> tuple[float, Array]:
        """What is minimised is what has this gradient, see objective.py."""
        _fill(arrays, flat)
        loss = loss_and_grads(x, y, weights)
        gradient = np.concatenate([g.reshape(-1) for g in gradients(net)]).astype(np.float64)
        gradient /= unit
        coefs = sum(weight.size for weight in net.weights)
        gradient[:coefs] += alpha / count * flat[:coefs]
        penalty = 0.5 * alpha * coefs_squared() / count
        losses["last"] = share * loss + penalty
        return loss / unit + penalty, gradient

    def show(flat: Array) -> None:
        losses["iterations"] = losses.get("iterations", 0) + 1
        print(f"Iteration {losses['iterations']}, loss = {losses['last']:.8f}")

    with np.errstate(over="ignore", invalid="ignore"):
        found = minimize(
            value_and_gradient,
            np.concatenate([a.reshape(-1) for a in arrays]).astype(np.float64),
            method="L-BFGS-B",
            jac=True,
            callback=show if estimator.verbose else None,
            options={
                "maxfun": estimator.max_fun, "maxiter": estimator.max_iter, "gtol": estimator.tol
            },
        )  # fmt: skip
        value_and_gradient(found.x)
    estimator.loss_, estimator.n_iter_ = losses["last"], min(found.nit, estimator.max_iter)
    if found.status != 0:
        warnings.warn(
            f"lbfgs failed to converge after {found.nit} iteration(s) (status={found.status}): "
            f"{found.message}. Raise max_iter or max_fun, or scale the columns of X.",
            ConvergenceWarning,
            stacklevel=5,  # the caller of fit
        )


def _fill(arrays: list[Array], flat: Array) -> None:
    start = 0
    for a in arrays:
        a.reshape(-1)[...] = flat[start : start + a.size]
        start += a.size
