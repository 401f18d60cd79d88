"""The parts of a step, loss_and_grads, forward, backward and update, which have its bits."""

from __future__ import annotations

import copy
import itertools
import pickle
import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest

import fastgrad
from fastgrad import MLP, SGD, Adam
from fastgrad._mlp import table
from fastgrad._mlp.config import ACTIVATIONS, LOSSES
from support.oracles import assert_same_bits

OPTIMIZERS = [SGD(0.1), SGD(0.1, 0.9, True, 0.01), Adam(0.01, weight_decay=0.1)]
SOFTMAX, BINARY, MSE = LOSSES


def batch(model: MLP, rows: int, probabilities: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(rows)
    x = rng.standard_normal((rows, model.sizes[0])).astype(model.dtype)
    outputs = model.sizes[-1]
    if model.loss != SOFTMAX:
        return x, rng.uniform(0, 1, (rows, outputs)).astype(model.dtype)
    if probabilities:
        return x, rng.dirichlet(np.ones(outputs), rows).astype(model.dtype)
    return x, rng.integers(0, outputs, rows)


def loss_of(model: MLP, logits: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    if model.loss == SOFTMAX:
        return fastgrad.softmax_cross_entropy(logits, y, model.label_smoothing)
    return getattr(fastgrad, model.loss)(logits, y)


def gradients(model: MLP) -> list[np.ndarray]:
    return [*model.weight_grads, *model.bias_grads]


WAYS = {
    "as it comes": {},
    "alone": {"tried": 1 << 20, "alone_ns": 1, "joined_ns": 1 << 48, "passes": 1},
    "in two joins": {"tried": 1 << 20, "alone_ns": 1 << 48, "joined_ns": 0, "passes": 1},
}


def sent(model: MLP, way: str) -> MLP:
    """As if trials had decided for a way."""
    model._step._set(**WAYS[way])
    return model


def assert_same(a: MLP, b: MLP, note: str = "") -> None:
    for mine, other in zip(a.weights + a.biases, b.weights + b.biases, strict=True):
        assert_same_bits(mine, other, note)
    for mine, other in zip(gradients(a), gradients(b), strict=True):
        assert_same_bits(mine, other, note)
    assert a.steps == b.steps


def follow(make: Any, rows: list[int], probabilities: bool = False) -> None:
    """A step whole, in two parts, and in four, of which the loss is the public function."""
    whole, two, four = make(), make(), make()
    for n in rows:
        x, y = batch(whole, n, probabilities)
        note = f"{whole}, {n} rows"
        loss = whole.train_step(x, y)
        assert two.loss_and_grads(x, y) == loss, note
        two.update()
        assert_same(whole, two, note)
        found, grad = loss_of(four, four.forward(x, keep=True), y)
        assert found == loss and four.backward(grad) is None
        four.update()
        assert_same(whole, four, note)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_parts_of_a_step_have_its_bits(activation: Any, loss: Any) -> None:
    for optimizer, dtype, threads, most in itertools.product(
        OPTIMIZERS[1:], ("float32", "float64"), (1, 2), (None, 0.05)
    ):
        with fastgrad.num_threads(threads):
            follow(
                lambda o=optimizer, d=dtype, m=most: MLP(
                    (9, 33, 17, 4), activation, loss, o, d, max_grad_norm=m
                ),
                [20, 7, 21],
            )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("sizes", [(30, 100, 2), (10, 46, 46, 10), (70, 600, 200, 3), (5, 2)])
def test_also_in_two_joins_and_where_products_are_shared(
    sizes: Any, threads: int, way: str
) -> None:
    with fastgrad.num_threads(threads):
        for most, dtype in itertools.product((None, 0.05), ("float32", "float64")):
            more: Any = {"label_smoothing": 0.1, "max_grad_norm": most}
            make = lambda d=dtype, more=more: sent(  # noqa: E731
                MLP(sizes, "gelu", SOFTMAX, Adam(0.01), d, **more), way
            )
            follow(make, [200, 40], probabilities=most is None)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_also_of_a_batch_in_pieces(monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    monkeypatch.setattr(table, "G_BYTES", 1)
    monkeypatch.setattr(table, "JOINED_BYTES", 0)
    follow(
        lambda: MLP((6, 40, 12, 3), "gelu", SOFTMAX, Adam(), dtype), [2 * fastgrad.KC[dtype] + 9]
    )


@pytest.mark.parametrize("activation", ["relu", "gelu", ("tanh", None, "sigmoid")])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_gradient_of_the_input(activation: Any, threads: int) -> None:
    """As linear_backward gives it, and as the complex step finds it, of any F."""
    with fastgrad.num_threads(threads):
        model = MLP((5, 40, 30, 3), activation, MSE, dtype=np.float64, seed=2)
        x, _ = batch(model, 30)
        given = np.random.default_rng(3).standard_normal((30, 3))
        names = (
            model.activation if isinstance(model.activation, tuple) else [activation] * 2 + [None]
        )
        hs, zs = [x], []
        for w, b, name in zip(model.weights, model.biases, names, strict=True):
            zs.append(np.empty((30, w.shape[1])))
            hs.append(fastgrad.linear_forward(hs[-1], w, b, name, preactivation_out=zs[-1]))
        assert_same_bits(model.forward(x, keep=True), hs[-1])
        for _ in range(2):  # what is kept stays
            g = given
            dx = model.backward(g, input_grad=True)
            for i in (2, 1, 0):
                found = fastgrad.linear_backward(
                    g, hs[i], model.weights[i], names[i], output=hs[i + 1], preactivation=zs[i]
                )
                assert_same_bits(model.weight_grads[i], found.weight)
                assert_same_bits(model.bias_grads[i], found.bias)
                g = found.x
            assert_same_bits(dx, g)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_accumulated_micro_batches(dtype: str, activation: Any, threads: int) -> None:
    """The whole batch's gradient of logits, cut at multiples of KC rows: its bits."""
    with fastgrad.num_threads(threads):
        kc = fastgrad.KC[dtype]
        model = MLP((6, 40, 3), activation, SOFTMAX, SGD(0.1), dtype)
        x, y = batch(model, 2 * kc + 100)
        _, grad = loss_of(model, model.forward(x, keep=True), y)
        model.backward(grad)
        expected = [g.copy() for g in gradients(model)]
        dx = []
        for start in range(0, len(x), kc):
            part = slice(start, start + kc)
            model.forward(x[part], keep=True)
            dx.append(model.backward(grad[part], input_grad=True, accumulate=start > 0))
        for mine, other in zip(gradients(model), expected, strict=True):
            assert_same_bits(mine, other)
        assert np.concatenate(dx).shape == x.shape


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("sizes", [(9, 33, 4), (30, 100, 2)])
def test_accumulate_adds_to_what_is_there(sizes: Any, threads: int, way: str) -> None:
    """((C + B0) + B1) ...: of one block of KC rows C + B0, also in two joins."""
    with fastgrad.num_threads(threads):
        model = sent(MLP(sizes, "tanh"), way)
        x, y = batch(model, 200)
        alone = []
        for part in (slice(0, 90), slice(90, 200)):
            model.loss_and_grads(x[part], y[part])
            alone.append([g.copy() for g in gradients(model)])
        first = model.loss_and_grads(x[:90], y[:90])
        assert model.loss_and_grads(x[90:], y[90:], accumulate=True) != first
        for mine, a, b in zip(gradients(model), *alone, strict=True):
            assert_same_bits(mine, a + b)


def test_gradients_are_live_unclipped_and_undecayed() -> None:
    model = MLP((9, 33, 4), optimizer=SGD(0.1, weight_decay=0.5), max_grad_norm=1e-3)
    x, y = batch(model, 20)
    held = model.weight_grads[0]
    model.loss_and_grads(x, y)
    assert held is model.weight_grads[0] and [g.shape for g in model.bias_grads] == [(33,), (4,)]
    norm = float(np.sqrt(sum(np.square(g, dtype=float).sum() for g in gradients(model))))
    assert norm > 0.1
    before = [a.copy() for a in model.weights]
    found = [g.copy() for g in gradients(model)]
    assert fastgrad.clip_grad_norm([g.copy() for g in gradients(model)], 1e-3) > 0.1
    model.update()
    fastgrad.clip_grad_norm(found, 1e-3)
    for mine, clipped in zip(gradients(model), found, strict=True):
        assert_same_bits(mine, clipped)  # what the step left
    assert not np.array_equal(before[0], model.weights[0])
    model.weight_grads[0][...] = 0  # a user's changes count
    model.bias_grads[0][...] = 0
    kept = model.weights[0].copy()
    model.update()
    assert np.allclose(model.weights[0], kept * (1 - 0.1 * 0.5))


def test_what_is_not_read_where_it_lies() -> None:
    model, other = MLP((5, 8, 3)), MLP((5, 8, 3))
    x, y = batch(model, 12)
    expected = other.loss_and_grads(x, y)
    for bx, by in ((x.tolist(), y.tolist()), (x.astype(float), y.astype(np.uint8)), (x[:, ::1], y)):
        assert model.loss_and_grads(bx, by) == expected
        assert_same(model, other)
        assert_same_bits(model.forward(bx, keep=True), other.forward(x))
    g = np.ones((12, 3), np.int8)
    dx = model.backward(g, input_grad=True)
    assert_same_bits(dx, other_input_gradient(other, x, g.astype(np.float32)))


def other_input_gradient(model: MLP, x: np.ndarray, g: np.ndarray) -> np.ndarray:
    model.forward(x, keep=True)
    found = model.backward(g, input_grad=True)
    assert found is not None
    return found


def test_x_may_change_after_it_was_kept() -> None:
    model = MLP((5, 8, 3))
    x, _ = batch(model, 12)
    g = np.ones((12, 3), np.float32)
    other_input_gradient(model, x, g)
    expected = [a.copy() for a in gradients(model)]
    model.forward(x, keep=True)
    x[...] = np.nan
    model.backward(g)
    for mine, other in zip(gradients(model), expected, strict=True):
        assert_same_bits(mine, other)


@pytest.mark.parametrize(
    "between",
    [
        lambda m, x, y: m.train_step(x, y),
        lambda m, x, y: m.train_step(x.astype(float), y),
        lambda m, x, y: m.loss_and_grads(x, y),
        lambda m, x, y: m.update(),
        lambda m, x, y: m.fit(x, y, 1, 4, progress=False),
        lambda m, x, y: m.reset(),
        lambda m, x, y: m.train_step(np.concatenate([x, x]), np.concatenate([y, y])),
    ],
)
def test_what_ends_a_kept_pass(between: Any) -> None:
    model = MLP((5, 8, 3))
    x, y = batch(model, 12)
    model.loss_and_grads(x, y)
    model.forward(x, keep=True)
    between(model, x, y)
    with pytest.raises(
        RuntimeError, match=r"^MLP.backward: nothing is kept; call forward\(x, keep"
    ):
        model.backward(np.ones((12, 3)))
    assert model.train_step(x, y) > 0


def test_what_does_not_end_it() -> None:
    model = MLP((5, 8, 3))
    x, y = batch(model, 12)
    model.train_step(x, y)
    g = np.ones((12, 3), np.float32)
    expected = other_input_gradient(model, x, g)
    model.forward(x[:5])
    model.predict(x[:3])
    model.predict_proba(x.astype(float))
    model.evaluate(x, y)
    model.grad_norms(x, y)
    for bad in (y.astype(np.int32) + 3, y.astype(float), np.full((12, 3), 0.5), y[:11]):
        for bx in (x, x.astype(float), x.astype(int)):  # in two of three where x is kept
            with pytest.raises((TypeError, ValueError), match="y"):
                model.train_step(bx, bad)
    assert_same_bits(model.backward(g, input_grad=True), expected)


def test_of_any_floats() -> None:
    """The parts take them on the fast path, to the bits of those of the dtype."""
    model, other = MLP((5, 8, 3)), MLP((5, 8, 3))
    for one in (model, other):  # there is memory
        one.train_step(np.ones((12, 5)), np.zeros(12, np.int32))
    x, _ = batch(model, 12)
    wide = np.zeros((24, 10))
    wide[::2, ::2] = x
    for bx in (x, np.asfortranarray(x, np.float64), wide[::2, ::2], x.astype(np.int16)):
        logits = model._step.quick_forward(bx)
        assert_same_bits(logits, other.forward(bx.astype(np.float32), keep=True))
        for grad in (logits, logits.astype(float), np.broadcast_to(np.float64(0.25), (12, 3))):
            for accumulate, input_grad in itertools.product((False, True), (False, True)):
                found = model._step.quick_backward(grad, input_grad, accumulate)
                wanted = other.backward(grad.astype(np.float32), input_grad, accumulate)
                assert_same_bits(found, wanted if input_grad else True)
                assert_same(model, other)
    for wrong in (logits[:11], logits[:, :2], logits[0], logits.astype(int), logits.tolist(), None):
        assert model._step.quick_backward(wrong, True, False) is None
    for wrong in (x[:0], x[0], x[:, :4], np.concatenate([x, x]), x.tolist(), x.astype(">f4"), None):
        assert model._step.quick_forward(wrong) is None


def test_a_memmap_is_the_array_that_it_is(tmp_path: Any) -> None:
    model, other = MLP((5, 8, 3)), MLP((5, 8, 3))
    x, y = batch(model, 12)
    maps = []
    for name, a in (("x", x), ("y", y)):
        np.save(tmp_path / name, a)
        maps.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    for one, pair in ((model, maps), (other, (x, y))):
        one.train_step(*pair)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model._step, "_alone", None)  # what builtins leave
        assert model.train_step(*maps) == other.train_step(x, y)
        assert model.loss_and_grads(*maps) == other.loss_and_grads(x, y)
        assert_same_bits(model.predict(maps[0]), other.predict(x))
    assert_same(model, other)


def test_no_gradients() -> None:
    model = MLP((5, 8, 3))
    x, y = batch(model, 12)
    with pytest.raises(RuntimeError, match=r"^MLP.update: there are no gradients; call loss_and"):
        model.update()
    with pytest.raises(RuntimeError, match=r"^MLP.backward: nothing is kept"):
        model.backward(np.ones((12, 3)))
    model.forward(x, keep=True)
    with pytest.raises(RuntimeError, match=r"^MLP.update: there are no gradients"):
        model.update()
    model.backward(np.ones((12, 3)))
    model.update()
    assert model.steps == 1
    model.train_step(x, y)
    model.update()  # with what the step left
    model.reset()
    assert model.steps == 0 and not any(g.any() for g in gradients(model))
    with pytest.raises(RuntimeError, match=r"^MLP.update: there are no gradients"):
        model.update()
    for way in (copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))):
        model.loss_and_grads(x, y)
        twin = way(model)
        assert not np.shares_memory(twin.weight_grads[0], model.weight_grads[0])
        with pytest.raises(RuntimeError, match=r"^MLP.update: there are no gradients"):
            twin.update()


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda m, x, y: m.loss_and_grads(x[:, :2], y), ValueError, r"loss_and_grads: x has shape"),
        (lambda m, x, y: m.loss_and_grads(x, y[:3]), ValueError, r"loss_and_grads: y has shape"),
        (lambda m, x, y: m.loss_and_grads(x, y + 3), ValueError, r"loss_and_grads: y\[\d+\] is"),
        (lambda m, x, y: m.loss_and_grads(x, y, accumulate=1), TypeError, "loss_and_grads: accum"),
        (lambda m, x, y: m.forward(x, keep=None), TypeError, "forward: keep is None"),
        (lambda m, x, y: m.forward(x[:0], keep=True), ValueError, "forward: x has no rows"),
        (lambda m, x, y: m.backward(x), ValueError, r"backward: grad_logits has shape \(12, 5\)"),
        (
            lambda m, x, y: m.backward(x[:3, :3]),
            ValueError,
            r"backward: grad_logits has .*\(12, 3\)",
        ),
        (lambda m, x, y: m.backward(None), TypeError, "backward: grad_logits is None"),
        (lambda m, x, y: m.backward(x[:, :3], 1), TypeError, "backward: input_grad is int 1"),
        (lambda m, x, y: m.backward(x[:, :3], False, None), TypeError, "backward: accumulate is"),
    ],
)
def test_errors_change_nothing(call: Any, kind: Any, words: str) -> None:
    model = MLP((5, 8, 3))
    x, y = batch(model, 12)
    model.train_step(x, y)
    model.forward(x, keep=True)
    flat, grads = model._parameters.flat.copy(), model._parameters.grads.copy()
    with pytest.raises(kind, match=f"^MLP.{words}"):
        call(model, x, y)
    assert np.array_equal(model._parameters.flat, flat) and model.steps == 1
    assert np.array_equal(model._parameters.grads, grads)
    assert model.train_step(x, y) > 0


