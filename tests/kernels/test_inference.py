"""Inference in one call: the bits of the layers one by one, for any rows, threads, strides."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import fastgrad
from fastgrad import MLP
from support.oracles import assert_same_bits

NETS = ((64, 128, 10), (5, 3), (7, 300, 1), (20, 64, 64, 64, 5), (4, 70_000, 3))
ROWS = (1, 2, 3, 17, 64, 65, 1000)


@pytest.fixture(autouse=True)
def all_threads_again() -> Iterator[None]:
    before = fastgrad.get_num_threads()
    yield
    fastgrad.set_num_threads(before)


def layer_by_layer(model: MLP, x: np.ndarray) -> np.ndarray:
    last = len(model.weights) - 1
    for i, (w, b) in enumerate(zip(model.weights, model.biases, strict=True)):
        x = fastgrad.linear_forward(x, w, b, None if i == last else model.activation)
    return x


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("sizes", NETS, ids=str)
def test_forward(sizes: tuple[int, ...], activation: str, dtype: str) -> None:
    model = MLP(sizes, activation, "mse", dtype=dtype)
    rng = np.random.default_rng(0)
    for rows in ROWS if max(sizes) < 1000 else (1, 3, 40):
        x = rng.standard_normal((2 * rows, sizes[0])).astype(dtype)
        for view in (x[:rows], x[::2], x[::-2], np.asfortranarray(x[:rows])):
            fastgrad.set_num_threads(1)
            wanted = layer_by_layer(model, view)
            for threads in (1, 2, 7):
                fastgrad.set_num_threads(threads)
                assert_same_bits(model.forward(view), wanted)


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "binary_cross_entropy_with_logits"])
def test_classes_and_probabilities_do_not_depend_on_rows(loss: str) -> None:
    outputs = 10 if loss[0] == "s" else 3
    model = MLP((64, 128, outputs), "relu", loss)
    x = np.random.default_rng(0).standard_normal((1500, 64), dtype=np.float32)
    fastgrad.set_num_threads(2)
    classes, shares = model.predict(x), model.predict_proba(x)
    for rows in ROWS:
        for threads in (1, 2):
            fastgrad.set_num_threads(threads)
            assert np.array_equal(model.predict(x[:rows]), classes[:rows])
            assert_same_bits(model.predict_proba(x[:rows]), shares[:rows])
    z = model.forward(x)
    assert np.array_equal(classes, z.argmax(1) if loss[0] == "s" else (z > 0))


def test_ties_and_nan_are_numpys() -> None:
    model = MLP((2, 3))
    model.weights[0][:] = [[1, 1, 0], [0, 0, np.nan]]
    model.biases[0][:] = 0
    x = np.array([[1, 0], [-1, 0], [1, 1], [0, 0]], np.float32)
    with np.errstate(invalid="ignore"):
        assert np.array_equal(model.predict(x), model.forward(x).argmax(1))


def test_nothing_beside_the_rows_is_read_or_written() -> None:
    """A net wider than what a thread keeps, and one row of a larger array of NaN."""
    model = MLP((3, 400_000, 2), "relu", "mse")
    x = np.full((3, 3), np.nan, np.float32)
    x[1] = 1
    assert np.isfinite(model.forward(x[1:2])).all()
    assert model.forward(np.empty((0, 3), np.float32)).shape == (0, 2)
