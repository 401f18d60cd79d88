"""Users' functions for the tests: compiled when first called, once for all tests.

``A`` is any layout, read-only inputs: so one compilation does for all of them.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from numba import njit, types

import fastgrad
from fastgrad import linear_backward, linear_forward

DTYPES = {"float32": types.float32, "float64": types.float64}


def read(dtype: str, ndim: int) -> Any:
    return types.Array(DTYPES[dtype], ndim, "A", readonly=True)


def written(dtype: str, ndim: int) -> Any:
    return types.Array(DTYPES[dtype], ndim, "A")


def compile_for(function: Any, *kinds: Any) -> None:
    """For these types alone: arguments are converted to them, or are refused."""
    function.disable_compile(False)
    function.compile(kinds)
    function.disable_compile()


def fresh(a: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same values in memory of their own, in order C."""
    return np.array(a, order="C")


@njit
def products(a, b, at, bt):  # type: ignore[no-untyped-def]
    """a (m, k), b (k, n), and transposed"""
    return (
        fastgrad.matmul(a, b),
        fastgrad.matmul_nt(a, bt),
        fastgrad.matmul_tn(at, b),
        fastgrad.matmul(a, b[:, 0]),
        fastgrad.matmul(a[0], b=b),
        fastgrad.matmul(a[0], b[:, 0]),
        fastgrad.matmul_nt(a[0], bt[0]),
    )


@njit
def product_into(a, b, out, accumulate):  # type: ignore[no-untyped-def]
    return fastgrad.matmul(a, b, out=out, accumulate=accumulate)


@njit
def layer(x, weight, bias, activation):  # type: ignore[no-untyped-def]
    """A name that is known when it runs."""
    return linear_forward(x, weight, bias, activation)


@njit
def layer_into(x, weight, bias, activation, out, z):  # type: ignore[no-untyped-def]
    return linear_forward(x, weight, bias, activation, out=out, preactivation_out=z)


@njit
def constant_layers(x, weight):  # type: ignore[no-untyped-def]
    return (
        linear_forward(x, weight),
        linear_forward(x, weight, activation="relu"),
        linear_forward(weight=weight, x=x, activation="gelu_tanh"),
    )


@njit
def gradients(g, x, weight, activation, y, z):  # type: ignore[no-untyped-def]
    return linear_backward(g, x, weight, activation, y, z)


@njit
def some_gradients(g, x, weight, y, dw, db, add):  # type: ignore[no-untyped-def]
    """dX is made, dW is added to where told, db only written; then dW and db alone."""
    first = linear_backward(
        g, x, weight, "tanh", y, out=(None, dw, db), accumulate=(False, add, False)
    )
    second = linear_backward(g, x, weight, activation="tanh", output=y, needs=(False, True, True))
    third = linear_backward(g, x, weight, needs=(True, False, False))
    return first, second.weight, second.bias, second.x is None, third.x


# The functions with all their arguments, of any types; needs, a constant, aside.


@njit
def any_matmul(a, b, out, accumulate):  # type: ignore[no-untyped-def]
    return fastgrad.matmul(a, b, out, accumulate)


@njit
def any_matmul_nt(a, b, out, accumulate):  # type: ignore[no-untyped-def]
    return fastgrad.matmul_nt(a, b, out, accumulate)


@njit
def any_matmul_tn(a, b, out, accumulate):  # type: ignore[no-untyped-def]
    return fastgrad.matmul_tn(a, b, out, accumulate)


@njit
def any_linear_forward(x, weight, bias, activation, out, preactivation_out):  # type: ignore[no-untyped-def]
    return linear_forward(x, weight, bias, activation, out, preactivation_out)


@njit
def any_linear_backward(  # type: ignore[no-untyped-def]
    grad_output, x, weight, activation, output, preactivation, out, accumulate
):
    return linear_backward(
        grad_output, x, weight, activation, output, preactivation, out=out, accumulate=accumulate
    )


@njit
def any_softmax_cross_entropy(  # type: ignore[no-untyped-def]
    logits, labels, label_smoothing, weights=None, denominator=None, ignore_index=None
):
    return fastgrad.softmax_cross_entropy(
        logits,
        labels,
        label_smoothing,
        weights=weights,
        denominator=denominator,
        ignore_index=ignore_index,
    )


@njit
def any_binary_cross_entropy_with_logits(  # type: ignore[no-untyped-def]
    logits, targets, weights=None, denominator=None, pos_weight=None
):
    return fastgrad.binary_cross_entropy_with_logits(
        logits, targets, weights=weights, denominator=denominator, pos_weight=pos_weight
    )


@njit
def any_mse(prediction, target, weights=None, denominator=None):  # type: ignore[no-untyped-def]
    return fastgrad.mse(prediction, target, weights=weights, denominator=denominator)


@njit
def any_sgd_step(param, grad, lr, velocity, momentum, nesterov, weight_decay):  # type: ignore[no-untyped-def]
    fastgrad.sgd_step(param, grad, lr, velocity, momentum, nesterov, weight_decay)


@njit
def any_adam_step(  # type: ignore[no-untyped-def]
    param, grad, m, v, step, lr, betas, eps, weight_decay, decoupled=False
):
    fastgrad.adam_step(param, grad, m, v, step, lr, betas, eps, weight_decay, decoupled)


@njit
def any_set_num_threads(n):  # type: ignore[no-untyped-def]
    fastgrad.set_num_threads(n)


NAMES = {
    name.removeprefix("any_"): tuple(inspect.signature(function.py_func).parameters)
    for name, function in list(globals().items())
    if name.startswith("any_")
}
