"""What results are compared with: exact integers, the contract's formula, and a layer made of both.

Bits are compared with all NaNs taken as one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from formula import contract_both
from numpy.typing import NDArray

from fastgrad._kernels.formulas.activations import BY_NAME
from fastgrad.cli import _bits_formula

Array = NDArray[Any]


def bits(a: Any) -> Array:
    """The patterns of a float array as integers, one pattern for every NaN."""
    values = np.asarray(a)
    patterns = np.ascontiguousarray(values).view(f"u{values.itemsize}").reshape(values.shape)
    return np.where(
        np.isnan(values), np.array(-1, f"i{values.itemsize}").view(patterns.dtype), patterns
    )


def assert_same_bits(actual: Any, expected: Any, what: str = "") -> None:
    """Shape, dtype and every bit; says how many elements differ and shows the first."""
    x, y = np.asarray(actual), np.asarray(expected)
    if x.shape != y.shape or x.dtype != y.dtype:
        raise AssertionError(f"{what}: {x.shape} {x.dtype}, expected {y.shape} {y.dtype}")
    differ = np.argwhere(bits(x) != bits(y))
    if len(differ):
        at = tuple(int(i) for i in differ[0])
        raise AssertionError(
            f"{what}: {len(differ)} of {x.size} elements differ, the first at {at}: "
            f"{x[at]!r} ({float(x[at]).hex()}), expected {y[at]!r} ({float(y[at]).hex()})"
        )


# --- data ---------------------------------------------------------------------------------------


def floats(rng: np.random.Generator, *shape: int, dtype: str = "float32") -> Array:
    """Normal numbers of mixed size, so that every rounding shows, and zeros of both signs."""
    values = rng.standard_normal(shape) * np.exp2(rng.integers(-3, 4, shape))
    zeros = rng.random(shape)
    values[zeros < 0.04] = 0.0
    values[zeros < 0.02] = -0.0
    return values.astype(dtype)


def integers(rng: np.random.Generator, *shape: int, dtype: str = "float32") -> Array:
    """-4 ... 4: products and sums of up to 2^20 of them are exact in float32."""
    return rng.integers(-4, 5, shape).astype(dtype)


# --- exact --------------------------------------------------------------------------------------


def exact_matmul(a: Array, b: Array) -> Array:
    """np.matmul of small integers in float64, exact in any order; in the dtype of a and b."""
    return np.asarray(np.matmul(a.astype(np.float64), b.astype(np.float64)).astype(a.dtype))


# --- the contract -------------------------------------------------------------------------------


def contract_activation(activation: str | None, z: Array) -> Array:
    """act(z) by the numpy back end of the one formula that the kernels run."""
    return _bits_formula.value(activation, z)


def contract_forward(
    x: Array, weight: Array, bias: Array | None, activation: str | None
) -> tuple[Array, Array]:
    """x (N, K), weight (K, M), bias (M,) -> y, z (N, M)"""
    z = contract_both(x, weight)[0]
    with np.errstate(all="ignore"):
        z = z if bias is None else z + bias
    return contract_activation(activation, z), z


class Grads(NamedTuple):
    x: Array
    weight: Array
    bias: Array


def contract_h(g: Array, activation: str | None, saved: Array | None) -> Array:
    """G (N, M), what was saved (N, M) -> H = G ∘ act', rounded."""
    if activation is None or saved is None:
        return g
    return _bits_formula.backward(activation, g, saved)


def contract_backward_both(
    h: Array, x: Array, weight: Array, old: tuple[Array, ...] | None = None
) -> tuple[Grads, Grads]:
    """H (N, M), x (N, K), weight (K, M) -> dX, dW, db written, and added to old gradients."""
    dx, dw, db = old or (None, None, None)
    ones = np.ones((1, len(h)), h.dtype)
    pairs = (
        contract_both(h, weight.T, dx),
        contract_both(x.T, h, dw),
        contract_both(ones, h, None if db is None else db[None]),
    )
    written, added = (Grads(dx, dw, db[0]) for dx, dw, db in zip(*pairs, strict=True))
    return written, added


def saved_for(activation: str | None, y: Array, z: Array) -> dict[str, Any]:
    """The keyword that linear_backward wants after a forward of y and z."""
    if activation is None:
        return {}
    return {"output": y} if BY_NAME[activation].saved == "output" else {"preactivation": z}
