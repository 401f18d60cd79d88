"""Sums inside losses beside mpmath and exact sums: the bounds that docs/contract.md states."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

import fastgrad
from fastgrad import binary_cross_entropy_with_logits, mse, softmax, softmax_cross_entropy

EPS = {dtype: float(np.finfo(dtype).eps) for dtype in ("float32", "float64")}
BOUND = {"float32": 2 * EPS["float32"], "float64": 8 * EPS["float64"]}
SIZES = (10, 1_000, 100_003, 1_000_000)


def exact_mean_square(p: np.ndarray) -> float:
    """Of terms that are rounded to the dtype: a sum that is exact, rounded once."""
    return math.fsum((p * p).reshape(-1).tolist()) / p.size


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("value", [0.1, 0.3, 1 / 3, 1.0, 1 + 2**-20])
def test_equal_terms(dtype: str, value: float) -> None:
    """Whose rounding errors add up in one direction."""
    for n in SIZES:
        p = np.full(n, value, dtype)
        right = float(p[0] * p[0])
        for shape in ((1, n), (n, 1), (n,)):
            found = mse(p.reshape(shape), np.zeros(shape, dtype))[0]
            assert abs(found - right) <= BOUND[dtype] * right


@pytest.mark.parametrize("dtype", EPS)
def test_terms_of_one_sign(dtype: str) -> None:
    rng = np.random.default_rng(1)
    for n in SIZES:
        p = np.exp2(rng.uniform(-20, 10, n)).astype(dtype)
        right = exact_mean_square(p)
        for shape in ((1, n), (n, 1)) if n % 7 else ((n,),):
            found = mse(p.reshape(shape), np.zeros(shape, dtype))[0]
            assert abs(found - right) <= BOUND[dtype] * right


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "n"), [("float32", 10**8), ("float64", 10**7)])
def test_the_longest_sums(dtype: str, n: int) -> None:
    for value in (0.1, 1 / 3):
        p = np.full(n, value, dtype)
        zeros = np.broadcast_to(np.zeros(1, dtype), p.shape)
        right = float(p[0] * p[0])
        for shape in ((1, n), (n, 1)):
            found = mse(p.reshape(shape), zeros.reshape(shape))[0]
            assert abs(found - right) <= BOUND[dtype] * right


def test_the_loss_does_not_depend_on_the_view() -> None:
    image = np.full((2, 64, 64, 3), 0.3, np.float32)
    flat = image.reshape(2, -1)
    assert mse(image, 0 * image)[0] == mse(flat, 0 * flat)[0]
    assert abs(mse(image, 0 * image)[0] - 0.09) < 2e-8


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("classes", [2, 1_000, 128_256, 1_000_000])
def test_probabilities_add_up_to_one(dtype: str, classes: int) -> None:
    rng = np.random.default_rng(2)
    for z in (np.zeros((1, classes)), rng.standard_normal((2, classes))):
        p = softmax(z.astype(dtype)).astype(np.longdouble)
        assert np.abs(p.sum(axis=1) - 1).max() <= 8 * EPS[dtype]


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("classes", [10, 128_256])
def test_softmax_beside_mpmath(dtype: str, classes: int) -> None:
    z = np.random.default_rng(3).choice([0.0, 1.0, -3.5, 2.25], (1, classes)).astype(dtype)
    with mpmath.workprec(120):
        values, counts = np.unique(z, return_counts=True)
        pairs = list(zip(values.tolist(), counts.tolist(), strict=True))
        total = mpmath.fsum(int(count) * mpmath.exp(value) for value, count in pairs)
        right = mpmath.log(total) - float(z[0, 7])
        p = {value: mpmath.exp(value) / total for value, _ in pairs}
        loss, grad = softmax_cross_entropy(z, np.array([7]))
        assert abs((mpmath.mpf(loss) - right) / right) <= 4 * EPS[dtype]
        for j in (0, 1, 2, 3, 8, 9):
            wanted = p[float(z[0, j])]
            assert abs((mpmath.mpf(float(grad[0, j])) - wanted) / wanted) <= 6 * EPS[dtype]


def test_the_optimum_of_label_smoothing() -> None:
    """Wherever the class stands, the gradient left is small."""
    classes, smoothing = 256_000, 0.1
    share = smoothing / classes
    z = np.zeros((1, classes), np.float32)
    for label in (0, 1, 511, classes // 2, classes - 1):
        z[...] = 0
        z[0, label] = math.log((1 - smoothing + share) / share)
        _, grad = softmax_cross_entropy(z, np.array([label]), smoothing)
        assert np.abs(grad).max() <= 1e-6


@pytest.mark.parametrize("dtype", EPS)
def test_binary_cross_entropy_beside_mpmath(dtype: str) -> None:
    z = np.repeat(np.array([0.5, -2.0, 3.0, 1.25], dtype), 25_000).reshape(1, -1)
    t = np.full_like(z, 0.25)
    with mpmath.workprec(120):
        terms = [mpmath.log1p(mpmath.exp(x)) - x / 4 for x in (0.5, -2.0, 3.0, 1.25)]
        right = mpmath.fsum(terms) / 4
        loss = binary_cross_entropy_with_logits(z, t)[0]
        assert abs((mpmath.mpf(loss) - right) / right) <= 4 * EPS[dtype]


@pytest.mark.parametrize("dtype", EPS)
def test_norms_over_the_whole_range(dtype: str) -> None:
    kind = np.finfo(dtype)
    most, least = float(kind.max), float(kind.smallest_subnormal)
    rng = np.random.default_rng(4)
    for size in (most / 64, math.sqrt(most), 1.0, float(kind.tiny), least):
        g = (rng.uniform(0.5, 1, 1000) * size).astype(dtype)
        with mpmath.workprec(200):
            right = mpmath.sqrt(mpmath.fsum(mpmath.mpf(float(x)) ** 2 for x in g))
            norm = fastgrad.clip_grad_norm(g.copy(), math.inf)
            assert abs(mpmath.mpf(norm) - right) <= 4 * EPS["float64"] * right + 5e-324
            for limit in (float(right) * 0.75, 1e-3, most / 2**70, 2.0**-100):
                found = g.copy()
                fastgrad.clip_grad_norm(found, limit)
                if limit >= norm:
                    assert np.array_equal(found, g)
                    continue
                wanted = [mpmath.mpf(float(x)) * limit / right for x in g]
                for x, y in zip(found.tolist(), wanted, strict=True):
                    assert abs(mpmath.mpf(x) - y) <= 4 * EPS[dtype] * y + least


def test_a_norm_that_is_no_number_of_the_dtype() -> None:
    g = np.full(4, 1.7e308)
    assert fastgrad.clip_grad_norm(g, 1.0) == math.inf and (g == 1.7e308).all()
    both = [np.full(3, 1e200), np.full(4, 1.0, np.float32)]
    root = math.sqrt(3)
    assert fastgrad.clip_grad_norm(both, math.inf) == pytest.approx(root * 1e200, rel=1e-15)
    both = [np.full(3, 1e-200), np.full(4, 0.0, np.float32)]
    assert fastgrad.clip_grad_norm(both, math.inf) == pytest.approx(
        math.sqrt(3) * 1e-200, rel=1e-15
    )
    assert fastgrad.clip_grad_norm([np.zeros(5), np.zeros(2, np.float32)], 1.0) == 0.0
