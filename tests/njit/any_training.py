"""Losses, steps and threads with all their arguments, of any types: as compiled.any_matmul."""

from __future__ import annotations

from numba import njit

import fastgrad


@njit
def any_softmax_cross_entropy(logits, labels, label_smoothing):  # type: ignore[no-untyped-def]
    return fastgrad.softmax_cross_entropy(logits, labels, label_smoothing)


@njit
def any_binary_cross_entropy_with_logits(logits, targets):  # type: ignore[no-untyped-def]
    return fastgrad.binary_cross_entropy_with_logits(logits, targets)


@njit
def any_mse(prediction, target):  # type: ignore[no-untyped-def]
    return fastgrad.mse(prediction, target)


@njit
def any_sgd_step(param, grad, lr, velocity, momentum, nesterov, weight_decay):  # type: ignore[no-untyped-def]
    fastgrad.sgd_step(param, grad, lr, velocity, momentum, nesterov, weight_decay)


@njit
def any_adam_step(param, grad, m, v, step, lr, betas, eps, weight_decay):  # type: ignore[no-untyped-def]
    fastgrad.adam_step(param, grad, m, v, step, lr, betas, eps, weight_decay)


@njit
def any_set_num_threads(n):  # type: ignore[no-untyped-def]
    fastgrad.set_num_threads(n)
