"""Losses, optimizer steps and the norm of gradients in plain numpy, with the bits of the contract.

What the kernels are compared with. exp, log and sigmoid are the formulas of elementary.py on numpy
arrays; everything else is numpy's + - * / sqrt, an operation at a time, in the order written.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._kernels.codegen.target import KC
from .._kernels.formulas import elementary
from .fma import fma
from .lanes import Lanes

Array = NDArray[Any]


def softmax_cross_entropy(
    z: Array,
    labels: Array,
    label_smoothing: float = 0.0,
    *,
    weights: Array | None = None,
    denominator: float | None = None,
    ignore_index: int | None = None,
) -> tuple[float, Array]:
    """z (N, M), labels (N,) or (N, M) of the dtype -> loss, gradient (N, M).

    (1 - s) and s/M are computed in float64 and rounded to the dtype. weights (N,) of float64.
    """
    with np.errstate(all="ignore"):
        number, classes = z.dtype.type, z.shape[1]
        one_hot = labels[:, None] == np.arange(classes) if labels.ndim == 1 else labels
        target = one_hot.astype(z.dtype) * number(1.0 - label_smoothing)
        target = target + number(label_smoothing / classes)
        shifted = z - z.max(axis=1, keepdims=True)
        e = _apply(elementary.exp, shifted)
        total = row_sums(e).astype(z.dtype)
        terms = target * (_apply(elementary.log, total)[:, None] - shifted)
        terms[target == 0] = 0  # 0 * inf where a logit is -inf
        slopes = e * (1 / total)[:, None] - target
        counts = None if ignore_index is None else labels != ignore_index
        return _mean(row_sums(terms), slopes, weights, denominator, 1.0, 1, counts)


def binary_cross_entropy_with_logits(
    z: Array,
    target: Array,
    *,
    weights: Array | None = None,
    denominator: float | None = None,
    pos_weight: Array | float | None = None,
) -> tuple[float, Array]:
    """z (N, M), target (N, M) of the dtype -> loss, gradient (N, M).

    pos_weight: a number or (M,), of the dtype.
    """
    with np.errstate(all="ignore"):
        number = z.dtype.type
        e = _apply(elementary.exp, -np.abs(z))
        u = 1 + e  # log(1 + e) to the last bits although 1 + e rounds: W. Kahan's correction
        log1p = np.where(u == 1, e, _apply(elementary.log, u) * (e / (u - 1)))
        sigmoid, t = _apply(elementary.sigmoid, z), target
        if pos_weight is not None:
            w = np.asarray(pos_weight, z.dtype)
            both = (w - 1) * target + 1  # of log1p, and of the sigmoid
            t, log1p, sigmoid = w * target, both * log1p, both * sigmoid
        slope = np.where(z > 0, 1 - target, -t)  # max(z, 0) - z*t = slope * z
        terms = np.where(slope == 0, number(0), slope * z) + log1p  # 0 * inf is 0 here
        return _mean(row_sums(terms), sigmoid - t, weights, denominator, 1.0, z.shape[1])


def mse(
    p: Array,
    target: Array,
    *,
    weights: Array | None = None,
    denominator: float | None = None,
) -> tuple[float, Array]:
    """p (N, M), target (N, M) of the dtype -> loss, gradient (N, M)."""
    with np.errstate(all="ignore"):
        d = p - target
        return _mean(row_sums(d * d), d, weights, denominator, 2.0, p.shape[1])


def _mean(
    losses: Array,
    slopes: Array,
    weights: Array | None,
    denominator: float | None,
    factor: float,
    elements: int,
    counts: Array | None = None,
) -> tuple[float, Array]:
    """Of the losses of rows, float64, and factor / D times slopes (N, M): the loss, the gradient.

    D is the denominator, or the sum of weights times the elements of a row.
    """
    number = slopes.dtype.type
    w = np.ones(len(losses)) if weights is None else np.asarray(weights, np.float64)
    divisor = denominator
    if divisor is None:
        divisor = sum_of_weights(w if counts is None else np.where(counts, w, 0.0), number)
        divisor *= elements
    losses, grad = losses * w, slopes * (w * (factor / divisor)).astype(number)[:, None]
    _flush(grad)
    if counts is not None:
        losses = np.where(counts, losses, 0.0)
        grad = np.where(counts[:, None], grad, number(0))
    return float(number(batch_sum(losses, number) / divisor)), grad


def sgd_step(
    param: Array,
    grad: Array,
    lr: float,
    velocity: Array | None = None,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> None:
    """As fastgrad.sgd_step, on arrays of one shape and dtype."""
    with np.errstate(all="ignore"):
        number, before = param.dtype.type, np.abs(param)
        direction = grad + param * number(weight_decay) if weight_decay else grad
        if momentum and velocity is not None:
            velocity *= number(momentum)
            velocity += direction
            _flush(velocity)
            direction = direction + velocity * number(momentum) if nesterov else velocity
        param -= direction * number(lr)
        if weight_decay:
            _flush_decayed(param, before)


def adam_step(
    param: Array,
    grad: Array,
    m: Array,
    v: Array,
    step: int,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
) -> None:
    """As fastgrad.adam_step. What is made of settings is computed in float64, then rounded."""
    with np.errstate(all="ignore"):
        number, before = param.dtype.type, np.abs(param)
        b1, b2 = betas
        if weight_decay and not decoupled:
            grad = grad + param * number(weight_decay)
        m *= number(b1)
        m += grad * number(1 - b1)
        _flush(m)
        least = number(math.sqrt(float(np.finfo(number).tiny) / (1 - b2)))
        grad = np.where(np.abs(grad) < least, number(0), grad)  # the square would be below tiny
        v *= number(b2)
        v += grad * number(1 - b2) * grad
        _flush(v)
        if weight_decay and decoupled:
            param -= param * number(lr * weight_decay)
        root = np.sqrt(v) / number(math.sqrt(1 - power(b2, step))) + number(eps)
        param -= m / root * number(lr / (1 - power(b1, step)))
        if weight_decay:
            _flush_decayed(param, before, v)


def _flush(a: Array) -> None:
    """What is below the smallest normal number becomes +0.0."""
    a[np.abs(a) < np.finfo(a.dtype).tiny] = 0


def _flush_decayed(param: Array, before: Array, v: Array | float = 0.0) -> None:
    """|param| <= min(sqrt(t), max(before, v, t)) becomes +0.0; t is that number."""
    tiny = np.finfo(param.dtype).tiny
    limit = np.minimum(np.sqrt(tiny), np.maximum(np.maximum(before, v), tiny))
    param[np.abs(param) <= limit] = 0


def norm(*grads: Array) -> float:
    """The norm that clip_grad_norm returns."""

    def total(factor: float) -> float:
        found = 0.0
        for grad in grads:
            found += squares(grad, factor)
        return found

    found = total(1.0)
    if found == math.inf:
        return math.sqrt(total(2.0**-600)) * 2.0**600
    if found < 2.0**-960:
        return math.sqrt(total(2.0**600)) * 2.0**-600
    return math.sqrt(found)


def clip(grad: Array, limit: float, found: float) -> Array:
    """What clip_grad_norm makes of an array where the norm ``found`` is above the limit."""
    factor = limit / found
    factors = [factor] if factor >= 2.0**-1022 else [
        2.0**-600, limit * 2.0**600 / (found * 2.0**-600), 2.0**-600
    ]  # fmt: skip
    for factor in factors:
        grad = (grad.astype(np.float64) * factor).astype(grad.dtype)
    return grad


def squares(grad: Array, factor: float = 1.0) -> float:
    """The sum of the squares of all elements times a factor, in clip_grad_norm's order."""
    total = 0.0
    flat = grad.reshape(-1).astype(np.float64)
    with np.errstate(all="ignore"):
        flat = flat * factor
        for start in range(0, flat.size, 1 << 14):
            block = flat[start : start + (1 << 14)]
            block = np.append(block, np.zeros(-block.size % 32)).reshape(-1, 32)
            chains = np.zeros(32)
            for elements in block:
                chains = fma(elements, elements, chains)
            while len(chains) > 1:
                half = len(chains) // 2
                chains = chains[:half] + chains[half:]
            total += float(chains[0])
    return total


