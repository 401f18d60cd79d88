"""Our functions in arbitrary precision: by python-flint (balls) if it is there, or by mpmath.

In: float64 arrays. Out: each value as the sum of two floats, far closer to it than float64 is.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import mpmath as mp
import numpy as np

try:
    import flint
except ImportError:
    flint = None

Array = np.ndarray[Any, np.dtype[Any]]
BITS = 128
ENOUGH = 2.0**-80  # of a value, the most that a ball's radius may be
LIMIT = 1e4  # beyond it every function is 0, 1, 2 or x, to far more than BITS


def _with_flint() -> Any:
    flint.ctx.prec = BITS
    arb = flint.arb
    return SimpleNamespace(
        number=arb, exp=arb.exp, log=arb.log, tanh=arb.tanh, erf=arb.erf, erfc=arb.erfc,
        root_half=1 / arb(2).sqrt(), slope=2 * (2 / arb.pi()).sqrt(), cubic=arb("0.044715"),
        phi0=1 / (2 * arb.pi()).sqrt(), radius=lambda v: float(v.rad()),
    )  # fmt: skip


def with_mpmath() -> Any:
    """mpmath's functions, and the constants, of BITS bits."""
    with mp.workprec(BITS):
        return SimpleNamespace(
            number=mp.mpf, exp=mp.exp, log=mp.log, tanh=mp.tanh, erf=mp.erf, erfc=mp.erfc,
            root_half=mp.sqrt(0.5), slope=2 * mp.sqrt(2 / mp.pi), cubic=mp.mpf("0.044715"),
            phi0=1 / mp.sqrt(2 * mp.pi), radius=lambda v: 0.0,
        )  # fmt: skip


def _sigmoid(m: Any, x: Any) -> Any:
    return 1 / (1 + m.exp(-x))


def _gelu_tanh(m: Any, z: Any) -> Any:
    return z * _sigmoid(m, m.slope * (z + m.cubic * z * z * z))


# name -> f(m, x) -> value
VALUES: dict[str, Callable[[Any, Any], Any]] = {
    "exp": lambda m, x: m.exp(x),
    "log": lambda m, x: m.log(x),
    "tanh": lambda m, x: m.tanh(x),
    "erf": lambda m, x: m.erf(x),
    "erfc": lambda m, x: m.erfc(x),
    "sigmoid": _sigmoid,
    "silu": lambda m, z: z * _sigmoid(m, z),
    "gelu": lambda m, z: z * m.erfc(-z * m.root_half) / 2,
    "gelu_tanh": _gelu_tanh,
}
GROWING = ("log", "silu", "gelu", "gelu_tanh")


def _gate(m: Any, v: Any, slope: Any) -> tuple[Any, Any]:
    s = _sigmoid(m, v)
    return s, slope * s * _sigmoid(m, -v)


# name -> f(m, saved) -> the terms whose sum is the derivative
DERIVATIVES: dict[str, Callable[[Any, Any], tuple[Any, Any]]] = {
    "sigmoid_backward": lambda m, y: (y * (1 - y), m.number(0)),
    "tanh_backward": lambda m, y: (1 - y * y, m.number(0)),
    "silu_backward": lambda m, z: _gate(m, z, z),
    "gelu_backward": lambda m, z: (
        m.erfc(-z * m.root_half) / 2, z * m.exp(-z * z / 2) * m.phi0,
    ),
    "gelu_tanh_backward": lambda m, z: _gate(
        m, m.slope * (z + m.cubic * z * z * z), m.slope * (z + 3 * m.cubic * z * z * z)
    ),
}  # fmt: skip


def evaluate(
    name: str, x: Array, g: Array | None, shift: int, mpmath: bool = False
) -> tuple[Array, Array, Array]:
    """x, g (n,) -> high, low, size (n,): high + low = 2^shift·f(x), or of g·f(x).

    size is |high| or, of a derivative, the sum of the magnitudes of its two terms times |g|. high
    is the nearest float. Raises if a ball of python-flint is not small.
    """
    m = with_mpmath() if mpmath or flint is None else _with_flint()
    with mp.workprec(BITS):
        rows = [
            _one(m, name, v, w, shift) for v, w in zip(x.tolist(), _list(g, len(x)), strict=True)
        ]
    high, low, size = np.array(rows, np.float64).reshape(-1, 3).T
    return high, low, size


def _list(g: Array | None, n: int) -> list[float]:
    return [1.0] * n if g is None else g.tolist()


def _one(m: Any, name: str, x: float, g: float, shift: int) -> tuple[float, float, float]:
    grows = name in GROWING
    if grows and x > LIMIT and name != "log":
        exact, size = m.number(x), None
    elif name in VALUES:
        exact, size = VALUES[name](m, m.number(_limited(x, grows))), None
    else:
        a, b = DERIVATIVES[name](m, m.number(_limited(x, False)))
        exact, size = g * (a + b), abs(g) * (abs(a) + abs(b))
    if shift:
        power = m.number(2) ** shift
        exact, size = exact * power, None if size is None else size * power
    high = float(exact)
    scale = abs(high) if size is None else float(size)
    if not m.radius(exact) <= ENOUGH * scale and scale > 0:
        raise ArithmeticError(f"{name}({x!r}): {exact} is not known to {BITS} bits")
    return high, 0.0 if np.isinf(high) else float(exact - high), scale


def _limited(x: float, grows: bool) -> float:
    return max(x, -LIMIT) if grows else min(max(x, -LIMIT), LIMIT)
