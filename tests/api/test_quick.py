"""The builtins behind the public functions: what they take, refuse, count and give back.

Each test runs on the builtins and on their twins by hand, which obey the same rules.
"""

from __future__ import annotations

import ctypes
import gc
import itertools
import pickle
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import fastgrad
from fastgrad._kernels import backward, by_hand, elementwise, entries, gemm, jit

Array = np.ndarray[Any, Any]
ALL = (True, True, True)
NONE = (None, None, None)
DTYPES = ("float32", "float64")


@pytest.fixture(params=["builtin", "by hand"])
def call(request: pytest.FixtureRequest) -> Any:
    return entries if request.param == "builtin" else by_hand


def integers(*shape: int, dtype: str = "float32") -> Array:
    """Exact in products: small, and different at every place."""
    values = np.arange(int(np.prod(shape))) * 7 % 11 - 5
    return values.reshape(shape).astype(dtype)


class Layer(NamedTuple):
    x: Array
    w: Array
    bias: Array
    g: Array
    y: Array
    dx: Array
    dw: Array
    db: Array


def layer(dtype: str = "float32") -> Layer:
    """N 3, K 4, M 5, exact; outputs hold NaN."""
    shapes = ((3, 4), (4, 5), (5,), (3, 5), (3, 5), (3, 4), (4, 5), (5,))
    made = Layer(*(integers(*shape, dtype=dtype) for shape in shapes))
    for a in made[4:]:
        a.fill(np.nan)
    return made


class Odd(np.ndarray):  # type: ignore[type-arg]
    pass


def read_only(a: Array) -> Array:
    a.flags.writeable = False
    return a


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
    for row in fastgrad._kernels.activations.TABLE:
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


# what is refused, with nothing written ------------------------------------------------------------


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
    assert len(overlapping) or not inputs
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


# references, memory, the GIL ------------------------------------------------------------------


def counts(*things: Any) -> list[int]:
    return [sys.getrefcount(thing) for thing in things]


