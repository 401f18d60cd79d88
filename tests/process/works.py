"""What threads and processes do side by side: calls of every public function, with known results.

A work is a function of nothing that returns arrays and numbers made from inputs of its own; its
results are computed alone, on one thread, and `Work.wrong` compares with them bit for bit. Works
may run side by side, each also with itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

import fastgrad
from fastgrad import MLP, SGD, Adam
from fastgrad._kernels.formulas.activations import BY_NAME
from support.step_ways import send

ACTIVATIONS = (None, *BY_NAME)
# m, n, k: several paths, some cut into tasks, some with several blocks of k
SIZES = ((7, 9, 5), (3, 300, 700), (150, 150, 160), (40, 40, 1100), (200, 3, 600), (260, 270, 520))


class Work:
    """name; run() -> results; expected: their bytes when nothing else ran."""

    def __init__(self, name: str, run: Callable[[], Any]) -> None:
        self.name, self.run = name, run
        with fastgrad.num_threads(1):
            self.expected = as_bytes(run())

    def wrong(self) -> bool:
        return as_bytes(self.run()) != self.expected


def as_bytes(result: Any) -> bytes:
    """Of arrays, numbers, None, and of tuples and lists of them."""
    if isinstance(result, tuple | list):
        return b"".join(map(as_bytes, result))
    return b"none" if result is None else np.asarray(result).tobytes()


# Users' functions: the first keeps the GIL, the second does not ----------------------------------


@njit(cache=True)
def layer_and_gradients(x, weight, bias, g):  # type: ignore[no-untyped-def]
    y = fastgrad.linear_forward(x, weight, bias, "tanh")
    grads = fastgrad.linear_backward(g, x, weight, "tanh", y)
    return y, grads.x, grads.weight, grads.bias


@njit(nogil=True, cache=True)
def product_and_loss(a, b, labels):  # type: ignore[no-untyped-def]
    c = fastgrad.matmul(a, b)
    loss, grad = fastgrad.softmax_cross_entropy(c, labels)
    fastgrad.sgd_step(a, fastgrad.matmul_nt(grad, b), 0.1)
    return loss, grad, a


# The works ---------------------------------------------------------------------------------------


def make(seed: int = 0) -> list[Work]:
    """All of them; compiles what they need."""
    rng = np.random.default_rng(seed)
    found: list[Work] = []
    for dtype in (np.float32, np.float64):
        for sizes in SIZES:
            found += _products(rng, np.dtype(dtype), *sizes)
        for activation in ACTIVATIONS:
            found.append(_layer(rng, np.dtype(dtype), activation))
        found += [_compiled(rng, np.dtype(dtype)), _compiled_loss(rng, np.dtype(dtype))]
        found += [_losses(rng, np.dtype(dtype)), _optimizers(rng, np.dtype(dtype))]
        found += [_stacks(rng, np.dtype(dtype)), _inference(rng, np.dtype(dtype))]
    for loss in ("softmax_cross_entropy", "binary_cross_entropy_with_logits", "mse"):
        for optimizer in (SGD(0.1, 0.9), Adam(0.01)):
            found.append(_training(rng, loss, optimizer))
    return [*found, _wide_training(rng), _joined_training(rng), _fit(rng), _testing(rng)]


def _floats(rng: np.random.Generator, dtype: np.dtype[Any], *shape: int) -> Any:
    return rng.standard_normal(shape).astype(dtype)


def _products(rng: np.random.Generator, dtype: np.dtype[Any], m: int, n: int, k: int) -> list[Work]:
    a, b, c = (_floats(rng, dtype, *shape) for shape in ((m, k), (k, n), (m, n)))
    right, left = np.asfortranarray(b), np.asfortranarray(a)

    def added() -> Any:
        out = c.copy()
        return fastgrad.matmul(a, b, out=out, accumulate=True)

    runs = {
        "matmul": lambda: (fastgrad.matmul(a, b), fastgrad.matmul(a, b[:, 0])),
        "matmul_nt": lambda: fastgrad.matmul_nt(a, right.T),
        "matmul_tn": lambda: fastgrad.matmul_tn(left.T, b),
        "matmul, added": added,
        "matmul, a stack": lambda: fastgrad.matmul(np.stack([a[:7], a[-7:]]), b),
    }
    return [Work(f"{name} {m} {n} {k} {dtype}", run) for name, run in runs.items()]


def _layer(rng: np.random.Generator, dtype: np.dtype[Any], activation: Any) -> Work:
    x, w, b, g = (_floats(rng, dtype, *s) for s in ((130, 90), (90, 140), (140,), (130, 140)))

    def run() -> Any:
        z = np.empty((130, 140), dtype)
        y = fastgrad.linear_forward(x, w, b, activation, preactivation_out=z)
        grads = fastgrad.linear_backward(g, x, w, activation, y, z)
        dw = np.ones_like(w)
        fastgrad.linear_backward(
            g, x, w, activation, y, z, (False, True, False), (None, dw, None), accumulate=True
        )
        return y, z, *grads, dw

    return Work(f"linear, {activation} {dtype}", run)


def _stacks(rng: np.random.Generator, dtype: np.dtype[Any]) -> Work:
    """Of matrices, many small ones and some larger, and of layers."""
    pairs = [
        (_floats(rng, dtype, count, n, n), _floats(rng, dtype, count, n, n))
        for count, n in ((700, 4), (300, 16), (20, 60))
    ]
    x, w, b = (_floats(rng, dtype, *s) for s in ((5, 60, 30), (5, 30, 40), (5, 40)))

    def run() -> Any:
        products = [f(*pair) for pair in pairs for f in (fastgrad.matmul, fastgrad.matmul_nt)]
        y = fastgrad.linear_forward(x, w, b, "relu")
        return products, y, *fastgrad.linear_backward(y, x, w, "relu", y)

    return Work(f"stacks {dtype}", run)


def _inference(rng: np.random.Generator, dtype: np.dtype[Any]) -> Work:
    """One model for all callers: of one row, and of more than one thread takes."""
    model, x = MLP((40, 90, 7), "tanh", dtype=dtype), _floats(rng, dtype, 900, 40)
    methods = model.forward, model.predict, model.predict_proba
    return Work(f"inference {dtype}", lambda: [f(rows) for f in methods for rows in (x[:1], x)])


def _compiled(rng: np.random.Generator, dtype: np.dtype[Any]) -> Work:
    x, w, b, g = (_floats(rng, dtype, *s) for s in ((80, 70), (70, 120), (120,), (80, 120)))
    return Work(f"njit with the GIL {dtype}", lambda: layer_and_gradients(x, w, b, g))


def _compiled_loss(rng: np.random.Generator, dtype: np.dtype[Any]) -> Work:
    a, b, labels = _floats(rng, dtype, 90, 200), _floats(rng, dtype, 200, 60), np.arange(90) % 60
    return Work(f"njit without {dtype}", lambda: product_and_loss(a.copy(), b, labels))


def _losses(rng: np.random.Generator, dtype: np.dtype[Any]) -> Work:
    z, t = _floats(rng, dtype, 300, 70), rng.random((300, 70)).astype(dtype)
    labels = np.arange(300) % 70
    return Work(
        f"losses {dtype}",
        lambda: (
            fastgrad.softmax_cross_entropy(z, labels),
            fastgrad.binary_cross_entropy_with_logits(z, t),
            fastgrad.mse(z, t),
        ),
    )


def _optimizers(rng: np.random.Generator, dtype: np.dtype[Any]) -> Work:
    param, grad = _floats(rng, dtype, 50_000), _floats(rng, dtype, 50_000)

    def run() -> Any:
        p, m, v, g = param.copy(), np.zeros_like(param), np.zeros_like(param), grad.copy()
        fastgrad.sgd_step(p, g, 0.1, m, 0.9, True, 0.01)
        for step in (1, 2):
            fastgrad.adam_step(p, g, m, v, step)
        return p, m, v, fastgrad.clip_grad_norm([g, p], 1.5), g

    return Work(f"optimizers {dtype}", run)


def _data(rng: np.random.Generator, loss: str) -> tuple[Any, Any]:
    x = _floats(rng, np.dtype(np.float32), 60, 20)
    return x, np.arange(60) % 5 if loss == "softmax_cross_entropy" else rng.random((60, 5))


def _training(rng: np.random.Generator, loss: Any, optimizer: Any) -> Work:
    """Steps of both kinds, those that Python prepares and those that it does not."""
    x, y = _data(rng, loss)

    def run() -> Any:
        model = MLP((20, 33, 5), "silu", loss, optimizer, seed=3, max_grad_norm=0.5)
        found = [model.train_step(x[i : i + 20], y[i : i + 20]) for i in (0, 20, 40, 0)]
        found.append(model.train_step(x.astype(np.float64), y))
        return found, model.weights, model.biases, model.optimizer_state(), model.grad_norms(x, y)

    return Work(f"train_step, {loss}, {type(optimizer).__name__}", run)


def _wide_training(rng: np.random.Generator) -> Work:
    """Steps whose products are cut into tasks."""
    x, y = _floats(rng, np.dtype(np.float32), 128, 200), np.arange(128) % 10

    def run() -> Any:
        model = MLP((200, 300, 10), optimizer=Adam())
        return [model.train_step(x, y) for _ in range(3)], model.weights, model.biases

    return Work("train_step, wide", run)


def _joined_training(rng: np.random.Generator) -> Work:
    """Steps that go in two joins."""
    x, y = _floats(rng, np.dtype(np.float32), 96, 64), np.arange(96) % 10

    def run() -> Any:
        model = MLP((64, 128, 10), optimizer=Adam())
        losses = [model.train_step(x, y)]
        send(model, joined=True)
        losses += [model.train_step(x, y) for _ in range(4)]
        return losses, model.weights, model.biases

    return Work("train_step, in two joins", run)


def _fit(rng: np.random.Generator) -> Work:
    x, y = _data(rng, "softmax_cross_entropy")

    def run() -> Any:
        model = MLP((20, 12, 5), optimizer=Adam(), label_smoothing=0.1)
        schedule = fastgrad.cosine_schedule(0.01, 3)
        history = model.fit(
            x[:50], y[:50], 3, 16, (x[50:], y[50:]), progress=False, patience=2, schedule=schedule
        )
        with tempfile.TemporaryDirectory() as folder:
            model.save(Path(folder) / "model.npz")
            loaded = MLP.load(Path(folder) / "model.npz")
        outputs = loaded.forward(x), loaded.predict(x), loaded.predict_proba(x)
        return [history[name] for name in ("loss", "validation_loss")], outputs, loaded.weights

    return Work("fit, save, load, predict", run)


def _testing(rng: np.random.Generator) -> Work:
    x, w = _floats(rng, np.dtype(np.float64), 20, 30), _floats(rng, np.dtype(np.float64), 30, 10)

    def vjp(g: Any, x: Any) -> Any:
        return fastgrad.linear_backward(g, x, w).x

    def forward(x: Any) -> Any:
        return fastgrad.linear_forward(x, w)

    return Work("check_adjoint", lambda: fastgrad.testing.check_adjoint(forward, vjp, x))
