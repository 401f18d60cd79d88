"""Losses, optimizer steps and the norm of gradients in plain numpy, with the bits of the contract.

What the kernels are compared with. exp, log and sigmoid are the formulas of mathfun.py on numpy
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
    z: Array, labels: Array, label_smoothing: float = 0.0
) -> tuple[float, Array]:
    """z (N, M), labels (N,) or (N, M) of the dtype -> loss, gradient (N, M).

    (1 - s) and s/M are computed in float64 and rounded to the dtype.
    """
    with np.errstate(all="ignore"):
        number, classes = z.dtype.type, z.shape[1]
        count = number(len(z))
        one_hot = labels[:, None] == np.arange(classes) if labels.ndim == 1 else labels
        target = one_hot.astype(z.dtype) * number(1.0 - label_smoothing)
        target = target + number(label_smoothing / classes)
        shifted = z - z.max(axis=1, keepdims=True)
        e = _apply(elementary.exp, shifted)
        total = row_chain(e)
        terms = target * (_apply(elementary.log, total)[:, None] - shifted)
        terms[target == 0] = 0  # 0 * inf where a logit is -inf
        grad = (e * (1 / total)[:, None] - target) * (number(1) / count)
        return float(chain(row_chain(terms)) / count), grad


def binary_cross_entropy_with_logits(z: Array, target: Array) -> tuple[float, Array]:
    """z (N, M), target (N, M) of the dtype -> loss, gradient (N, M)."""
    with np.errstate(all="ignore"):
        number = z.dtype.type
        count = number(z.size)
        e = _apply(elementary.exp, -np.abs(z))
        u = 1 + e  # log(1 + e) to the last bits although 1 + e rounds: W. Kahan's correction
        log1p = np.where(u == 1, e, _apply(elementary.log, u) * (e / (u - 1)))
        slope = np.where(z > 0, 1 - target, -target)  # max(z, 0) - z*t = slope * z
        terms = np.where(slope == 0, number(0), slope * z) + log1p  # 0 * inf is 0 here
        grad = (_apply(elementary.sigmoid, z) - target) * (number(1) / count)
        return float(chain(row_chain(terms)) / count), grad


def mse(p: Array, target: Array) -> tuple[float, Array]:
    """p (N, M), target (N, M) of the dtype -> loss, gradient (N, M)."""
    with np.errstate(all="ignore"):
        number = p.dtype.type
        count, d = number(p.size), p - target
        return float(chain(row_chain(d * d)) / count), d * (number(2) / count)


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
        number = param.dtype.type
        direction = grad + param * number(weight_decay) if weight_decay else grad
        if momentum and velocity is not None:
            velocity *= number(momentum)
            velocity += direction
            direction = direction + velocity * number(momentum) if nesterov else velocity
        param -= direction * number(lr)


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
) -> None:
    """As fastgrad.adam_step. What is made of settings is computed in float64, then rounded."""
    with np.errstate(all="ignore"):
        number = param.dtype.type
        b1, b2 = betas
        m *= number(b1)
        m += grad * number(1 - b1)
        v *= number(b2)
        v += grad * number(1 - b2) * grad
        if weight_decay:
            param -= param * number(lr * weight_decay)
        root = np.sqrt(v) / number(math.sqrt(1 - power(b2, step))) + number(eps)
        param -= m / root * number(lr / (1 - power(b1, step)))


def norm(*grads: Array) -> float:
    """The norm that clip_grad_norm returns."""
    total = 0.0
    for grad in grads:
        total += squares(grad)
    return math.sqrt(total)


def squares(grad: Array) -> float:
    """The sum of the squares of all elements, in clip_grad_norm's order."""
    total = 0.0
    flat = grad.reshape(-1).astype(np.float64)
    with np.errstate(all="ignore"):
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


def row_chain(a: Array) -> Array:
    """(N, M) -> (N,): ((0 + a0) + a1) + ... along each row."""
    total = np.zeros(len(a), a.dtype)
    for column in a.T:
        total = total + column
    return total


def chain(a: Array) -> Any:
    """(N,) -> number: one chain from +0.0 in each block of KC, the blocks added in order."""
    step, total = KC[a.dtype.name], a.dtype.type(0)
    for start in range(0, len(a), step):
        block = a.dtype.type(0)
        for x in a[start : start + step]:
            block = block + x
        total = total + block
    return total


def _apply(formula: Any, x: Array) -> Array:
    return Lanes(x.dtype)(formula, x)
