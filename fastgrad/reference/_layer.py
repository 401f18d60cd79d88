"""Products, the linear layer and its gradients, as the package derives them, and its Jacobians."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._activations import activation_value, named

Array = NDArray[Any]


class LinearGrads(NamedTuple):
    """The gradients of a linear layer: x (..., K), weight (K, M), bias (M,); None: not needed."""

    x: Array | None
    weight: Array | None
    bias: Array | None


def matmul(a: ArrayLike, b: ArrayLike) -> Any:
    """a (..., M, K) · b (..., K, N) -> (..., M, N): Σ_k a_ik·b_kj, added in increasing k.

    A 1-D a is one row, a 1-D b one column, and that axis is dropped. Integers become floats.
    ValueError if the shapes do not conform.
    """
    x, y = np.asarray(a), np.asarray(b)
    if not x.ndim or not y.ndim or x.shape[-1] != y.shape[-2 if y.ndim > 1 else 0]:
        raise ValueError(f"matmul: shapes {x.shape} and {y.shape} do not conform")
    rows, columns = x if x.ndim > 1 else x[None, :], y if y.ndim > 1 else y[:, None]
    stack = np.broadcast_shapes(rows.shape[:-2], columns.shape[:-2])
    dtype = np.result_type(x, y, np.float32)
    out = np.zeros((*stack, rows.shape[-2], columns.shape[-1]), dtype)
    for k in range(x.shape[-1]):
        out += rows[..., :, k, None].astype(dtype) * columns[..., None, k, :]
    if x.ndim == 1:
        out = out[..., 0, :]
    if y.ndim == 1:
        out = out[..., 0]
    return out[()]


def matmul_nt(a: ArrayLike, b: ArrayLike) -> Any:
    """a (..., M, K) · b (..., N, K)ᵀ -> (..., M, N). A 1-D operand as in matmul."""
    return matmul(a, _transpose(b))


def matmul_tn(a: ArrayLike, b: ArrayLike) -> Any:
    """a (..., K, M)ᵀ · b (..., K, N) -> (..., M, N). A 1-D operand as in matmul."""
    return matmul(_transpose(a), b)


def _transpose(a: ArrayLike) -> Array:
    x = np.asarray(a)
    return x if x.ndim < 2 else np.swapaxes(x, -1, -2)


def linear_forward(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    activation: str | None = None,
) -> Any:
    """x (..., K) · weight (K, M) + bias (M,) -> y (..., M). activation: None or a name."""
    z = matmul(x, weight)
    if bias is not None:
        b = np.asarray(bias)
        _check_shape("linear_forward", "bias", b, z.shape[-1:])
        z = z + b
    return z if activation is None else activation_value(activation, z)


def linear_backward(
    grad_output: ArrayLike,
    x: ArrayLike,
    weight: ArrayLike,
    activation: str | None = None,
    output: ArrayLike | None = None,
    preactivation: ArrayLike | None = None,
    needs: tuple[bool, bool, bool] = (True, True, True),
) -> LinearGrads:
    """grad_output (..., M), x (..., K), weight (K, M) -> x (..., K), weight (K, M), bias (M,).

    relu, sigmoid and tanh need output (..., M), the others preactivation (..., M); ValueError if it
    is missing. An entry that is not needed is None.
    """
    g, xs, w = np.asarray(grad_output), np.asarray(x), np.asarray(weight)
    shape = _output_shape("linear_backward", xs, w)
    _check_shape("linear_backward", "grad_output", g, shape)
    if len(needs) != 3:
        raise ValueError(f"linear_backward: needs has {len(needs)} entries, expected 3")
    h = g
    if activation is not None:
        act = named(activation)
        saved = output if act.saved == "output" else preactivation
        if saved is None:
            raise ValueError(f"linear_backward: activation {activation!r} needs {act.saved}=")
        _check_shape("linear_backward", act.saved, np.asarray(saved), shape)
        h = act.backward(g, np.asarray(saved)).astype(np.result_type(g, np.asarray(saved)))
    h_rows, x_rows = (v.reshape(math.prod(v.shape[:-1]), v.shape[-1]) for v in (h, xs))
    return LinearGrads(
        matmul_nt(h, w) if needs[0] else None,
        matmul_tn(x_rows, h_rows) if needs[1] else None,
        matmul(np.ones(len(h_rows), np.float32), h_rows) if needs[2] else None,
    )


def jacobian_x(x: ArrayLike, weight: ArrayLike) -> Array:
    """x (N, K), weight (K, M) -> J (N, M, N, K), J[i, j, m, n] = ∂z_ij/∂x_mn = δ_im·w_nj."""
    w = np.asarray(weight)
    rows, _ = _matrices("jacobian_x", np.asarray(x), w)
    delta = np.eye(rows, dtype=w.dtype)
    return np.asarray(delta[:, None, :, None] * w.T[None, :, None, :])


def jacobian_weight(x: ArrayLike, weight: ArrayLike) -> Array:
    """x (N, K), weight (K, M) -> J (N, M, K, M), J[i, j, m, n] = ∂z_ij/∂w_mn = x_im·δ_nj."""
    xs = np.asarray(x)
    _, columns = _matrices("jacobian_weight", xs, np.asarray(weight))
    delta = np.eye(columns, dtype=xs.dtype)
    return np.asarray(xs[:, None, :, None] * delta[None, :, None, :])


def _output_shape(function: str, x: Array, weight: Array) -> tuple[int, ...]:
    """(..., M) of x (..., K) and weight (K, M)."""
    if not x.ndim or weight.ndim != 2 or x.shape[-1] != weight.shape[0]:
        raise ValueError(f"{function}: x {x.shape} and weight {weight.shape} do not conform")
    return (*x.shape[:-1], weight.shape[1])


def _matrices(function: str, x: Array, weight: Array) -> tuple[int, int]:
    """N, M of x (N, K) and weight (K, M)."""
    if x.ndim != 2:
        raise ValueError(f"{function}: x has shape {x.shape}, expected (N, K)")
    rows, columns = _output_shape(function, x, weight)
    return rows, columns


def _check_shape(function: str, name: str, a: Array, shape: tuple[int, ...]) -> None:
    if a.shape != shape:
        raise ValueError(f"{function}: {name} has shape {a.shape}, expected {shape}")
