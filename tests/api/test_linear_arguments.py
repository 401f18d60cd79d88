"""What linear_forward and linear_backward take: saved arrays, outs, any shape, overlap."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastgrad import linear_backward, linear_forward, matmul
from support import edges
from support.layouts import STACKS, place
from support.oracles import Array, assert_same_bits, exact_matmul, floats, integers, saved_for

by_dtype = pytest.mark.parametrize("dtype", edges.DTYPES)
by_activation = pytest.mark.parametrize("activation", [None, *edges.ACTIVATIONS])


@by_activation
def test_saved_array_and_the_superfluous_one(activation: Any, rng: np.random.Generator) -> None:
    """What is not needed is ignored, whatever it is; what is needed decides."""
    x, w, g = floats(rng, 4, 3), floats(rng, 3, 5), floats(rng, 4, 5)
    z = np.empty((4, 5), np.float32)
    y = linear_forward(x, w, None, activation, preactivation_out=z)
    saved = saved_for(activation, y, z)
    expected = linear_backward(g, x, w, activation, **saved)
    other: dict[str, Any] = {"output": "nonsense", "preactivation": np.ones(1)}
    with_both = linear_backward(g, x, w, activation, **{**other, **saved})
    for a, b in zip(with_both, expected, strict=True):
        assert_same_bits(a, b)


def test_needs_and_outs(rng: np.random.Generator) -> None:
    x, w, g = integers(rng, 4, 3), integers(rng, 3, 5), integers(rng, 4, 5)
    outs = tuple(np.full(s, 7, np.float32) for s in ((4, 3), (3, 5), (5,)))
    for needed in range(3):
        needs = tuple(i == needed for i in range(3))
        grads = linear_backward(g, x, w, needs=needs, out=tuple(o.copy() for o in outs))
        assert [v is not None for v in grads] == list(needs)
    kept = tuple(o.copy() for o in outs)
    linear_backward(g, x, w, needs=(False, False, False), out=kept)
    assert all((a == b).all() for a, b in zip(kept, outs, strict=True)), (
        "an unneeded out was written"
    )


def test_accumulate_as_bool_and_tuple(rng: np.random.Generator) -> None:
    """A training step adds to dW and db and overwrites dX; True is for the outs that are given."""
    x, w, g = integers(rng, 4, 3), integers(rng, 3, 5), integers(rng, 4, 5)
    dx, dw, db = exact_matmul(g, w.T), exact_matmul(x.T, g), g.sum(0)

    def outs() -> list[Array]:
        return [np.full(s, 7, np.float32) for s in ((4, 3), (3, 5), (5,))]

    out = outs()
    linear_backward(g, x, w, out=tuple(out), accumulate=(False, True, True))
    assert (out[0] == dx).all() and (out[1] == dw + 7).all() and (out[2] == db + 7).all()
    out = outs()
    linear_backward(g, x, w, out=tuple(out), accumulate=True)
    assert (out[0] == dx + 7).all() and (out[1] == dw + 7).all() and (out[2] == db + 7).all()
    out = outs()
    grads = linear_backward(g, x, w, out=(None, out[1], None), accumulate=True)
    assert grads.x is not None and grads.bias is not None
    assert (grads.x == dx).all() and (out[1] == dw + 7).all() and (grads.bias == db).all()


@by_activation
@by_dtype
def test_one_dimensional_x(dtype: str, activation: Any, rng: np.random.Generator) -> None:
    """x (in,) gives y (out,), db = H and dW = outer(x, H): the bits of a batch of one."""
    x, w, b, g = (floats(rng, *s, dtype=dtype) for s in ((5,), (5, 7), (7,), (7,)))
    z = np.empty(7, dtype)
    y = linear_forward(x, w, b, activation, preactivation_out=z)
    y2 = linear_forward(x[None], w, b, activation)
    assert_same_bits(y, y2[0])
    saved = saved_for(activation, y, z)
    grads = linear_backward(g, x, w, activation, **saved)
    rows = {name: v[None] for name, v in saved.items()}
    expected = linear_backward(g[None], x[None], w, activation, **rows)
    assert expected.x is not None
    assert_same_bits(grads.x, expected.x[0])
    assert_same_bits(grads.weight, expected.weight)
    assert_same_bits(grads.bias, expected.bias)


@pytest.mark.parametrize("keywords", [{"steps": (3,)}, {"reverse": (0,)}, {"shift": 1}])
def test_one_dimensional_x_into_any_stride(
    keywords: dict[str, Any], rng: np.random.Generator
) -> None:
    x, w, g = floats(rng, 5), floats(rng, 5, 7), floats(rng, 7)
    y, grads = linear_forward(x, w), linear_backward(g, x, w)
    xs, gs = place(x, **keywords).array, place(g, **keywords).array
    out, pre = (place(np.full(7, np.nan, np.float32), **keywords) for _ in range(2))
    linear_forward(xs, w, out=out.array, preactivation_out=pre.array)
    assert_same_bits(out.array, y, "y")
    assert_same_bits(pre.array, y, "z")
    dx, db = (place(np.full(n, np.nan, np.float32), **keywords) for n in (5, 7))
    linear_backward(gs, xs, w, out=(dx.array, None, db.array))
    assert_same_bits(dx.array, grads.x, "dX")
    assert_same_bits(db.array, grads.bias, "db")
    assert all(p.intact() for p in (out, pre, dx, db))


@pytest.mark.parametrize("layout", STACKS)
@pytest.mark.parametrize("activation", [None, "relu", "gelu"])
@by_dtype
def test_leading_dimensions(
    dtype: str, activation: Any, layout: str, rng: np.random.Generator
) -> None:
    """Leading dimensions that collapse into one stride and those that do not: the same bits."""
    lead, k, m = (3, edges.ISA.rows + 1), 5, edges.tile_columns(dtype) + 1
    x, g = floats(rng, *lead, k, dtype=dtype), floats(rng, *lead, m, dtype=dtype)
    w, b = floats(rng, k, m, dtype=dtype), floats(rng, m, dtype=dtype)
    flat_z = np.empty((lead[0] * lead[1], m), dtype)
    flat_y = linear_forward(x.reshape(-1, k), w, b, activation, preactivation_out=flat_z)
    flat_saved = saved_for(activation, flat_y, flat_z)
    flat = linear_backward(g.reshape(-1, m), x.reshape(-1, k), w, activation, **flat_saved)
    y, z = flat_y.reshape(*lead, m), flat_z.reshape(*lead, m)
    xs, gs = place(x, **STACKS[layout]).array, place(g, **STACKS[layout]).array
    assert_same_bits(linear_forward(xs, w, b, activation), y)
    out, pre = (place(np.full_like(y, np.nan), **STACKS[layout]) for _ in range(2))
    linear_forward(xs, w, b, activation, out.array, pre.array)
    assert_same_bits(out.array, y, "y")
    assert_same_bits(pre.array, z, "z")
    saved = {n: place(v, **STACKS[layout]).array for n, v in saved_for(activation, y, z).items()}
    dx = place(np.full_like(x, np.nan), **STACKS[layout])
    grads = linear_backward(gs, xs, w, activation, **saved, out=(dx.array, None, None))
    assert flat.x is not None
    assert_same_bits(dx.array, flat.x.reshape(x.shape), "dX")
    assert_same_bits(grads.weight, flat.weight, "dW")
    assert_same_bits(grads.bias, flat.bias, "db")
    assert out.intact() and pre.intact() and dx.intact()


@by_dtype
def test_leading_dimensions_gathered_in_several_blocks(
    dtype: str, rng: np.random.Generator
) -> None:
    """A gather longer than one block: dW and db go on from block to block, dX beside them."""
    kc = edges.KC[dtype]
    k, m = (8 << 20) // (kc * edges.itemsize(dtype)) + 1, 3  # a block is then KC rows
    x = floats(rng, 3, kc // 2 + 3, k, dtype=dtype)
    w, g = floats(rng, k, m, dtype=dtype), floats(rng, *x.shape[:2], m, dtype=dtype)
    xs = place(x, order=(1, 0, 2)).array
    assert_same_bits(linear_forward(xs, w), linear_forward(x, w))
    old = np.ones((k, m), dtype)
    for accumulate in (False, True):
        runs = []
        for v in (x, xs):
            dx, dw, db = np.ones_like(x), old.copy(), np.ones(m, dtype)
            linear_backward(g, v, w, out=(dx, dw, db), accumulate=accumulate)
            runs.append((dx, dw, db))
        for name, a, b in zip("x W b".split(), *runs, strict=True):
            assert_same_bits(b, a, f"d{name}, accumulate={accumulate}")


@by_activation
def test_weight_stored_out_in(activation: Any, rng: np.random.Generator) -> None:
    """PyTorch's weight: weight.T in, its gradient out through a transposed view."""
    x, g, stored = floats(rng, 9, 5), floats(rng, 9, 7), floats(rng, 7, 5)
    z = np.empty((9, 7), np.float32)
    y = linear_forward(x, stored.T, None, activation, preactivation_out=z)
    assert_same_bits(y, linear_forward(x, stored.T.copy(), None, activation))
    saved = saved_for(activation, y, z)
    expected = linear_backward(g, x, stored.T.copy(), activation, **saved)
    assert expected.weight is not None
    grad = place(np.full_like(stored, np.nan))
    grads = linear_backward(g, x, stored.T, activation, **saved, out=(None, grad.array.T, None))
    assert_same_bits(grad.array, np.ascontiguousarray(expected.weight.T), "dW")
    assert_same_bits(grads.x, expected.x, "dX")
    assert grad.intact()


