"""Losses: values and gradients against float64 formulas, the fixed order of sums, and errors."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastgrad import KC, binary_cross_entropy_with_logits, mse, softmax_cross_entropy
from fastgrad._ops.losses import softmax
from fastgrad.reference import losses as reference
from fastgrad.testing import check_grads

DTYPES = ["float32", "float64"]


def logits(dtype: str, shape: tuple[int, ...] = (7, 5), scale: float = 3.0) -> np.ndarray:
    return (np.random.default_rng(1).standard_normal(shape) * scale).astype(dtype)


def exact_softmax_cross_entropy(z: np.ndarray, q: np.ndarray) -> tuple[float, np.ndarray]:
    """In float64 (or complex), rows one by one."""
    z = z.astype(np.result_type(z, np.float64))
    e = np.exp(z - z.real.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    return -np.sum(q * np.log(p)) / len(z), (p - q) / len(z)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (33, 2), (3, 1000)])
def test_softmax_cross_entropy(dtype: str, shape: tuple[int, int]) -> None:
    z = logits(dtype, shape)
    labels = np.random.default_rng(2).integers(0, shape[1], shape[0])
    eps = float(np.finfo(dtype).eps)
    loss, grad = softmax_cross_entropy(z, labels)
    expected, slope = exact_softmax_cross_entropy(z, np.eye(shape[1])[labels])
    assert type(loss) is float and grad.dtype == dtype and grad.shape == shape
    assert loss == pytest.approx(float(expected), rel=20 * eps * (1 + math.log(shape[1])), abs=eps)
    np.testing.assert_allclose(grad, slope, rtol=(10 + shape[1]) * eps, atol=4 * eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_probability_rows(dtype: str) -> None:
    z = logits(dtype)
    labels = np.array([4, 0, 3, 3, 1, 2, 2])
    hard = softmax_cross_entropy(z, labels)
    soft = softmax_cross_entropy(z, np.eye(5, dtype=dtype)[labels])
    assert soft[0] == hard[0] and np.array_equal(soft[1], hard[1])  # one-hot rows: the same bits
    q = np.random.default_rng(3).dirichlet(np.ones(5), 7)
    loss, grad = softmax_cross_entropy(z, q)
    expected, slope = exact_softmax_cross_entropy(z, q)
    eps = float(np.finfo(dtype).eps)
    assert loss == pytest.approx(float(expected), rel=30 * eps)
    np.testing.assert_allclose(grad, slope, rtol=20 * eps, atol=4 * eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("smoothing", [1e-6, 0.1, 0.75, 1.0])
def test_label_smoothing(dtype: str, smoothing: float) -> None:
    """(1 - s) of the loss, and s of the mean over all classes taken as the label."""
    z, eps = logits(dtype, (9, 6)), float(np.finfo(dtype).eps)
    labels = np.array([4, 0, 3, 3, 1, 2, 2, 5, 5])
    one_hot = np.eye(6)[labels]
    found = softmax_cross_entropy(z, labels, label_smoothing=smoothing)
    expected = [exact_softmax_cross_entropy(z, t) for t in (one_hot, np.full((9, 6), 1 / 6))]
    weights = np.array([1 - smoothing, smoothing])
    assert found[0] == pytest.approx(float(weights @ [e[0] for e in expected]), rel=30 * eps)
    slope = (1 - smoothing) * expected[0][1] + smoothing * expected[1][1]
    np.testing.assert_allclose(found[1], slope, rtol=20 * eps, atol=4 * eps)
    soft = softmax_cross_entropy(z, one_hot, smoothing)
    assert soft[0] == found[0] and np.array_equal(soft[1], found[1])


def test_no_label_smoothing_is_the_default() -> None:
    z, labels = logits("float32"), np.array([4, 0, 3, 3, 1, 2, 2])
    plain, zero = softmax_cross_entropy(z, labels), softmax_cross_entropy(z, labels, 0)
    assert plain[0] == zero[0] and np.array_equal(plain[1], zero[1])
    assert plain[0] != softmax_cross_entropy(z, labels, 0.1)[0]


@pytest.mark.parametrize(
    ("value", "kind"),
    [(-0.1, ValueError), (1.1, ValueError), (math.nan, ValueError), ("0.1", TypeError),
     (None, TypeError), (1j, TypeError)],
)  # fmt: skip
def test_errors_of_label_smoothing(value, kind) -> None:
    with pytest.raises(kind, match=r"^softmax_cross_entropy: label_smoothing is "):
        softmax_cross_entropy(Z, np.zeros(3, int), value)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u4", "i8", "u8", ">i4"])
def test_labels_of_any_integer_type(dtype: str) -> None:
    z, labels = logits("float32"), np.array([4, 0, 3, 3, 1, 2, 2])
    expected = softmax_cross_entropy(z, labels)
    odd = np.zeros(8 * 7 + 1, np.uint8)[1:].view("i8")  # not aligned
    odd[...] = labels
    spread = np.repeat(labels.astype(dtype), 3)[::3]
    for given in (labels.astype(dtype), spread, labels[::-1].astype(dtype)[::-1], odd):
        found = softmax_cross_entropy(z, given)
        assert found[0] == expected[0] and np.array_equal(found[1], expected[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_is_safe(dtype: str) -> None:
    big = np.finfo(dtype).max
    z = np.array([[big, -big, 0], [1e4, 1e4, -np.inf], [-big, -big, -big]], dtype)
    loss, grad = softmax_cross_entropy(z, np.array([0, 1, 2]))
    assert loss == pytest.approx((0 + math.log(2) + math.log(3)) / 3, rel=1e-6)
    np.testing.assert_allclose(
        grad * 3, [[0, 0, 0], [0.5, -0.5, 0], [1 / 3, 1 / 3, -2 / 3]], rtol=1e-5, atol=1e-6
    )
    rows = np.array([[1.0, 0, 0], [0.5, 0.5, 0], [0, 0, 1]])
    assert math.isfinite(softmax_cross_entropy(z, rows)[0])  # 0 * inf counts as 0
    p = softmax(z)
    assert np.all(np.isfinite(p)) and np.abs(p.sum(axis=1) - 1).max() < 1e-6
    z[1, 1] = np.nan
    loss, grad = softmax_cross_entropy(z, np.array([0, 1, 2]))
    assert math.isnan(loss) and np.isnan(grad[1]).all() and np.isfinite(grad[[0, 2]]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_binary_cross_entropy(dtype: str) -> None:
    z, eps = logits(dtype, (6, 3), 8.0), float(np.finfo(dtype).eps)
    t = np.random.default_rng(4).uniform(0, 1, (6, 3)).astype(dtype)
    wide, target = z.astype(np.longdouble), t.astype(np.longdouble)
    expected = np.mean(np.log1p(np.exp(-np.abs(wide))) + np.maximum(wide, 0) - wide * target)
    loss, grad = binary_cross_entropy_with_logits(z, t)
    assert type(loss) is float and grad.dtype == dtype
    assert loss == pytest.approx(float(expected), rel=20 * eps)
    slope = (1 / (1 + np.exp(-wide)) - target) / z.size
    np.testing.assert_allclose(grad, slope.astype(float), rtol=20 * eps, atol=eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_binary_cross_entropy_is_safe(dtype: str) -> None:
    z = np.array([40.0, -40.0, np.inf, -np.inf], dtype)
    loss, grad = binary_cross_entropy_with_logits(z, np.array([1.0, 0, 1, 0]))
    assert loss == pytest.approx(math.exp(-40) / 2, rel=1e-5, abs=0)  # 1 + exp(-40) is 1: not lost
    assert np.abs(grad).max() <= math.exp(-40)
    assert binary_cross_entropy_with_logits(z[2:], np.array([0, 1]))[0] == math.inf


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5,), (4, 3), (2, 3, 4)])
def test_mse(dtype: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(5)
    p, t = (rng.integers(-8, 9, shape).astype(dtype) for _ in range(2))
    loss, grad = mse(p, t)
    count = np.dtype(dtype).type(p.size)
    assert loss == float(np.dtype(dtype).type(np.sum((p - t) ** 2)) / count)  # integers: exact
    assert np.array_equal(grad, (p - t) * (np.dtype(dtype).type(2) / count))


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_by_the_complex_step(dtype: str) -> None:
    z, labels, t = logits(dtype, (4, 3), 1.0), np.array([2, 0, 1, 2]), np.tri(4, 3) / 2

    def check(loss, target, reference) -> None:
        check_grads(
            lambda z: np.asarray(loss(z, target)[0], z.dtype),
            lambda g, z: (g * loss(z, target)[1],),
            z,
            reference=reference,
        )

    check(
        softmax_cross_entropy,
        labels,
        lambda z: exact_softmax_cross_entropy(z, np.eye(3)[labels])[0],
    )
    check(
        lambda z, t: softmax_cross_entropy(z, t, 0.2),
        labels,
        lambda z: exact_softmax_cross_entropy(z, 0.8 * np.eye(3)[labels] + 0.2 / 3)[0],
    )
    check(binary_cross_entropy_with_logits, t, lambda z: np.mean(np.log(1 + np.exp(z)) - z * t))
    check(mse, t, lambda z: np.mean((z - t) ** 2))


def chain(values, zero):
    for value in values:
        zero = zero + value
    return zero


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_have_the_order_of_the_contract(dtype: str) -> None:
    kc, zero = KC[dtype], np.dtype(dtype).type(0)
    a = logits(dtype, (3 * kc + 5, 21))
    rows = [chain(row, zero) for row in a * a]
    assert not np.array_equal((a * a).sum(axis=1), np.array(rows))  # numpy's order is another
    assert np.array_equal(reference.row_chain(a * a), np.array(rows))
    total = chain([chain(rows[r : r + kc], zero) for r in range(0, len(rows), kc)], zero)
    assert total != chain(rows, zero)  # the blocks matter here
    assert reference.chain(np.array(rows)) == total
    assert mse(a, np.zeros_like(a))[0] == float(total / np.dtype(dtype).type(a.size))


def test_negative_zeros_sum_to_positive_zero() -> None:
    zeros = np.full((2, 3), -0.0, np.float32)
    assert not np.signbit(reference.row_chain(zeros)).any() and not np.signbit(
        reference.chain(zeros[:, 0])
    )


@pytest.mark.parametrize("loss", [softmax_cross_entropy, binary_cross_entropy_with_logits, mse])
def test_layout_and_inputs(loss) -> None:
    z = logits("float32", (6, 4))
    t = np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 0, 1]]
    expected = loss(z, t)
    wide = np.full((12, 8), np.nan, np.float32)
    wide[::2, ::2] = z
    before, frozen = wide.copy(), wide[::2, ::2]
    frozen.flags.writeable = False
    for view in (frozen, np.asfortranarray(z), z[::-1, ::-1].copy()[::-1, ::-1]):
        found = loss(view, t)
        assert found[0] == expected[0] and np.array_equal(found[1], expected[1])
        assert found[1].flags.c_contiguous
    assert np.array_equal(wide, before, equal_nan=True)
    assert loss((z > 0).astype(np.int32), t)[1].dtype == np.float64  # as np.result_type says
    assert loss((z > 0), t)[1].dtype == np.float32


Z = np.zeros((3, 4), np.float32)
ERRORS = [
    (softmax_cross_entropy, [["a"]] * 3, np.zeros(3, int), TypeError, "logits is list"),
    (softmax_cross_entropy, Z.astype(np.float16), np.zeros(3, int), TypeError, "float16"),
    (softmax_cross_entropy, Z.astype(complex), np.zeros(3, int), TypeError, "complex128"),
    (softmax_cross_entropy, Z[0], np.zeros(3, int), ValueError, r"logits has shape \(4,\)"),
    (softmax_cross_entropy, Z[:0], np.zeros(0, int), ValueError, r"logits has shape \(0, 4\)"),
    (softmax_cross_entropy, Z[:, :0], np.zeros(3, int), ValueError, r"logits has shape \(3, 0\)"),
    (softmax_cross_entropy, Z, ["0", "1", "2"], TypeError, "labels is list"),
    (softmax_cross_entropy, Z, np.zeros(3), TypeError, "labels has dtype float64"),
    (softmax_cross_entropy, Z, np.zeros(3, bool), TypeError, "labels has dtype bool"),
    (softmax_cross_entropy, Z, np.zeros(2, int), ValueError, "logits has 3 rows"),
    (
        softmax_cross_entropy,
        Z,
        np.array([0, 4, 1]),
        ValueError,
        r"labels\[1\] is 4 but logits has 4",
    ),
    (softmax_cross_entropy, Z, np.array([2**64 - 1] * 3, "u8"), ValueError, r"labels\[0\] is 184"),
    (softmax_cross_entropy, Z, np.array([0, 1, -1]), ValueError, r"labels\[2\] is -1"),
    (softmax_cross_entropy, Z, np.zeros((3, 3)), ValueError, r"labels has shape \(3, 3\)"),
    (softmax_cross_entropy, Z, np.full((3, 4), 0.5), ValueError, "labels row 0 sums to 2"),
    (softmax_cross_entropy, Z, np.full((3, 4), np.nan), ValueError, r"labels\[0, 0\] is nan"),
    (binary_cross_entropy_with_logits, Z, Z[:2], ValueError, r"targets has shape \(2, 4\)"),
    (binary_cross_entropy_with_logits, Z, Z + 1.5, ValueError, r"targets\[0, 0\] is 1.5"),
    (binary_cross_entropy_with_logits, Z, [None] * 3, TypeError, "targets is list"),
    (binary_cross_entropy_with_logits, Z[:0], Z[:0], ValueError, "a mean needs"),
    (mse, Z, Z[:, :1], ValueError, r"target has shape \(3, 1\) but prediction has \(3, 4\)"),
    (mse, Z, Z.astype(object), TypeError, "target has dtype object"),
    (mse, np.float32(1), np.float32(1), ValueError, r"prediction has shape \(\)"),
    (mse, np.array(1.0), np.array(1.0), ValueError, "a mean needs"),
]


@pytest.mark.parametrize(("loss", "z", "target", "kind", "words"), ERRORS)
def test_errors(loss, z, target, kind, words) -> None:
    with pytest.raises(kind, match=words) as caught:
        loss(z, target)
    assert str(caught.value).startswith(f"{loss.__name__}: ") and "\n" not in str(caught.value)
