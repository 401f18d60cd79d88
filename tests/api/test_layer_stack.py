"""Stacks of layers: the bits of one call for each, shapes, layouts, outs and errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

import fastgrad
from fastgrad._kernels.bind import builtins
from fastgrad._ops import layout as _layout
from fastgrad._ops import linear
from support.layouts import LAYOUTS, OUTPUTS, STACKS, Placed, place
from support.oracles import assert_same_bits, floats
from support.two_paths import NAMES, checked_path

RNG = np.random.default_rng(0)
EDGES = (0, 1, 2, 3, 5, 8, 15, 16, 17, 33, 65)
ALL = (True, True, True)


@pytest.fixture(autouse=True)
def all_threads_again() -> Iterator[None]:
    before = fastgrad.get_num_threads()
    yield
    fastgrad.set_num_threads(before)


def array(*shape: int, dtype: str = "f4") -> np.ndarray:
    return floats(RNG, *shape, dtype=dtype)


class Layers(NamedTuple):
    """A stack, dense, and what comes of calls for one layer."""

    x: np.ndarray
    weight: np.ndarray
    bias: np.ndarray | None
    activation: str | None
    y: np.ndarray
    z: np.ndarray
    g: np.ndarray
    old: list[np.ndarray]  # what gradients are added to
    grads: list[list[np.ndarray]]  # written, and added

    def outs(self, add: bool) -> list[np.ndarray]:
        return [a.copy() if add else np.full_like(a, np.nan) for a in self.old]


def layers(
    s: int, rows: tuple[int, ...], k: int, m: int, activation: str | None = None,
    shared: bool = False, biased: bool = True, dtypes: tuple[str, str] = ("f4", "f4"),
) -> Layers:  # fmt: skip
    x = array(*(rows if shared else (s, *rows)), k, dtype=dtypes[0])
    weight, bias = array(s, k, m, dtype=dtypes[1]), array(s, m) if biased else None
    dtype = np.result_type(*dtypes)
    y, z = (np.empty((s, *rows, m), dtype) for _ in "yz")
    g = array(*y.shape)
    each = [(x if shared else x[i], weight[i]) for i in range(s)]
    for i, (one, w) in enumerate(each):
        row = None if bias is None else bias[i]
        fastgrad.linear_forward(one, w, row, activation, y[i], z[i])
    old = [array(*shape, dtype=dtype.str) for shape in (x.shape, weight.shape, (s, m))]
    both = []
    for add in (False, True):
        grads = [a.copy() for a in old]
        if shared and not add:
            grads[0][...] = 0
        for i, (one, w) in enumerate(each):
            places = (grads[0] if shared else grads[0][i], grads[1][i], grads[2][i])
            adds = (add or (shared and i > 0), add, add)
            fastgrad.linear_backward(g[i], one, w, activation, y[i], z[i], ALL, places, adds)
        both.append(grads)
    return Layers(x, weight, bias, activation, y, z, g, old, both)


def check_forward(
    t: Layers, x: Any, weight: Any, bias: Any, out: Any = None, z: Any = None
) -> None:
    y = fastgrad.linear_forward(x, weight, bias, t.activation, out, z)
    assert out is None or y is out
    assert_same_bits(y, t.y)
    if z is not None:
        assert_same_bits(z, t.z)


def check_backward(t: Layers, g: Any, x: Any, weight: Any, y: Any, z: Any, needs: Any = ALL,
                   out: Any = (None,) * 3, add: bool = False) -> None:  # fmt: skip
    found = fastgrad.linear_backward(g, x, weight, t.activation, y, z, needs, out, add)
    for need, to, grad, wanted, before in zip(needs, out, found, t.grads[add], t.old, strict=True):
        if need:
            assert to is None or grad is to
            assert_same_bits(grad, wanted)
        else:
            assert grad is None
            assert to is None or (to == before).all() or np.isnan(to).all()


@given(
    s=st.integers(0, 5), rows=st.sampled_from([(), (1,), (5,), (17,), (2, 3), (0,)]),
    k=st.sampled_from(EDGES), m=st.sampled_from(EDGES), activation=st.sampled_from(NAMES),
    shared=st.booleans(), biased=st.booleans(), threads=st.sampled_from([1, 2, 7]),
    dtypes=st.tuples(*[st.sampled_from(["f4", "f8"])] * 2), outs=st.booleans(),
    add=st.booleans(), needs=st.tuples(*[st.booleans()] * 3),
)  # fmt: skip
def test_layer_by_layer(  # type: ignore[no-untyped-def]
    s, rows, k, m, activation, shared, biased, threads, dtypes, outs, add, needs
) -> None:
    if len(rows) == (2 if shared else 0):
        return  # x of two dimensions is one for all, of three one for each
    fastgrad.set_num_threads(1)
    t = layers(s, rows, k, m, activation, shared, biased, dtypes)
    fastgrad.set_num_threads(threads)
    z = np.full_like(t.z, np.nan)
    check_forward(t, t.x, t.weight, t.bias, np.full_like(t.y, np.nan) if outs else None, z)
    to = tuple(t.outs(add)) if outs else (None,) * 3
    check_backward(t, t.g, t.x, t.weight, t.y, t.z, needs, to, add and outs)


def placed(draw: Any, a: np.ndarray, is_output: bool = False) -> Placed:
    """In a layout of those that an array of so many dimensions may have."""
    layouts: dict[int, dict[str, Any]] = {3: STACKS, 2: OUTPUTS if is_output else LAYOUTS}
    return place(a, **draw(st.sampled_from([*layouts.get(a.ndim, {"C": {}}).values()])))


@given(
    s=st.integers(0, 5), n=st.sampled_from(EDGES), k=st.sampled_from(EDGES),
    m=st.sampled_from(EDGES), activation=st.sampled_from(NAMES), shared=st.booleans(),
    dtype=st.sampled_from(["f4", "f8"]), add=st.booleans(), threads=st.sampled_from([1, 2, 7]),
    data=st.data(),
)  # fmt: skip
def test_any_layout(s, n, k, m, activation, shared, dtype, add, threads, data) -> None:  # type: ignore[no-untyped-def]
    """Gaps hold NaN, which must not be read, and are not written."""
    fastgrad.set_num_threads(1)
    t = layers(s, (n,), k, m, activation, shared, True, (dtype, dtype))
    fastgrad.set_num_threads(threads)
    bias = t.bias.astype(dtype)
    x, w, b, g, y, z = (placed(data.draw, a).array for a in (t.x, t.weight, bias, t.g, t.y, t.z))
    out, to_z = (placed(data.draw, np.full_like(t.y, np.nan), True) for _ in "yz")
    check_forward(t, x, w, b, out.array, to_z.array)
    assert out.intact() and to_z.intact()
    grads = [placed(data.draw, a, True) for a in t.outs(add)]
    check_backward(t, g, x, w, y, z, ALL, tuple(a.array for a in grads), add)
    assert all(a.intact() for a in grads)


# layers of each way through the kernels: in one loop, product by product, with an H of their own in
# cache, longer than a block of k, wider than one, with products for all threads
SHAPES = (
    (300, 4, 9, 17), (40, 1, 64, 64), (50, 33, 32, 31), (12, 60, 70, 80), (3, 600, 20, 30),
    (3, 20, 600, 30), (3, 20, 30, 600), (2, 300, 300, 300), (2, 1300, 3, 400),
)  # fmt: skip


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_way(shape: tuple[int, int, int, int], shared: bool, dtype: str) -> None:
    s, n, k, m = shape
    for activation in (None, "relu", "gelu"):
        fastgrad.set_num_threads(1)
        t = layers(s, (n,), k, m, activation, shared, True, (dtype, dtype))
        for threads in (1, 2, 7):
            fastgrad.set_num_threads(threads)
            check_forward(t, t.x, t.weight, t.bias)
            check_forward(t, t.x, t.weight, t.bias, np.full_like(t.y, np.nan), np.empty_like(t.z))
            for add in (False, True):
                out = tuple(t.outs(add))
                check_backward(t, t.g, t.x, t.weight, t.y, t.z, ALL, out, add)
            check_backward(t, t.g, t.x, t.weight, t.y, t.z, (False, True, True))


@pytest.mark.parametrize("rows", [(), (4,), (3, 4)], ids=str)
def test_plain_stacks_are_one_call(rows: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of weights stored (S, out, in), of layers that come row by row, and backwards."""
    t = layers(5, rows, 6, 7, "tanh", len(rows) < 2)
    monkeypatch.setattr(linear, "_checked_forward", None)
    monkeypatch.setattr(linear, "_checked_backward", None)
    stored = np.ascontiguousarray(t.weight.swapaxes(1, 2)).swapaxes(1, 2)
    in_turn = np.empty((*t.y.shape[1:-1], 5, 7), "f4").swapaxes(0, -2) if rows == (4,) else None
    check_forward(t, t.x, t.weight, t.bias)
    check_forward(t, t.x, stored, t.bias, in_turn, np.empty_like(t.z)[::-1])
    check_backward(t, t.g, t.x, stored, t.y, None)
    out = tuple(np.empty_like(a)[::-1] if a.ndim > 2 else np.empty_like(a) for a in t.old)
    check_backward(t, t.g[::-1][::-1], t.x, t.weight, t.y, None, ALL, out)