@pytest.mark.parametrize(
    "names", [("f4", "f8"), ("i4", "f4"), ("?", "f4"), ("i8", "i8"), (">f4", "f4")]
)
def test_dtypes(names: tuple[str, str], rng: np.random.Generator) -> None:
    x, w = rng.integers(0, 2, (4, 3)).astype(names[0]), rng.integers(0, 2, (3, 5)).astype(names[1])
    y = linear_forward(x, w)
    assert y.dtype == np.result_type(x, w, np.float32)
    assert (y == x.astype(int) @ w.astype(int)).all()
    grads = linear_backward(np.ones((4, 5), np.float32), x, w)
    assert all(v is not None and v.dtype == y.dtype for v in grads)
    assert linear_forward(x, w, np.zeros(5)).dtype == np.float64
    wide = linear_backward(np.ones((4, 5)), x, w)
    assert all(v is not None and v.dtype == np.float64 for v in wide)


@pytest.mark.parametrize("keywords", [{}, {"shift": 1}, {"writeable": False}, {"pad": 1}])
def test_byte_order_is_seen(keywords: dict[str, Any], rng: np.random.Generator) -> None:
    """Also where a native array of the same shape and flags has been through the same code."""
    forward = {"x": integers(rng, 3, 4), "weight": integers(rng, 4, 5), "bias": integers(rng, 5)}
    backward = {"grad_output": integers(rng, 3, 5), "x": forward["x"], "weight": forward["weight"]}
    backward["output"] = integers(rng, 3, 5)
    y, grads = linear_forward(**forward), linear_backward(**backward, activation="relu")
    for kind in ("<f4", ">f4"):
        for name, value in forward.items():
            other = place(value.astype(kind), **keywords).array
            assert_same_bits(linear_forward(**{**forward, name: other}), y, f"{name} {kind}")
        for name, value in backward.items():
            other = place(value.astype(kind), **keywords).array
            again = linear_backward(**{**backward, name: other}, activation="relu")
            for field, actual, right in zip(grads._fields, again, grads, strict=True):
                assert_same_bits(actual, right, f"d{field}, {name} {kind}")


