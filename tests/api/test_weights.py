"""Weights of rows and denominators, in steps, their parts, fit and evaluate."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import fastgrad
from fastgrad import MLP, Adam, mse, softmax_cross_entropy
from fastgrad._mlp.checkpoint import digest
from fastgrad._mlp.config import LOSSES
from support.oracles import assert_same_bits

SOFTMAX, BINARY, MSE = LOSSES
WAYS = {
    "as it comes": {},
    "alone": {"tried": 1 << 20, "alone_ns": 1, "joined_ns": 1 << 48, "passes": 1},
    "in two joins": {"tried": 1 << 20, "alone_ns": 1 << 48, "joined_ns": 0, "passes": 1},
}


def make(loss: Any, sizes: tuple[int, ...] = (9, 33, 4), way: str = "as it comes", **more) -> MLP:
    model = MLP(sizes, "gelu", loss, Adam(0.01), seed=3, **more)
    model._step._set(**WAYS[way])
    return model


def batch(model: MLP, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(rows)
    x = rng.standard_normal((rows, model.sizes[0])).astype(model.dtype)
    weights = rng.integers(0, 4, rows) * 0.5
    weights[0] = 1
    if model.loss == SOFTMAX:
        return x, rng.integers(0, model.sizes[-1], rows), weights
    return x, rng.uniform(0, 1, (rows, model.sizes[-1])).astype(model.dtype), weights


def public(model: MLP, logits: np.ndarray, y: np.ndarray, **how: Any) -> tuple[float, np.ndarray]:
    if model.loss == SOFTMAX:
        return fastgrad.softmax_cross_entropy(logits, y, model.label_smoothing, **how)
    return getattr(fastgrad, model.loss)(logits, y, **how)


def assert_same(a: MLP, b: MLP) -> None:
    for name in ("weights", "biases", "weight_grads", "bias_grads"):
        for mine, other in zip(getattr(a, name), getattr(b, name), strict=True):
            assert_same_bits(mine, other)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_weighted_step_has_the_bits_of_its_parts(dtype: str, loss: Any, way: str) -> None:
    smoothing = {"label_smoothing": 0.1} if loss == SOFTMAX else {}
    for threads, most in ((1, None), (2, 0.05)):
        more: Any = {"dtype": dtype, "max_grad_norm": most, **smoothing}
        with fastgrad.num_threads(threads):
            whole, two, four = (make(loss, (30, 100, 2), way, **more) for _ in range(3))
            for rows in (200, 33):
                x, y, w = batch(whole, rows)
                value = whole.train_step(x, y, w)
                assert two.loss_and_grads(x.tolist(), y, np.asfortranarray(w)[::1]) == value
                two.update()
                assert_same(whole, two)
                found, grad = public(four, four.forward(x, keep=True), y, weights=w)
                four.backward(grad)
                four.update()
                assert found == value
                assert_same(whole, four)
                assert whole.train_step(x, y) == two.train_step(x, y) == four.train_step(x, y)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("loss", LOSSES)
def test_weights_of_one_are_none(loss: Any, way: str) -> None:
    one, other = make(loss, (30, 100, 2), way), make(loss, (30, 100, 2), way)
    x, y, _ = batch(one, 200)
    for ones in (np.ones(200), np.ones(200, np.int8), [1.0] * 200, np.ones(200, bool)):
        assert one.train_step(x, y) == other.train_step(x, y, ones)
        assert_same(one, other)
    assert one.evaluate(x, y) == one.evaluate(x, y, np.ones(200))


@pytest.mark.parametrize("loss", LOSSES)
def test_rows_of_weight_0_do_not_count(loss: Any) -> None:
    """And a whole weight counts a row so often: to rounding, as sums have other terms."""
    model = make(loss, dtype=np.float64)
    x, y, w = batch(model, 40)
    w = np.round(2 * w)
    found = model.loss_and_grads(x, y, w)
    grads = [g.copy() for g in model.weight_grads]
    rows = np.repeat(np.arange(40), w.astype(int))
    assert model.loss_and_grads(x[rows], y[rows]) == pytest.approx(found, rel=1e-14)
    for mine, other in zip(grads, model.weight_grads, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_micro_batches_with_the_whole_denominator(dtype: str, loss: Any, way: str) -> None:
    kc = fastgrad.KC[dtype]
    for threads in (1, 2):
        with fastgrad.num_threads(threads):
            whole, parts = (make(loss, (30, 40, 2), way, dtype=dtype) for _ in range(2))
            x, y, w = batch(whole, 2 * kc + 77)
            for weights in (None, w):
                total = len(x) if weights is None else weights.sum()
                d = float(total if loss == SOFTMAX else total * 2)
                expected = whole.loss_and_grads(x, y, weights)
                assert whole.loss_and_grads(x, y, weights, d) == expected
                found = 0.0
                for start in range(0, len(x), kc):
                    part = slice(start, start + kc)
                    some = None if weights is None else weights[part]
                    found += parts.loss_and_grads(x[part], y[part], some, d, start > 0)
                assert_same(whole, parts)
                assert found == pytest.approx(expected, rel=4 * float(np.finfo(dtype).eps))


def test_evaluate() -> None:
    model = make(SOFTMAX)
    x, y, w = batch(model, 60)
    found = model.evaluate(x, y, w)
    assert found["loss"] == public(model, model.forward(x), y, weights=w)[0]
    right = model.predict(x) == y
    assert found["accuracy"] == pytest.approx(w[right].sum() / w.sum())


def test_fit() -> None:
    """As steps by hand; a batch whose weights are all 0 is passed over."""
    fitted, stepped = make(SOFTMAX), make(SOFTMAX)
    x, y, w = batch(fitted, 60)
    w[16:24] = 0
    history = fitted.fit(x, y, 2, 8, shuffle=False, weights=w, progress=False)
    for loss in history["loss"]:
        total = 0.0
        for start in range(0, 60, 8):
            part = slice(start, start + 8)
            if w[part].any():
                total += stepped.train_step(x[part], y[part], w[part]) * float(w[part].sum())
        assert loss == pytest.approx(total / w.sum(), rel=1e-14)
    assert digest(fitted) == digest(stepped) and fitted.steps == 2 * 7
    one, other = make(SOFTMAX), make(SOFTMAX)
    one.fit(x, y, 2, 8, progress=False, weights=np.ones(60), validation=0.2)
    other.fit(x, y, 2, 8, progress=False, validation=0.2)
    assert digest(one) == digest(other)
    assert one.history["validation_loss"] == other.history["validation_loss"]


def test_fit_goes_on_with_weights() -> None:
    whole, parts = make(SOFTMAX), make(SOFTMAX)
    x, y, w = batch(whole, 60)
    options: Any = {"progress": False, "weights": w, "validation": 0.2, "patience": 9}
    whole.fit(x, y, 5, 8, **options)
    for epochs in (2, 3):
        parts.fit(x, y, epochs, 8, **options)
    assert digest(whole) == digest(parts)


CALLS: dict[str, Any] = {
    "train_step": lambda m, x, y, w: m.train_step(x, y, w),
    "loss_and_grads": lambda m, x, y, w: m.loss_and_grads(x, y, w),
    "evaluate": lambda m, x, y, w: m.evaluate(x, y, w),
    "fit": lambda m, x, y, w: m.fit(x, y, 1, 8, weights=w, progress=False),
}


@pytest.mark.parametrize("name", CALLS)
def test_errors(name: str) -> None:
    model = make(SOFTMAX)
    x, y, w = batch(model, 12)
    before = digest(model)
    bad = w.copy()
    for value in (-1, math.nan, math.inf):
        bad[7] = value
        with pytest.raises(ValueError, match=rf"^MLP.{name}: weights\[7\] is"):
            CALLS[name](model, x, y, bad)
    for weights, kind, words in (
        (w[:5], ValueError, r"weights has shape \(5,\)"),
        (w[:, None], ValueError, r"weights has shape \(12, 1\)"),
        (np.zeros(12), ValueError, "weights are all 0"),
        ("abc", TypeError, "weights is str"),
        (w.astype(complex), TypeError, "weights has dtype complex128"),
    ):
        with pytest.raises(kind, match=rf"^MLP.{name}: {words}"):
            CALLS[name](model, x, y, weights)
    if name in ("evaluate", "fit"):
        bad[7] = 1e39
        with pytest.raises(
            ValueError, match=rf"^MLP.{name}: weights\[7\] \(row 7\) is inf as float3"
        ):
            CALLS[name](model, x, y, bad)
    assert digest(model) == before and model.steps == 0


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "1"])
def test_denominators_that_are_none(value: Any) -> None:
    model = make(SOFTMAX)
    x, y, _ = batch(model, 12)
    with pytest.raises((ValueError, TypeError), match=r"^MLP.loss_and_grads: denominator is"):
        model.loss_and_grads(x, y, denominator=value)
    assert model.loss_and_grads(x, y) == model.loss_and_grads(x, y, denominator=12)


@pytest.mark.parametrize("function", [softmax_cross_entropy, mse])
def test_a_part_without_a_row_that_counts(function: Any) -> None:
    """With the whole batch's denominator it adds nothing; alone it has no mean."""
    z, y = np.ones((3, 4), np.float32), np.array([0, 1, 2])
    target = y if function is softmax_cross_entropy else z + 1
    loss, grad = function(z, target, weights=np.zeros(3), denominator=5.0)
    assert loss == 0.0 and not grad.any()
    with pytest.raises(ValueError, match="weights are all 0; a mean needs 1 row that counts"):
        function(z, target, weights=np.zeros(3))
    if function is softmax_cross_entropy:
        loss, grad = function(z, target * 0 - 1, ignore_index=-1, denominator=5.0)
        assert loss == 0.0 and not grad.any()
