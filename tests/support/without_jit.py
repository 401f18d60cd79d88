"""A set of calls of public functions; run as a program it prints digests of them, as JSON.

test_disable_jit.py runs it in a process where numba leaves users' functions alone, and compares.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

import fastgrad
from fastgrad import MLP, SGD, Adam, linear_backward, linear_forward

Array = NDArray[Any]
Case = tuple[str, list[Any]]
DTYPES = ("float32", "float64")
SAVED = {
    **dict.fromkeys(("relu", "sigmoid", "tanh"), "output"),
    **dict.fromkeys(("gelu", "gelu_tanh", "silu"), "preactivation"),
}


@njit
def step(x, weight, bias, g, rate):  # type: ignore[no-untyped-def]
    """A user's function."""
    y = fastgrad.linear_forward(x, weight, bias, "tanh")
    grads = fastgrad.linear_backward(g, x, weight, "tanh", y, needs=(False, True, True))
    fastgrad.sgd_step(weight, grads.weight, rate)
    loss, _ = fastgrad.mse(fastgrad.matmul(x, weight), g)
    return y, grads.bias, loss


def products(dtype: str, rng: np.random.Generator) -> Iterator[Case]:
    kc = fastgrad.KC[dtype]
    for m, k, n in ((1, 1, 1), (3, 0, 2), (5, 7, 1), (4, kc + 3, 9), (0, 3, 4), (130, 3, 200)):
        a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((n, k)).astype(dtype)
        b = np.asfortranarray(b)[::-1]
        c = np.ones((n, m), dtype).T
        fastgrad.matmul(a, b.T, c, accumulate=True)
        yield f"{m} {k} {n}", [
            fastgrad.matmul(a, b.T), fastgrad.matmul_nt(a, b), fastgrad.matmul_tn(a.T, b.T), c
        ]  # fmt: skip
    a, b = rng.standard_normal((2, 1, 4, 6)).astype(dtype), rng.integers(0, 9, (3, 6, 5))
    yield "stacks", [fastgrad.matmul(a, b), fastgrad.matmul(a[0, 0, 0], b[0])]
    tiny, huge = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max
    values = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, tiny, -huge, 0.5, 3.0], dtype)
    yield "values", [fastgrad.matmul(values[:, None], values[None]), fastgrad.matmul(a, a[0, 0].T)]


def layers(dtype: str, rng: np.random.Generator) -> Iterator[Case]:
    x, w = rng.standard_normal((21, 6)).astype(dtype), rng.standard_normal((6, 5)).astype(dtype)
    b, g = rng.standard_normal(5).astype(dtype), rng.standard_normal((21, 5)).astype(dtype)
    x[3], x[4, 0] = 40 * x[3], np.inf
    for name in (None, *SAVED):
        z = np.empty_like(g)
        y = linear_forward(x, w, b, name, preactivation_out=z)
        saved = {SAVED[name]: y if SAVED[name] == "output" else z} if name else {}
        yield f"forward {name}", [y, z, linear_forward(x[2], w, None, name)]
        for needs in itertools.product((True, False), repeat=3):
            out = tuple(np.ones(s, dtype) for s in ((21, 6), (6, 5), 5))
            keywords = {"needs": needs, "out": out, "accumulate": (True, False, True)}
            grads = linear_backward(g, x, w, name, **saved, **keywords)
            yield f"backward {name} {needs}", list(grads)
        blocks = [{key: v.reshape(3, 7, -1) for key, v in saved.items()}, {}]
        yield (
            f"stacked {name}",
            list(linear_backward(g.reshape(3, 7, 5), x.reshape(3, 7, 6), w, name, **blocks[0])),
        )


def losses(dtype: str, rng: np.random.Generator) -> Iterator[Case]:
    z = (9 * rng.standard_normal((fastgrad.KC[dtype] + 5, 4))).astype(dtype)
    z[1, 2] = -np.inf
    shares = rng.random(z.shape).astype(dtype)
    shares /= shares.sum(axis=1, keepdims=True)
    labels = rng.integers(0, 4, len(z)).astype(np.int32)
    for smoothing in (0.0, 0.25):
        for name, targets in (("labels", labels), ("shares", shares)):
            result = fastgrad.softmax_cross_entropy(z, targets, smoothing)
            yield f"softmax {name} {smoothing}", [*result]
    yield "binary", [*fastgrad.binary_cross_entropy_with_logits(z, shares)]
    yield "mse", [*fastgrad.mse(z[2:], shares[2:])]


