"""Promise 8, in one process: a batch in blocks has the bits of its blocks' gradients, in order.

The same on ranks of MPI: tests/process/test_ranks.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastgrad import MLP, SGD, Adam, num_threads
from fastgrad.reference import contract_block_sum, losses
from support import edges
from support.oracles import Array, assert_same_bits

by_dtype = pytest.mark.parametrize("dtype", edges.DTYPES)
LOSSES = ("softmax_cross_entropy", "binary_cross_entropy_with_logits", "mse")


def model(dtype: str, loss: Any = LOSSES[0], optimizer: Any = None, **more: Any) -> MLP:
    return MLP((6, 9, 4), "gelu", loss, optimizer or Adam(0.01), dtype, seed=3, **more)


def data(rng: np.random.Generator, rows: int, dtype: str, loss: str = LOSSES[0]) -> Any:
    x = rng.standard_normal((rows, 6)).astype(dtype)
    if loss == LOSSES[0]:
        return x, rng.integers(0, 4, rows)
    return x, rng.random((rows, 4)).astype(dtype)


def step_by_hand(net: MLP, x: Array, y: Array, rows: int, weights: Array | None = None) -> float:
    """What a step in blocks is, by the public parts of a step and the formula of the sums."""
    elements = 1 if net.loss == LOSSES[0] else net.sizes[-1]
    divisor = float(len(x) if weights is None else losses.sum_of_weights(weights, net.dtype))
    found: list[float] = []
    grads: list[list[Array]] = []
    for start in range(0, len(x), rows):
        part = slice(start, start + rows)
        w = None if weights is None else weights[part]
        found.append(net.loss_and_grads(x[part], y[part], w, divisor * elements))
        grads.append([g.copy() for g in (*net.weight_grads, *net.bias_grads)])
    for i, place in enumerate((*net.weight_grads, *net.bias_grads)):
        place[...] = contract_block_sum([each[i] for each in grads])
    net.update()
    return losses.loss_of_blocks(found, net.dtype)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("weighted", [False, True])
@by_dtype
def test_blocks(dtype: str, weighted: bool, loss: str, rng: np.random.Generator) -> None:
    x, y = data(rng, 32, dtype, loss)
    weights = rng.random(32) + 0.1 if weighted else None
    ours, by_hand = (model(dtype, loss, max_grad_norm=0.1) for _ in range(2))
    history = ours.fit(
        x, y, 3, 32, progress=False, shuffle=False, weights=weights, block_rows=5
    )  # fmt: skip
    found = [step_by_hand(by_hand, x, y, 5, weights) for _ in range(3)]
    if weighted:  # times their weight, and divided by it
        assert np.allclose(history["loss"], found, rtol=1e-12)
    else:
        assert history["loss"] == found
    assert_same(ours, by_hand)


def assert_same(a: MLP, b: MLP) -> None:
    for one, other in zip((*a.weights, *a.biases), (*b.weights, *b.biases), strict=True):
        assert_same_bits(one, other)
    for one, other in zip(a.optimizer_state(), b.optimizer_state(), strict=True):
        assert_same_bits(one, other)


@by_dtype
def test_one_block_is_the_batch(dtype: str, rng: np.random.Generator) -> None:
    x, y = data(rng, 50, dtype)
    models = [model(dtype) for _ in range(3)]
    for net, rows in zip(models, (None, 16, 1000), strict=True):
        net.fit(x, y, 3, 16, (x, y), progress=False, block_rows=rows)
    for other in models[1:]:
        assert_same(models[0], other)
        assert other.history["loss"] == models[0].history["loss"]


@by_dtype
def test_blocks_of_whole_chains_have_the_bits_of_the_batch(
    dtype: str, rng: np.random.Generator
) -> None:
    """Of one block of KC rows each the gradients are B0, B1, ... of the whole batch's products."""
    kc = edges.KC[dtype]
    x, y = data(rng, 2 * kc + 7, dtype)
    models = [model(dtype, optimizer=SGD(0.1)) for _ in range(2)]
    for net, rows in zip(models, (None, kc), strict=True):
        net.fit(x, y, 1, len(x), progress=False, block_rows=rows)
    assert_same(*models)


def test_threads(rng: np.random.Generator) -> None:
    x, y = data(rng, 100, "float32")
    models = [model("float32") for _ in range(2)]
    for net, threads in zip(models, (1, 3), strict=True):
        with num_threads(threads):
            net.fit(x, y, 2, 64, progress=False, block_rows=7)
    assert_same(*models)


def test_two_calls_are_one_and_the_file_says_so(tmp_path: Any, rng: np.random.Generator) -> None:
    x, y = data(rng, 40, "float32")
    whole, parts = model("float32"), model("float32")
    options: Any = {"batch_size": 16, "progress": False, "block_rows": 3}
    whole.fit(x, y, 5, **options)
    parts.fit(x, y, 2, **options)
    parts.save(tmp_path / "m.npz")
    again = MLP.load(tmp_path / "m.npz")
    assert again._run.last_fit is not None and again._run.last_fit.block_rows == 3
    again.fit(x, y, 3, **options)
    assert_same(whole, again)


def test_a_run_in_blocks_may_diverge(rng: np.random.Generator) -> None:
    x, y = data(rng, 20, "float32")
    net = MLP((6, 9, 4), loss="mse", optimizer=SGD(1e30))
    with pytest.warns(RuntimeWarning, match="training has diverged"):
        net.fit(x, np.eye(4)[y], 9, 10, progress=False, block_rows=3)


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (1.5, TypeError), ("2", TypeError)])
def test_no_block_rows(value: Any, error: type[Exception], rng: np.random.Generator) -> None:
    with pytest.raises(error, match=r"^MLP\.fit: block_rows is "):
        model("float32").fit(*data(rng, 9, "float32"), 1, progress=False, block_rows=value)


def test_no_comm(rng: np.random.Generator) -> None:
    with pytest.raises(TypeError, match=r"^MLP\.fit: comm is .*pass"):
        model("float32").fit(*data(rng, 9, "float32"), 1, comm=3, block_rows=2)  # type: ignore


@pytest.mark.parametrize("dtype", edges.DTYPES)
def test_the_sum_of_losses_is_that_of_the_reference(dtype: str, rng: np.random.Generator) -> None:
    from fastgrad._mlp.blocks import sum_of_losses, sum_of_weights

    kind = np.dtype(dtype)
    for values in (
        rng.random(1000) * 10.0 ** rng.integers(-12, 12, 1000),
        [np.inf, 1.0], [1.0, np.nan], [3e38, 3e38], [],
    ):  # fmt: skip
        numbers = np.asarray(values, dtype).tolist()
        ours, theirs = sum_of_losses(numbers, kind), losses.loss_of_blocks(numbers, kind)
        assert ours == theirs or (np.isnan(ours) and np.isnan(theirs))
    weights = rng.random(1500)
    assert sum_of_weights(weights, kind) == losses.sum_of_weights(weights, kind)
