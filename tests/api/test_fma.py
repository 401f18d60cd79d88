"""fma against rational arithmetic, bit for bit: every rule, hard cases, random bit patterns."""

from __future__ import annotations

import math
import sys
from fractions import Fraction

import numpy as np
import pytest

from fastgrad.reference.fma import fma

DTYPES = (np.float32, np.float64)
# significand bits, smallest exponent of a normal number's last bit, largest exponent
FORMAT = {np.float32: (24, -149, 127), np.float64: (53, -1074, 1023)}
UINT = {np.float32: np.uint32, np.float64: np.uint64}


def exact_fma(a, b, c, dtype):
    """One element from integers alone: rounds a Fraction to nearest even by hand."""
    a, b, c = float(a), float(b), float(c)
    if math.isnan(a) or math.isnan(b) or math.isnan(c):
        return math.nan
    if math.isinf(a) or math.isinf(b):
        if a == 0 or b == 0:
            return math.nan
        product = math.copysign(math.inf, math.copysign(1, a) * math.copysign(1, b))
        return math.nan if math.isinf(c) and c != product else product
    if math.isinf(c):
        return c
    value = Fraction(a) * Fraction(b) + Fraction(c)
    if value == 0:
        negative = math.copysign(1, a) * math.copysign(1, b) < 0
        product_is_zero = a == 0 or b == 0
        minus = product_is_zero and negative and math.copysign(1, c) < 0
        return -0.0 if minus else 0.0
    sign = -1.0 if value < 0 else 1.0
    digits, lowest, highest = FORMAT[dtype]
    size = abs(value)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    if Fraction(2) ** exponent > size:
        exponent -= 1
    last = max(exponent - digits + 1, lowest)
    units = round(size / Fraction(2) ** last)  # round() of a Fraction is to nearest even
    if Fraction(units) * Fraction(2) ** last >= Fraction(2) ** (highest + 1):
        return sign * math.inf
    return sign * math.ldexp(units, last)


def assert_same(a, b, c, dtype):
    a, b, c = np.broadcast_arrays(*(np.asarray(v, dtype) for v in (a, b, c)))
    a, b, c = a.ravel(), b.ravel(), c.ravel()
    got = fma(a, b, c)
    want = np.array([exact_fma(*v, dtype) for v in zip(a, b, c, strict=True)], dtype)
    assert got.dtype == dtype
    same = got.view(UINT[dtype]) == want.view(UINT[dtype])
    same |= np.isnan(got) & np.isnan(want)
    for i in np.nonzero(~same)[0][:1]:
        terms = [float(v[i]).hex() for v in (a, b, c, got, want)]
        pytest.fail("fma({}, {}, {}) gives {}, exact {}".format(*terms))