def optimizers(dtype: str, rng: np.random.Generator) -> Iterator[Case]:
    p, g, m, v = (rng.standard_normal((50, 40)).astype(dtype) for _ in range(4))
    fastgrad.sgd_step(p, g, 0.1)
    fastgrad.sgd_step(p, g, 0.1, m, 0.9, True, 0.01)
    yield "sgd", [p, m]
    np.abs(v, out=v)
    for count in (1, 2, 1000):
        fastgrad.adam_step(p, g, m, v, count, weight_decay=0.1)
    yield "adam", [p, m, v]
    grads = [g.copy(), m.copy()[:, ::2], np.full(33000, 0.1, dtype)]
    yield "clip", [np.float64(fastgrad.clip_grad_norm(grads, 3.0)), *grads]


def models(dtype: str, rng: np.random.Generator) -> Iterator[Case]:
    x, labels = rng.standard_normal((30, 6)).astype(dtype), rng.integers(0, 3, 30)
    shares = np.eye(3, dtype=dtype)[labels]
    every: tuple[tuple[dict[str, Any], Array], ...] = (
        ({"label_smoothing": 0.1, "max_grad_norm": 0.2, "optimizer": Adam(0.01)}, labels),
        ({"activation": "gelu", "optimizer": SGD(0.1, 0.9, True)}, shares),
        ({"loss": "mse", "activation": None}, shares),
        ({"loss": "binary_cross_entropy_with_logits", "activation": "silu"}, shares),
    )
    for settings, y in every:
        model = MLP((6, 5, 4, 3), dtype=dtype, seed=3, **settings)
        found: list[Any] = [np.float64(model.train_step(x[::-1], y[::-1])) for _ in range(3)]
        history = model.fit(x, y, 2, 8, validation=(x, y), progress=False)
        found += [np.array(history["loss"]), np.array(history["validation_loss"])]
        found += [model.forward(x), model.grad_norms(x, y), *model.weights, *model.biases]
        yield f"model {settings}", found


def users(dtype: str, rng: np.random.Generator) -> Iterator[Case]:
    x, w, b, g = (rng.standard_normal(s).astype(dtype) for s in ((7, 6), (6, 5), (5,), (7, 5)))
    y, db, loss = step(x, w, b, g, 0.5)
    yield "users", [y, db, np.float64(loss), w]


def errors(dtype: str, rng: np.random.Generator) -> Iterator[Case]:
    x = rng.standard_normal((3, 4)).astype(dtype)
    calls = (
        lambda: fastgrad.matmul(x, x),
        lambda: linear_forward(x, x.T, activation="step"),  # type: ignore[arg-type]
        lambda: linear_forward(x, x.T, out=np.ones((3, 4), dtype)),
        lambda: fastgrad.softmax_cross_entropy(x, np.array([0, 4, 1])),
        lambda: fastgrad.sgd_step(x, x[:2], 0.1),
        lambda: MLP((4, 3), dtype=dtype).train_step(x, np.array([0, 1, -1])),
    )
    for i, call in enumerate(calls):
        try:
            call()
        except (TypeError, ValueError) as error:
            yield f"error {i}", [np.frombuffer(f"{type(error)} {error}".encode(), np.uint8)]


PARTS = (products, layers, losses, optimizers, models, users, errors)


def digests() -> dict[str, str]:
    found = {}
    for dtype, part in itertools.product(DTYPES, PARTS):
        with np.errstate(all="ignore"):
            for name, values in part(dtype, np.random.default_rng(7)):
                key = f"{dtype} {part.__name__} {name}"
                assert key not in found
                found[key] = hashlib.sha256(b"".join(map(_bytes, values))).hexdigest()[:16]
    return found


def _bytes(value: Any) -> bytes:
    """Shape, dtype and bits; NaNs count as one value."""
    if value is None:
        return b"None"
    array = np.asarray(value)
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array)
    return f"{array.shape} {array.dtype}".encode() + array.tobytes()


if __name__ == "__main__":
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = digests()
    said = [[w.category.__name__, w.filename, str(w.message)] for w in caught]
    print(json.dumps({"digests": result, "warnings": said}))
