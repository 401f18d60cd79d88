"""What the builtins behind the public functions compute, and for which arrays they are called."""

from __future__ import annotations

import itertools
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgrad
from fastgrad._kernels.bind import builtins
from fastgrad.reference import losses as reference
from support.small import ALL, DTYPES, NONE, integers, layer

# what is computed ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_products(dtype: str) -> None:
    a, b, c = integers(3, 4, dtype=dtype), integers(4, 5, dtype=dtype), np.ones((3, 5), dtype)
    expected = a @ b
    for product, left, right in (
        (builtins.matmul, a, b),
        (builtins.matmul_nt, a, np.ascontiguousarray(b.T)),
        (builtins.matmul_tn, np.ascontiguousarray(a.T), b),
        (builtins.matmul, a[::-1, ::-1][::-1, ::-1], b.copy("F")),
    ):
        made = product(left, right, None, False)
        assert type(made) is np.ndarray and made.dtype is np.dtype(dtype)
        assert made.flags.c_contiguous and made.flags.owndata and (made == expected).all()
        for out in (c, c[::-1], np.asfortranarray(c), np.zeros((3, 10), dtype)[:, 5:]):
            out.fill(1)
            assert product(left, right, out, True) is out and (out == expected + 1).all()
            assert product(left, right, out, False) is out and (out == expected).all()


