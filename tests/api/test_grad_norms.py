"""MLP.grad_norms beside the gradients of batches of one row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastgrad import MLP, SGD
from fastgrad._mlp.config import ACTIVATIONS, LOSSES
from support.oracles import assert_same_bits


def data(model: MLP, rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(rows)
    x = rng.standard_normal((rows, model.sizes[0])).astype(model.dtype)
    if model.loss == "softmax_cross_entropy":
        return x, rng.integers(0, model.sizes[-1], rows)
    return x, rng.uniform(0, 1, (rows, model.sizes[-1])).astype(model.dtype)


def one_by_one(model: MLP, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    model.learning_rate = 0.0
    norms = []
    for i in range(len(x)):
        model.train_step(x[i : i + 1], y[i : i + 1])
        norms.append(np.linalg.norm(model._parameters.grads.astype(np.float64)))
    return np.array(norms)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_norms_are_those_of_batches_of_one(activation: Any, loss: Any, dtype: Any) -> None:
    model = MLP((9, 33, 17, 4), activation, loss, SGD(0.1), dtype)
    for b in model.biases:
        b[...] = 0.1
    x, y = data(model, 37)
    x[5] *= 20  # norms of different sizes
    norms = model.grad_norms(x, y)
    assert norms.shape == (37,) and norms.dtype == np.float64
    # each element of a gradient is rounded to the dtype, h_i has the same bits
    expected = one_by_one(model, x, y)
    np.testing.assert_allclose(norms, expected, rtol=2 * np.finfo(dtype).eps, atol=0)
    assert norms.max() > 1.01 * norms.min() > 0


def test_smoothing_counts_and_clipping_does_not() -> None:
    plain = MLP((5, 8, 3))
    x, y = data(plain, 6)
    smooth = MLP((5, 8, 3), label_smoothing=0.3)
    clipped = MLP((5, 8, 3), max_grad_norm=1e-3)
    norms = smooth.grad_norms(x, y)
    np.testing.assert_allclose(norms, one_by_one(smooth, x, y), rtol=3e-7)
    assert (norms != plain.grad_norms(x, y)).all()
    assert_same_bits(clipped.grad_norms(x, y), plain.grad_norms(x, y))


def test_a_row_gets_the_same_bits_in_any_batch() -> None:
    model = MLP((5, 40, 3), "tanh", "mse", dtype=np.float32)
    x, y = data(model, 2100)
    norms = model.grad_norms(x, y)
    assert_same_bits(norms[7:8], model.grad_norms(x[7:8], y[7:8]))
    assert_same_bits(norms[1000:], model.grad_norms(x[1000:], y[1000:]))


def test_nothing_changes() -> None:
    model = MLP((5, 8, 3), optimizer=SGD(0.1, 0.9))
    x, y = data(model, 6)
    model.train_step(x, y)
    before = [
        a.copy()
        for a in (model._parameters.flat, model._parameters.grads, *model._parameters.state)
    ]
    model.grad_norms(x, y)
    for a, b in zip(
        before,
        (model._parameters.flat, model._parameters.grads, *model._parameters.state),
        strict=True,
    ):
        assert_same_bits(a, b)
    assert model.steps == 1


def test_probabilities() -> None:
    model = MLP((5, 8, 3))
    x, y = data(model, 6)
    rows = np.eye(3, dtype=np.float32)[y]
    assert_same_bits(model.grad_norms(x, rows), model.grad_norms(x, y))


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (np.ones((2, 4)), np.zeros(2, int), r"x has shape \(2, 4\)"),
        (np.ones((2, 5)), np.array([0, 3]), r"y\[1\] is 3"),
        (np.ones((0, 5)), np.zeros(0, int), "x has no rows"),
    ],
)
def test_errors(x: np.ndarray, y: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=f"^MLP.grad_norms: {words}"):
        MLP((5, 8, 3)).grad_norms(x, y)