def test_what_is_copied_first_is_one_call_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other dtypes, outs without unit stride, dimensions that do not collapse, if not large."""
    t = layers(5, (3, 4), 6, 7, "relu", dtypes=("f4", "f8"))
    x = np.repeat(t.x, 2, axis=2)[:, :, ::2]
    out = np.empty((*t.y.shape, 2))[..., 0]
    calls = []
    monkeypatch.setattr(linear, "linear_forward", calls.append)
    monkeypatch.setattr(linear, "linear_backward", calls.append)
    check_forward(t, x, t.weight, t.bias, out)
    grads = tuple(np.empty((*a.shape, 2))[..., 0] for a in t.old)
    check_backward(t, t.g, x, t.weight, t.y, None, ALL, grads)
    assert calls == []


def test_large_operands_of_odd_layouts_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """They go layer by layer, as all do where objects are not laid out as assumed."""
    t = layers(3, (2, 6), 5, 4, "gelu")
    monkeypatch.setattr(_layout, "GATHER_BYTES", 64)
    x, out = np.repeat(t.x, 2, axis=2)[:, :, ::2], np.empty((*t.y.shape, 2), "f4")[..., 0]
    check_forward(t, x, t.weight, t.bias, out)
    grads = tuple(np.empty((*a.shape, 2), "f4")[..., 0] for a in t.old)
    check_backward(t, t.g, x, t.weight, None, t.z, ALL, grads)
    with checked_path():
        check_forward(t, t.x, t.weight, t.bias)
        check_backward(t, t.g, t.x, t.weight, None, t.z)


def test_outs_may_overlap_inputs() -> None:
    x, weight = array(3, 4, 5), array(3, 5, 5)
    wanted = fastgrad.linear_forward(x, weight)
    fastgrad.linear_forward(x, weight, out=x)
    assert_same_bits(x, wanted)
    x, g = array(3, 4, 5), array(3, 4, 5)
    wanted = fastgrad.linear_backward(g, x, weight)
    found = fastgrad.linear_backward(g, x, weight, out=(g, weight, None))
    for one, other in zip(found, wanted, strict=True):
        assert_same_bits(one, other)


WRONG = {
    "x has 4 columns but each weight has 5 rows": lambda: (array(3, 2, 4), array(3, 5, 6)),
    "x is of 2 layers but weight of 3": lambda: (array(2, 4, 5), array(3, 5, 6)),
    "bias has shape (6,), expected (3, 6)": lambda: (array(3, 4, 5), array(3, 5, 6), array(6)),
    "x is 0-dimensional": lambda: (np.zeros(()), array(3, 5, 6)),
    "activation 'rely' is not known": lambda: (array(3, 4, 5), array(3, 5, 6), None, "rely"),
    "out has shape (4, 6)": lambda: (array(4, 5), array(3, 5, 6), None, None, array(4, 6)),
}


@pytest.mark.parametrize("words", WRONG)
def test_errors_of_forward(words: str) -> None:
    with pytest.raises(ValueError) as error:
        fastgrad.linear_forward(*WRONG[words]())
    assert words in str(error.value)


def test_errors_of_backward_write_nothing() -> None:
    g, x, weight, out = array(3, 4, 6), array(3, 4, 5), array(3, 5, 6), np.zeros((3, 4, 5), "f4")
    for wrong, words in (
        ({"grad_output": g[:2]}, "grad_output has shape (2, 4, 6), expected (3, 4, 6)"),
        ({"activation": "relu"}, "output is None"),
        ({"activation": "relu", "output": x}, "output has shape (3, 4, 5)"),
        ({"out": (out, x, None)}, "out[1] (weight)"),
    ):
        arguments = {"grad_output": g, "x": x, "weight": weight, "out": (out, None, None), **wrong}
        with pytest.raises(ValueError) as error:
            fastgrad.linear_backward(**arguments)
        assert words in str(error.value) and not out.any()


def test_refused_with_nothing_written() -> None:
    """By the builtins: what overlaps, what no kernel can write, what has another shape."""
    x, w, b, y = array(3, 4, 4), array(3, 4, 4), array(3, 4), np.zeros((3, 4, 4), "f4")
    twice = np.broadcast_to(y[:1], y.shape)
    twice.flags.writeable = True
    near = np.lib.stride_tricks.as_strided(np.zeros(64, "f4"), y.shape, (32, 16, 4))
    memory = np.zeros(200, "f4")
    over = memory[:48].reshape(3, 4, 4), memory[40:88].reshape(3, 4, 4)
    before = [a.tobytes() for a in (x, w, b, y, memory)]
    forward, backward = builtins.linear_forward_stack, builtins.linear_backward_stack
    for wrong in (twice, near, y[:2], y[:, :3], y[..., :3], y[0], x, w, y.astype("f8"), y.T):
        assert forward(x, w, b, None, wrong, None) is None
        assert forward(x, w, b, None, None, wrong) is None
    for wrong in (x[:2], x[..., :3], x.astype("f8"), np.zeros(()), x[None][:, :1], x.tolist()):
        assert forward(wrong, w, b, None, y, None) is None
        assert backward(y, wrong, w, None, None, None, ALL, (None,) * 3, False) is None
    for wrong in (w[0], w[None], w[:0], w[:2], w[:, :3]):
        assert forward(x, wrong, b, None, y, None) is None
    for wrong in (b[0], b[:2], b[:, :3], b.T[::2], np.zeros((3, 8), "f4")[:, ::2]):
        assert forward(x, w, wrong, None, y, None) is None
    assert forward(x, w, b, None, *over) is None
    for out in ((twice, None, None), (None, near, None), (None, None, y[0]), (x, None, None),
                (over[0], over[1], None), (None, None, twice[:, 0]), (None, w, None)):  # fmt: skip
        assert backward(y, x, w, None, None, None, ALL, out, False) is None
    assert backward(y, x, w, None, None, None, ALL, (None,) * 3, True) is None
    assert backward(y[:2], x, w, None, None, None, ALL, (None,) * 3, False) is None
    assert before == [a.tobytes() for a in (x, w, b, y, memory)]


def test_from_compiled_code() -> None:
    """With results of the right dimensions."""

    @njit
    def step(x, weight, bias):  # type: ignore[no-untyped-def]
        y = fastgrad.linear_forward(x, weight, bias, "relu")
        return y, fastgrad.linear_backward(y, x, weight, "relu", y)

    weight, bias = array(3, 5, 6), array(3, 6)
    for x in (array(5), array(4, 5), array(3, 4, 5)):
        y, grads = step(x, weight, bias)
        assert_same_bits(y, fastgrad.linear_forward(x, weight, bias, "relu"))
        for one, other in zip(
            grads, fastgrad.linear_backward(y, x, weight, "relu", y), strict=True
        ):
            assert_same_bits(one, other)