SIZES = [(0, 3, 5), (4, 0, 5), (4, 3, 0), (0, 0, 5), (4, 0, 0), (0, 3, 0), (0, 0, 0)]


@pytest.mark.parametrize("size", SIZES)
@by_activation
def test_zero_sizes(activation: Any, size: tuple[int, int, int]) -> None:
    n, k, m = size
    x, w, b, g = (np.ones(s, np.float32) for s in ((n, k), (k, m), (m,), (n, m)))
    z = np.full((n, m), np.nan, np.float32)
    y = linear_forward(x, w, b, activation, preactivation_out=z)
    assert y.shape == (n, m) and (z == k + 1).all()
    out = tuple(np.full(s, np.nan, np.float32) for s in ((n, k), (k, m), (m,)))
    linear_backward(g, x, w, activation, y, z, out=out)
    assert all(not np.isnan(v).any() for v in out)
    assert (out[0] == 0).all() or m
    assert (out[1] == 0).all() or n
    assert (out[2] == 0).all() or n


def test_empty_batch_that_does_not_collapse() -> None:
    x, g = (np.ones((3, 7, n), np.float32).transpose(1, 0, 2)[:0] for n in (4, 5))
    w = np.ones((4, 5), np.float32)
    assert linear_forward(x, w).shape == (0, 3, 5)
    dw, db = np.full((4, 5), np.nan, np.float32), np.full(5, np.nan, np.float32)
    linear_backward(g, x, w, out=(None, dw, db))
    assert (dw == 0).all() and (db == 0).all()
    dw[...], db[...] = 2, 3
    linear_backward(g, x, w, out=(None, dw, db), accumulate=True)
    assert (dw == 2).all() and (db == 3).all()


