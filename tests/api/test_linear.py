"""linear_forward and linear_backward: exact integers, derivatives, activations, special values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgrad import LinearGrads, linear_backward, linear_forward, reference
from fastgrad.testing import check_adjoint, check_grads
from support import edges
from support.layouts import LAYOUTS, laid_out, place
from support.oracles import Array, assert_same_bits, exact_matmul, integers, saved_for

by_dtype = pytest.mark.parametrize("dtype", edges.DTYPES)
by_activation = pytest.mark.parametrize("activation", [None, *edges.ACTIVATIONS])


def _draw_layer(data: st.DataObject, dtype: str) -> tuple[Array, ...]:
    """x (n, k), w (k, m), bias (m,), g (n, m) of integers at the edges of tiles and blocks."""
    kc = edges.KC[dtype]
    n = data.draw(st.sampled_from((0, *edges.row_edges(), *edges.around(kc))), label="batch")
    k = data.draw(st.sampled_from((0, *edges.column_edges(dtype))), label="in")
    m = data.draw(st.sampled_from((0, *edges.column_edges(dtype), *edges.around(kc))), label="out")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), label="seed"))
    return tuple(integers(rng, *s, dtype=dtype) for s in ((n, k), (k, m), (m,), (n, m)))


_layouts = st.sampled_from(list(LAYOUTS))


@by_dtype
@given(data=st.data())
def test_forward_of_integers(dtype: str, data: st.DataObject) -> None:
    x, w, bias, _ = _draw_layer(data, dtype)
    activation = data.draw(st.sampled_from([None, "relu"]), label="activation")
    with_bias = data.draw(st.booleans(), label="bias")
    z = exact_matmul(x, w) + (bias if with_bias else 0)
    expected = np.maximum(z, 0) if activation else z
    x, w = (laid_out(v, data.draw(_layouts, label="layout")) for v in (x, w))
    out, pre = (place(np.full_like(z, np.nan), pad=2) for _ in range(2))
    keep = pre.array if data.draw(st.booleans(), label="preactivation_out") else None
    y = linear_forward(x, w, bias if with_bias else None, activation, out.array, keep)
    assert y is out.array and (y == expected).all()
    assert keep is None or (keep == z).all()
    assert out.intact() and pre.intact()


@by_dtype
@given(data=st.data())
def test_backward_of_integers(dtype: str, data: st.DataObject) -> None:
    x, w, _, g = _draw_layer(data, dtype)
    activation = data.draw(st.sampled_from([None, "relu"]), label="activation")
    output = np.maximum(g[::-1], 0)  # zeros and positive numbers
    h = g * (output > 0) if activation else g
    expected = (exact_matmul(h, w.T), exact_matmul(x.T, h), h.sum(0))
    x, w, g, output = (laid_out(v, data.draw(_layouts, label="layout")) for v in (x, w, g, output))
    adds = tuple(data.draw(st.booleans(), label="accumulate") for _ in range(3))
    start = [np.full_like(e, 3 if add else np.nan) for e, add in zip(expected, adds, strict=True)]
    outs = [place(s, pad=2) for s in start]
    grads = linear_backward(
        g, x, w, activation, output, out=tuple(o.array for o in outs), accumulate=adds
    )
    for name, grad, e, add, o in zip(grads._fields, grads, expected, adds, outs, strict=True):
        assert grad is o.array and o.intact(), name
        assert (grad == (e + 3 if add else e)).all(), name
    fresh = linear_backward(g, x, w, activation, output)
    for name, grad, e in zip(fresh._fields, fresh, expected, strict=True):
        assert grad is not None and grad.dtype == e.dtype and grad.shape == e.shape, name
        assert grad.flags.c_contiguous and (grad == e).all(), name


@by_dtype
def test_square_layer_is_not_transposed(dtype: str, rng: np.random.Generator) -> None:
    """Where a transposed weight, or X for Xᵀ, would still fit."""
    n = edges.ISA.rows + 1
    x, w, g = (integers(rng, n, n, dtype=dtype) for _ in range(3))
    assert (linear_forward(x, w) == exact_matmul(x, w)).all()
    grads: Any = linear_backward(g, x, w)
    assert (grads.x == exact_matmul(g, w.T)).all()
    assert (grads.weight == exact_matmul(x.T, g)).all()


# --- derivatives --------------------------------------------------------------------------------


@by_activation
def test_derivatives(activation: Any, rng: np.random.Generator) -> None:
    """By the complex step of the reference, at points away from relu's kink."""
    x, w, b = rng.standard_normal((6, 5)), rng.standard_normal((5, 7)), rng.standard_normal(7)

    def vjp(g: Array, x: Array, w: Array, b: Array) -> LinearGrads:
        z = np.empty(g.shape, g.dtype)
        y = linear_forward(x, w, b, activation, preactivation_out=z)
        return linear_backward(g, x, w, activation, **saved_for(activation, y, z))

    check_grads(
        lambda x, w, b: linear_forward(x, w, b, activation),
        vjp, x, w, b,
        reference=lambda x, w, b: reference.linear_forward(x, w, b, activation),
    )  # fmt: skip


