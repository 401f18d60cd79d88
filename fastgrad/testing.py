"""Check gradients: in go a function, its backward and arrays, out comes the worst mismatch.

Both checkers take one array at a time, draw a direction d for it and a random integer cotangent g,
and compare two ways to the same number, the derivative of ⟨function, g⟩ along d:

    ⟨J·d, g⟩, which needs the function only    =    ⟨d, Jᵀ·g⟩, where Jᵀ·g is the gradient under test

d is ±1, ±2 or ±3, never 0, with the sign of the gradient, so that nothing cancels in ⟨d, Jᵀ·g⟩ and
one wrong entry shows. A failure is an AssertionError of one line with both numbers.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._ops.numbers import at_least_0, count

__all__ = ["check_adjoint", "check_grads"]

Array = NDArray[Any]
_LIMIT = 3  # the largest random integer
_PROBES = 3  # cotangents tried
_IMAGINARY = 2.0**-100  # complex step: its square vanishes beside 1, its products do not underflow
_SMALL = 1e-6  # of a derivative: what is below is judged by the absolute error
_DIFFERENCE_FLOOR = 1e-8  # what float64 differences with extrapolation are trusted to


def check_adjoint(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    *arrays: ArrayLike,
    seed: int = 0,
    tol: float | None = None,
) -> float:
    """forward(*arrays) -> y; backward(g, *arrays) -> one gradient an array, or None to skip it.

    forward is linear in each array (a constant beside it, such as a bias, is allowed). For Z = X·W
    this is ⟨dX·W + X·dW, G⟩ = ⟨dX, G·Wᵀ⟩ + ⟨dW, Xᵀ·G⟩, one term at a time. The arrays give shapes,
    dtypes and C or F order; their values are replaced by small random integers, on which the
    differences of a multilinear function are exact. An identity of polynomials that holds at random
    points holds everywhere.

    Returns max |left - right| / max(|left|, |right|, 1e-6·max|g|·max|d|): gradients below 1e-6 are
    judged as if they were 1e-6. That every gradient is None is an AssertionError. tol: 0 where
    forward returns integers small enough to be exact, else 4·eps·sqrt(longest axis) with the
    leading axes taken as one.
    """
    name = "check_adjoint"
    rng, tol = _checked(name, seed, tol)
    forward, backward = _on_copies(forward), _on_copies(backward)
    point = [_integers_like(rng, a) for a in _floats(name, arrays)]
    y = _floating(f"{name}: the result", forward(*point))
    if tol is None:
        largest = (2 * _LIMIT) ** len(point) * _longest_axis([*point, y])
        exact = bool(np.all(y == np.rint(y))) and largest < 1 / np.finfo(y.dtype).eps
        tol = 0.0 if exact else _tolerance([*point, y])

    def along(i: int, d: Array, g: Array) -> float:
        moved = forward(*point[:i], point[i] + d, *point[i + 1 :])
        return _dot(np.asarray(moved) - y, g)

    return _compare(name, along, backward, point, y, rng, tol, "the difference", seed)


def check_grads(
    function: Callable[..., Any],
    vjp: Callable[..., Any],
    *arrays: ArrayLike,
    seed: int = 0,
    tol: float | None = None,
    reference: Callable[..., Any] | None = None,
) -> float:
    """function(*arrays) -> y; vjp(g, *arrays) -> one gradient an array, or None to skip it.

    Checked at the given values. The derivative of the function comes from the first that applies:

    - reference, the same function in complex arithmetic, or function itself if it returns complex
      for a complex array: the complex step, Im f(a + ih·d)/h, exact to rounding in float64. Such a
      function must be analytic (no abs, no conj). That the two agree at the point is checked too.
    - otherwise central differences in float64 with Richardson's extrapolation: exact to rounding
      for products, good to 1e-8 for smooth functions, useless near a kink. function must then
      follow the dtype of its arrays; ValueError if it returns less than float64.

    To check a layer with an activation::

        check_grads(lambda x, w, b: fastgrad.linear_forward(x, w, b, "tanh"), vjp, x, w, b,
                    reference=lambda x, w, b: fastgrad.reference.linear_forward(x, w, b, "tanh"))

    Returns max |left - right| / max(|left|, |right|, 1e-6·max|g|·max|d|): gradients below 1e-6 are
    judged as if they were 1e-6. That every gradient is None is an AssertionError.
    tol: 4·eps·sqrt(longest axis), eps the largest of the arrays and the result, leading axes
    taken as one; with differences >= 1e-8.
    """
    name = "check_grads"
    rng, tol = _checked(name, seed, tol)
    function, vjp = _on_copies(function), _on_copies(vjp)
    reference = None if reference is None else _on_copies(reference)
    point = _floats(name, arrays)
    wide = [np.asarray(a, np.float64) for a in point]
    y = _floating(f"{name}: the result", function(*point))
    eps_tol = _tolerance([*point, y])
    smooth = reference or (function if _takes_complex(function, wide) else None)
    if reference is not None:
        _same_value(np.asarray(reference(*wide)), y, eps_tol if tol is None else tol)

    def complex_step(i: int, d: Array, g: Array) -> float:
        assert smooth is not None
        z = np.asarray(smooth(*wide[:i], wide[i] + 1j * _IMAGINARY * d, *wide[i + 1 :]))
        if z.dtype.kind != "c":
            raise ValueError("check_grads: reference returned real numbers for a complex array")
        return _dot(z.imag / _IMAGINARY, g)

    def differences(i: int, d: Array, g: Array) -> float:
        def slope(h: float) -> float:
            up, down = (function(*wide[:i], wide[i] + s * d, *wide[i + 1 :]) for s in (h, -h))
            if np.asarray(up).dtype != np.float64:
                raise ValueError("check_grads: function does not return float64; pass reference=")
            return _dot(np.asarray(up) - np.asarray(down), g) / (2 * h)

        return _richardson(slope)

    if smooth is not None:
        along, how = complex_step, "the complex step"
    else:
        along, how, eps_tol = differences, "the difference", max(eps_tol, _DIFFERENCE_FLOOR)
    return _compare(name, along, vjp, point, y, rng, eps_tol if tol is None else tol, how, seed)


def _compare(
    name: str,
    along: Callable[[int, Array, Array], float],
    backward: Callable[..., Any],
    point: list[Array],
    y: Array,
    rng: np.random.Generator,
    tol: float,
    how: str,
    seed: int,
) -> float:
    worst = 0.0
    for _ in range(_PROBES):
        g = _integers_like(rng, y)
        grads: Any = backward(g, *point)
        if not isinstance(grads, tuple | list):
            grads = (grads,)
        if len(grads) < len(point) or any(v is not None for v in grads[len(point) :]):
            raise AssertionError(f"{name}: {len(grads)} gradients for {len(point)} arrays")
        if all(v is None for v in grads):
            what = "every gradient is None" if point else "no arrays are given"
            raise AssertionError(f"{name}: {what}, so nothing would be checked")
        for i, array in enumerate(point):
            if grads[i] is None:
                continue
            grad = np.asarray(grads[i])
            where = f"{name}: gradient of array {i} {array.shape} {array.dtype}"
            if grad.shape != array.shape or grad.dtype.kind not in "fiub":
                raise AssertionError(f"{where} has shape {grad.shape}, dtype {grad.dtype}")
            d = _integers_like(rng, array)
            d = np.where(grad == 0, d, np.copysign(d, grad)).astype(array.dtype)
            left, right = along(i, d, g), _dot(d, grad)
            most = (float(np.max(np.abs(a), initial=0.0)) for a in (g, d))
            size = max(abs(left), abs(right), _SMALL * math.prod(most))
            mismatch = abs(left - right) / size if size else 0.0
            if not mismatch <= tol:  # so written that NaN fails
                raise AssertionError(
                    f"{where} is wrong: it gives {right:.17g} along a direction where {how} of the "
                    f"function gives {left:.17g} (mismatch {mismatch:.2g} > {tol:.2g}, seed {seed})"
                )
            worst = max(worst, mismatch)
    return worst


def _richardson(slope: Callable[[float], float]) -> float:
    """slope(h), an even series in h, at h = 0: the entry of the table that moved least.

    The large steps serve products, where rounding is the only error; with the small ones a long sum
    too changes by less than its activation's radius of convergence (1.6 for tanh).
    """
    row = [slope(2.0**-3)]
    best, moved = row[0], math.inf
    for level in range(1, 12):
        new = [slope(2.0 ** -(3 + level))]
        for j, old in enumerate(row[:5]):
            new.append(new[j] + (new[j] - old) / (4.0 ** (j + 1) - 1))
            change = max(abs(new[-1] - new[-2]), abs(new[-1] - old))
            if change < moved:
                best, moved = new[-1], change
        row = new
    return best


def _takes_complex(function: Callable[..., Any], wide: list[Array]) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # an imaginary part thrown away is a warning only
            return all(
                np.asarray(function(*wide[:i], a.astype(complex), *wide[i + 1 :])).dtype.kind == "c"
                for i, a in enumerate(wide)
            )
    except Exception:  # whatever says no: numpy, numba and fastgrad each have their own
        return False


def _same_value(expected: Array, y: Array, tol: float) -> None:
    worst = float(np.max(np.abs(expected - y), initial=0.0))
    size = float(np.max(np.abs(expected), initial=0.0))
    if expected.shape != y.shape or not worst <= tol * size:
        raise AssertionError(
            f"check_grads: reference {expected.shape} and function {y.shape} differ by {worst:.2g} "
            f"where the largest value is {size:.2g} (tolerance {tol:.2g} of it)"
        )


def _checked(name: str, seed: int, tol: float | None) -> tuple[np.random.Generator, float | None]:
    rng = np.random.default_rng(count(name, "seed", seed, 0))
    return rng, None if tol is None else at_least_0(name, "tol", tol)


def _on_copies(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, of copies in C or F order: it may compute in the memory that it is given."""
    return lambda *arrays: function(*(a.copy("K") for a in arrays))


def _floats(name: str, arrays: Sequence[ArrayLike]) -> list[Array]:
    return [_floating(f"{name}: array {i}", a) for i, a in enumerate(arrays)]


def _floating(what: str, a: ArrayLike) -> Array:
    v = np.asarray(a)
    if v.dtype.kind == "c":
        raise TypeError(f"{what} is {v.dtype}, expected real numbers")
    return v if v.dtype.kind == "f" else v.astype(np.float64)


def _integers_like(rng: np.random.Generator, a: Array) -> Array:
    out = np.empty_like(a)  # keeps C or F order
    out[...] = rng.integers(1, _LIMIT + 1, a.shape) * rng.choice((-1, 1), a.shape)
    return out


def _dot(a: Array, b: Array) -> float:
    return float(np.sum(np.asarray(a, np.float64) * np.asarray(b, np.float64)))


def _longest_axis(arrays: list[Array]) -> int:
    return max(max(math.prod(a.shape[:-1]), math.prod(a.shape[-1:]), 1) for a in arrays)


def _tolerance(arrays: list[Array]) -> float:
    eps = max(float(np.finfo(a.dtype).eps) for a in arrays)
    return 4 * eps * math.sqrt(_longest_axis(arrays))