def test_references(call: Any) -> None:
    t = layer()
    h, out, part = integers(3, 5), (t.dx, t.dw, t.db), (None, t.dw, None)
    stack = integers(2, 4, 4)
    stacks = (stack, stack.copy(), stack.copy())
    tall = np.zeros((9, 9), "f4")
    things = (
        *t, h, out, part, *stacks, stack, tall, t.x.dtype, np.ndarray, fastgrad.LinearGrads,
        ALL, NONE, "relu", None,
    )  # fmt: skip
    rounds = 100_000 if call is entries else 300

    def once() -> None:
        call.product(t.x, t.w, t.y, False)
        call.product(t.x, t.w, None, False)
        call.product(t.x, t.w, None, True)
        call.product(t.x, tall, None, False)
        call.product(t.x, t.w, tall, False)
        call.product_nt(t.x, t.x, None, False)
        call.product_stack(*stacks, False)
        call.forward(t.x, t.w, t.bias, "relu", t.y, None)
        call.forward(t.x, t.w, None, None, None, h)
        call.forward(t.x, t.w, tall, None, None, h)
        call.backward(t.g, t.x, t.w, "relu", h, None, ALL, out, True)
        call.backward(t.g, t.x, t.w, "relu", h, None, ALL, NONE, False)
        call.backward(t.g, t.x, t.w, "relu", h, None, (True, False, True), part, False)
        call.backward(t.g, t.x, t.w, "relu", tall, None, ALL, part, False)
        call.backward(t.g, t.x, t.w, "relu", h, None, ALL, (t.x, None, None), False)

    once()
    gc.collect()
    before = counts(*things)
    tracemalloc.start()
    try:
        once()
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
        for _ in range(rounds // 15):
            once()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - size
    finally:
        tracemalloc.stop()
    after = counts(*things)
    # a leak is of one each round; Python's own may differ by a few
    few = max(10, rounds // 30)
    assert all(abs(x - y) < few for x, y in zip(before, after, strict=True)), (before, after)
    assert grown < 4096


@contextmanager
def nothing_left(*things: Any) -> Iterator[None]:
    """No reference and no object is kept of what happens 500 times inside."""
    gc.collect()
    before, blocks = counts(*things), sys.getallocatedblocks()
    yield
    gc.collect()
    assert sys.getallocatedblocks() - blocks < 250
    assert all(abs(x - y) < 10 for x, y in zip(before, counts(*things), strict=True))


@contextmanager
def in_place_of(number: int, kernel: int) -> Iterator[None]:
    """A kernel's slots with another address in them."""
    slots = [jit.slot(number, dtype) for dtype in DTYPES]
    before = [jit.TABLE[slot] for slot in slots]
    try:
        for slot in slots:
            jit.TABLE[slot] = kernel
        yield
    finally:
        for slot, address in zip(slots, before, strict=True):
            jit.TABLE[slot] = address


def calls(call: Any, t: Layer) -> list[Callable[[], Any]]:
    stack = integers(2, 4, 4)
    return [
        lambda: call.product(t.x, t.w, None, False),
        lambda: call.product(t.x, t.w, t.y, False),
        lambda: call.product_stack(stack, stack.copy(), stack.copy(), False),
        lambda: call.forward(t.x, t.w, t.bias, "relu", None, None),
        lambda: call.backward(t.g, t.x, t.w, None, None, None, ALL, (t.dx, None, None), False),
    ]


def test_a_kernel_that_fails_raises(call: Any) -> None:
    fail = jit.KERNEL_TYPE(lambda descriptor: jit.OUT_OF_MEMORY)
    address = ctypes.cast(fail, ctypes.c_void_p).value
    assert address
    t = layer()
    with in_place_of(gemm.GEMM, address), in_place_of(backward.BACKWARD_KERNEL, address):
        for one in calls(call, t):
            with nothing_left(*t, t.x.dtype, fastgrad.LinearGrads):
                for _ in range(500):
                    with pytest.raises(MemoryError, match="scratch"):
                        one()


def test_results_too_large_to_allocate() -> None:
    t = layer()
    huge = 1 << 55
    tall = np.lib.stride_tricks.as_strided(t.x, (huge, 4), (0, 4))
    wide = np.lib.stride_tricks.as_strided(t.x, (4, huge), (4, 0))
    g = np.lib.stride_tricks.as_strided(t.x, (3, huge), (4, 0))
    with nothing_left(*t, t.x.dtype):
        for _ in range(500):
            with pytest.raises((MemoryError, ValueError)):
                entries.product(tall, t.w, None, False)
            with pytest.raises((MemoryError, ValueError)):  # after dx has been made
                entries.backward(g, t.x, wide, None, None, None, ALL, NONE, False)


def test_the_gil_is_kept_for_short_calls_and_released_for_long_ones() -> None:
    """The kernel is CPython's own question whether the GIL is held: 1, a failure, or 0, success."""
    held = ctypes.cast(ctypes.pythonapi.PyGILState_Check, ctypes.c_void_p).value
    assert held
    large = [integers(512, 512) for _ in range(3)]
    rows = integers(1, 40_000), integers(40_000, 1)
    with in_place_of(gemm.GEMM, held), in_place_of(backward.BACKWARD_KERNEL, held):
        for one in calls(entries, layer()):
            with pytest.raises(MemoryError):
                one()
        assert entries.product(*large, False) is large[2]
        assert entries.product(*rows, None, False) is not None
        assert entries.forward(*large[:2], None, None, None, None) is not None
        grads = entries.backward(*large, None, None, None, ALL, NONE, False)
        assert type(grads) is fastgrad.LinearGrads


def test_many_threads() -> None:
    """Short calls with the GIL, long ones without, and their own outputs."""
    small, large = layer(), (integers(200, 300), integers(300, 250))
    expected = small.x @ small.w, large[0] @ large[1]
    wrong = []

    def work() -> None:
        y, c = np.empty((3, 5), "f4"), np.empty((200, 250), "f4")
        for _ in range(30):
            entries.product(*large, c, False)
            for _ in range(50):
                entries.product(small.x, small.w, y, False)
            if not (np.array_equal(y, expected[0]) and np.array_equal(c, expected[1])):
                wrong.append((y.copy(), c.copy()))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
