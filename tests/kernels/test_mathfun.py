"""exp, log, tanh, erf, erfc, sigmoid and the activations on the numpy back end.

float32: values of math in float64, over samples of every exponent; float64: mpmath. The bounds are
those of the docstrings of elementary.py and activations.py; support/accuracy.py tries many more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest

from fastgrad._kernels.formulas import activations, elementary
from fastgrad.reference.lanes import Lanes
from support import exact, points

DTYPES = [np.float32, np.float64]
INF, NAN = math.inf, math.nan
Array = np.ndarray[Any, np.dtype[Any]]

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "exp": elementary.exp,
    "log": elementary.log,
    "tanh": elementary.tanh,
    "erf": elementary.erf,
    "erfc": elementary.erfc,
    "sigmoid": elementary.sigmoid,
    "silu": activations.silu,
}
GATED = ["gelu", "gelu_tanh"]
# Where a function is neither constant nor a power of x: the sample is denser here.
RANGE = {
    np.float32: {
        "exp": (-104, 89), "log": (0.3, 3), "tanh": (-10, 10), "erf": (-4.5, 4.5),
        "erfc": (-4, 10.2), "sigmoid": (-104, 20), "silu": (-110, 40),
        "gelu": (-15, 8), "gelu_tanh": (-11, 8),
    },
    np.float64: points.RANGE,
}  # fmt: skip
# Where the largest errors were found, or were mended.
HARD = {
    np.float32: {"sigmoid": (-18, -16), "tanh": (0.1, 0.9), "erfc": (6, 8), "erf": (1, 1.1)},
    np.float64: {**points.HARD, "sigmoid": (-37.1, -36.4)},
}


def sample(dtype: Any, name: str, rng: np.random.Generator, n: int) -> Array:
    """Finite floats (about 3·n,): all exponents and signs alike; RANGE and HARD uniformly."""
    digits, width = (23, 8) if dtype == np.float32 else (52, 11)
    unsigned = np.uint32 if dtype == np.float32 else np.uint64
    exponents = np.arange(2 ** (width + 1), dtype=unsigned)  # with the sign
    exponents = np.repeat(exponents, max(1, n // len(exponents)))
    if len(exponents) > n:
        exponents = rng.permutation(exponents)[:n]
    mantissas = rng.integers(0, 2**digits, len(exponents), dtype=unsigned)
    mantissas[::16] = 0
    mantissas[1::16] = 2**digits - 1
    patterns = (exponents << unsigned(digits)) | mantissas
    low, high = RANGE[dtype][name]
    hard = HARD[dtype].get(name, (-2, 2))
    near = np.concatenate([rng.uniform(low, high, n), rng.uniform(*hard, n)])
    x = np.concatenate([patterns.view(dtype), near.astype(dtype)])
    return x[np.isfinite(x) & ((name != "log") | (x > 0))]


def _sigmoid64(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


DOUBLE: dict[str, Callable[[float], float]] = {
    "exp": lambda x: math.exp(x) if x < 709 else INF,
    "log": math.log,
    "tanh": math.tanh,
    "erf": math.erf,
    "erfc": math.erfc,
    "sigmoid": _sigmoid64,
    "silu": lambda z: z * _sigmoid64(z),
    "gelu": lambda z: z * (math.erfc(-z * math.sqrt(0.5)) / 2),
    "gelu_tanh": lambda z: (
        z * _sigmoid64(2 * math.sqrt(2 / math.pi) * (z + 0.044715 * z**3) if abs(z) < 1e9 else z)
    ),
}


def references(dtype: Any, name: str, x: Array) -> list[Any]:
    """x (n,) -> n values of the function, far more precise than the dtype."""
    if dtype == np.float32:
        return [DOUBLE[name](v) for v in x.tolist()]
    # Beyond ±1e4 the results are the limits at ±Inf, and mpmath would take minutes.
    grows = name in ("log", "silu", "gelu", "gelu_tanh")
    with mp.workdps(40):
        m, value = exact.with_mpmath(), exact.VALUES[name]
        return [
            mp.mpf(v) if grows and name != "log" and v > 1e4
            else value(m, mp.mpf(max(v, -1e4) if grows else min(max(v, -1e4), 1e4)))
            for v in x.tolist()
        ]  # fmt: skip


def ulps(dtype: Any, y: Array, right: list[Any]) -> Array:
    """y (n,), right n values -> |y - right| in units of the last place of right; Inf is 2^emax."""
    info = np.finfo(dtype)
    top = 2.0 * (float(info.max) / 2 + float(info.max) * float(info.eps) / 4)
    top_right = mp.mpf(2) ** info.maxexp if dtype == np.float64 else top
    out = np.empty(len(y))
    for i, (v, true) in enumerate(zip(y.tolist(), right, strict=True)):
        value = math.copysign(1, v) * top_right if math.isinf(v) else v
        r = min(true, top_right)
        _, exponent = mp.frexp(r) if dtype == np.float64 else math.frexp(r)
        exponent = max(int(exponent), info.minexp + 1) if r else info.minexp + 1
        difference = abs(value - r)
        if dtype == np.float64:
            out[i] = float(mp.ldexp(difference, info.nmant + 1 - exponent))
        else:
            out[i] = math.ldexp(difference, info.nmant + 1 - exponent)
    return out


def points_for(dtype: Any) -> int:
    return 24576 if dtype == np.float32 else 800


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_within_2_ulp(name: str, dtype: Any, rng: np.random.Generator) -> None:
    x = sample(dtype, name, rng, points_for(dtype))
    y = Lanes(dtype)(FUNCTIONS[name], x)
    right = references(dtype, name, x)
    error = ulps(dtype, y, right)
    tiny = float(np.finfo(dtype).tiny)
    small = (np.abs(y) < tiny) & ((np.abs(x) > 4 * tiny) | (name != "silu"))  # x/2 about 0
    if name in ("exp", "sigmoid", "silu"):  # what is below the normal numbers is +0.0
        assert not y[small].any() and small.any()
        assert all(abs(right[i]) < 1.001 * tiny for i in np.flatnonzero(small))
        error[small] = 0
    worst = int(np.argmax(error))
    assert error[worst] <= 2, (x[worst], y[worst], error[worst])
    if name == "erfc":
        assert np.any((y != 0) & small), "no subnormal result tried"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", GATED)
def test_gelu_within_its_bound(name: str, dtype: Any, rng: np.random.Generator) -> None:
    x = sample(dtype, name, rng, points_for(dtype))
    x = x[np.abs(x) < 1e15]  # so that 1 + z² is finite; beyond, the next test
    y = Lanes(dtype)(activations.BY_NAME[name].value, x)
    right = references(dtype, name, x)
    info = np.finfo(dtype)
    for v, got, r in zip(x.tolist(), y.tolist(), right, strict=True):
        bound = 4 * float(info.eps) * (1 + v * v) * abs(r)
        if abs(v) < 4 * info.tiny:  # z/2, rounded
            assert abs(got - r) <= bound + float(info.smallest_subnormal), (v, got)
            continue
        is_small = got == 0 and abs(r) < 1.001 * float(info.tiny)
        assert is_small or (abs(got) >= info.tiny and abs(got - r) <= bound), (v, got)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu"])
def test_far_out_the_limit_is_exact(name: str, dtype: Any) -> None:
    row, ops = activations.BY_NAME[name], Lanes(dtype)
    z = np.array([1e3, 1e15, np.finfo(dtype).max], dtype)
    ones = np.ones_like(z)
    np.testing.assert_array_equal(ops(row.value, z), z)
    np.testing.assert_array_equal(ops(row.value, -z), 0)
    np.testing.assert_array_equal(ops(row.backward, ones, z), 1)
    np.testing.assert_array_equal(ops(row.backward, ones, -z), 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu"])
def test_derivative_within_its_bound(name: str, dtype: Any, rng: np.random.Generator) -> None:
    z = sample(dtype, name, rng, 500)
    z = z[np.abs(z) < 1e3]
    h = Lanes(dtype)(activations.BY_NAME[name].backward, np.ones_like(z), z)
    info = np.finfo(dtype)
    m, terms = exact.with_mpmath(), exact.DERIVATIVES[name + "_backward"]
    with mp.workdps(40):
        for v, got in zip(z.tolist(), h.tolist(), strict=True):
            a, b = terms(m, mp.mpf(v))
            factor = 4 if name == "silu" else 4 * (1 + v * v)
            bound = factor * float(info.eps) * (abs(a) + abs(b))
            is_small = got == 0 and abs(a + b) < 1.001 * float(info.tiny)
            assert is_small or (abs(got) >= info.tiny and abs(got - (a + b)) <= bound), (v, got)


@pytest.mark.parametrize("dtype", DTYPES)
def test_backward_from_the_output(dtype: Any, rng: np.random.Generator) -> None:
    ops, eps = Lanes(dtype), float(np.finfo(dtype).eps)
    y = rng.uniform(-1, 1, 2000).astype(dtype)
    g = rng.standard_normal(2000).astype(dtype)
    s = np.abs(y)
    got_sigmoid = ops(activations.sigmoid_backward, g, s)
    got_tanh = ops(activations.tanh_backward, g, y)
    with mp.workdps(40):
        for i in range(len(y)):
            gi, yi, si = mp.mpf(float(g[i])), mp.mpf(float(y[i])), mp.mpf(float(s[i]))
            right = gi * si * (1 - si)
            assert abs(float(got_sigmoid[i]) - right) <= 1.5 * eps * abs(right), y[i]
            right = gi * (1 - yi * yi)
            assert abs(float(got_tanh[i]) - right) <= eps * abs(right), y[i]


def bits(x: Array) -> Array:
    """The bit patterns of x, all NaNs taken for one."""
    x = np.where(np.isnan(x), np.array(NAN, x.dtype), x)
    return x.view(np.uint32 if x.dtype == np.float32 else np.uint64)


SPECIAL: dict[str, list[tuple[float, float]]] = {
    "exp": [(-INF, 0.0), (-1e5, 0.0), (-0.0, 1.0), (0.0, 1.0), (1e5, INF), (INF, INF)],
    "log": [(-INF, NAN), (-1.0, NAN), (-1e-40, NAN), (-0.0, -INF), (0.0, -INF), (1.0, 0.0),
            (INF, INF)],
    "tanh": [(-INF, -1.0), (-30.0, -1.0), (-0.0, -0.0), (0.0, 0.0), (30.0, 1.0), (INF, 1.0)],
    "erf": [(-INF, -1.0), (-7.0, -1.0), (-0.0, -0.0), (0.0, 0.0), (7.0, 1.0), (INF, 1.0)],
    "erfc": [(-INF, 2.0), (-7.0, 2.0), (-0.0, 1.0), (0.0, 1.0), (30.0, 0.0), (INF, 0.0)],
    "sigmoid": [(-INF, 0.0), (-1e5, 0.0), (-0.0, 0.5), (0.0, 0.5), (1e5, 1.0), (INF, 1.0)],
    "relu": [(-INF, 0.0), (-1.0, 0.0), (-0.0, 0.0), (0.0, 0.0), (1e-30, 1e-30), (INF, INF)],
    "gelu": [(-INF, 0.0), (-1e5, 0.0), (-0.0, -0.0), (0.0, 0.0), (1e5, 1e5), (INF, INF)],
    "gelu_tanh": [(-INF, 0.0), (-1e5, 0.0), (-0.0, -0.0), (0.0, 0.0), (1e5, 1e5), (INF, INF)],
    "silu": [(-INF, 0.0), (-1e5, 0.0), (-0.0, -0.0), (0.0, 0.0), (1e5, 1e5), (INF, INF)],
}  # fmt: skip
# act' as a function of the saved array: (saved, derivative)
SPECIAL_DERIVATIVE: dict[str, list[tuple[float, float]]] = {
    "relu": [(0.0, 0.0), (-0.0, 0.0), (1e-30, 1.0), (INF, 1.0), (NAN, 1.0)],
    "sigmoid": [(0.0, 0.0), (0.5, 0.25), (1.0, 0.0), (NAN, NAN)],
    "tanh": [(-1.0, 0.0), (-0.0, 1.0), (0.0, 1.0), (1.0, 0.0), (NAN, NAN)],
    "gelu": [(-INF, 0.0), (-0.0, 0.5), (0.0, 0.5), (INF, 1.0), (NAN, NAN)],
    "gelu_tanh": [(-INF, 0.0), (-0.0, 0.5), (0.0, 0.5), (INF, 1.0), (NAN, NAN)],
    "silu": [(-INF, 0.0), (-0.0, 0.5), (0.0, 0.5), (INF, 1.0), (NAN, NAN)],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SPECIAL)
def test_special_values(name: str, dtype: Any) -> None:
    formula = FUNCTIONS.get(name) or activations.BY_NAME[name].value
    x, expected = np.array([*SPECIAL[name], (NAN, NAN), (-NAN, NAN)]).T.astype(dtype)
    np.testing.assert_array_equal(bits(Lanes(dtype)(formula, x)), bits(expected))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SPECIAL_DERIVATIVE)
def test_special_derivatives(name: str, dtype: Any) -> None:
    saved, expected = np.array(SPECIAL_DERIVATIVE[name]).T.astype(dtype)
    backward = activations.BY_NAME[name].backward
    h = Lanes(dtype)(backward, np.ones_like(saved), saved)
    np.testing.assert_array_equal(bits(h), bits(expected))


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_gradient_stays_nan_but_where_relu_is_shut(dtype: Any) -> None:
    g = np.array([NAN, NAN], dtype)
    saved = np.array([-0.75, 0.5], dtype)
    for row in activations.TABLE:
        h = Lanes(dtype)(row.backward, g, saved)
        assert list(np.isnan(h)) == [row.name != "relu", True], row.name


@pytest.mark.parametrize("name", ["tanh", "erf"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_odd_functions_are_odd_to_the_bit(name: str, dtype: Any, rng: np.random.Generator) -> None:
    x = sample(dtype, name, rng, 500)
    ops = Lanes(dtype)
    np.testing.assert_array_equal(bits(ops(FUNCTIONS[name], -x)), bits(-ops(FUNCTIONS[name], x)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_coefficients_are_numbers_of_the_dtype(dtype: Any) -> None:
    constants = elementary.table(Lanes(dtype))
    for name in ("exp", "tanh", "log", "erf", "erfcx", "erfc"):
        coefficients = getattr(constants, name)
        assert coefficients == tuple(float(dtype(c)) for c in coefficients), name
    hi, lo = map(mp.mpf, constants.ln2)
    n = 2**11 if dtype == np.float64 else 2**8
    assert float(dtype(float(n - 1) * float(hi))) == (n - 1) * hi  # n times hi is exact
    with mp.workdps(60):
        assert abs(hi + lo - mp.log(2)) < mp.mpf(float(np.finfo(dtype).eps)) ** 1.5


@pytest.mark.parametrize(
    "forbidden",
    [
        lambda ops, x: x + 1,
        lambda ops, x: x + np.float32(1),
        lambda ops, x: x + np.ones(2, np.float32),
        lambda ops, x: np.ones(2, np.float32) * x,
        lambda ops, x: np.sqrt(x),
        lambda ops, x: x**2,
        lambda ops, x: abs(x),
        lambda ops, x: x[0],
        lambda ops, x: x if x > 0.0 else -x,
        lambda ops, x: ops.bits(x) + 1.0,
        lambda ops, x: ops.bits(x) + x,
        lambda ops, x: ops.bits(x) >> 32,
        lambda ops, x: x & x,
        lambda ops, x: ops.select(ops.bits(x), x, x),
        lambda ops, x: ops.from_bits(x),
        lambda ops, x: ops.fma(x, x, 1),
    ],
)
def test_lanes_refuse_what_the_interface_has_not(forbidden: Callable[..., Any]) -> None:
    with pytest.raises(TypeError):
        Lanes(np.float32)(forbidden, np.array([1, 2], np.float32))


def test_lanes_integers_wrap_and_shift_logically() -> None:
    ops = Lanes(np.float32)
    i = ops.bits(ops.vector(np.array([-0.0, 1.0], np.float32)))
    assert (i >> 31).array.tolist() == [1, 0]
    assert (i - 0x3F800001).array.tolist() == [0x407FFFFF, 0xFFFFFFFF]
    assert (-1 - i).array.tolist() == [0x7FFFFFFF, 0xC07FFFFF]
    assert ((i << 1) | 1).array.tolist() == [1, 0x7F000001]
    assert ops.from_bits(i ^ 0x80000000).array.tolist() == [0.0, -1.0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_least_arguments_of_normal_results(dtype: Any) -> None:
    """The table's lower ends are to the float: there results are normal, one float below +0.0."""
    k, tiny = elementary.table(Lanes(dtype)), np.finfo(dtype).tiny
    rows = activations.BY_NAME
    ends: list[tuple[Any, float]] = [
        (elementary.exp, k.exp_ends[0]),
        (elementary.sigmoid, k.logistic_ends[0]),
    ]
    for name, lows in (
        ("silu", k.silu_lows), ("gelu", k.gelu_lows), ("gelu_tanh", k.gelu_tanh_lows),
    ):  # fmt: skip
        backward = rows[name].backward
        ends += [(rows[name].value, lows[0])]
        ends += [(lambda ops, z, f=backward: f(ops, ops.select(z < 0.0, 1.0, z), z), lows[1])]
    for formula, end in ends:
        low = np.array([end], dtype)
        above = low + np.spacing(low) * np.arange(-2000, 1, dtype=dtype)
        y = Lanes(dtype)(formula, np.sort(above))
        assert low[0] == end and np.abs(y).min() >= tiny and np.abs(y).min() < 1.0001 * tiny
        z = np.array([np.nextafter(low[0], -np.inf), 2 * end, -np.finfo(dtype).max, -np.inf], dtype)
        below = Lanes(dtype)(formula, z)
        assert not below.any() and not np.signbit(below).any()
