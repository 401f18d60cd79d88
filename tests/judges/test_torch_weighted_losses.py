"""Losses with weights, denominators, ignored labels and weights of positives, beside PyTorch's.

Expected values are torch's in float64; errors are counted as in test_torch_losses.py: in eps times
the sum of the magnitudes of the terms, below netlib's threshold. What torch calls differently:
weights of rows are its reduction="none" times w, over D; a weight of each class is a row's, by its
label; its mean with ignore_index is over the rows that count, or their weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastgrad import binary_cross_entropy_with_logits, mse, softmax_cross_entropy
from support import netlib

torch: Any = pytest.importorskip("torch")
F = torch.nn.functional

by_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
by_spread = pytest.mark.parametrize("spread", [1.0, 30.0])
by_shape = pytest.mark.parametrize(
    "shape", [(1, 2), (7, 3), (64, 10), (513, 17), (1030, 5)], ids=str
)
by_weights = pytest.mark.parametrize("weighted", [False, True], ids=["alone", "weights"])
by_denominator = pytest.mark.parametrize("denominator", [None, 37.5])
by_smoothing = pytest.mark.parametrize("smoothing", [0.0, 0.1])


def _weights(rng: Any, rows: int, dtype: str) -> Any:
    """As the dtype holds them; about a quarter is 0."""
    w = rng.uniform(0, 3, rows) * (rng.random(rows) < 0.75)
    w[0] = 1.5
    return w.astype(dtype)


def _theirs(of: Any, z: Any) -> tuple[float, Any]:
    leaf = torch.from_numpy(z.astype(np.float64)).requires_grad_()
    value = of(leaf)
    value.backward()
    return value.item(), leaf.grad.numpy()


def _check(ours: Any, theirs: Any, loss_gauge: float, grad_gauge: Any, dtype: str) -> None:
    info = np.finfo(dtype)
    assert ours[1].dtype == dtype and ours[1].shape == theirs[1].shape
    loss = abs(ours[0] - theirs[0]) / (info.eps * loss_gauge + info.smallest_subnormal)
    grad = np.abs(ours[1] - theirs[1]) / (info.eps * grad_gauge + info.smallest_subnormal)
    print(f"loss {loss:.2f}, gradient {grad.max():.2f}")
    assert loss < netlib.THRESHOLD and grad.max() < netlib.THRESHOLD


def _softmax_gauge(z: Any, labels: Any, smoothing: float, scale: Any) -> tuple[float, Any]:
    """scale (N,): w/D of each row."""
    t = (1 - smoothing) * np.eye(z.shape[1])[labels] + smoothing / z.shape[1]
    below = z.max(1, keepdims=True) - z
    sums = np.exp(-below).sum(1, keepdims=True)
    p, scale = np.exp(-below) / sums, scale[:, None]
    return float((scale * t * (below + np.maximum(1, np.log(sums)))).sum()), scale * (
        p * (1 + below) + t
    )


@by_smoothing
@by_denominator
@by_weights
@pytest.mark.parametrize("ignore", [None, -100, 1])
@by_shape
@by_spread
@by_dtype
def test_softmax_cross_entropy(
    dtype: str, spread: float, shape: tuple[int, int], ignore: int | None, weighted: bool,
    denominator: float | None, smoothing: float, rng: Any,
) -> None:  # fmt: skip
    z = rng.uniform(-spread, spread, shape).astype(dtype)
    labels = rng.integers(0, shape[1], shape[0])
    labels[0] = 0
    if ignore is not None and shape[0] > 1:
        labels[1::3] = ignore
    w = _weights(rng, shape[0], dtype) if weighted else None
    counts = (1.0 if w is None else w.astype(float)) * (
        labels != (-1 if ignore is None else ignore)
    )
    d = counts.sum() if denominator is None else denominator
    target, scale = torch.from_numpy(labels), torch.from_numpy(counts / d)

    def of(leaf: Any) -> Any:
        rows = F.cross_entropy(
            leaf, target, reduction="none", label_smoothing=smoothing,
            ignore_index=-100 if ignore is None else ignore,
        )  # fmt: skip
        return (rows * scale).sum()

    ours = softmax_cross_entropy(
        z, labels, smoothing, weights=w, denominator=denominator, ignore_index=ignore
    )
    known = np.where(counts > 0, labels, 0)
    gauges = _softmax_gauge(z.astype(float), known, smoothing, counts / d)
    theirs = _theirs(of, z)
    _check(ours, theirs, *gauges, dtype)
    if not weighted and denominator is None:  # their own mean
        mean = F.cross_entropy(
            torch.from_numpy(z.astype(float)), target, label_smoothing=smoothing,
            ignore_index=-100 if ignore is None else ignore,
        )  # fmt: skip
        np.testing.assert_allclose(theirs[0], mean.item(), rtol=1e-12)


@by_shape
@by_dtype
def test_weights_of_classes_are_those_of_rows(dtype: str, shape: Any, rng: Any) -> None:
    z, labels = rng.standard_normal(shape).astype(dtype), rng.integers(0, shape[1], shape[0])
    classes = rng.uniform(0.1, 2, shape[1]).astype(dtype)
    weight, target = torch.from_numpy(classes.astype(float)), torch.from_numpy(labels)
    scale = classes[labels].astype(float)
    theirs = _theirs(lambda leaf: F.cross_entropy(leaf, target, weight), z)
    gauges = _softmax_gauge(z.astype(float), labels, 0.0, scale / scale.sum())
    _check(softmax_cross_entropy(z, labels, weights=classes[labels]), theirs, *gauges, dtype)


@by_dtype
def test_softmax_of_more_axes(dtype: str, rng: Any) -> None:
    """(batch, time, classes), which torch has as (batch, classes, time), with padding ignored."""
    z, labels = rng.standard_normal((9, 31, 6)).astype(dtype), rng.integers(0, 6, (9, 31))
    labels[:, 20:] = 5
    target = torch.from_numpy(labels)
    theirs = _theirs(lambda leaf: F.cross_entropy(leaf.mT, target, ignore_index=5), z)
    counts = (labels != 5).reshape(-1) / (labels != 5).sum()
    loss, grad = _softmax_gauge(z.astype(float).reshape(-1, 6), labels.reshape(-1), 0.0, counts)
    ours = softmax_cross_entropy(z, labels, ignore_index=5)
    _check(ours, theirs, loss, grad.reshape(z.shape), dtype)


@by_denominator
@by_weights
@pytest.mark.parametrize("positive", [None, "number", "array"])
@by_shape
@by_spread
@by_dtype
def test_binary_cross_entropy_with_logits(
    dtype: str, spread: float, shape: tuple[int, int], positive: str | None, weighted: bool,
    denominator: float | None, rng: Any,
) -> None:  # fmt: skip
    z, t = rng.uniform(-spread, spread, shape).astype(dtype), rng.random(shape).astype(dtype)
    w = _weights(rng, shape[0], dtype) if weighted else None
    p: Any = {None: None, "number": 2.5}.get(positive, rng.uniform(0, 4, shape[1]).astype(dtype))
    rows = np.ones(shape[0]) if w is None else w.astype(float)
    d = rows.sum() * shape[1] if denominator is None else denominator
    wide, scale = torch.from_numpy(t.astype(float)), torch.from_numpy(rows / d)[:, None]
    many = None if p is None else torch.as_tensor(np.asarray(p, float))

    def of(leaf: Any) -> Any:
        return F.binary_cross_entropy_with_logits(
            leaf, wide, scale.expand(shape), reduction="sum", pos_weight=many
        )

    ours = binary_cross_entropy_with_logits(z, t, weights=w, denominator=denominator, pos_weight=p)
    x, by, factor = z.astype(float), np.asarray(1.0 if p is None else p, float), rows[:, None] / d
    terms = by * t * (np.logaddexp(0, -x) + 1) + (1 - t) * (np.logaddexp(0, x) + 1)
    # the sigmoid of a logit that a kernel rounds
    gauge = factor * ((by * t + 1 - t) + by * t) * (1 + np.minimum(np.abs(x), 1))
    _check(ours, _theirs(of, z), float((factor * terms).sum()), gauge, dtype)


@by_denominator
@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (513, 17), (40, 5, 6)], ids=str)
@by_spread
@by_dtype
def test_mse(
    dtype: str, spread: float, shape: tuple[int, ...], denominator: float | None, rng: Any
) -> None:
    p, t = (rng.uniform(-spread, spread, shape).astype(dtype) for _ in range(2))
    w = _weights(rng, shape[0], dtype)
    rows = w.astype(float).reshape(-1, *[1] * (len(shape) - 1))
    d = w.astype(float).sum() * p[0].size if denominator is None else denominator
    wide, scale = torch.from_numpy(t.astype(float)), torch.from_numpy(rows / d)
    theirs = _theirs(lambda leaf: (F.mse_loss(leaf, wide, reduction="none") * scale).sum(), p)
    apart = np.abs(p.astype(float) - t)
    gauges = float((rows / d * apart**2).sum()), 2 * rows / d * apart
    _check(mse(p, t, weights=w, denominator=denominator), theirs, *gauges, dtype)
