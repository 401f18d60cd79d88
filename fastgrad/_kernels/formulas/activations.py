"""The activations, one row each: value(ops, z) -> y, backward(ops, g, s) -> g·act'(z).

s is the saved array. All arguments are float32 or float64 vectors of one `ops` (the SIMD back end
or reference.lanes; both give the same bits). With eps the dtype's, sigmoid, tanh and silu are
within 2 ulp, gelu and gelu_tanh within 4·eps·(1 + z²)·|y|; the bounds of the backwards stand in
their docstrings, with the largest error found, float32 / float64 (docs/accuracy.md). What would be
below the smallest normal number is +0.0: sigmoid, gelu, gelu_tanh and silu far below 0, act'(z),
and its product with g but that of relu. Products of matrices take 100 times as long where an
operand is subnormal. At ±Inf the limits are taken: values 0 or z, derivatives 0 or 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from . import elementary

SQRT_HALF = 0.7071067811865476
SQRT_2_PI = 0.7978845608028654  # sqrt(2/pi)
# gelu_tanh(z) = z·sigmoid(2u), 2u = z·(SLOPE + CUBIC·z²)
SLOPE = 2.0 * SQRT_2_PI
CUBIC = SLOPE * 0.044715


@dataclass(frozen=True)
class Activation:
    """One activation; `saved` says what backward is given: "output" or "preactivation"."""

    name: str
    code: int  # in descriptors of compiled kernels; 0 is no activation
    value: Callable[[Any, Any], Any]
    backward: Callable[[Any, Any, Any], Any]
    saved: str


def relu(ops: Any, z: Any) -> Any:
    """0 where z <= 0, else z: exact; NaN stays NaN, -0.0 becomes +0.0."""
    return ops.select(z <= 0.0, 0.0, z)


def relu_backward(ops: Any, g: Any, y: Any) -> Any:
    """0 where y <= 0, else g: exact."""
    return ops.select(y <= 0.0, 0.0, g)


def sigmoid_backward(ops: Any, g: Any, y: Any) -> Any:
    """g·y·(1 - y), within 1.5·eps of itself."""
    return elementary.normal(ops, g * (y * (1.0 - y)))


def tanh_backward(ops: Any, g: Any, y: Any) -> Any:
    """g·(1 - y²), within eps of itself."""
    return elementary.normal(ops, g * ops.fma(-y, y, 1.0))


def _gelu_parts(ops: Any, z: Any, low: float) -> tuple[Any, Any, Any]:
    """z (lanes) -> t, e, r: t = min(|z|, -low), 1 - Phi(t) = e·r·2^-scale, e normal.

    r = erfcx(t/sqrt(2)).
    """
    k = elementary.table(ops)
    t = elementary.clamped_abs(ops, z, -low)
    s, r = elementary.exp_parts(ops, t * (t * -0.5), k.scale - 1)
    e = s * ops.fma(r, elementary.polynomial(ops, r, k.exp), 1.0)
    return t, e, elementary.erfcx(ops, t * SQRT_HALF)


def gelu(ops: Any, z: Any) -> Any:
    """z·Phi(z) = z·erfc(-z/sqrt(2))/2, as max(z, 0) - t·(1 - Phi(t)) with t = |z|; 0.0 at -Inf."""
    # t²/2 is rounded, as the bound allows: half the operations of erfc, which carries that error.
    k = elementary.table(ops)
    low = k.gelu_lows[0]
    t, e, r = _gelu_parts(ops, z, low)
    y = ops.select(z < 0.0, 0.0, z) - t * (e * r) * 2.0**-k.scale
    return ops.select(z < low, 0.0, y)


def gelu_backward(ops: Any, g: Any, z: Any) -> Any:
    """g·(Phi(z) + z·phi(z)).

    Within 4·eps·(1 + z²)·|g|·(Phi(z) + |z|·phi(z)); found: 3.9 / 3.3 of the 4.
    """
    k = elementary.table(ops)
    low = k.gelu_lows[1]
    t, e, r = _gelu_parts(ops, z, low)
    below = e * ops.fma(t, -SQRT_2_PI, r) * 2.0**-k.scale  # the derivative at -t
    slope = ops.select(z < 0.0, below, 1.0 - below)
    return elementary.normal(ops, g * ops.select(z < low, 0.0, slope))


def silu(ops: Any, z: Any) -> Any:
    """z·sigmoid(z); 0.0 at -Inf. 1.86 / 1.97 ulp."""
    k = elementary.table(ops)
    low, end = k.silu_lows[0], k.logistic_ends[1]
    x = elementary.clamp(ops, z, low, end)
    y = ops.select(z > end, z, x / elementary.one_plus_exp(ops, -x) * 2.0**-k.scale)
    return ops.select(z < low, 0.0, y)


def silu_backward(ops: Any, g: Any, z: Any) -> Any:
    """g·s·(1 + z·(1 - s)), s = sigmoid(z).

    Within 4·eps·|g|·s·(1 + |z|·(1 - s)); found: 2.5 / 2.6 of the 4.
    """
    k = elementary.table(ops)
    low = k.silu_lows[1]
    x = elementary.clamp(ops, z, low, k.logistic_ends[1])
    return elementary.normal(ops, g * ops.select(z < low, 0.0, _gate_derivative(ops, x, x)))


def gelu_tanh(ops: Any, z: Any) -> Any:
    """z·sigmoid(2u), u = sqrt(2/pi)·(z + 0.044715·z³); 0.0 at -Inf."""
    k = elementary.table(ops)
    low, end = k.gelu_tanh_lows[0], k.gelu_tanh_end
    x = elementary.clamp(ops, z, low, end)
    d, _ = elementary.one_plus_exp_fast(ops, -(x * ops.fma(x * x, CUBIC, SLOPE)))
    y = ops.select(z > end, z, x / d * 2.0**-k.scale)
    return ops.select(z < low, 0.0, y)


def gelu_tanh_backward(ops: Any, g: Any, z: Any) -> Any:
    """g·s·(1 + z·v'·(1 - s)), s = sigmoid(v), v = 2u.

    Within 4·eps·(1 + z²)·|g|·s·(1 + |z|·v'·(1 - s)); found: 2.2 / 2.0 of the 4.
    """
    k = elementary.table(ops)
    low = k.gelu_tanh_lows[1]
    x = elementary.clamp(ops, z, low, k.gelu_tanh_end)
    square = x * x
    slope = ops.fma(square, 3.0 * CUBIC, SLOPE)
    slope = _gate_derivative(ops, x * ops.fma(square, CUBIC, SLOPE), x * slope)
    return elementary.normal(ops, g * ops.select(z < low, 0.0, slope))


def _gate_derivative(ops: Any, v: Any, slope: Any) -> Any:
    """v, slope (lanes) -> s·(1 + slope·(1 - s)), s = sigmoid(v).

    This is the derivative of z·sigmoid(v(z)) for slope = z·v'(z).
    """
    d, e = elementary.one_plus_exp_fast(ops, -v)
    s = 1.0 / d  # times 2^-scale it is sigmoid; 1 - sigmoid = e·s has no cancellation
    return s * ops.fma(e * s, slope, 1.0) * 2.0 ** -elementary.table(ops).scale


# The rows' names, for type checkers, which read no tables.
ActivationName = Literal["relu", "sigmoid", "tanh", "gelu", "gelu_tanh", "silu"]
_ROWS = (
    ("relu", relu, relu_backward, "output"),
    ("sigmoid", elementary.sigmoid, sigmoid_backward, "output"),
    ("tanh", elementary.tanh, tanh_backward, "output"),
    ("gelu", gelu, gelu_backward, "preactivation"),
    ("gelu_tanh", gelu_tanh, gelu_tanh_backward, "preactivation"),
    ("silu", silu, silu_backward, "preactivation"),
)
# Kernels are numbered in this order, and users' compiled functions know names alone.
TABLE = tuple(
    Activation(name, code, value, backward, saved)
    for code, (name, value, backward, saved) in enumerate(_ROWS, start=1)
)
BY_NAME = {row.name: row for row in TABLE}
RELU = BY_NAME["relu"].code  # the one that tiles apply