@pytest.mark.parametrize("name", ["loss_and_grads", "forward", "backward", "update", "train_step"])
def test_one_thread_at_a_time(name: str) -> None:
    model = MLP((5, 8, 3))
    x, y = batch(model, 12)
    model.loss_and_grads(x, y)
    model.forward(x, keep=True)
    calls: dict[str, Any] = {
        "loss_and_grads": lambda: model.loss_and_grads(x, y),
        "forward": lambda: model.forward(x, keep=True),
        "backward": lambda: model.backward(np.ones((12, 3))),
        "update": model.update,
        "train_step": lambda: model.train_step(x, y),
    }
    flat = model._parameters.flat.copy()
    words = rf"^MLP.{name}: another thread is in a step of this model"
    model._step._set(busy=1)
    with pytest.raises(RuntimeError, match=words):
        calls[name]()
    model._step._set(busy=0)
    with model._step._lock:
        model._step._set(most_rows=0)
        seen: list[BaseException] = []

        def other() -> None:
            try:
                calls[name]()
            except RuntimeError as error:
                seen.append(error)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(seen) == 1 and "another thread is in a step" in str(seen[0])
    model._step._is_cut_off = True
    with pytest.raises(RuntimeError, match=rf"^MLP.{name}: this process was forked while"):
        calls[name]()
    assert np.array_equal(model._parameters.flat, flat) and model.steps == 0


