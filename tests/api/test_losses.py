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


def wide_sum(values) -> float:
    """In order, with the error of each addition beside the sum."""
    total = error = np.float64(0)
    for value in values:
        total, lost = reference.two_sum(total, np.float64(value))
        error += lost
    return float(total + error)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_have_the_order_of_the_contract(dtype: str) -> None:
    kc = KC[dtype]
    a = logits(dtype, (3 * kc + 5, 21)) * np.exp2(np.arange(21) % 5 * 7).astype(dtype)
    squares = a * a
    if dtype == "float32":
        rows = [float(np.add.accumulate(row, dtype=np.float64)[-1]) for row in squares]
        assert rows != [math.fsum(row) for row in squares]  # the order matters
    else:
        groups = [[np.add.accumulate(row[c : c + 8])[-1] for c in (0, 8, 16)] for row in squares]
        rows = [wide_sum(parts) for parts in groups]
        assert rows != [math.fsum(row) for row in squares]
    assert reference.row_sums(squares).tolist() == rows
    total = wide_sum(wide_sum(rows[r : r + kc]) for r in range(0, len(rows), kc))
    assert reference.batch_sum(np.array(rows), dtype) == pytest.approx(total, rel=1e-15)
    mean = np.dtype(dtype).type(reference.batch_sum(np.array(rows), dtype) / a.size)
    assert mse(a, np.zeros_like(a))[0] == float(mean)


def test_negative_zeros_sum_to_positive_zero() -> None:
    for dtype in DTYPES:
        zeros = np.full((2, 3), -0.0, dtype)
        assert not np.signbit(reference.row_sums(zeros)).any()
    assert not np.signbit(reference.batch_sum(np.full(3, -0.0), "float64"))


def test_an_infinite_loss_stays_infinite() -> None:
    for dtype in DTYPES:
        p = np.array([[1.0, np.inf, 2.0]] * 3, dtype)
        assert mse(p, np.zeros_like(p))[0] == math.inf


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", [binary_cross_entropy_with_logits, mse])
def test_a_row_is_an_index_of_the_first_axis(loss, dtype: str) -> None:
    rng = np.random.default_rng(6)
    for shape in ((3, 4, 5), (2, 3, 2, 9), (5, 1, 1), (1, 30, 40)):
        z, t = rng.standard_normal(shape).astype(dtype), rng.random(shape).astype(dtype)
        flat = loss(z.reshape(shape[0], -1), t.reshape(shape[0], -1))
        turned = np.moveaxis(np.ascontiguousarray(np.moveaxis(z, 1, 0)), 0, 1)
        for view in (z, turned):
            found = loss(view, t)
            assert found[0] == flat[0] and found[1].shape == shape
            assert np.array_equal(found[1].reshape(shape[0], -1), flat[1])
    column = loss(z.reshape(-1, 1), t.reshape(-1, 1))
    vector = loss(z.reshape(-1), t.reshape(-1))
    assert column[0] == vector[0] and np.array_equal(column[1][:, 0], vector[1])
    number = loss(np.array(0.25, dtype), np.array(0.75, dtype))
    assert number[0] == loss(np.array([0.25], dtype), np.array([0.75], dtype))[0]
    assert number[1].shape == () and loss(np.float64(0.25), 0.75)[1].shape == ()


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_of_leading_axes(dtype: str) -> None:
    z = logits(dtype, (4, 3, 5))
    labels = np.random.default_rng(3).integers(0, 5, (4, 3))
    q = np.random.default_rng(3).dirichlet(np.ones(5), (4, 3)).astype(dtype)
    for t in (labels, q, labels.T.copy().T, labels.astype(np.int32)):
        flat = softmax_cross_entropy(z.reshape(12, 5), t.reshape(12, *t.shape[2:]), 0.1)
        found = softmax_cross_entropy(z, t, 0.1)
        assert found[0] == flat[0] and np.array_equal(found[1].reshape(12, 5), flat[1])
        assert found[1].shape == z.shape
    p = softmax(z)
    assert p.shape == z.shape and np.array_equal(p[1, 2], softmax(z[1, 2]))
    with pytest.raises(ValueError, match=r"labels has shape \(3, 4\) but logits has \(4, 3, 5\)"):
        softmax_cross_entropy(z, labels.T)


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_without_leading_axes_is_of_one_row(dtype: str) -> None:
    z = logits(dtype, (5,))
    q = np.random.default_rng(3).dirichlet(np.ones(5)).astype(dtype)
    for t, row in ((3, np.array([3])), (np.array(3, np.int32), np.array([3])), (q, q[None])):
        for options in ({}, {"denominator": 2.5}, {"label_smoothing": 0.1}):
            found = softmax_cross_entropy(z, t, **options)
            alone = softmax_cross_entropy(z[None], row, **options)
            assert found[0] == alone[0] and np.array_equal(found[1], alone[1][0])
    weighted = softmax_cross_entropy(z, 3, weights=2.0, denominator=1.0)
    assert np.array_equal(weighted[1], 2 * softmax_cross_entropy(z, 3)[1])
    assert softmax_cross_entropy(z, 3, ignore_index=3, denominator=1)[0] == 0
    for wrong, words in (
        (([], 0), r"logits has shape \(0,\); pass \(..., classes\), each of 1 or more"),
        ((z[0], 0), r"logits has shape \(\); pass \(..., classes\)"),
        ((z, [3]), r"labels has shape \(1,\) but logits has \(5,\); pass integers \(\) or"),
        ((z, 5), r"labels\[0\] is 5 but logits has 5 columns"),
    ):
        with pytest.raises(ValueError, match=f"^softmax_cross_entropy: {words}"):
            softmax_cross_entropy(*wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r": weights is -1.0; it must be 0 or more"):
        softmax_cross_entropy(z, 3, weights=-1.0)


