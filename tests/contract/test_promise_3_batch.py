"""Promise 3: row i of Y and of dX depends on row i alone, whatever the batch around it."""

from __future__ import annotations

from typing import Any

import edges
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import Array, assert_same_bits, contract_activation, floats, saved_for

from fastgrad import linear_backward, linear_forward, matmul, matmul_nt

BATCHES = (1, 2, 7, edges.ISA.rows, edges.ISA.rows + 1, edges.block_rows("float32") + 1)
by_dtype = pytest.mark.parametrize("dtype", edges.DTYPES)
by_activation = pytest.mark.parametrize("activation", [None, "relu", "tanh", "gelu_tanh"])


def _layer(dtype: str, rng: np.random.Generator) -> tuple[Array, ...]:
    """x (n, k), w (k, m), bias (m,), g and z (n, m): packed as a whole, direct row by row."""
    k = edges.KC[dtype] + 1
    n, m = edges.large(dtype, k)
    m = edges.KC[dtype] + edges.tile_columns(dtype) + 3  # dX too has two blocks
    shapes = ((n, k), (k, m), (m,), (n, m), (n, m))
    return tuple(floats(rng, *s, dtype=dtype) for s in shapes)


@by_activation
@by_dtype
def test_forward(dtype: str, activation: Any, rng: np.random.Generator) -> None:
    x, w, bias, _, _ = _layer(dtype, rng)
    for weight in (w, np.asfortranarray(w)):
        y = linear_forward(x, weight, bias, activation)
        for batch in BATCHES:
            for start in (0, 1, len(x) - batch):
                part = slice(start, start + batch)
                rows = linear_forward(x[part], weight, bias, activation)
                assert_same_bits(rows, y[part], f"rows {part}")
        assert_same_bits(linear_forward(x[3], weight, bias, activation), y[3], "one 1-D row")
        some = rng.permutation(len(x))[: len(x) // 2]
        assert_same_bits(linear_forward(x[some], weight, bias, activation), y[some], "some rows")


@by_activation
@by_dtype
def test_backward(dtype: str, activation: Any, rng: np.random.Generator) -> None:
    x, w, _, g, z = _layer(dtype, rng)
    y = contract_activation(activation, z)
    saved = saved_for(activation, y, z)
    needs = (True, False, False)

    def dx(rows: Any) -> Array:
        held = {name: v[rows] for name, v in saved.items()}
        grads = linear_backward(g[rows], x[rows], w, activation, **held, needs=needs)
        assert grads.x is not None
        return grads.x

    whole = dx(slice(None))
    for batch in BATCHES:
        for start in (0, len(x) - batch):
            part = slice(start, start + batch)
            assert_same_bits(dx(part), whole[part], f"rows {part}")
    assert_same_bits(dx(5), whole[5], "one 1-D row")
    some = rng.permutation(len(x))[: len(x) // 2]
    assert_same_bits(dx(some), whole[some], "some rows")


@by_dtype
def test_products(dtype: str, rng: np.random.Generator) -> None:
    """The same of rows and, since A·B = (Bᵀ·Aᵀ)ᵀ, of columns."""
    a, b, *_ = _layer(dtype, rng)
    c = matmul(a, b)
    for batch in BATCHES:
        assert_same_bits(matmul(a[:batch], b), c[:batch], f"{batch} rows")
        assert_same_bits(matmul(a, b[:, :batch]), c[:, :batch], f"{batch} columns")
        assert_same_bits(matmul_nt(a, b.T.copy()[:batch]), c[:, :batch], f"{batch} rows of Bᵀ")
    stack = np.stack([a[:40], a[40:80]])
    assert_same_bits(matmul(stack, b), np.stack([c[:40], c[40:80]]), "stack")


@given(data=st.data())
@by_dtype
def test_any_rows_of_any_layer(dtype: str, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), label="seed"))
    n = data.draw(st.integers(1, 100), label="batch")
    k = data.draw(st.sampled_from(edges.around(1, 8, edges.KC[dtype])), label="in")
    m = data.draw(st.sampled_from(edges.column_edges(dtype)), label="out")
    activation = data.draw(st.sampled_from([None, "relu", "sigmoid", "silu"]), label="activation")
    rows = np.array(
        data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=30), label="rows")
    )
    x, w = floats(rng, n, k, dtype=dtype), floats(rng, k, m, dtype=dtype)
    if data.draw(st.booleans(), label="transposed weight"):
        w = np.asfortranarray(w)
    y = linear_forward(x, w, None, activation)
    assert_same_bits(linear_forward(x[rows], w, None, activation), y[rows])