def bit_patterns(rng, dtype, n):
    return rng.integers(0, np.iinfo(UINT[dtype]).max, n, UINT[dtype], endpoint=True).view(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_combination_of_special_values(dtype):
    info = np.finfo(dtype)
    tiny, small, big, eps = info.smallest_subnormal, info.tiny, info.max, info.eps
    root = dtype(2.0 ** ((FORMAT[dtype][2] + 1) // 2))
    positive = [
        0,
        tiny,
        3 * tiny,
        small,
        small - tiny,
        eps,
        0.5,
        1,
        1 + eps,
        1.5,
        root,
        big,
        np.inf,
    ]
    values = np.array([*positive, *(-v for v in map(dtype, positive)), np.nan], dtype)
    assert_same(values[:, None, None], values[None, :, None], values[None, None, :], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(3))
def test_random_bit_patterns(dtype, seed):
    rng = np.random.default_rng(seed)
    assert_same(*(bit_patterns(rng, dtype, 1500) for _ in range(3)), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [-100, -1, 0, 1, 2, 60])
def test_addend_within_some_ulps_of_the_product(dtype, offset):
    """Massive cancellation, and sums whose two parts barely overlap."""
    rng = np.random.default_rng(offset + 1000)
    digits = FORMAT[dtype][0]
    a, b = rng.standard_normal((2, 1500)).astype(dtype)
    near = -(a * b) * (1 + rng.integers(-3, 4, 1500) * np.finfo(dtype).eps)
    far = rng.choice((-1, 1), 1500) * (a * b) * dtype(2.0 ** (digits + offset % 4 - 2))
    assert_same(a, b, near, dtype)
    assert_same(a, b, far, dtype)
    assert_same(a, b, far * dtype(2.0 ** -(2 * digits + offset % 7 - 2)), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_ties_and_double_rounding_traps(dtype):
    """c one; a·b a half ulp of it, and a half ulp plus or minus far less than any wider format."""
    eps = float(np.finfo(dtype).eps)
    products = []
    for half in (eps / 2, eps / 4, 3 * eps / 2):
        for extra in (-eps, 0.0, eps):  # (1 + x)·half: the extra lies 24 or 53 bits further down
            products += [(half, 1 + extra), (half, 1 - extra / 2), (-half, 1 + extra)]
        products += [((1 + eps) * half, 1 - eps), ((1 - eps / 2) * half, 1 + eps)]
    a, b = np.array(products, dtype).T
    ones = np.array([1.0, -1.0, 1 + eps, 2 - eps, 2.0, -4.0], dtype)
    assert_same(a[:, None], b[:, None], ones, dtype)
    # a product through float64, then a sum in float64, then float32, rounds this one twice
    one = fma(dtype(eps / 2), dtype(1 + eps), dtype(1))
    assert one == dtype(1 + eps) and dtype(eps / 2) * dtype(1) + dtype(1) == dtype(1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_subnormal_results(dtype):
    rng = np.random.default_rng(5)
    low = FORMAT[dtype][1]
    a, b = (rng.uniform(1, 2, (2, 1500))).astype(dtype)
    e = rng.integers(-60, 40, 1500)
    a, b = np.ldexp(a, (low + e) // 2), np.ldexp(b, low + e - (low + e) // 2)
    c = (rng.integers(-40, 40, 1500) * np.finfo(dtype).smallest_subnormal).astype(dtype)
    assert_same(a, b, c, dtype)
    assert_same(a, -b, a * b, dtype)
    assert_same(a, b, np.zeros_like(c) * -1, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_overflow_boundary(dtype):
    digits, _, highest = FORMAT[dtype]
    big = np.finfo(dtype).max
    half_ulp = dtype(2.0 ** (highest - digits))
    units = np.array([-2, -1, -0.5, 0, 0.5, 1, 1 + np.finfo(dtype).eps, 2, 3], dtype)
    for sign in (1, -1):
        assert_same(units, sign * half_ulp, sign * big, dtype)
        assert_same(big, np.array([1, 2, -2, 1 + np.finfo(dtype).eps], dtype), -sign * big, dtype)
    assert fma(half_ulp, dtype(1), big) == np.inf
    assert fma(half_ulp, np.nextafter(dtype(1), dtype(0)), big) == big
    assert fma(big, dtype(2), -big) == big  # the product alone overflows


def test_wide_exponents_of_float64_reach_both_paths():
    rng = np.random.default_rng(9)
    a, b, c = np.ldexp(rng.uniform(-2, 2, (3, 2000)), rng.integers(-560, 520, (3, 2000)))
    assert_same(a, b, c, np.float64)
    assert_same(a, b, -(a * b), np.float64)


def test_broadcasting_scalars_and_dtypes():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((3, 1)), rng.standard_normal((1, 4))
    assert fma(a, b, 0.0).shape == (3, 4) and np.array_equal(fma(a, b, 0.0), a * b)
    assert fma(a.astype(np.float32), b.astype(np.float32), 1.0).dtype == np.float32
    assert fma(1.0, a.astype(np.float32), a).dtype == np.float64
    assert np.shape(fma(2.0, 3.0, 4.0)) == () and fma(2.0, 3.0, 4.0) == 10.0
    assert fma(np.ones((0, 3)), 1.0, 1.0).shape == (0, 3)
    for bad in (np.float16(1), np.int64(1), 1j):
        with pytest.raises(TypeError, match="pass float32 or float64"):
            fma(bad, bad, bad)


def test_arguments_are_left_alone():
    a = np.array([1.0, 0.0, 1e-300, np.inf])
    a.flags.writeable = False
    assert fma(a, a[::-1], a).shape == (4,)
    assert np.array_equal(a, [1.0, 0.0, 1e-300, np.inf])


@pytest.mark.skipif(sys.version_info < (3, 13), reason="math.fma is new in Python 3.13")
@pytest.mark.parametrize("seed", range(2))
def test_against_math_fma(seed):
    rng = np.random.default_rng(seed)
    a, b, c = (bit_patterns(rng, np.float64, 20000) for _ in range(3))
    got = fma(a, b, c)
    for x, y, z, g in zip(a.tolist(), b.tolist(), c.tolist(), got.tolist(), strict=True):
        try:
            want = math.fma(x, y, z)
        except OverflowError:
            want = math.copysign(math.inf, math.copysign(1, x) * math.copysign(1, y))
        except ValueError:
            want = math.nan
        assert g.hex() == want.hex(), (x.hex(), y.hex(), z.hex())