@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_is_allocated_but_what_is_returned(loss: Any) -> None:
    model = MLP((64, 128, 10), "gelu", loss, Adam(0.01), max_grad_norm=1.0)
    x, y = batch(model, 256)
    g = np.ones((256, 10), np.float32)

    def parts() -> None:
        for rows in (slice(None), slice(0, 37)):
            model.loss_and_grads(x[rows], y[rows])
            model.update()
            model.forward(x[rows], keep=True)
            model.backward(g[rows], accumulate=True)

    parts()
    tracemalloc.start()
    parts()
    start, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    parts()
    end, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert end - start < 1024 and peak - start < 8192 + 256 * 10 * 4


def test_an_activation_a_layer() -> None:
    one, other = (
        MLP((5, 8, 6, 3), "relu", seed=1),
        MLP((5, 8, 6, 3), ["relu", "relu", None], seed=1),
    )
    x, y = batch(one, 20)
    for _ in range(3):
        assert one.train_step(x, y) == other.train_step(x, y)
    assert_same(one, other)
    assert other.activation == ("relu", "relu", None) and one.activation == "relu"
    assert "('relu', 'relu', None)" in repr(other)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("loss", LOSSES)
def test_activations_that_differ(loss: Any, threads: int, tmp_path: Any) -> None:
    """Beside public functions; inference too; through files and copies."""
    names = ("gelu", None, "tanh", "sigmoid")
    with fastgrad.num_threads(threads):
        model = MLP((30, 100, 20, 15, 4), names, loss, Adam(0.01))
        x, y = batch(model, 200)
        follow(lambda: copy.copy(model), [200, 30])
        h = x
        for w, b, name in zip(model.weights, model.biases, names, strict=True):
            h = fastgrad.linear_forward(h, w, b, name)
        assert_same_bits(model.forward(x), h)
        assert_same_bits(model.forward(x.tolist()), h)
        assert model.grad_norms(x, y).shape == (200,)
        model.train_step(x, y)
        model.save(tmp_path / "m")
        for twin in (MLP.load(tmp_path / "m"), copy.copy(model), pickle.loads(pickle.dumps(model))):
            assert twin.activation == names
            assert twin.train_step(x, y) == copy.copy(model).train_step(x, y)


