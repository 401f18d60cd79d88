"""The contract beyond products: losses, optimizer steps and whole training steps, by formula.

numpy's + - * / and sqrt one after the other, sums as chains, exp and log by reference.lanes; made
of nothing that fastgrad runs. The order of every operation is part of the contract.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from oracles import contract_backward_both, contract_forward, contract_h, saved_for

from fastgrad import MLP, SGD, Adam
from fastgrad._kernels.codegen.target import KC
from fastgrad._kernels.formulas import elementary
from fastgrad.cli._bits_formula import lanes

Array = NDArray[Any]


def _chain(values: Array) -> Any:
    total = values.dtype.type(0)
    for value in values:
        total = total + value
    return total


def row_sums(a: Array) -> Array:
    """(N, M) -> (N,): a chain along each row."""
    total = np.zeros(len(a), a.dtype)
    for column in a.T:
        total = total + column
    return total


def batch_sum(a: Array) -> Any:
    """(N,) -> a chain in each block of KC, the blocks added in order."""
    kc = KC[a.dtype.name]
    return _chain(np.array([_chain(a[i : i + kc]) for i in range(0, len(a), kc)], a.dtype))


def softmax_cross_entropy(z: Array, labels: Array) -> tuple[float, Array]:
    """z (N, M), labels (N,) or probabilities (N, M)"""
    ops, one = lanes(z.dtype), z.dtype.type(1)
    n = z.dtype.type(len(z))
    shifted = z - z.max(axis=1, keepdims=True)
    e = ops(elementary.exp, shifted)
    total = row_sums(e)
    logs, p = ops(elementary.log, total)[:, None] - shifted, e * (one / total)[:, None]
    if labels.ndim == 1:
        rows = np.arange(len(z))
        losses, target = logs[rows, labels], np.eye(z.shape[1], dtype=z.dtype)[labels]
    else:
        target = labels.astype(z.dtype)
        losses = row_sums(np.where(target == 0, 0, target * logs).astype(z.dtype))
    return float(batch_sum(losses) / n), (p - target) * (one / n)


def binary_cross_entropy_with_logits(z: Array, t: Array) -> tuple[float, Array]:
    """z and targets t (N, M)"""
    ops, one = lanes(z.dtype), z.dtype.type(1)
    e = ops(elementary.exp, -np.abs(z))
    u = one + e
    with np.errstate(all="ignore"):
        log1p = np.where(u == one, e, ops(elementary.log, u) * (e / (u - one)))
    slope = np.where(z > 0, one - t, -t)
    terms = np.where(slope == 0, z.dtype.type(0), slope * z) + log1p
    size = z.dtype.type(z.size)
    gradient = (ops(elementary.sigmoid, z) - t) * (one / size)
    return float(batch_sum(row_sums(terms)) / size), gradient


def mse(p: Array, t: Array) -> tuple[float, Array]:
    """p and target t (N, M)"""
    size, difference = p.dtype.type(p.size), p - t
    loss = batch_sum(row_sums(difference * difference)) / size
    return float(loss), difference * (p.dtype.type(2) / size)


LOSSES = {
    "softmax_cross_entropy": softmax_cross_entropy,
    "binary_cross_entropy_with_logits": binary_cross_entropy_with_logits,
    "mse": mse,
}


def optimizer_step(s: SGD | Adam, p: Array, g: Array, state: tuple[Array, ...], step: int) -> Any:
    """-> the new parameters and the new state"""
    number = p.dtype.type
    if isinstance(s, SGD):
        d = g + p * number(s.weight_decay) if s.weight_decay else g
        if s.momentum:
            velocity = state[0] * number(s.momentum) + d
            d = d + velocity * number(s.momentum) if s.nesterov else velocity
            state = (velocity,)
        return p - d * number(s.lr), state
    b1, b2 = s.betas
    m = state[0] * number(b1) + g * number(1 - b1)
    v = state[1] * number(b2) + g * number(1 - b2) * g
    if s.weight_decay:
        p = p - p * number(s.lr * s.weight_decay)
    root = np.sqrt(v) / number(math.sqrt(1 - power(b2, step))) + number(s.eps)
    return p - m / root * number(s.lr / (1 - power(b1, step))), (m, v)


def power(base: float, exponent: int) -> float:
    """By squaring, from the exponent's last bit on."""
    result = 1.0
    for bit in reversed(bin(exponent)[2:]):
        result = result * base if bit == "1" else result
        base *= base
    return result


class Training:
    """What `MLP.train_step` does, from the parameters that the model has now."""

    def __init__(self, model: MLP) -> None:
        self.model, self.steps = model, 0
        self.params = [v.copy() for v in (*model.weights, *model.biases)]
        slots = model.optimizer.slots
        self.states = [tuple(np.zeros_like(p) for _ in range(slots)) for p in self.params]

    def step(self, x: Array, target: Array) -> float:
        layers, act = len(self.params) // 2, self.model.activation
        weights, biases = self.params[:layers], self.params[layers:]
        acts = [act] * (layers - 1) + [None]
        inputs, saved = [x], []
        for w, b, name in zip(weights, biases, acts, strict=True):
            y, z = contract_forward(inputs[-1], w, b, name)
            inputs.append(y)
            saved.append(next(iter(saved_for(name, y, z).values()), None))
        loss, g = LOSSES[self.model.loss](inputs[-1], target)
        grads: list[Any] = [None] * (2 * layers)
        for i in reversed(range(layers)):
            h = contract_h(g, acts[i], saved[i])
            g, grads[i], grads[layers + i] = contract_backward_both(h, inputs[i], weights[i])[0]
        self.steps += 1
        for i, (p, grad) in enumerate(zip(self.params, grads, strict=True)):
            self.params[i], self.states[i] = optimizer_step(
                self.model.optimizer, p, grad, self.states[i], self.steps
            )
        return loss