def power(base: float, exponent: int) -> float:
    """base**exponent by squaring: C's pow differs in its last bit between platforms."""
    result = 1.0
    while exponent:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result


GROUP, CHAINS = 8, 8  # columns of float64; of the rows of a block


def row_sums(a: Array) -> Array:
    """(N, M) -> (N,) float64: the sum along each row.

    float32: a chain in float64 from +0.0. float64: a chain from +0.0 over each GROUP columns, and
    the groups added one after the other, with the error of each addition beside the sum.
    """
    total = np.zeros(len(a))
    with np.errstate(all="ignore"):
        if a.dtype == np.float32:
            for column in a.T:
                total = total + column.astype(np.float64)
            return total
        error = np.zeros(len(a))
        for start in range(0, a.shape[1], GROUP):
            group = np.zeros(len(a))
            for column in a.T[start : start + GROUP]:
                group = group + column
            total, lost = two_sum(total, group)
            error = error + lost
        return _sum_of(total, error)


def batch_sum(rows: Array, dtype: Any) -> Any:
    """(N,) float64 -> number: the sum, in blocks of KC rows of the dtype, which are added in order.

    In a block row i is in chain i % CHAINS, from +0.0; then the upper half of the chains is added
    to the lower half, until one is left. The errors of all additions are kept beside the sums.
    """
    step, total, error = KC[np.dtype(dtype).name], np.float64(0), np.float64(0)
    with np.errstate(all="ignore"):
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            block = np.append(block, np.zeros(-len(block) % CHAINS)).reshape(-1, CHAINS)
            chains, errors = np.zeros(CHAINS), np.zeros(CHAINS)
            for elements in block:
                chains, lost = two_sum(chains, elements)
                errors = errors + lost
            while len(chains) > 1:
                half = len(chains) // 2
                chains, lost = two_sum(chains[:half], chains[half:])
                errors = (errors[:half] + errors[half:]) + lost
            total, lost = two_sum(total, chains[0])
            error = error + (lost + errors[0])
        return _sum_of(total, error)