def test_evaluate() -> None:
    model = MLP((5, 8, 3), label_smoothing=0.1)
    x, y = batch(model, 30)
    loss, _ = fastgrad.softmax_cross_entropy(model.forward(x), y)  # without smoothing
    right = float(np.mean(model.predict(x) == y))
    assert model.evaluate(x, y) == model.evaluate(x.tolist(), y.tolist())
    assert model.evaluate(x, y) == {"loss": loss, "accuracy": right}
    assert set(MLP((5, 3), loss=MSE).evaluate(x, np.eye(3)[y])) == {"loss"}
    for outputs in (1, 3):
        binary = MLP((5, 8, outputs), loss=BINARY)
        bits = np.random.default_rng(0).random((30, outputs)) > 0.5
        found = binary.evaluate(x, bits)
        rows = (binary.predict(x).reshape(30, -1) == bits).all(axis=1)
        assert found["accuracy"] == rows.mean()
    with pytest.raises(ValueError, match=r"^MLP.evaluate: y has shape"):
        model.evaluate(x, y[:3])


def test_bools_and_the_words_of_messages() -> None:
    x = np.random.default_rng(0).standard_normal((30, 5)).astype(np.float32)
    y = x[:, 0] > 0
    one, other = MLP((5, 8, 2)), MLP((5, 8, 2))
    assert one.train_step(x, y) == other.train_step(x, y.astype(np.int64))
    assert_same(one, other)
    found = fastgrad.softmax_cross_entropy(x[:, :2], y)
    expected = fastgrad.softmax_cross_entropy(x[:, :2], y.astype(np.int64))
    assert found[0] == expected[0] and np.array_equal(found[1], expected[1])
    history = MLP((5, 8, 2)).fit(x, y, 2, 8, validation=(x, y), progress=False)
    assert len(history["validation_accuracy"]) == 2
    for shaped in (y, y[:, None]):
        binary = MLP((5, 8, 1), loss=BINARY)
        history = binary.fit(x, shaped, 2, 8, validation=(x, shaped), progress=False)
        assert history["validation_accuracy"][-1] == np.mean(binary.predict(x) == y)
    assert MLP((5, 1), loss=MSE).train_step(x, y) > 0
    bad = y.astype(float)
    bad[3] = 7
    binary = MLP((5, 8, 1), loss=BINARY)
    for call in (binary.train_step, binary.evaluate, binary.loss_and_grads, binary.grad_norms):
        with pytest.raises(ValueError, match=r"y\[3\] is 7.0; it must be from 0 to 1"):
            call(x, bad)
        with pytest.raises(ValueError, match=r"y\[3, 0\] is 7.0; it must be from 0 to 1"):
            call(x, bad[:, None])
    rows = np.full((30, 2), 0.4)
    with pytest.raises(ValueError, match=r"^MLP.train_step: y row 0 sums to 0.8; it must be 1"):
        one.train_step(x, rows)
    with pytest.raises(ValueError, match=r"^MLP.train_step: y has shape \(30, 1\).*pass y\[:, 0\]"):
        one.train_step(x, y[:, None])
    with pytest.raises(TypeError, match=r"y has dtype <U1.*np.unique\(y, return_inverse=True\)"):
        one.fit(x, np.array(["a"] * 30), 1, progress=False)