def test_stack() -> None:
    a, b, c = integers(6, 3, 4), integers(6, 4, 5), np.ones((6, 3, 5), "f4")
    assert builtins.matmul_stack(a, b, c, True) is c and (c == a @ b + 1).all()
    same = np.broadcast_to(b[1], b.shape)
    assert builtins.matmul_stack(a[::-1], same, c, False) is c and (c == a[::-1] @ b[1]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_forward(dtype: str) -> None:
    t = layer(dtype)
    z = np.full_like(t.y, np.nan)
    expected = t.x @ t.w + t.bias
    made = builtins.linear_forward(t.x, t.w, t.bias, "relu", None, z)
    assert (z == expected).all() and (made == np.maximum(expected, 0)).all()
    assert (
        builtins.linear_forward(t.x, t.w, None, None, t.y, None) is t.y and (t.y == t.x @ t.w).all()
    )


@pytest.mark.parametrize("needs", [ALL, (False, True, True), (True, False, False), (False,) * 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_backward(dtype: str, needs: tuple[bool, ...]) -> None:
    t = layer(dtype)
    saved = integers(3, 5, dtype=dtype)
    h = t.g * (saved > 0)
    expected = (h @ t.w.T, t.x.T @ h, h.sum(0))
    outs = (t.dx, None, t.db)
    grads = builtins.linear_backward(t.g, t.x, t.w, "relu", saved, None, needs, outs, False)
    assert type(grads) is fastgrad.LinearGrads
    for need, grad, out, want in zip(needs, grads, outs, expected, strict=True):
        assert (grad is None) is not need
        assert not need or (grad == want).all()
        assert not need or out is None or grad is out
        assert need or out is None or np.isnan(out).all()
    dw = np.ones_like(t.dw)
    grads = builtins.linear_backward(t.g, t.x, t.w, None, None, None, ALL, (None, dw, None), True)
    assert (dw == t.x.T @ t.g + 1).all() and (grads.x == t.g @ t.w.T).all()


def test_the_activation_decides_what_was_saved() -> None:
    t = layer()
    one, other = np.full((3, 5), 0.5, "f4"), np.full((3, 5), -3, "f4")
    for row in fastgrad._kernels.formulas.activations.TABLE:
        saved = {row.saved: one}
        grads = builtins.linear_backward(
            t.g, t.x, t.w, row.name, saved.get("output", other), saved.get("preactivation", other),
            ALL, NONE, False,
        )  # fmt: skip
        same = fastgrad.linear_backward(t.g, t.x, t.w, row.name, **saved)  # type: ignore[arg-type]
        assert all(np.array_equal(a, b) for a, b in zip(grads, same, strict=True)), row.name
        assert builtins.linear_backward(
            t.g, t.x, t.w, row.name, None, None, ALL, NONE, False
        ) is None  # fmt: skip


@pytest.mark.parametrize("shape", [(0, 4, 5), (3, 0, 5), (3, 4, 0), (1, 1, 1), (0, 0, 0)])
def test_no_and_one_element(shape: tuple[int, int, int]) -> None:
    n, k, m = shape
    x, w, g, b = integers(n, k), integers(k, m), integers(n, m), integers(m)
    assert np.array_equal(builtins.matmul(x, w, None, False), x @ w)
    assert np.array_equal(builtins.linear_forward(x, w, b, None, None, None), x @ w + b)
    grads = builtins.linear_backward(g, x, w, None, None, None, ALL, NONE, False)
    for grad, want in zip(grads, (g @ w.T, x.T @ g, g.sum(0)), strict=True):
        assert np.array_equal(grad, want)
    assert [grad.shape for grad in grads] == [(n, k), (k, m), (m,)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_leading_dimensions(dtype: str) -> None:
    """Those that have one stride between them are rows; a vector is one row, or one column."""
    x, w, bias, g = (integers(*s, dtype=dtype) for s in ((2, 3, 4), (4, 5), (5,), (2, 3, 5)))
    z = np.full_like(g, np.nan)
    right = x @ w
    assert (builtins.matmul(x, w, z, False) == right).all()
    assert (builtins.matmul(x, w, z, True) == 2 * right).all()
    y = builtins.linear_forward(x, w, bias, None, None, z)
    assert y.shape == (2, 3, 5) and (y == right + bias).all() and (z == y).all()
    grads = builtins.linear_backward(g, x, w, None, None, None, ALL, NONE, False)
    h = g.reshape(6, 5)
    assert grads.x.shape == x.shape and (grads.x == g @ w.T).all()
    assert (grads.weight == x.reshape(6, 4).T @ h).all() and (grads.bias == h.sum(0)).all()
    one = builtins.linear_backward(g[0, 0], x[0, 0], w, None, None, None, ALL, NONE, False)
    assert (one.weight == np.outer(x[0, 0], g[0, 0])).all() and (one.bias == g[0, 0]).all()
    assert (builtins.linear_forward(x[1, 1], w, None, None, None, None) == right[1, 1]).all()
    assert builtins.linear_forward(x[:, ::2], w, None, None, None, None) is None
    for a, b in ((x[0, 0], w), (x[0], w[:, 0]), (x, w[:, 0])):
        made = builtins.matmul(a, b, None, False)
        assert made.shape == (a @ b).shape and (made == a @ b).all()
    number = builtins.matmul(x[0, 0], w[:, 0], None, False)
    assert type(number) is np.dtype(dtype).type and number == x[0, 0] @ w[:, 0]
    place = np.full((), np.nan, dtype)
    assert builtins.matmul(x[0, 0], w[:, 0], place, False) is place and place == x[0, 0] @ w[:, 0]


def test_one_matrix_for_a_stack() -> None:
    a, b = integers(6, 3, 4), integers(6, 4, 5)
    for left, right in ((a, b[1]), (a[1], b), (a.reshape(2, 3, 3, 4), b.reshape(2, 3, 4, 5))):
        made = builtins.matmul_stack(left, right, None, False)
        assert made.shape == np.shape(left @ right) and (made == left @ right).all()
    assert builtins.matmul_stack(a[1], b[1], None, False) is None  # no stack
    turned = np.ascontiguousarray(np.swapaxes(b, 1, 2))
    assert (builtins.matmul_nt_stack(a, turned, None, False) == a @ b).all()
    turned = np.ascontiguousarray(np.swapaxes(a, 1, 2))
    assert (builtins.matmul_tn_stack(turned, b, None, False) == a @ b).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_losses(dtype: str, rng: np.random.Generator) -> None:
    z, t = rng.standard_normal((7, 3)).astype(dtype), rng.random((7, 3)).astype(dtype)
    labels = rng.integers(0, 3, 7)
    cases: list[tuple[Any, Any]] = [
        (builtins.softmax_cross_entropy(z, labels, 0.1),
         reference.softmax_cross_entropy(z, labels, 0.1)),
        (builtins.softmax_cross_entropy(z[::-1], labels[::2].repeat(2)[:7], 0.0),
         reference.softmax_cross_entropy(z[::-1], labels[::2].repeat(2)[:7], 0.0)),
        (builtins.mse(z.T, t.T), reference.mse(z.T, t.T)),
        (builtins.binary_cross_entropy_with_logits(z, t),
         reference.binary_cross_entropy_with_logits(z, t)),
    ]  # fmt: skip
    loss, grad = builtins.mse(z[:, 0], t[:, 0])  # rows of one
    cases.append(((loss, grad[:, None].copy()), reference.mse(z[:, :1], t[:, :1])))
    for (loss, grad), (right, slope) in cases:
        assert type(loss) is float and grad.dtype == dtype and grad.flags.c_contiguous
        assert loss == right and np.array_equal(grad, slope)


@pytest.mark.parametrize("dtype", DTYPES)
def test_optimizers(dtype: str, rng: np.random.Generator) -> None:
    for shape in ((5,), (3, 4), (2, 3, 2), (), (0,)):
        arrays = [np.array(abs(rng.standard_normal(shape)), dtype) for _ in range(4)]
        right = [a.copy() for a in arrays]
        assert builtins.sgd_step(*arrays[:2], 0.1, arrays[2], 0.9, True, 0.01) is True
        reference.sgd_step(right[0], right[1], 0.1, right[2], 0.9, True, 0.01)
        assert builtins.sgd_step(*arrays[:2], 0.1, None, 0.0, False, 0.0) is True
        reference.sgd_step(right[0], right[1], 0.1)
        assert builtins.adam_step(*arrays, 3, 0.1, 0.9, 0.99, 1e-7, 0.1) is True
        reference.adam_step(*right, 3, 0.1, (0.9, 0.99), 1e-7, 0.1)
        for a, b in zip(arrays, right, strict=True):
            assert np.array_equal(a, b)


# what takes the fast path, or the checked one -----------------------------------------------------


def test_dtypes_that_are_equal_but_another_object() -> None:
    """As pickled arrays have them, from another process."""
    a = integers(3, 3)
    b = pickle.loads(pickle.dumps(a))
    tagged = a.view(np.dtype("f4", metadata={"from": "elsewhere"}))
    assert b.dtype is not a.dtype and tagged.dtype is not a.dtype
    for other in (b, tagged):
        assert np.array_equal(builtins.matmul(a, other, None, False), a @ a)
    assert fastgrad.matmul(tagged, tagged).dtype is np.dtype("f4")


def test_explicit_native_order_and_memmap(tmp_path: Path) -> None:
    """Not for builtins, and right all the same: inputs and outputs."""
    explicit = np.dtype("f4").newbyteorder("<" if sys.byteorder == "little" else ">")
    t, numbers = layer(), itertools.count()
    for make in (
        lambda a: a.view(explicit),
        lambda a: np.memmap(tmp_path / f"array{next(numbers)}", a.dtype, "w+", shape=a.shape),
    ):
        x = make(t.x)
        x[...] = t.x
        assert builtins.matmul(x, t.w, None, False) is None
        for f, second in ((fastgrad.matmul, t.w), (fastgrad.matmul_nt, t.w.T.copy())):
            assert np.array_equal(f(x, second), t.x @ t.w)
        w, y = make(t.w), make(t.y)
        w[...] = t.w
        assert fastgrad.matmul(t.x, w, out=y) is y and np.array_equal(y, t.x @ t.w)
        y = make(t.y)
        fastgrad.linear_forward(t.x, t.w, t.bias, out=y)
        assert np.array_equal(y, t.x @ t.w + t.bias)
        dx = make(t.dx)
        grads = fastgrad.linear_backward(t.g, t.x, t.w, out=(dx, None, None))
        assert grads.x is dx and np.array_equal(dx, t.g @ t.w.T)


def test_names_that_are_equal_but_another_object() -> None:
    t = layer()
    name: Any = "".join(["re", "lu"])
    assert name is not sys.intern(name)
    y = fastgrad.linear_forward(t.x, t.w, t.bias, name, out=t.y)
    assert y is t.y and (y == np.maximum(t.x @ t.w + t.bias, 0)).all()
    grads = fastgrad.linear_backward(t.g, t.x, t.w, name, output=y)
    assert np.array_equal(grads.bias, (t.g * (y > 0)).sum(0))
