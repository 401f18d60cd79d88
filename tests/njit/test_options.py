"""Weights, denominators and what else losses take, softmax, activation and clip_grad_norm in
compiled code: the bits of Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

import fastgrad

DTYPES = ["float32", "float64"]


@njit
def losses(z, labels, t, w, positive):  # type: ignore[no-untyped-def]
    first = fastgrad.softmax_cross_entropy(z, labels, 0.1, weights=w, ignore_index=9)
    second = fastgrad.binary_cross_entropy_with_logits(z, t, weights=w, pos_weight=positive)
    third = fastgrad.mse(z, t, weights=w, denominator=3)
    return first, second, third


@njit
def only_one(z, labels, t):  # type: ignore[no-untyped-def]
    first = fastgrad.softmax_cross_entropy(z, labels, denominator=2.5)
    second = fastgrad.binary_cross_entropy_with_logits(z, t, pos_weight=2)
    return first, second, fastgrad.mse(z, t, weights=None, denominator=7)


@njit
def adams(p, g, m, v, decoupled):  # type: ignore[no-untyped-def]
    fastgrad.adam_step(p, g, m, v, 3, 0.01, weight_decay=0.1, decoupled=decoupled)
    fastgrad.adam_step(p, g, m, v, 4, 0.01, weight_decay=0.1)


@njit
def clipped(a, b, limit):  # type: ignore[no-untyped-def]
    return fastgrad.clip_grad_norm((a, b), limit), fastgrad.clip_grad_norm(a, limit)


@njit
def elementwise(name, z):  # type: ignore[no-untyped-def]
    return fastgrad.activation(name, z), fastgrad.activation("gelu", z), fastgrad.softmax(z)


def operands(dtype: str) -> tuple[Any, ...]:
    rng = np.random.default_rng(3)
    z = rng.standard_normal((7, 5)).astype(dtype)
    labels, t = np.array([0, 1, 2, 3, 4, 9, 1]), rng.random((7, 5)).astype(dtype)
    return z, labels, t, rng.random(7), rng.random(5)


def same(found: Any, expected: Any) -> None:
    for (loss, grad), (right, slope) in zip(found, expected, strict=True):
        assert loss == right and grad.dtype == slope.dtype and np.array_equal(grad, slope)


@pytest.mark.parametrize("dtype", DTYPES)
def test_losses(dtype: str) -> None:
    z, labels, t, w, positive = operands(dtype)
    expected = losses.py_func(z, labels, t, w, positive)
    same(losses(z, labels, t, w, positive), expected)
    same(losses(z, labels, t, w.astype(np.float32), 2.0),
         losses.py_func(z, labels, t, w.astype(np.float32), 2.0))  # fmt: skip
    labels[5] = 0
    same(only_one(z, labels, t), only_one.py_func(z, labels, t))
    with pytest.raises(ValueError, match=r"^mse: weights has shape"):
        _wrong(z, t, w[1:])


@njit
def _wrong(z, t, w):  # type: ignore[no-untyped-def]
    return fastgrad.mse(z, t, weights=w)


def test_no_axes_and_more_axes() -> None:
    z = np.random.default_rng(1).standard_normal((3, 4, 5))
    labels = np.arange(12).reshape(3, 4) % 5

    @njit
    def both(z, t, labels):  # type: ignore[no-untyped-def]
        return fastgrad.mse(z, t), fastgrad.softmax_cross_entropy(z, labels)

    same(both(z, z / 2, labels), both.py_func(z, z / 2, labels))

    @njit
    def number(p, t):  # type: ignore[no-untyped-def]
        return fastgrad.mse(p, t)

    loss, grad = number(np.array(3.0), np.array(1.0))
    assert loss == 4.0 and grad.shape == () and grad == 4.0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("decoupled", [False, True])
def test_adam(dtype: str, decoupled: bool) -> None:
    rng = np.random.default_rng(5)
    here = [np.abs(rng.standard_normal(9)).astype(dtype) for _ in range(4)]
    there = [a.copy() for a in here]
    adams(*here, decoupled)
    adams.py_func(*there, decoupled)
    for a, b in zip(here, there, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
def test_norms(dtype: str) -> None:
    z, _, t, *_ = operands(dtype)
    mixed = np.ones((2, 3), "float64")
    for second in (t, mixed):
        here, there = (z.copy(), second.copy()), (z.copy(), second.copy())
        assert clipped(*here, 0.5) == clipped.py_func(*there, 0.5)
        for a, b in zip(here, there, strict=True):
            assert np.array_equal(a, b)
    with pytest.raises(ValueError, match=r"^clip_grad_norm: max_norm is 0"):
        clipped(z, t, 0.0)
    with pytest.raises(ValueError, match="share memory"):
        clipped(z, z, 1.0)

    @njit
    def of_list(a):  # type: ignore[no-untyped-def]
        return fastgrad.clip_grad_norm([a, a], 1.0)

    with pytest.raises(TypingError, match="pass a tuple of arrays"):
        of_list(z)


@pytest.mark.parametrize("dtype", [*DTYPES, "int64"])
def test_elementwise(dtype: str) -> None:
    z = (operands("float64")[0] * 4).astype(dtype)
    for view in (z, z.T, z[::2]):
        for name in ("relu", "silu"):
            expected = elementwise.py_func(name, view)
            for a, b in zip(elementwise(name, view), expected, strict=True):
                assert a.dtype == b.dtype and np.array_equal(a, b)
    with pytest.raises(ValueError, match="activation 'swish' is not known"):
        elementwise("swish", z)


def test_activation_has_the_bits_of_a_layer() -> None:
    for dtype in DTYPES:
        z = operands(dtype)[0]
        for name in (None, "relu", "sigmoid", "tanh", "gelu", "gelu_tanh", "silu"):
            layer = fastgrad.linear_forward(z.reshape(-1, 1), np.ones((1, 1), dtype), None, name)
            assert np.array_equal(fastgrad.activation(name, z).reshape(-1, 1), layer)
