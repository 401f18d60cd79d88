"""The mathematics of a linear layer in plain numpy: what the compiled kernels are checked against.

    X (N, K)  W (K, M)  b (M,)   ->   Z = X·W + b (N, M),   Y = act(Z) (N, M)
    G = dF/dY (N, M)   ->   H = G ∘ act'(Z)
    dF/dX = H·Wᵀ,   dF/dW = Xᵀ·H,   dF/db = column sums of H

Everything is written to be read, not to be fast, and computes in the dtype it is given: float64,
complex128 for derivatives by the complex step, object arrays of Fractions for exact products.
`contract_matmul` and `contract_colsum` give the very bits that the kernels promise, and so does
`losses` for the losses, the optimizer steps and the norm of gradients.

Row 1, a product. Row i of X meets *column* j of W; shapes that do not conform are an error.

    z_ij = Σ_k x_ik·w_kj

Row 2, vectors. z = x·w is a number, and its derivative by one vector is the other.

>>> import numpy as np
>>> x, w = np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0])
>>> print(matmul(x, w), linear_backward(np.ones(1), x, w[:, None]).x)
32.0 [4. 5. 6.]

Row 3, where G comes from. Any scalar F of Y gives G = F'(Y); F = ΣY gives ones, and these may be
one number broadcast with zero strides.

>>> ones = np.broadcast_to(1.0, (2, 2))
>>> X, W, b = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0, 6.0], [7.0, 8.0]]), np.zeros(2)
>>> print(linear_backward(ones, X, W).bias)
[2. 2.]

Row 4, a change of X and W, to first order. ':' is the *sum* of the elementwise product, and each
factor of a product moves to the other side of it as its transpose:

    dZ = dX·W + X·dW          dF = H : dZ = H : (dX·W) + H : (X·dW) = (H·Wᵀ) : dX + (Xᵀ·H) : dW

so dX and dW stand alone, and what stands before them is ∂F/∂X = H·Wᵀ and ∂F/∂W = Xᵀ·H. (With X, not
W, and with the gradient by Z, not by Y or the weights: Xᵀ·W and Zᵀ·∂L/∂W are slips that one meets.)

Row 5, two by two, by hand. x_11 feeds z_11 = x_11·w_11 + … and z_12 = x_11·w_12 + …, and its
effects add: ∂F/∂x_11 = h_11·w_11 + h_12·w_12 = 1·5 + 10·6 = 65.

>>> H = np.array([[1.0, 10.0], [100.0, 1000.0]])
>>> print(linear_forward(X, W, b))
[[19. 22.]
 [43. 50.]]
>>> grads = linear_backward(H, X, W)
>>> print(grads.x)
[[  65.   87.]
 [6500. 8700.]]
>>> print(grads.weight)
[[ 301. 3010.]
 [ 402. 4020.]]
>>> print(grads.bias)
[ 101. 1010.]

Row 6, one weight of a deeper layer, whose input Z (N, K) is the layer before and whose output is A:

    ∂L/∂w_{1,2} = Σ_i ∂L/∂a_{i,2}·z_{i,1}

with the weight's *first* index on z and its second on a: entry (1, 2) of Zᵀ·∂L/∂A, Zᵀ being (K, N).

Row 7, the bias is added to every row, so ∂F/∂b_j = Σ_i h_ij, the column sums. It is a constant to X
and W: dX and dW have the same bits with and without it.

Row 8, the Jacobians are fourth order, and only the small explicit functions below ever form them:

    ∂z_ij/∂w_mn = x_im·δ_nj      ∂z_ij/∂x_mn = δ_im·w_nj      ∂Z/∂w_mn = X·E_mn

where E_mn is zero but for a one at (m, n). "∂Z/∂W = Xᵀ" is shorthand for the map G -> Xᵀ·G.

Row 9, traces. ⟨A, B⟩ = A : B = tr(AᵀB), and tr(X·W) = tr(W·X). F = tr(Z) has G = I, so dW = Xᵀ and
dX = Wᵀ, exactly.

Row 10, the gradient of f = xᵀAx is 2Ax for symmetric A: x is the weight of z = Ax and the input of
f = xᵀz, and the two backward calls add Ax and Aᵀx. No matrix needs an inverse anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgrad import _reference_losses as losses
from fastgrad._fma import fma

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "LinearGrads",
    "activation_derivative",
    "activation_value",
    "contract_colsum",
    "contract_matmul",
    "erf",
    "erfc",
    "jacobian_weight",
    "jacobian_x",
    "linear_backward",
    "linear_forward",
    "losses",
    "matmul",
    "matmul_nt",
    "matmul_tn",
]

Array = NDArray[Any]


class LinearGrads(NamedTuple):
    """The gradients of a linear layer: x (..., K), weight (K, M), bias (M,); None: not needed."""

    x: Array | None
    weight: Array | None
    bias: Array | None


# --- products -----------------------------------------------------------------------------------


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


# --- the linear layer ---------------------------------------------------------------------------


def linear_forward(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    activation: str | None = None,
) -> Any:
    """x (..., K) · weight (K, M) + bias (M,) -> y (..., M). activation: None or a name."""
    z = matmul(x, weight)
    if bias is not None:
        z = z + np.asarray(bias)
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
    h = g
    if activation is not None:
        act = _activation(activation)
        saved = output if act.saved == "output" else preactivation
        if saved is None:
            raise ValueError(f"linear_backward: activation {activation!r} needs {act.saved}=")
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
    delta = np.eye(np.shape(x)[0], dtype=w.dtype)
    return np.asarray(delta[:, None, :, None] * w.T[None, :, None, :])


def jacobian_weight(x: ArrayLike, weight: ArrayLike) -> Array:
    """x (N, K), weight (K, M) -> J (N, M, K, M), J[i, j, m, n] = ∂z_ij/∂w_mn = x_im·δ_nj."""
    xs = np.asarray(x)
    delta = np.eye(np.shape(weight)[1], dtype=xs.dtype)
    return np.asarray(xs[:, None, :, None] * delta[None, :, None, :])


# --- activations --------------------------------------------------------------------------------
# Each value is analytic where its function is, so that act(z + ih) = act(z) + ih·act'(z) for a tiny
# h: the derivative comes out of the arithmetic, not out of a second formula.


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


def _activation(name: str) -> Activation:
    if name not in ACTIVATIONS:
        raise ValueError(f"activation {name!r} is not one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def activation_value(name: str, z: ArrayLike) -> Any:
    """z (...) -> act(z) (...), float or complex, rounded to the dtype of z (integers: float64)."""
    v = np.asarray(z) * 1.0
    with np.errstate(all="ignore"):
        return _activation(name).value(v).astype(v.dtype)[()]


def activation_derivative(name: str, z: ArrayLike) -> Any:
    """z (...) -> act'(z) (...), real z. At its kink relu' is 0."""
    v, act = np.asarray(z) * 1.0, _activation(name)
    with np.errstate(all="ignore"):
        saved = act.value(v) if act.saved == "output" else v
        return act.backward(np.ones_like(v), saved).astype(v.dtype)[()]


# --- the contract of bits -----------------------------------------------------------------------


def _kc(dtype: np.dtype[Any]) -> int:
    from fastgrad._kernels.target import KC  # here, so that reading this file needs no compiler

    return int(KC[dtype.name])


def contract_matmul(
    a: Array,
    b: Array,
    *,
    kc: int | None = None,
    bias: Array | None = None,
    c_old: Array | None = None,
) -> Array:
    """a (M, K) · b (K, N) + bias (N,) -> c (M, N), with the bits that every kernel must give.

    float32 or float64, one dtype for all. c = ((c_old + B0) + B1) + …, where B_r is one chain of
    fused multiply-adds over k = r·kc … in increasing k, started at +0.0; then + bias. Without c_old
    the sum starts with B0 itself; without a block (K = 0) it is c_old, or +0.0.
    """
    _same_dtype("contract_matmul", a, b, bias, c_old)
    depth, step = a.shape[1], kc or _kc(a.dtype)
    total = c_old
    with np.errstate(all="ignore"):
        for start in range(0, depth, step):
            block = np.zeros((a.shape[0], b.shape[1]), a.dtype)
            for k in range(start, min(start + step, depth)):
                block = fma(a[:, k, None], b[None, k, :], block)
            total = block if total is None else total + block
        if total is None:
            total = np.zeros((a.shape[0], b.shape[1]), a.dtype)
        return total.copy() if bias is None else total + bias


def contract_colsum(h: Array, *, kc: int | None = None, c_old: Array | None = None) -> Array:
    """h (N, M) -> column sums (M,), with the bits of the contract.

    Blocks of kc rows, each a chain of s = fma(1, h, s); c_old (M,) is added as in contract_matmul.
    """
    ones = np.ones((1, len(h)), h.dtype)
    old = None if c_old is None else c_old[None, :]
    return np.asarray(contract_matmul(ones, h, kc=kc, c_old=old)[0])


def _same_dtype(function: str, *arrays: Array | None) -> None:
    found = {v.dtype.name for v in arrays if v is not None}
    if len(found) > 1 or not found <= {"float32", "float64"}:
        raise TypeError(f"{function}: arrays have dtypes {sorted(found)}; pass float32 or float64")