def loss_of_blocks(losses: list[float], dtype: Any) -> float:
    """Of the blocks of a batch, each with the batch's denominator: their sum in float64, in order,
    the errors of the additions beside it, rounded to the dtype. See MLP.fit(block_rows=)."""
    total = error = np.float64(0)
    with np.errstate(all="ignore"):
        for loss in losses:
            total, lost = two_sum(total, np.float64(loss))
            error = error + lost
        return float(np.dtype(dtype).type(_sum_of(total, error)))


def sum_of_weights(weights: Array, dtype: Any) -> float:
    """(N,) float64: a chain over each KC rows of the dtype, then a chain of those."""
    step, total = KC[np.dtype(dtype).name], 0.0
    for start in range(0, len(weights), step):
        block = 0.0
        for weight in weights[start : start + step]:
            block += float(weight)
        total += block
    return total


def two_sum(x: Any, y: Any) -> tuple[Any, Any]:
    """x + y rounded, and what the rounding lost (Knuth), NaN where the sum is infinite."""
    total = x + y
    of_y = total - x
    return total, (x - (total - of_y)) + (y - of_y)


def _sum_of(total: Any, error: Any) -> Any:
    return np.where(np.isnan(error), total, total + error)


def _apply(formula: Any, x: Array) -> Array:
    return Lanes(x.dtype)(formula, x)
