"""The compiled step: the bits of the public functions, whatever the net; its memory; its caller."""

from __future__ import annotations

import functools
import itertools
import subprocess
import sys
import threading
import time
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastgrad
from fastgrad import MLP, SGD, Adam, AdamW
from fastgrad._kernels.bind import builtins, step_builtin
from fastgrad._kernels.runtime.scratch import ARENAS
from fastgrad._kernels.runtime.table import SCRATCH, TABLE
from fastgrad._mlp import table as _table
from fastgrad._mlp.config import ACTIVATIONS, LOSSES
from support.oracles import assert_same_bits

OPTIMIZERS = [
    SGD(0.1),
    SGD(0.1, 0.9, True, 0.01),
    Adam(0.01, weight_decay=0.1),
    AdamW(0.01, weight_decay=0.1),
]
SOFTMAX, BINARY, MSE = LOSSES


def batch(model: MLP, rows: int, probabilities: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(rows)
    x = rng.standard_normal((rows, model.sizes[0])).astype(model.dtype)
    outputs = model.sizes[-1]
    if model.loss == SOFTMAX and not probabilities:
        return x, rng.integers(0, outputs, rows)
    if model.loss == SOFTMAX:
        return x, rng.dirichlet(np.ones(outputs), rows).astype(model.dtype)
    return x, rng.uniform(0, 1, (rows, outputs)).astype(model.dtype)


class ByHand:
    """What train_step stands for, in public functions, on copies of a model's parameters."""

    def __init__(self, model: MLP):
        self.model, self.count = model, 0
        self.weights, self.biases = ([a.copy() for a in m] for m in (model.weights, model.biases))
        self.params = [a for pair in zip(self.weights, self.biases, strict=True) for a in pair]
        slots = range(model.optimizer.slots)
        self.state = [[np.zeros_like(a) for _ in slots] for a in self.params]

    def step(self, x: np.ndarray, y: np.ndarray) -> float:
        model, last = self.model, len(self.weights) - 1
        activations: list[Any] = [model.activation] * last + [None]
        hs, zs = [x], []
        for w, b, activation in zip(self.weights, self.biases, activations, strict=True):
            zs.append(np.empty((len(x), w.shape[1]), model.dtype))
            hs.append(fastgrad.linear_forward(hs[-1], w, b, activation, preactivation_out=zs[-1]))
        if model.loss == SOFTMAX:
            loss, g = fastgrad.softmax_cross_entropy(hs[-1], y, model.label_smoothing)
        elif model.loss == BINARY:
            loss, g = fastgrad.binary_cross_entropy_with_logits(hs[-1], y)
        else:
            loss, g = fastgrad.mse(hs[-1], y)
        grads: list[np.ndarray] = []
        for i in reversed(range(last + 1)):
            found = fastgrad.linear_backward(
                g, hs[i], self.weights[i], activations[i], output=hs[i + 1], preactivation=zs[i],
                needs=(i > 0, True, True),
            )  # fmt: skip
            grads[:0] = [found.weight, found.bias]
            g = found.x
        if model.max_grad_norm is not None:
            fastgrad.clip_grad_norm(grads, model.max_grad_norm)
        self.count += 1
        for param, grad, state in zip(self.params, grads, self.state, strict=True):
            self.update(param, grad, state)
        return loss

    def update(self, param: np.ndarray, grad: np.ndarray, state: list[np.ndarray]) -> None:
        s, lr = self.model.optimizer, self.model.learning_rate
        if isinstance(s, SGD):
            velocity = state[0] if state else None
            fastgrad.sgd_step(param, grad, lr, velocity, s.momentum, s.nesterov, s.weight_decay)
        else:
            args = (self.count, lr, s.betas, s.eps, s.weight_decay, s.decoupled)
            fastgrad.adam_step(param, grad, state[0], state[1], *args)

    def compare(self, note: str) -> None:
        model = self.model
        for i, (a, b) in enumerate(zip(model.weights, self.weights, strict=True)):
            assert_same_bits(a, b, f"{note}: weight {i}")
        for i, (a, b) in enumerate(zip(model.biases, self.biases, strict=True)):
            assert_same_bits(a, b, f"{note}: bias {i}")


def follow(model: MLP, rows: list[int], probabilities: bool = False) -> None:
    hand, note = ByHand(model), repr(model)
    for n in rows:
        x, y = batch(model, n, probabilities)
        assert model.train_step(x, y) == hand.step(x, y), note
        hand.compare(f"{note}, {n} rows")


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_step_has_the_bits_of_the_public_functions(activation: Any, loss: Any) -> None:
    for optimizer, dtype, threads in itertools.product(
        OPTIMIZERS, ("float32", "float64"), (1, 2, 3)
    ):
        with fastgrad.num_threads(threads):
            follow(MLP((9, 33, 17, 4), activation, loss, optimizer, dtype), [20, 7, 21])


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_large_nets_whose_parts_are_shared(activation: Any, threads: int) -> None:
    with fastgrad.num_threads(threads):
        for optimizer, dtype in itertools.product(OPTIMIZERS[:2], ("float32", "float64")):
            follow(MLP((70, 600, 200, 3), activation, SOFTMAX, optimizer, dtype), [300, 40])


@pytest.mark.parametrize("sizes", [(3, 2), (5, 1), (1, 1, 1), (4, 3, 600, 2, 7, 5, 2)])
@pytest.mark.parametrize("loss", LOSSES)
def test_any_depth(sizes: tuple[int, ...], loss: Any) -> None:
    follow(MLP(sizes, "tanh", loss, OPTIMIZERS[1]), [1, 9, 2])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_probabilities_smoothing_and_clipping(dtype: str) -> None:
    for smoothing, most, probabilities in itertools.product(
        (0.0, 0.1), (None, 0.05, 1e6), (False, True)
    ):
        model = MLP(
            (9, 33, 4), "silu", SOFTMAX, SGD(0.5, 0.9), dtype,
            label_smoothing=smoothing, max_grad_norm=most,
        )  # fmt: skip
        follow(model, [20, 3], probabilities)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_of_a_large_batch_are_formed_in_pieces(
    monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    """Of KC rows; the bits are those of the whole."""
    monkeypatch.setattr(_table, "G_BYTES", 1)
    monkeypatch.setattr(_table, "JOINED_BYTES", 0)  # in two joins there are no pieces
    model = MLP((6, 40, 12, 3), "gelu", SOFTMAX, Adam(), dtype)
    follow(model, [2 * fastgrad.KC[dtype] + 9, fastgrad.KC[dtype] + 1])
    memory = sum(a.nbytes for a in model._step._memory)
    rows = 2 * fastgrad.KC[dtype] + 9
    wide = sum(_table._padded(m * model.dtype.itemsize) for m in (40, 40, 12, 12, 3, 3))
    assert memory < rows * wide + (rows - 9) * 400


def test_the_learning_rate_is_the_one_of_the_next_step() -> None:
    for optimizer in OPTIMIZERS:
        model = MLP((5, 8, 3), optimizer=optimizer)
        hand = ByHand(model)
        for rate in (optimizer.lr, 0.5, 0.0, 0.25):
            model.learning_rate = rate
            x, y = batch(model, 4)
            assert model.train_step(x, y) == hand.step(x, y)
            hand.compare(f"{optimizer}, {rate}")


def layouts(x: np.ndarray) -> list[np.ndarray]:
    other = np.nan if x.dtype.kind == "f" else 1 << 40  # a number, or a label, that is none
    wide = np.full((2 * len(x), 3 * x.shape[1]), other, x.dtype)
    wide[::2, ::3] = x
    unaligned = np.empty(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    unaligned[...] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    return [np.asfortranarray(x), wide[::2, ::3], x[::-1].copy()[::-1], unaligned, frozen]


@pytest.mark.parametrize("loss", LOSSES)
def test_batches_are_read_where_they_lie(loss: Any) -> None:
    models = [MLP((5, 8, 3), loss=loss) for _ in range(6)]
    x, y = batch(models[0], 12)
    columns = y[:, None] if y.ndim == 1 else y
    ys = [(a[:, 0] if y.ndim == 1 else a) for a in layouts(columns)]
    first = models[0].train_step(x, y)
    for model, bx, by in zip(models[1:], layouts(x), ys, strict=True):
        model.train_step(x, y)
        model._parameters.flat[...] = MLP((5, 8, 3), loss=loss)._parameters.flat
        assert model._step.quick(bx, by, None) == first
        assert_same_bits(model._parameters.flat, models[0]._parameters.flat)
    assert models[0]._step.quick(x[:1], np.broadcast_to(y[0], y[:1].shape), None) is not None


def test_what_is_not_read_where_it_lies() -> None:
    """Other numbers are converted, to the same bits; at first there is no memory for that, and the
    quick caller leaves them, as it always leaves another byte order, with nothing changed."""
    x, y = batch(MLP((5, 8, 3)), 12)
    ints = np.round(4 * x)
    cases: list[tuple[Any, Any]] = [
        (x.astype(">f4"), y),
        (x.astype(float), y),
        (x, y.astype(np.uint8)),
        (x, y.astype(">i8")),
        (x, y.astype(np.uint64)),
        (ints.astype(np.int16), y),
        (ints.astype(np.int64), y),
    ]
    for bx, by in cases:
        one, other = MLP((5, 8, 3)), MLP((5, 8, 3))
        for model in (one, other):
            model.train_step(x, y)
        before = one._parameters.flat.copy()
        assert one._step.quick(bx, by, None) is None
        assert np.array_equal(one._parameters.flat, before) and one.steps == 1
        for _ in range(2):
            expected = other.train_step(bx.astype(np.float32), by.astype(np.int64))
            assert one.train_step(bx, by) == expected
            assert_same_bits(one._parameters.flat, other._parameters.flat)
        left = one._step.quick(bx, by, None) is None
        assert left == (not (bx.dtype.isnative and by.dtype.isnative))


def test_a_conversion_raises_nothing() -> None:
    model = MLP((5, 8, 3), loss=MSE)
    x, y = (a.astype(np.float64) for a in batch(model, 12))
    x[0, 0], y[0, 0] = 1e-300, 1e-42
    with np.errstate(all="raise"):
        for _ in range(3):
            assert np.isfinite(model.train_step(x, y))
            assert np.isfinite(model.forward(x)).all() and np.isfinite(model.predict(x)).all()
            assert model.forward(x, keep=True).shape == y.shape
            model.backward(y)


def test_there_is_no_memory_to_convert_into_before_it_is_wanted() -> None:
    model = MLP((5, 8, 3))
    x, y = batch(model, 12)
    for _ in range(3):
        model.train_step(x, y)
    with pytest.raises(ValueError, match="y"):
        model.train_step(x, y[:11].astype(np.int8))
    assert not model._step._copies
    for _ in range(2):
        model.train_step(x, y, np.ones(12, np.float32))
    assert {name: a.nbytes for name, a in model._step._copies.items()} == {
        "x": 12 * 5 * 4, "targets": 13 * 3 * 8, "weights": 12 * 8,
    }  # fmt: skip
    assert model._step.quick(x, y.astype(np.int8), np.ones(12, bool)) is not None
    model.train_step(np.concatenate([x, x]), np.concatenate([y, y]))  # larger ones are not wanted
    assert not model._step._copies and model._step.quick(x, y.astype(np.int8), None) is None


@pytest.mark.parametrize("loss", LOSSES)
def test_what_the_quick_caller_leaves(loss: Any) -> None:
    model = MLP((5, 8, 3), loss=loss)
    x, y = batch(model, 12)
    w = np.ones(12)
    for _ in range(3):
        model.train_step(x.astype(int), y)  # there is memory to convert into
    before, quick = model._parameters.flat.copy(), model._step.quick
    bad = y.copy()
    bad[7] = 3
    cases = [
        (None, y), (x.tolist(), y), (x, y.tolist()), (x[0], y), (x[:11], y),
        (x[:, :4], y), (x[:0], y[:0]), (np.concatenate([x, x]), np.concatenate([y, y])),
        (x, y[:11]), (x, y[None]), (x, y[:, None]), (x, y[0]), (x, y.astype(">i4")),
        (np.ma.array(x), y), (x.view(np.recarray), y), (x.astype(np.float16), y),
        (x.astype("c8"), y), (x.astype(object), y), (x.view("V4"), y),
    ]  # fmt: skip
    if loss != MSE:
        of_bad = [bad, -1 - bad]
        cases += [(x, a.astype(kind)) for a in of_bad for kind in ("i8", "i4", "f8", "f4")]
        cases += [(x, y.astype(np.float32))] if loss == SOFTMAX else [(x, np.full_like(y, np.nan))]
    for case in cases:
        assert quick(*case, None) is None
        assert quick(*case, w) is None
    odd = (w[:11], w[:, None], w.tolist(), 1.0, -w, w.astype(">f8"), 0 * w, np.full(12, np.nan))
    for weights in (*odd, *(a.astype("f4") for a in (-w, 0 * w, np.full(12, np.inf)))):
        assert quick(x, y, weights) is None
    for case in ((), (x,), (x, y), (x, y, None, None)):
        assert quick(*case) is None
    assert np.array_equal(model._parameters.flat, before) and model.steps == 3
    assert model.train_step(x, y) > 0 and model.steps == 4


def test_shares_of_classes_are_looked_at_as_they_were_given() -> None:
    """1 + 1e-9 is 1 in float32. What is near the limit of a sum is left to the checked path."""
    model = MLP((5, 8, 3))
    x, y = batch(model, 12, probabilities=True)
    for _ in range(2):
        model.train_step(x, y.astype(np.float64))
    shares, before = np.eye(3)[np.arange(12) % 3], model._parameters.flat.copy()
    right = [shares, *(shares.astype(kind) for kind in ("f4", "i8", "u1", "?")), 0.9991 * shares]
    assert all(model._step.quick(x, one, None) is not None for one in right)
    model._parameters.flat[...], steps = before, model.steps
    wrong = [
        shares * (1 + 1e-9),
        -shares,
        shares * np.nan,
        shares * 0.99,
        shares * 2,
        shares[:, :2],
    ]
    wrong += [0.9990001 * shares, np.full((12, 3), 1 / 3 + 4e-4)]
    assert all(model._step.quick(x, one, None) is None for one in wrong)
    assert np.array_equal(model._parameters.flat, before) and model.steps == steps
    assert model.train_step(x, 0.9990001 * shares) > 0  # within 1e-3


def test_without_builtins_the_bits_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = batch(MLP((5, 8, 3)), 12)
    with monkeypatch.context() as patch:
        patch.setattr(step_builtin, "of_table", lambda name, table: builtins.refuse)
        slow = MLP((5, 8, 3), optimizer=Adam())
        losses = [slow.train_step(x, y) for _ in range(3)]
        assert slow._step.quick(x, y, None) is None
    fast = MLP((5, 8, 3), optimizer=Adam())
    assert [fast.train_step(x, y) for _ in range(3)] == losses
    assert fast._step.quick(x, y, None) is not None


def test_a_label_that_changes_to_none_after_it_was_checked() -> None:
    model = MLP((5, 8, 3))
    x, y = batch(model, 12)
    before = model._parameters.flat.copy()
    with pytest.raises(ValueError, match=r"^MLP.train_step: y changed"):
        model._step.checked("MLP.train_step", x, y + 3)
    assert np.array_equal(model._parameters.flat, before) and model.steps == 0


def test_two_threads_are_not_let_into_one_model(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MLP((5, 8, 3))
    x, y = batch(model, 12)
    model.train_step(x, y)
    before = model._parameters.flat.copy()
    model._step._set(busy=1)  # as during a step
    with pytest.raises(RuntimeError, match=r"^MLP.train_step: another thread is in a step"):
        model.train_step(x, y)
    assert model.steps == 1 and np.array_equal(model._parameters.flat, before)
    model._step._set(busy=0)

    def fails(rows: int) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(model._step, "_grow", fails)
        with pytest.raises(MemoryError):
            model.train_step(np.concatenate([x, x]), np.concatenate([y, y]))
    assert model.train_step(x, y) > 0 and model.steps == 2


def test_references_are_neither_kept_nor_lost() -> None:
    model = MLP((5, 8, 3))
    x, y = batch(model, 12)
    others, ints, w, grad = x.astype(float), y.astype(np.int32), np.ones(12, np.float32), x[:, :3]
    divisor, huge = float("12.5"), 10**400
    model.train_step(x, y)
    model.forward(x, keep=True)
    objects = [
        x, y, x.dtype, y.dtype, True, None, model._step._table, others, ints, w, grad, divisor,
        huge,
    ]  # fmt: skip
    step = model._step
    before = [sys.getrefcount(a) for a in objects]
    for _ in range(1000):
        assert step.quick(x, y, None) is not None
        assert step.quick(others, ints, w) is not None
        assert step.quick(others, ints, -w) is None
        assert step.quick(x, x, None) is None
        assert step.quick_grads(others, y, True, w, divisor) is not None
        assert step.quick_grads(others, y, True, w, huge) is None
        assert step.quick_forward(others) is not None
        assert step.quick_backward(grad, True, False).shape == x.shape
        assert step.quick_backward(grad, False, True) is True
        assert step.quick_backward(x, True, True) is None
    after = [sys.getrefcount(a) for a in objects]
    assert all(abs(a - b) < 100 for a, b in zip(after, before, strict=True)), (before, after)
    gone = weakref.ref(model), weakref.ref(model._parameters.flat), weakref.ref(model._step._table)
    del model, objects, step
    assert [ref() for ref in gone] == [None] * 3  # without the garbage collector


def arenas() -> list[int]:
    return [TABLE[SCRATCH + 2 * i + 1] for i in range(ARENAS)]


@pytest.mark.parametrize(("loss", "optimizer"), [(SOFTMAX, OPTIMIZERS[2]), (BINARY, SGD(0.1, 0.9))])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_nothing_is_allocated_after_the_first_steps(
    loss: Any, optimizer: Any, activation: Any
) -> None:
    """Also of smaller batches, and of those that are converted; x alone has 64 KB."""
    model = MLP((64, 128, 10), activation, loss, optimizer, max_grad_norm=1.0)
    x, y = batch(model, 256)
    as_bytes = np.abs(100 * x).astype(np.uint8)
    others = y.astype(np.int32 if loss == SOFTMAX else float)
    batches = [(x, y), (x[:37], y[:37]), (as_bytes, others), (as_bytes[:5], others[:5])]

    def steps() -> None:
        for _ in range(5):
            for bx, by in batches:
                model.train_step(bx, by)

    with fastgrad.num_threads(1):  # on a busy machine a worker may come, with its arena, any time
        steps()
        before = arenas()
        kept, peak = memory_of(steps)
        _, of_numpy = memory_of(others.min)  # which has a buffer in old versions
    assert kept < 1024 and peak < 8192 + of_numpy, (kept, peak, of_numpy)
    assert arenas() == before


def memory_of(function: Callable[[], Any]) -> tuple[int, int]:
    """Bytes that a second call leaves behind, and the most that it has at a time."""
    tracemalloc.start()
    function()
    tracemalloc.reset_peak()
    start, _ = tracemalloc.get_traced_memory()
    function()
    end, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return end - start, peak - start


MEMORY = """
import resource, sys
import numpy as np
import fastgrad
from fastgrad import MLP, Adam

def most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * {unit}

rng = np.random.default_rng(0)
x, y = rng.standard_normal((256, 784)).astype(np.float32), rng.integers(0, 10, 256)
small = MLP((784, 64, 10), optimizer=Adam())  # compiles, starts threads
small.train_step(x[:100], y[:100])
start = most()
model = MLP((784, 1024, 1024, 10), optimizer=Adam())
for _ in range(3):
    model.train_step(x, y)
parameters = sum(a.nbytes for a in (*model.weights, *model.biases))
activations = 256 * (1024 + 1024 + 10) * 4
print(most() - start - 4 * parameters - activations)
"""


def test_memory_of_a_step() -> None:
    """Parameters, gradients, two arrays of Adam, activations, and 16 MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    run = [sys.executable, "-c", MEMORY.format(unit=unit)]
    out = subprocess.run(run, capture_output=True, text=True, timeout=300, check=True)
    assert int(out.stdout) <= 16 << 20, f"{int(out.stdout) / 2**20:.1f} MB"


def test_a_long_step_releases_the_gil() -> None:
    model = MLP((600, 600, 10))
    x, y = batch(model, 1500)
    model.train_step(x, y)
    seen, stop = [0.0], threading.Event()

    def watch() -> None:
        while not stop.is_set():
            seen.append(time.perf_counter())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        for _ in range(20):
            start = time.perf_counter()
            assert model._step.quick(x, y, None) is not None
            end = time.perf_counter()
            edge = (end - start) / 4
            if any(start + edge < moment < end - edge for moment in seen):
                break
        else:
            raise AssertionError("the other thread did not run during 20 steps")
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("divisor", [None, 50.0])
def test_weights_and_a_denominator(loss: Any, threads: int, divisor: float | None) -> None:
    """A step with them has the bits of the loss with them, alone and in two joins."""
    model = MLP((40, 64, 64, 4), "relu", loss, SGD(0.1))
    hand, rows = ByHand(model), 300
    weights = np.random.default_rng(8).random(2 * rows)[::2]
    options = {"weights": weights, "denominator": divisor}
    functions = (
        "softmax_cross_entropy", "binary_cross_entropy_with_logits", "mse",
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch, fastgrad.num_threads(threads):
        for name in functions:
            plain = getattr(fastgrad, name)
            patch.setattr(fastgrad, name, functools.partial(plain, **options))
        for _ in range(12):  # of which some go in two joins
            x, y = batch(model, rows)
            if divisor is None:
                found = model.train_step(x, y, weights)
            else:
                found = model.loss_and_grads(x, y, weights, divisor)
                model.update()
            assert found == hand.step(x, y)
            hand.compare(f"{loss}, {threads} threads")