@pytest.mark.parametrize("activation", [None, "relu", "tanh", "gelu"])
def test_outputs_that_overlap_inputs(activation: Any, rng: np.random.Generator) -> None:
    """As if all inputs had been read first; square layers, so that anything fits anywhere."""
    n = edges.ISA.rows + 1
    x, w, b, g = floats(rng, n, n), floats(rng, n, n), floats(rng, n), floats(rng, n, n)
    z = np.empty((n, n), np.float32)
    y = linear_forward(x, w, b, activation, preactivation_out=z)
    for where in ("x", "x.T", "weight", "bias"):
        for keep in ("out", "preactivation_out"):
            store = np.vstack([w, b])  # an out over the bias covers the weight as well
            inputs = {"x": x.copy(), "weight": store[:n], "bias": store[n]}
            over = {"x": inputs["x"], "x.T": inputs["x"].T, "weight": store[:n], "bias": store[1:]}
            out = over[where]
            result = linear_forward(**inputs, activation=activation, **{keep: out})
            assert_same_bits(result, y, f"{keep} over {where}")
            assert_same_bits(out, y if keep == "out" else z, f"{keep} over {where}")

    saved = saved_for(activation, y, z)
    expected = linear_backward(g, x, w, activation, **saved)
    for which in range(3):
        for name in ("grad_output", "x", "weight", *saved):
            held = {"grad_output": g, "x": x, "weight": w, **saved}
            held = {key: v.copy() for key, v in held.items()}
            over = held[name][0] if which == 2 else held[name]
            outs = tuple(over if i == which else None for i in range(3))
            grads = linear_backward(**held, activation=activation, out=outs)
            for field, actual, right in zip(grads._fields, grads, expected, strict=True):
                assert_same_bits(actual, right, f"d{field}, out[{which}] over {name}")


def test_inputs_are_left_alone(rng: np.random.Generator) -> None:
    inputs = [floats(rng, *s) for s in ((9, 5), (5, 7), (7,), (9, 7), (9, 7))]
    before = [v.copy() for v in inputs]
    x, w, b, g, z = inputs
    linear_forward(x, w, b, "gelu")
    linear_backward(g, x, w, "gelu", preactivation=z)
    matmul(x, w)
    for a, v in zip(before, inputs, strict=True):
        assert_same_bits(v, a)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_outs_that_interleave_in_one_buffer(dtype: str) -> None:
    """Column slices of one array share no element, but the bytes between their ends."""
    x, w, g = (np.arange(n * m, dtype=dtype).reshape(n, m) % 5 for n, m in ((4, 4), (4, 3), (4, 3)))
    both = np.full((4, 6), np.nan, dtype)
    linear_forward(x, w, None, "relu", both[:, :3], both[:, 3:])
    assert (both == np.hstack([x @ w, x @ w])).all()
    for accumulate in (False, True):
        both = np.full((4, 7), 2.0 if accumulate else np.nan, dtype)
        linear_backward(g, x, w, out=(both[:, :4], both[:, 4:], None), accumulate=accumulate)
        assert (both == np.hstack([g @ w.T, x.T @ g]) + 2.0 * accumulate).all()
