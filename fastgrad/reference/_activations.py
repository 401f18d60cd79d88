"""The activations and their derivatives, a row each, and erf and erfc, which numpy lacks.

Each value is analytic where its function is, so that act(z + ih) = act(z) + ih·act'(z) for a tiny
h: the derivative comes out of the arithmetic, not out of a second formula.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


def erf(z: ArrayLike) -> Any:
    """z (...) -> erf(z), real, or complex with a small imaginary part. A few eps of its size."""
    v = np.asarray(z) * 1.0
    inside = np.abs(v.real) < 1.0
    return np.where(inside, _erf_series(np.where(inside, v, 0.0)), 1.0 - erfc(v))[()]


def erfc(z: ArrayLike) -> Any:
    """z (...) -> 1 - erf(z), with a small *relative* error also in the right tail."""
    v = np.asarray(z) * 1.0
    inside, flip = np.abs(v.real) < 1.0, v.real < 0.0
    tail = _erfc_fraction(np.where(inside, 1.0, np.where(flip, -v, v)))
    middle = 1.0 - _erf_series(np.where(inside, v, 0.0))
    return np.where(inside, middle, np.where(flip, 2.0 - tail, tail))[()]


def _erf_series(z: Array) -> Array:
    """|Re z| < 1: 2/√π·exp(-z²)·Σ_n 2ⁿ·z^(2n+1) / (1·3·…·(2n+1)), all terms of one sign.

    Abramowitz and Stegun 7.1.6. Term 24 is under 1e-22 of the first.
    """
    term = total = z
    for n in range(1, 25):
        term = term * (2.0 * z * z / (2 * n + 1))
        total = total + term
    return np.asarray(2.0 / np.sqrt(np.pi) * np.exp(-z * z) * total)


def _erfc_fraction(z: Array) -> Array:
    """Re z >= 1: exp(-z²)/√π · 1/(z + (1/2)/(z + 1/(z + (3/2)/(z + …)))).

    Abramowitz and Stegun 7.1.14. At z = 1, the worst, 200 levels leave under 1e-17.
    """
    fraction = z
    for n in range(200, 0, -1):
        fraction = z + 0.5 * n / fraction
    return np.asarray(np.exp(-z * z) / (np.sqrt(np.pi) * fraction))


def _sigmoid(z: Array) -> Array:
    small = np.exp(np.where(z.real < 0, z, -z))  # never overflows
    return np.where(z.real < 0, small, 1.0) / (1.0 + small)


def _normal_cdf(z: Array) -> Array:
    return 0.5 * np.asarray(erfc(-z / np.sqrt(2.0)))


def _normal_pdf(z: Array) -> Array:
    return np.asarray(np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi))


def _gelu_tanh_gate(z: Array) -> tuple[Array, Array]:
    """½(1 + tanh u) = sigmoid(2u) and d(2u)/dz, u = √(2/π)·(z + 0.044715·z³)."""
    scale = 2.0 * np.sqrt(2.0 / np.pi)
    cubic, slope = z + 0.044715 * z * z * z, 1.0 + 3 * 0.044715 * z * z
    return _sigmoid(scale * cubic), scale * slope


def _gelu_tanh_backward(g: Array, z: Array) -> Array:
    gate, slope = _gelu_tanh_gate(z)
    return g * (gate + z * gate * (1.0 - gate) * slope)


def _silu_backward(g: Array, z: Array) -> Array:
    gate = _sigmoid(z)
    return g * (gate + z * gate * (1.0 - gate))


class Activation(NamedTuple):
    """value(z) -> y; backward(g, saved) -> h = g·act'(z), where saved is y or z."""

    value: Callable[[Array], Array]
    backward: Callable[[Array, Array], Array]
    saved: str  # "output" or "preactivation"


ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(
        lambda z: np.where(z.real <= 0, 0.0, z),  # NaN stays NaN, -0.0 becomes +0.0
        lambda g, y: np.where(y.real <= 0, 0.0, g),  # not g·0, which is NaN for an infinite g
        "output",
    ),
    "sigmoid": Activation(_sigmoid, lambda g, y: g * (y * (1.0 - y)), "output"),
    "tanh": Activation(np.tanh, lambda g, y: g * ((1.0 - y) * (1.0 + y)), "output"),
    "gelu": Activation(
        lambda z: z * _normal_cdf(z),
        lambda g, z: g * (_normal_cdf(z) + z * _normal_pdf(z)),
        "preactivation",
    ),
    "gelu_tanh": Activation(
        lambda z: z * _gelu_tanh_gate(z)[0], _gelu_tanh_backward, "preactivation"
    ),
    "silu": Activation(lambda z: z * _sigmoid(z), _silu_backward, "preactivation"),
}


def named(name: str) -> Activation:
    if name not in ACTIVATIONS:
        raise ValueError(f"activation {name!r} is not one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def activation_value(name: str, z: ArrayLike) -> Any:
    """z (...) -> act(z) (...), float or complex, rounded to the dtype of z (integers: float64)."""
    v = np.asarray(z) * 1.0
    with np.errstate(all="ignore"):
        return named(name).value(v).astype(v.dtype)[()]


def activation_derivative(name: str, z: ArrayLike) -> Any:
    """z (...) -> act'(z) (...), real z. At its kink relu' is 0."""
    v, act = np.asarray(z) * 1.0, named(name)
    with np.errstate(all="ignore"):
        saved = act.value(v) if act.saved == "output" else v
        return act.backward(np.ones_like(v), saved).astype(v.dtype)[()]
