"""The loop of adam and sgd: an estimator and its data in, its curves and changed parameters out."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from .. import MLP
from .network import parameters
from .objective import Objective, squares
from .optimizers import Optimizer
from .rows import Batches

Array = NDArray[Any]
Score = Callable[[], float]  # of the rows that are kept apart


def train(
    estimator: Any,
    net: MLP,
    of: Objective,
    batches: Batches,
    optimizer: Optimizer,
    random: np.random.RandomState,
    score: Score | None = None,
    once: bool = False,
) -> None:
    """max_iter epochs, or until nothing improves, or one. With a score the best parameters stay."""
    begin(estimator, score is not None)
    epoch = _epoch(estimator.alpha, net, of, batches, optimizer)
    best = [a.copy() for a in parameters(net)] if score else []
    order, estimator.n_iter_ = np.arange(batches.count), 0
    try:
        for _ in range(estimator.max_iter):
            if estimator.shuffle:
                order = order[random.permutation(batches.count)]  # as sklearn.utils.shuffle draws
            loss = epoch(order if estimator.shuffle else None)
            estimator.n_iter_ += 1
            estimator.loss_ = loss
            estimator.t_ += batches.count
            estimator.loss_curve_.append(loss)
            if estimator.verbose:
                print(f"Iteration {estimator.n_iter_}, loss = {loss:.8f}")
            if score is None:
                _note_loss(estimator, loss)
            elif _note_score(estimator, score()):
                for to, a in zip(best, parameters(net), strict=True):
                    to[...] = a
            optimizer.epoch_ends(estimator.t_)
            if _is_over(estimator, optimizer, score is not None) or once:
                break
            if estimator.n_iter_ == estimator.max_iter:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and "
                    f"the optimization hasn't converged yet.",
                    ConvergenceWarning,
                    stacklevel=5,  # the caller of fit
                )
    except KeyboardInterrupt:
        warnings.warn("Training interrupted by user.", stacklevel=5)
    for a, values in zip(parameters(net), best, strict=False):
        a[...] = values


def begin(estimator: Any, by_score: bool) -> None:
    """The attributes that a warm start goes on with, where they are not there yet."""
    if not hasattr(estimator, "loss_curve_"):
        estimator.loss_curve_ = []
        estimator._no_improvement_count = 0
    if by_score and getattr(estimator, "validation_scores_", None) is None:
        estimator.validation_scores_, estimator.best_validation_score_ = [], -math.inf
        estimator.best_loss_ = None
    elif not by_score and getattr(estimator, "best_loss_", None) is None:
        estimator.validation_scores_ = estimator.best_validation_score_ = None
        estimator.best_loss_ = math.inf


def _epoch(
    alpha: float, net: MLP, of: Objective, batches: Batches, optimizer: Optimizer
) -> Callable[[Array | None], float]:
    """A function that does a pass over the rows in an order, and gives its mean loss."""
    loss_and_grads, share, unit = of
    step, coefs_squared, half = optimizer.bind(net, unit), squares(net), 0.5 * alpha

    def epoch(order: Array | None) -> float:
        total = 0.0
        for (x, y, weights), rows in batches(order):
            count = rows if weights is None else float(weights.sum())
            if count == 0:  # no row of this batch counts
                continue
            loss = share * loss_and_grads(x, y, weights)
            if alpha:
                loss += half * coefs_squared() / count
            step(alpha / count)
            total += loss * rows
        return total / batches.count

    return epoch


def _note_loss(estimator: Any, loss: float) -> None:
    is_worse = loss > estimator.best_loss_ - estimator.tol
    estimator._no_improvement_count = estimator._no_improvement_count + 1 if is_worse else 0
    estimator.best_loss_ = loss if loss < estimator.best_loss_ else estimator.best_loss_


def _note_score(estimator: Any, score: float) -> bool:
    """Whether it is the best so far; NaN never is."""
    estimator.validation_scores_.append(score)
    if estimator.verbose:
        print(f"Validation score: {score:f}")
    best = estimator.best_validation_score_
    is_worse = score < best + estimator.tol
    estimator._no_improvement_count = estimator._no_improvement_count + 1 if is_worse else 0
    if score > best:
        estimator.best_validation_score_ = score
        return True
    return False


def _is_over(estimator: Any, optimizer: Optimizer, by_score: bool) -> bool:
    """Whether there was no improvement for too long, and the optimizer has no smaller rate."""
    if estimator._no_improvement_count <= estimator.n_iter_no_change:
        return False
    ending = optimizer.stops()
    if estimator.verbose:
        what = "Validation score" if by_score else "Training loss"
        rate = f"Setting learning rate to {optimizer.learning_rate:f}"
        print(
            f"{what} did not improve more than tol={estimator.tol:f} for "
            f"{estimator.n_iter_no_change} consecutive epochs. {ending or rate}"
        )
    if not ending:
        estimator._no_improvement_count = 0
    return bool(ending)
