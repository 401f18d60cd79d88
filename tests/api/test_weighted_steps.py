"""Weighted steps on the fast path: bits and errors of the checked path, and nothing left behind."""

from __future__ import annotations

import numpy as np
import pytest

from fastgrad import MLP, SGD
from fastgrad._kernels.bind import builtins
from fastgrad._ops.loss_checks import check_how

LOSSES = ("softmax_cross_entropy", "mse", "binary_cross_entropy_with_logits")
ROWS = 20


def made(loss: str, dtype: str) -> tuple[MLP, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    model = MLP((6, 9, 4), "tanh", loss, SGD(0.1, 0.9), dtype, 0)
    x = rng.standard_normal((ROWS, 6)).astype(dtype)
    y = rng.integers(0, 4, ROWS) if loss == LOSSES[0] else rng.random((ROWS, 4)).astype(dtype)
    model.train_step(x, y)  # the table has room, so that the fast path is open
    return model, x, y


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("step", [1, 2, -1])
def test_bits_of_the_checked_path(loss: str, dtype: str, step: int) -> None:
    weights = np.random.default_rng(4).random(ROWS * abs(step))[::step]
    weights[3] = 0.0
    (fast, x, y), (checked, _, _) = made(loss, dtype), made(loss, dtype)
    how = check_how("MLP.train_step", weights, (ROWS,), None)
    checked._step.quick = checked._step.quick_grads = builtins.refuse
    loss = fast._step.quick(x, y, weights)
    assert loss == checked._step.checked("MLP.train_step", x, y, how) and type(loss) is float
    for accumulate in (False, True):
        wanted = checked._step.gradients("MLP.loss_and_grads", x, y, accumulate, how)
        assert fast._step.quick_grads(x, y, accumulate, weights, None) == wanted
    assert fast.train_step(x, y) == checked.train_step(x, y), "weights were left behind"
    for one, other in zip(fast.weights, checked.weights, strict=True):
        assert one.tobytes() == other.tobytes()
    assert fast._parameters.grads.tobytes() == checked._parameters.grads.tobytes()


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (np.full(ROWS, -1.0), r"weights\[0\] is -1.0"),
        (np.full(ROWS, np.nan), r"weights\[0\] is nan"),
        (np.zeros(ROWS), "weights are all 0"),
        (np.full(ROWS, 1e308), "the sum of weights is inf"),
        (np.ones(ROWS - 1), "expected one a row"),
        (np.ones((ROWS, 1)), "expected one a row"),
    ],
)
def test_errors_of_the_checked_path(weights: np.ndarray, words: str) -> None:
    model, x, y = made(LOSSES[0], "float32")
    twin, _, _ = made(LOSSES[0], "float32")
    for call in (model.train_step, model.loss_and_grads):
        with pytest.raises(ValueError, match=words):
            call(x, y, weights)
    assert model.train_step(x, y) == twin.train_step(x, y)
    assert model.weights[0].tobytes() == twin.weights[0].tobytes()


@pytest.mark.parametrize("of", [np.float32, np.int64, list])
def test_other_weights_are_converted(of: type) -> None:
    (model, x, y), (twin, _, _) = made(LOSSES[1], "float64"), made(LOSSES[1], "float64")
    weights = np.arange(ROWS) % 3
    given = weights.tolist() if of is list else weights.astype(of)
    assert model.train_step(x, y, given) == twin.train_step(x, y, weights.astype(float))
