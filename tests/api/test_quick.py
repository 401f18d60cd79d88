"""What the builtins behind the public functions compute, and for which arrays they are called.

Each test runs on the builtins and on their twins by hand, which obey the same rules.
"""

from __future__ import annotations

import itertools
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgrad
from fastgrad._kernels.bind import builtins as entries
from fastgrad._kernels.formulas import elementwise
from fastgrad._kernels.runtime import jit
from support.quick import ALL, DTYPES, NONE, integers, layer, read_only

# what is computed ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_products(call: Any, dtype: str) -> None:
    a, b, c = integers(3, 4, dtype=dtype), integers(4, 5, dtype=dtype), np.ones((3, 5), dtype)
    expected = a @ b
    for product, left, right in (
        (call.product, a, b),
        (call.product_nt, a, np.ascontiguousarray(b.T)),
        (call.product_tn, np.ascontiguousarray(a.T), b),
        (call.product, a[::-1, ::-1][::-1, ::-1], b.copy("F")),
    ):
        made = product(left, right, None, False)
        assert type(made) is np.ndarray and made.dtype is np.dtype(dtype)
        assert made.flags.c_contiguous and made.flags.owndata and (made == expected).all()
        for out in (c, c[::-1], np.asfortranarray(c), np.zeros((3, 10), dtype)[:, 5:]):
            out.fill(1)
            assert product(left, right, out, True) is out and (out == expected + 1).all()
            assert product(left, right, out, False) is out and (out == expected).all()


def test_stack(call: Any) -> None:
    a, b, c = integers(6, 3, 4), integers(6, 4, 5), np.ones((6, 3, 5), "f4")
    assert call.product_stack(a, b, c, True) is c and (c == a @ b + 1).all()
    same = np.broadcast_to(b[1], b.shape)
    assert call.product_stack(a[::-1], same, c, False) is c and (c == a[::-1] @ b[1]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_forward(call: Any, dtype: str) -> None:
    t = layer(dtype)
    z = np.full_like(t.y, np.nan)
    expected = t.x @ t.w + t.bias
    made = call.forward(t.x, t.w, t.bias, "relu", None, z)
    assert (z == expected).all() and (made == np.maximum(expected, 0)).all()
    assert call.forward(t.x, t.w, None, None, t.y, None) is t.y and (t.y == t.x @ t.w).all()


@pytest.mark.parametrize("needs", [ALL, (False, True, True), (True, False, False), (False,) * 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_backward(call: Any, dtype: str, needs: tuple[bool, ...]) -> None:
    t = layer(dtype)
    saved = integers(3, 5, dtype=dtype)
    h = t.g * (saved > 0)
    expected = (h @ t.w.T, t.x.T @ h, h.sum(0))
    outs = (t.dx, None, t.db)
    grads = call.backward(t.g, t.x, t.w, "relu", saved, None, needs, outs, False)
    assert type(grads) is fastgrad.LinearGrads
    for need, grad, out, want in zip(needs, grads, outs, expected, strict=True):
        assert (grad is None) is not need
        assert not need or (grad == want).all()
        assert not need or out is None or grad is out
        assert need or out is None or np.isnan(out).all()
    dw = np.ones_like(t.dw)
    grads = call.backward(t.g, t.x, t.w, None, None, None, ALL, (None, dw, None), True)
    assert (dw == t.x.T @ t.g + 1).all() and (grads.x == t.g @ t.w.T).all()


def test_the_activation_decides_what_was_saved(call: Any) -> None:
    t = layer()
    one, other = np.full((3, 5), 0.5, "f4"), np.full((3, 5), -3, "f4")
    for row in fastgrad._kernels.formulas.activations.TABLE:
        saved = {row.saved: one}
        grads = call.backward(
            t.g, t.x, t.w, row.name, saved.get("output", other), saved.get("preactivation", other),
            ALL, NONE, False,
        )  # fmt: skip
        same = fastgrad.linear_backward(t.g, t.x, t.w, row.name, **saved)  # type: ignore[arg-type]
        assert all(np.array_equal(a, b) for a, b in zip(grads, same, strict=True)), row.name
        assert call.backward(
            t.g, t.x, t.w, row.name, None, None, ALL, NONE, False
        ) is None  # fmt: skip


@pytest.mark.parametrize("shape", [(0, 4, 5), (3, 0, 5), (3, 4, 0), (1, 1, 1), (0, 0, 0)])
def test_no_and_one_element(call: Any, shape: tuple[int, int, int]) -> None:
    n, k, m = shape
    x, w, g, b = integers(n, k), integers(k, m), integers(n, m), integers(m)
    assert np.array_equal(call.product(x, w, None, False), x @ w)
    assert np.array_equal(call.forward(x, w, b, None, None, None), x @ w + b)
    grads = call.backward(g, x, w, None, None, None, ALL, NONE, False)
    for grad, want in zip(grads, (g @ w.T, x.T @ g, g.sum(0)), strict=True):
        assert np.array_equal(grad, want)
    assert [grad.shape for grad in grads] == [(n, k), (k, m), (m,)]


def test_unary(call: Any) -> None:
    slot = jit.slot(elementwise.NUMBERS["relu"], "float32")
    for dtype in DTYPES:
        x = integers(37, dtype=dtype)
        y = np.full_like(x, np.nan)
        assert call.unary(x, y, slot) is y and (y == np.maximum(x, 0)).all()
        for source, target in ((x[::2], y[:19]), (x[:19], y[::2]), (x, x), (x[1:], y)):
            assert call.unary(source, target, slot) is None
        assert call.unary(x, read_only(y), slot) is None


# what takes the quick way, or the careful one ---------------------------------------------------


def test_dtypes_that_are_equal_but_another_object() -> None:
    """As pickled arrays have them, from another process."""
    a = integers(3, 3)
    b = pickle.loads(pickle.dumps(a))
    tagged = a.view(np.dtype("f4", metadata={"from": "elsewhere"}))
    assert b.dtype is not a.dtype and tagged.dtype is not a.dtype
    for other in (b, tagged):
        assert np.array_equal(entries.product(a, other, None, False), a @ a)
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
        assert entries.product(x, t.w, None, False) is None
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