WEIGHTS = np.array([0.5, 0.0, 2.0, 1.25, 3.0, 0.1, 1.0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights(dtype: str) -> None:
    """Beside a sum over rows, each with its own mean."""
    z, t = logits(dtype), np.random.default_rng(4).uniform(0, 1, (7, 5)).astype(dtype)
    labels, eps = np.array([4, 0, 3, 3, 1, 2, 2]), float(np.finfo(dtype).eps)
    for loss, target, elements in (
        (softmax_cross_entropy, labels, 1),
        (binary_cross_entropy_with_logits, t, 5),
        (mse, t, 5),
    ):
        rows = [loss(z[i : i + 1], target[i : i + 1]) for i in range(7)]
        for options, divisor in (({}, WEIGHTS.sum()), ({"denominator": 3.7}, 3.7 / elements)):
            found = loss(z, target, weights=WEIGHTS, **options)
            right = sum(w * row[0] for w, row in zip(WEIGHTS, rows, strict=True)) / divisor
            assert found[0] == pytest.approx(right, rel=4 * eps)
            grads = np.concatenate([row[1] for row in rows]) * WEIGHTS[:, None] / divisor
            np.testing.assert_allclose(found[1], grads, rtol=4 * eps, atol=eps)
        plain, ones = loss(z, target), loss(z, target, weights=np.ones(7))
        assert plain[0] == ones[0] and np.array_equal(plain[1], ones[1])
        given = loss(z, target, weights=WEIGHTS.tolist(), denominator=np.float32(2))
        same = loss(z, target, weights=np.repeat(WEIGHTS, 2)[::2], denominator=2)
        assert given[0] == same[0] and np.array_equal(given[1], same[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", [softmax_cross_entropy, binary_cross_entropy_with_logits, mse])
def test_parts_of_a_batch_add_up(loss, dtype: str) -> None:
    """With the denominator of the whole: gradients to the bit, losses to rounding."""
    rng, n = np.random.default_rng(9), 2 * KC[dtype] + 9
    z, w = rng.standard_normal((n, 4)).astype(dtype), rng.random(n)
    t = rng.integers(0, 4, n) if loss is softmax_cross_entropy else rng.random((n, 4)).astype(dtype)
    whole = loss(z, t, weights=w, denominator=123.0)
    cuts = [slice(0, KC[dtype]), slice(KC[dtype], n)]
    parts = [loss(z[c], t[c], weights=w[c], denominator=123.0) for c in cuts]
    assert np.array_equal(np.concatenate([part[1] for part in parts]), whole[1])
    assert sum(part[0] for part in parts) == pytest.approx(
        whole[0], rel=3 * float(np.finfo(dtype).eps)
    )
    no_row = loss(z[:3], t[:3], weights=np.zeros(3), denominator=5.0)  # a part may have none
    assert no_row[0] == 0 and not no_row[1].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_ignored_rows_are_left_out(dtype: str, smoothing: float) -> None:
    z, labels = logits(dtype, (19, 5)), np.random.default_rng(2).integers(0, 5, 19)
    for ignored in (-100, 2, 2**63 - 1):
        given = labels.copy()
        out = given == 2 if ignored == 2 else np.arange(19) % 3 == 0
        given[out] = ignored
        odd = z.copy()
        odd[out] = np.nan
        loss, grad = softmax_cross_entropy(odd, given, smoothing, ignore_index=ignored)
        right = softmax_cross_entropy(z[~out], given[~out], smoothing)
        assert loss == pytest.approx(right[0], rel=4 * float(np.finfo(dtype).eps))
        assert np.array_equal(grad[~out], right[1]) and not grad[out].any()
        assert not np.signbit(grad[out]).any()
        part = softmax_cross_entropy(odd, given, smoothing, ignore_index=ignored, denominator=7)
        assert part[0] == pytest.approx(right[0] * np.count_nonzero(~out) / 7, rel=1e-6)
    narrow = np.where(labels == 2, 255, labels).astype(np.uint8)
    found = softmax_cross_entropy(z, narrow, ignore_index=255)
    right = softmax_cross_entropy(z, np.where(labels == 2, -1, labels), ignore_index=-1)
    assert found[0] == right[0] and np.array_equal(found[1], right[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_pos_weight(dtype: str) -> None:
    z, eps = logits(dtype, (6, 3), 8.0), float(np.finfo(dtype).eps)
    t = np.random.default_rng(4).uniform(0, 1, (6, 3)).astype(dtype)
    t[0], t[1] = 0, 1
    wide, target = z.astype(np.longdouble), t.astype(np.longdouble)
    for weight in (3.0, np.array([0.25, 1.0, 7.0]), 0):
        loss, grad = binary_cross_entropy_with_logits(z, t, pos_weight=weight)
        w = np.asarray(weight, np.longdouble)
        right = w * target * np.log1p(np.exp(-wide)) + (1 - target) * np.log1p(np.exp(wide))
        assert loss == pytest.approx(float(right.mean()), rel=20 * eps)
        p = 1 / (1 + np.exp(-wide))
        slope = ((1 - target) * p - w * target * (1 - p)) / z.size
        np.testing.assert_allclose(grad, slope.astype(float), rtol=20 * eps, atol=2 * eps)
    one, plain = (binary_cross_entropy_with_logits(z, t, **o) for o in ({"pos_weight": 1}, {}))
    assert one[0] == plain[0] and np.array_equal(one[1], plain[1])


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
    (softmax_cross_entropy, Z[0], np.zeros(3, int), ValueError, r"logits has \(4,\)"),
    (softmax_cross_entropy, Z[:0], np.zeros(0, int), ValueError, r"logits has shape \(0, 4\)"),
    (softmax_cross_entropy, Z[:, :0], np.zeros(3, int), ValueError, r"logits has shape \(3, 0\)"),
    (softmax_cross_entropy, Z, ["0", "1", "2"], TypeError, "labels is list"),
    (softmax_cross_entropy, Z, np.zeros(3), TypeError, "labels has dtype float64"),
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
    (mse, np.zeros((2, 0)), np.zeros((2, 0)), ValueError, "a mean needs"),
]


@pytest.mark.parametrize(("loss", "z", "target", "kind", "words"), ERRORS)
def test_errors(loss, z, target, kind, words) -> None:
    with pytest.raises(kind, match=words) as caught:
        loss(z, target)
    assert str(caught.value).startswith(f"{loss.__name__}: ") and "\n" not in str(caught.value)


OPTION_ERRORS = [
    (mse, Z, {"weights": np.ones(4)}, ValueError, r"weights has shape \(4,\), expected one a row"),
    (mse, Z, {"weights": np.ones((3, 1))}, ValueError, r"pass weights of shape \(3,\)"),
    (mse, Z, {"weights": np.array([1, -1, 1])}, ValueError, r"weights\[1\] is -1.0; it must be"),
    (mse, Z, {"weights": np.array([1, 1, np.inf])}, ValueError, r"weights\[2\] is inf"),
    (mse, Z, {"weights": np.array([np.nan, 1, 1])}, ValueError, r"weights\[0\] is nan"),
    (mse, Z, {"weights": np.zeros(3)}, ValueError, "weights are all 0"),
    (mse, Z, {"weights": np.full(3, 1e308)}, ValueError, "the sum of weights is inf"),
    (mse, Z, {"weights": "ab"}, TypeError, "weights is str"),
    (mse, Z, {"denominator": 0}, ValueError, "denominator is 0; it must be above 0"),
    (mse, Z, {"denominator": -1.0}, ValueError, "denominator is -1.0"),
    (mse, Z, {"denominator": math.nan}, ValueError, "denominator is nan"),
    (mse, Z, {"denominator": "1"}, TypeError, "denominator is '1', not a number"),
    (softmax_cross_entropy, Z, {"ignore_index": 1.0}, TypeError, "ignore_index is 1.0"),
    (softmax_cross_entropy, Z, {"ignore_index": 0}, ValueError, "no row counts"),
    (softmax_cross_entropy, Z, {"weights": np.ones(2)}, ValueError, r"weights has shape \(2,\)"),
    (binary_cross_entropy_with_logits, Z, {"pos_weight": -1}, ValueError, "pos_weight has a -1.0"),
    (binary_cross_entropy_with_logits, Z, {"pos_weight": np.ones(3)}, ValueError,
     r"pos_weight has shape \(3,\)"),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "z", "options", "kind", "words"), OPTION_ERRORS)
def test_errors_of_options(loss, z, options, kind, words) -> None:
    target = np.zeros(3, int) if loss is softmax_cross_entropy else Z
    with pytest.raises(kind, match=words) as caught:
        loss(z, target, **options)
    assert str(caught.value).startswith(f"{loss.__name__}: ") and "\n" not in str(caught.value)


def test_ignore_index_needs_integer_labels() -> None:
    with pytest.raises(ValueError, match="ignore_index needs integer labels"):
        softmax_cross_entropy(Z, np.full((3, 4), 0.25), ignore_index=0)
    with pytest.raises(ValueError, match=r"labels\[1\] is 4 but"):
        softmax_cross_entropy(Z, np.array([-1, 4, 0]), ignore_index=-1)