@pytest.mark.parametrize("leading", [(), (1,), (9,), (3, 2), (2, 3, 4)])
@by_dtype
def test_adjoint_identity(dtype: str, leading: tuple[int, ...]) -> None:
    """⟨dX·W + X·dW + db, G⟩ = ⟨dX, G·Wᵀ⟩ + ⟨dW, Xᵀ·G⟩ + ⟨db, 1ᵀ·G⟩, exactly."""
    x, w, b = np.zeros((*leading, 5), dtype), np.zeros((5, 7), dtype), np.zeros(7, dtype)
    assert check_adjoint(linear_forward, lambda g, x, w, b: linear_backward(g, x, w), x, w, b) == 0


@pytest.mark.parametrize("beside_z", [False, True])
@pytest.mark.parametrize("columns", [1, edges.tile_columns("float32") + 1])
@by_dtype
def test_relu_at_its_kink(dtype: str, columns: int, beside_z: bool) -> None:
    """0 where Z <= 0, else Z: -0.0 becomes +0.0, NaN stays NaN; both ways to compute it."""
    tiny = float(np.finfo(dtype).smallest_subnormal)
    z = np.array([-0.0, 0.0, tiny, -tiny, np.nan, np.inf, -np.inf, 2, -2], dtype)
    expected = np.array([0.0, 0.0, tiny, 0.0, np.nan, np.inf, 0.0, 2, 0.0], dtype)
    x = np.array([[-tiny], [0], [tiny], [-tiny], [np.nan], [np.inf], [-np.inf], [2], [-2]], dtype)
    w = np.ones((1, columns), dtype)
    keep = np.empty((len(z), columns), dtype) if beside_z else None
    x[0] = -np.sqrt(np.finfo(dtype).tiny) * np.finfo(dtype).eps  # times itself: vanishes to -0.0
    w_first = np.abs(x[0]) * w
    y = linear_forward(x[1:], w, None, "relu", preactivation_out=None if keep is None else keep[1:])
    first = linear_forward(
        x[:1], w_first, None, "relu", preactivation_out=None if keep is None else keep[:1]
    )
    assert_same_bits(np.vstack([first, y]), np.repeat(expected[:, None], columns, 1), "y")
    if keep is not None:
        assert_same_bits(keep, np.repeat(z[:, None], columns, 1), "z")


@by_dtype
def test_relu_backward_at_its_kink(dtype: str) -> None:
    """0 where Y <= 0, else G, also for G that a product with 0 would turn into NaN."""
    y = np.array([[0.0], [-0.0], [-1], [1], [np.nan], [np.inf]], dtype)
    for g in (1.0, -1.0, np.inf, np.nan):
        grads = linear_backward(
            np.full_like(y, g), np.zeros((6, 1), dtype), np.ones((1, 1), dtype), "relu", y
        )
        assert_same_bits(grads.x, np.array([[0.0], [0.0], [0.0], [g], [g], [g]], dtype))


@pytest.mark.parametrize("activation", edges.ACTIVATIONS)
@by_dtype
def test_activation_values(dtype: str, activation: str, rng: np.random.Generator) -> None:
    """Within 8 eps of the reference, relative to the larger of value and argument's share."""
    z = np.concatenate([np.linspace(-30, 30, 501), [-0.0, 0.0, 1e-30, -1e-30]]).astype(dtype)
    one = np.ones((1, 1), dtype)
    y = linear_forward(z[:, None], one, None, activation)[:, 0]
    expected = reference.activation_value(activation, z.astype(np.float64))
    bound = 8 * float(np.finfo(dtype).eps) * np.maximum(np.abs(expected), np.abs(z) * 2**-6)
    bound += 8 * float(np.finfo(dtype).smallest_subnormal)
    assert (np.abs(y - expected) <= bound).all()


# --- special values ----------------------------------------------------------------------------


@pytest.mark.parametrize("special", [np.nan, np.inf])
@by_dtype
def test_special_values_reach_what_they_touch(
    dtype: str, special: float, rng: np.random.Generator
) -> None:
    """A NaN, or an infinity times zero, in every position of every operand."""
    n, k, m = edges.ISA.rows + 1, 3, 4
    x, w, b, g = (integers(rng, *s, dtype=dtype) for s in ((n, k), (k, m), (m,), (n, m)))
    for operand in (x, w, b, g):
        for at in np.ndindex(operand.shape):
            kept = operand[at]
            operand[at] = special
            with np.errstate(invalid="ignore"):
                y = reference.linear_forward(x, w, b)
                expected = reference.linear_backward(g, x, w)
            assert_same_bits(linear_forward(x, w, b), y, f"{operand.shape} {at}")
            for field, actual, right in zip(
                "x W b".split(), linear_backward(g, x, w), expected, strict=True
            ):
                assert_same_bits(actual, right, f"d{field} {operand.shape} {at}")
            operand[at] = kept


@by_activation
def test_nan_passes_every_activation(activation: Any) -> None:
    nan, one = np.full((1, 1), np.nan, np.float32), np.ones((1, 1), np.float32)
    assert np.isnan(linear_forward(nan, one, None, activation)).all()
    if activation not in (None, "relu"):
        for saved in ("output", "preactivation"):
            keep = {"output": one, "preactivation": one, saved: nan}
            grads = linear_backward(one, one, one, activation, **keep)
            assert np.isnan(grads.x).all() == (saved in saved_for(activation, one, one))
