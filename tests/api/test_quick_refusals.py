"""What the builtins behind the public functions refuse, with nothing written.

Each test runs on the builtins and on their twins by hand, which obey the same rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastgrad
from fastgrad._kernels.bind import builtins as entries
from fastgrad._kernels.formulas import elementwise
from fastgrad._kernels.runtime import jit
from support.quick import ALL, NONE, Array, Layer, Odd, integers, layer, read_only


def wrong_arrays(a: Array) -> list[Any]:
    """What no builtin takes in the place of ``a``."""
    wide = np.concatenate([a, a])[None]
    return [
        None, 1.0, "a", a.tolist(), a.view(Odd), np.ma.masked_array(a),
        a.astype(a.dtype.newbyteorder()), a.astype("f2"), a.astype("i4"), a.astype("c8"),
        a.astype(object), a.astype("g"), a.astype("f8" if a.dtype == "f4" else "f4"),
        a[None], a[..., None], a[0], a[:0].sum(), wide, a.view("i4"), type(a), type,
    ]  # fmt: skip


def wrong_outputs(a: Array, *inputs: Array) -> list[Any]:
    """What no builtin writes in the place of ``a``."""
    double = np.zeros((2 * a.shape[0], *(2 * n for n in a.shape[1:])), a.dtype)
    spread = double[tuple(slice(None, None, 2) for _ in a.shape)]
    shared = [  # elements, or parts of rows
        np.lib.stride_tricks.as_strided(a.copy(), a.shape, strides)
        for strides in ((0,) * a.ndim, (*a.strides[:-2], 2 * a.itemsize, a.itemsize)[-a.ndim :])
    ]
    overlapping = [
        np.frombuffer(i.data, a.dtype, a.size).reshape(a.shape) for i in inputs if i.size >= a.size
    ]
    assert overlapping or not inputs
    wrong = [w for w in wrong_arrays(a) if w is not None]
    return [*wrong, read_only(a.copy()), spread, *shared[: a.ndim], *overlapping]


def unchanged(*arrays: Any) -> Callable[[], bool]:
    before = [a.tobytes() for a in arrays]
    return lambda: before == [a.tobytes() for a in arrays]


def test_refused_operands(call: Any) -> None:
    a, b, c = integers(4, 4), integers(4, 4), integers(4, 4)
    same = unchanged(a, b, c)
    for product in (call.product, call.product_nt, call.product_tn):
        for wrong in wrong_arrays(a):
            assert product(wrong, b, c, False) is None, wrong
            assert product(a, wrong, c, False) is None, wrong
        for wrong in (None, 0, 1, np.True_, "False", a, (True,)):
            assert product(a, b, c, wrong) is None
        for wrong in wrong_outputs(c, a, b):
            assert product(a, b, wrong, False) is None, wrong
        assert product(a, b, None, True) is None
        assert product(a[:3], b[:, :2], c, False) is None
    assert same()


def test_refused_overlap_with_a_reversed_operand(call: Any) -> None:
    rows = integers(9, 4)
    same = unchanged(rows)
    assert call.product(rows[4:0:-1], integers(4, 4), rows[:4], False) is None
    assert call.product(rows[4:0:-1], integers(4, 4), rows[4:8], False) is None
    assert same()
    assert call.product(rows[4:0:-1], integers(4, 4), rows[5:], False) is not None


@pytest.mark.parametrize("dtype", [">f4", ">f8", "f2", "g", "i4", "i8", "?", "c8", "O"])
def test_refused_dtypes(call: Any, dtype: str) -> None:
    """All arrays of the same one."""
    t = Layer(*(np.ones_like(a).astype(dtype) for a in layer()))
    assert call.product(t.x, t.w, t.y, False) is call.product(t.x, t.w, None, False) is None
    assert call.product_stack(t.x[None], t.w[None], t.y[None], False) is None
    assert call.forward(t.x, t.w, t.bias, None, t.y, None) is None
    assert call.backward(t.g, t.x, t.w, None, None, None, ALL, NONE, False) is None
    assert call.unary(t.bias, t.db, jit.slot(elementwise.NUMBERS["relu"], "float32")) is None


@pytest.mark.parametrize("m, k, n", [(3, 4, 5), (5, 3, 4), (4, 5, 3)])
def test_refused_shapes(call: Any, m: int, k: int, n: int) -> None:
    a, b, c = integers(m, k), integers(k, n), np.zeros((m, n), "f4")
    assert call.product(a, b, c, False) is c
    for shape in ((m, n + 1), (m + 1, n), (n, m), (m - 1, n), (m, n - 1)):
        assert call.product(a, b, np.zeros(shape, "f4"), False) is None
    for wrong in (integers(k + 1, n), integers(k - 1, n), integers(n, k)):
        assert call.product(a, wrong, c, False) is None
        assert call.product(a, wrong, None, False) is None
    assert call.product_nt(a, b, None, False) is None
    assert call.product_tn(a, b, None, False) is None


def test_refused_stacks(call: Any) -> None:
    a, b, c = integers(3, 4, 4), integers(3, 4, 4), integers(3, 4, 4)
    same = unchanged(a, b, c)
    for wrong in wrong_arrays(a):
        assert call.product_stack(wrong, b, c, False) is None
        assert call.product_stack(a, wrong, c, False) is None
    for wrong in (None, *wrong_outputs(c, a, b)):
        assert call.product_stack(a, b, wrong, False) is None
    for left, right, out in ((a[:2], b, c), (a, b[:2], c), (a, b, c[:2]), (a[:2], b[:2], c)):
        assert call.product_stack(left, right, out, False) is None
    for left, right, out in (
        (a[:, :3], b, c),
        (a, b[:, :, :3], c),
        (a, b[:, :3], c),
        (a, b, c[:, :3]),
    ):
        assert call.product_stack(left, right, out, False) is None
    assert same()


def test_refused_forward(call: Any) -> None:
    x, w, b, y, z = integers(4, 4), integers(4, 4), integers(4), integers(4, 4), integers(4, 4)
    same = unchanged(x, w, b, y, z)
    for wrong in wrong_arrays(x):
        assert call.forward(wrong, w, b, None, y, z) is None
        assert call.forward(x, wrong, b, None, y, z) is None
    for wrong in (*(w for w in wrong_arrays(b) if w is not None), integers(8)[::2], integers(5)):
        assert call.forward(x, w, wrong, None, y, z) is None
    for wrong in (*wrong_outputs(y, x, w), y.T, integers(5, 4), integers(4, 5)):
        assert call.forward(x, w, b, None, wrong, None) is None
        assert call.forward(x, w, b, None, None, wrong) is None
    assert call.forward(x, w, y[0], None, y, None) is None
    assert call.forward(x, w, z[0], None, y, z) is None
    assert call.forward(x, w, None, None, y, y) is None
    for wrong in ("Relu", 1, True, b"relu", ("relu",), [], np.str_("relu"), x):
        assert call.forward(x, w, b, wrong, y, z) is None
    assert same()


def test_refused_backward(call: Any) -> None:
    g, x, w, s, dx, dw = (integers(4, 4) for _ in range(6))
    db, out = integers(4), (dx, dw, integers(4))
    same = unchanged(g, x, w, s, dx, dw, db, out[2])

    def backward(
        g: Any = g,
        x: Any = x,
        w: Any = w,
        s: Any = s,
        needs: Any = ALL,
        out: Any = out,
        add: Any = False,
    ) -> Any:
        return call.backward(g, x, w, "tanh", s, None, needs, out, add)

    for wrong in wrong_arrays(x):
        assert backward(g=wrong) is backward(x=wrong) is backward(w=wrong) is None
        assert backward(s=wrong) is None
    for wrong in (integers(4, 5), integers(5, 4)):
        assert backward(g=wrong) is backward(x=wrong) is backward(w=wrong) is None
        assert backward(s=wrong) is None
    for wrong in wrong_outputs(dx, g, x, w, s):
        assert backward(out=(wrong, dw, db)) is backward(out=(dx, wrong, db)) is None
    for wrong in (*wrong_outputs(db, g, x, w, s), dx[0], dw[0]):
        assert backward(out=(dx, dw, wrong)) is None
    assert backward(out=(dx, dx, db)) is None
    for wrong in (None, True, [], [True] * 3, (1, 1, 1), (True, True), (True,) * 4, (None,) * 3):
        assert backward(needs=wrong) is None
    for wrong in (None, dx, [dx, dw, db], (dx, dw), (dx, dw, db, db), fastgrad.LinearGrads(*out)):
        assert backward(out=wrong) is None
    for wrong in (None, 1, [True] * 3, (1, 0, 0), (True, True), (True,) * 4):
        assert backward(add=wrong) is None
    assert backward(out=NONE, add=True) is backward(out=NONE, add=(False, False, True)) is None
    assert same()


def test_number_of_arguments() -> None:
    for name in entries.NAMES:
        function = getattr(entries, name)
        for count in (0, 1, 2, 5, 8, 12):
            assert function(*[None] * count) is None
        with pytest.raises(TypeError, match="keyword"):
            function(out=None)
