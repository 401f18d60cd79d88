"""A step on one thread, product by product and in two joins: the same bits, losses and errors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import fastgrad
from fastgrad import MLP, SGD, Adam
from fastgrad._kernels.gemm import thresholds
from fastgrad._mlp import table
from support.step_ways import send, word

# sizes and rows: blocks of k end inside, rows that threads share unevenly, layers of one piece and
# of many, one wider than what is summed at a time
NETS = (
    ((6, 9, 4), 16), ((64, 128, 10), 33), ((5, 7, 3), 700), ((20, 1), 40), ((3, 5000, 2), 33),
    ((10, 46, 46, 10), 128), ((300, 40, 12, 5), 1030),
)  # fmt: skip
WORK = (
    ("softmax_cross_entropy", "relu", Adam(0.01, weight_decay=0.1), {}),
    ("softmax_cross_entropy", "silu", SGD(0.1, 0.9), {"label_smoothing": 0.1, "max_grad_norm": 1}),
    ("mse", "gelu", SGD(0.1), {"max_grad_norm": 0.1}),
    ("binary_cross_entropy_with_logits", "tanh", SGD(0.1, 0.9, True, 0.01), {}),
)  # fmt: skip


@pytest.fixture(autouse=True)
def all_threads_again() -> Iterator[None]:
    before = fastgrad.get_num_threads()
    yield
    fastgrad.set_num_threads(before)


def batch(model: MLP, rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(rows)
    x = rng.standard_normal((rows, model.sizes[0])).astype(model.dtype)
    if model.loss == "softmax_cross_entropy":
        return x, rng.integers(0, model.sizes[-1], rows)
    return x, rng.random((rows, model.sizes[-1])).astype(model.dtype)


def trained(way: str, threads: int, dtype: str, net: tuple, work: tuple) -> tuple[list, ...]:
    sizes, rows = net
    loss, activation, optimizer, options = work
    fastgrad.set_num_threads(threads)
    model = MLP(sizes, activation, loss, optimizer, dtype, 0, **options)
    x, y = batch(model, rows)
    losses = [model.train_step(x, y)]
    assert word(model, "row_losses") == 0 if way == "by product" else word(model, "row_losses") != 0
    for _ in range(3):
        if way != "by product":
            send(model, way == "two joins")
        losses.append(model.train_step(x, y))
    parameters = model._parameters
    arrays = (parameters.flat, parameters.grads, *parameters.state)
    return losses, [array.copy().view(np.uint8) for array in arrays]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("work", WORK, ids=lambda work: f"{work[0]}-{work[1]}")
@pytest.mark.parametrize("net", NETS, ids=str)
def test_all_ways_give_the_same_bits(
    net: tuple, work: tuple, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(table, "JOINED_SIZE", -1)
        losses, arrays = trained("by product", 1, dtype, net, work)
    for way, threads in (("one thread", 1), ("two joins", 2), ("two joins", 7)):
        others, found = trained(way, threads, dtype, net, work)
        assert others == losses, (way, threads)
        for one, other in zip(arrays, found, strict=True):
            assert np.array_equal(one, other), (way, threads)


def test_two_joins_are_two_jobs() -> None:
    """So that the test above is of what it says."""
    from fastgrad._kernels.runtime.pool_words import TICKET
    from fastgrad._kernels.runtime.table import TABLE

    fastgrad.set_num_threads(2)
    model = MLP((64, 128, 10), optimizer=SGD(0.1))
    x, y = batch(model, 64)
    model.train_step(x, y)
    for joined, jobs in ((True, 2), (False, 0), (True, 2)):
        send(model, joined)
        before = int(TABLE[TICKET]) >> 32
        model.train_step(x, y)
        assert (int(TABLE[TICKET]) >> 32) - before == jobs


def test_steps_are_tried_and_then_go_the_faster_way() -> None:
    fastgrad.set_num_threads(2)
    model = MLP((64, 128, 10), optimizer=SGD(0.1))
    x, y = batch(model, 512)
    for i in range(thresholds.TRIALS):
        assert word(model, "tried") == i
        model.train_step(x, y)
    assert 0 < word(model, "alone_ns") < 1 << 40 < word(model, "joined_ns")
    for _ in range(2 * thresholds.JOINED_TRIALS):
        model.train_step(x, y)
    assert 0 < word(model, "joined_ns") < 1 << 40
    assert word(model, "tried") == thresholds.TRIALS + thresholds.JOINED_TRIALS


def test_two_joins_are_not_tried_on_one_thread() -> None:
    fastgrad.set_num_threads(1)
    model = MLP((64, 128, 10), optimizer=SGD(0.1))
    x, y = batch(model, 64)
    for _ in range(20):
        model.train_step(x, y)
    assert word(model, "tried") == thresholds.TRIALS
    assert 0 < word(model, "alone_ns") < 1 << 40 < word(model, "joined_ns")


@pytest.mark.parametrize("joined", [True, False])
def test_a_wrong_label_changes_no_parameter(joined: bool) -> None:
    fastgrad.set_num_threads(2)
    model = MLP((64, 128, 10), optimizer=Adam(0.1))
    x, y = batch(model, 100)
    model.train_step(x, y)
    before = model._parameters.flat.copy(), [s.copy() for s in model._parameters.state]
    y[77] = 10
    send(model, joined)
    with pytest.raises((ValueError, IndexError), match="10"):
        model.train_step(x, y)
    assert (model._parameters.flat == before[0]).all() and model.steps == 1
    assert all((a == b).all() for a, b in zip(model._parameters.state, before[1], strict=True))
    y[77] = 9
    model.train_step(x, y)
    assert model.steps == 2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("work", WORK, ids=lambda work: f"{work[0]}-{work[1]}")
def test_owners_update_what_one_thread_does(work: tuple, dtype: str) -> None:
    """A net that is too large for two joins: rows of each weight, as its gradient was cut."""
    net = (300, 260, 230, 7), 20
    losses, arrays = trained("by product", 1, dtype, net, work)
    for threads in (2, 7):
        others, found = trained("by product", threads, dtype, net, work)
        assert others == losses, threads
        for one, other in zip(arrays, found, strict=True):
            assert np.array_equal(one, other), threads
