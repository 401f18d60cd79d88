"""What the builtins behind the public functions refuse, with nothing written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastgrad
from fastgrad._kernels.bind import builtins
from support.small import ALL, NONE, Array, Layer, Odd, integers, layer, read_only


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


def test_refused_operands() -> None:
    a, b, c = integers(4, 4), integers(4, 4), integers(4, 4)
    same = unchanged(a, b, c)
    for product in (builtins.matmul, builtins.matmul_nt, builtins.matmul_tn):
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


def test_refused_overlap_with_a_reversed_operand() -> None:
    rows = integers(9, 4)
    same = unchanged(rows)
    assert builtins.matmul(rows[4:0:-1], integers(4, 4), rows[:4], False) is None
    assert builtins.matmul(rows[4:0:-1], integers(4, 4), rows[4:8], False) is None
    assert same()
    assert builtins.matmul(rows[4:0:-1], integers(4, 4), rows[5:], False) is not None


@pytest.mark.parametrize("dtype", [">f4", ">f8", "f2", "g", "i4", "i8", "?", "c8", "O"])
def test_refused_dtypes(dtype: str) -> None:
    """All arrays of the same one."""
    t = Layer(*(np.ones_like(a).astype(dtype) for a in layer()))
    assert builtins.matmul(t.x, t.w, t.y, False) is builtins.matmul(t.x, t.w, None, False) is None
    assert builtins.matmul_stack(t.x[None], t.w[None], t.y[None], False) is None
    assert builtins.linear_forward(t.x, t.w, t.bias, None, t.y, None) is None
    assert builtins.linear_backward(t.g, t.x, t.w, None, None, None, ALL, NONE, False) is None
    labels = np.zeros(len(t.x), np.int64)
    assert builtins.softmax_cross_entropy(t.x, labels, 0.0) is None
    assert builtins.mse(t.x, t.dx) is builtins.binary_cross_entropy_with_logits(t.x, t.dx) is None
    assert builtins.sgd_step(t.w, t.dw, 0.1, None, 0.0, False, 0.0) is None
    more = t.w.copy(), t.w.copy()
    assert builtins.adam_step(t.w, t.dw, *more, 1, 0.1, 0.9, 0.99, 1e-7, 0.0, False) is None


@pytest.mark.parametrize("m, k, n", [(3, 4, 5), (5, 3, 4), (4, 5, 3)])
def test_refused_shapes(m: int, k: int, n: int) -> None:
    a, b, c = integers(m, k), integers(k, n), np.zeros((m, n), "f4")
    assert builtins.matmul(a, b, c, False) is c
    for shape in ((m, n + 1), (m + 1, n), (n, m), (m - 1, n), (m, n - 1)):
        assert builtins.matmul(a, b, np.zeros(shape, "f4"), False) is None
    for wrong in (integers(k + 1, n), integers(k - 1, n), integers(n, k)):
        assert builtins.matmul(a, wrong, c, False) is None
        assert builtins.matmul(a, wrong, None, False) is None
    assert builtins.matmul_nt(a, b, None, False) is None
    assert builtins.matmul_tn(a, b, None, False) is None


def test_refused_stacks() -> None:
    a, b, c = integers(3, 4, 4), integers(3, 4, 4), integers(3, 4, 4)
    same = unchanged(a, b, c)
    for wrong in wrong_arrays(a):
        if isinstance(wrong, np.ndarray) and wrong.shape == a.shape[1:]:
            continue  # one matrix for all of the others is taken
        assert builtins.matmul_stack(wrong, b, c, False) is None
        assert builtins.matmul_stack(a, wrong, c, False) is None
    for wrong in wrong_outputs(c, a, b):
        assert builtins.matmul_stack(a, b, wrong, False) is None
    assert builtins.matmul_stack(a, b, None, True) is None
    for left, right, out in ((a[:2], b, c), (a, b[:2], c), (a, b, c[:2]), (a[:2], b[:2], c)):
        assert builtins.matmul_stack(left, right, out, False) is None
    for left, right, out in (
        (a[:, :3], b, c),
        (a, b[:, :, :3], c),
        (a, b[:, :3], c),
        (a, b, c[:, :3]),
    ):
        assert builtins.matmul_stack(left, right, out, False) is None
    assert same()


def test_refused_forward() -> None:
    x, w, b, y, z = integers(4, 4), integers(4, 4), integers(4), integers(4, 4), integers(4, 4)
    same = unchanged(x, w, b, y, z)
    for wrong in wrong_arrays(x):
        assert builtins.linear_forward(wrong, w, b, None, y, z) is None
        assert builtins.linear_forward(x, wrong, b, None, y, z) is None
    for wrong in (*(w for w in wrong_arrays(b) if w is not None), integers(8)[::2], integers(5)):
        assert builtins.linear_forward(x, w, wrong, None, y, z) is None
    for wrong in (*wrong_outputs(y, x, w), y.T, integers(5, 4), integers(4, 5)):
        assert builtins.linear_forward(x, w, b, None, wrong, None) is None
        assert builtins.linear_forward(x, w, b, None, None, wrong) is None
    assert builtins.linear_forward(x, w, y[0], None, y, None) is None
    assert builtins.linear_forward(x, w, z[0], None, y, z) is None
    assert builtins.linear_forward(x, w, None, None, y, y) is None
    for wrong in ("Relu", 1, True, b"relu", ("relu",), [], np.str_("relu"), x):
        assert builtins.linear_forward(x, w, b, wrong, y, z) is None
    assert same()


def test_refused_backward() -> None:
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
        return builtins.linear_backward(g, x, w, "tanh", s, None, needs, out, add)

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


def test_refused_losses() -> None:
    z, t, labels = integers(4, 3), np.zeros((4, 3), "f4"), np.zeros(4, np.int64)
    same = unchanged(z, t, labels)
    for function in (builtins.mse, builtins.binary_cross_entropy_with_logits):
        for wrong in wrong_arrays(z):
            assert function(wrong, t) is function(z, wrong) is None, wrong
        for shape in ((4, 2), (3, 3), (4, 3, 1), (12,), (0, 3), (4, 0), ()):
            assert function(z, np.zeros(shape, "f4")) is None
            assert function(np.zeros(shape, "f4"), t) is None
        for shape in ((0, 3), (3, 0), (0,), (), (2, 0, 3)):
            assert function(*[np.zeros(shape, "f4")] * 2) is None
        assert function(np.zeros((4, 3, 5), "f4")[:, ::2], np.zeros((4, 2, 5), "f4")) is None
    for wrong in wrong_arrays(z):
        if getattr(wrong, "dtype", None) == "f8" and type(wrong) is np.ndarray:
            continue  # nothing that it has to agree with
        assert builtins.softmax_cross_entropy(wrong, labels, 0.0) is None, wrong
    of_labels = [
        labels[:3], labels[:, None], labels[:1], labels.astype(np.int32), labels.tolist(), None,
        labels.astype(np.uint64), labels.astype(">i8"), labels.view("m8"), labels.astype(bool),
        np.full(4, 3), np.full(4, -1), np.array([0, 0, 0, 3]), z, labels.view(Odd),
        np.frombuffer(bytes(33), np.uint8)[1:].view(np.int64),
    ]  # fmt: skip
    for wrong in of_labels:
        assert builtins.softmax_cross_entropy(z, wrong, 0.0) is None, wrong
    for wrong in (1, 0, True, None, "0", -0.1, 1.5, np.nan, np.inf, np.float64(0.1), z, -0.0):
        assert builtins.softmax_cross_entropy(z, labels, wrong) is None, wrong
    for outside in (-0.5, 1.5, np.nan, np.inf, -np.inf):
        wrong_share = t.copy()
        wrong_share[3, 2] = outside
        assert builtins.binary_cross_entropy_with_logits(z, wrong_share) is None, outside
    assert same()


def test_refused_steps() -> None:
    p, g, m, v = (np.ones((3, 4), "f4") for _ in range(4))
    same = unchanged(p, g, m, v)

    def sgd(p: Any = p, g: Any = g, lr: Any = 0.1, v: Any = m, momentum: Any = 0.9,
            nesterov: Any = False, decay: Any = 0.0) -> Any:  # fmt: skip
        return builtins.sgd_step(p, g, lr, v, momentum, nesterov, decay)

    def adam(p: Any = p, g: Any = g, m: Any = m, v: Any = v, step: Any = 1, lr: Any = 0.1,
             b1: Any = 0.9, b2: Any = 0.99, eps: Any = 1e-8, decay: Any = 0.0,
             decoupled: Any = False) -> Any:  # fmt: skip
        return builtins.adam_step(p, g, m, v, step, lr, b1, b2, eps, decay, decoupled)

    whole = np.ones((3, 8), "f4")
    spread = [
        whole[:, ::2],
        whole[:, :4],
        np.asfortranarray(p),
        p[::-1],
        np.broadcast_to(p[0], (3, 4)),
    ]
    for wrong in (*wrong_arrays(p), *spread):
        assert sgd(g=wrong) is adam(g=wrong) is adam(m=wrong) is adam(v=wrong) is None, wrong
        assert sgd(p=wrong) is adam(p=wrong) is sgd(v=wrong) is None, wrong
    frozen = read_only(p.copy())
    assert sgd(p=frozen) is sgd(v=frozen) is adam(p=frozen) is adam(m=frozen) is None
    assert adam(v=frozen) is None
    assert sgd(g=p) is sgd(v=p) is sgd(v=g) is adam(g=p) is adam(m=g) is adam(v=m) is None
    memory = np.ones(20, "f4")
    assert sgd(p=memory[:12].reshape(3, 4), g=memory[8:].reshape(3, 4)) is None
    number = (
        1,
        True,
        None,
        "0.1",
        np.float32(0.1),
        np.float64(0.1),
        np.ones(1),
        -0.1,
        np.nan,
        np.inf,
    )
    for wrong in number:
        assert sgd(lr=wrong) is sgd(momentum=wrong) is sgd(decay=wrong) is None, wrong
        assert adam(lr=wrong) is adam(b1=wrong) is adam(b2=wrong) is adam(eps=wrong) is None
        assert adam(decay=wrong) is None
    assert sgd(momentum=1.0) is adam(b1=1.0) is adam(b2=1.0) is None
    assert sgd(momentum=0.0, nesterov=True) is sgd(v=None) is None
    for wrong in (1, 0, None, np.True_, "True"):
        assert sgd(nesterov=wrong) is None
    for wrong in (0, -1, True, 1.0, None, "1", np.int64(1), 2**63, -(2**70), 10**40):
        assert adam(step=wrong) is None, wrong
    assert same()


def test_number_of_arguments() -> None:
    for name in builtins.NAMES:
        function = getattr(builtins, name)
        for count in (0, 1, 2, 5, 8, 12):
            assert function(*[None] * count) is None
        with pytest.raises(TypeError, match="keyword"):
            function(out=None)
