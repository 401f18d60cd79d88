"""The formula itself: every path gives the bits of the scalar contract, at every edge of k.

An element is ((C + B0) + B1) + ..., B_r one chain of fused multiply-adds over KC steps of k from
+0.0, then + bias, then the activation. Large products are compared on a sample of rows and columns.
"""

from __future__ import annotations

from typing import Any

import edges
import numpy as np
import pytest
from layouts import OUTPUTS, laid_out, place
from oracles import (
    Array,
    assert_same_bits,
    contract_activation,
    contract_backward,
    contract_forward,
    contract_h,
    floats,
    saved_for,
)

from fastgrad import linear_backward, linear_forward, matmul, matmul_nt, matmul_tn
from fastgrad.reference import contract_colsum, contract_matmul

# Layouts of a, b and out: each row is a path through the kernels, small (tiles on the operands'
# own strides unless B has to be packed) and large (packed).
PATHS = {
    "A by rows": ("C", "C", "C"),
    "A by k": ("F", "C", "C"),
    "B transposed": ("C", "F", "C"),
    "both transposed": ("F", "F", "C"),
    "A strided": ("every third column", "C", "C"),
    "B strided": ("C", "both reversed, strided", "C"),
    "A by rows, C by columns": ("C", "C", "F"),
    "A by k, C by columns": ("F", "C", "F"),
    "B transposed, C by columns": ("C", "F", "F"),
    "both transposed, C by columns": ("F", "F", "padded columns"),
    "C strided": ("C", "C", "every other row, third column"),
}

by_dtype = pytest.mark.parametrize("dtype", edges.DTYPES)
# Every depth where the activation does not matter, every activation where the depth does not.
by_depth_and_activation = pytest.mark.parametrize(
    ("depth", "activation"),
    [(d, a) for d in edges.DEPTHS for a in (None, "relu")]
    + [(d, a) for d in ("0", "KC+1") for a in edges.ACTIVATIONS if a != "relu"],
)
by_depth = pytest.mark.parametrize("depth", edges.DEPTHS)


def _check_product(a: Array, b: Array, old: Array, expected: list[Array], path: str, rows: Array,
                   columns: Array) -> None:  # fmt: skip
    """New and accumulated product in a path's layouts against the formula at rows x columns."""
    left, right, out_layout = PATHS[path]
    a, b = laid_out(a, left), laid_out(b, right)
    m, n = a.shape[0], b.shape[1]
    for accumulate in (False, True):
        start = old[:m, :n] if accumulate else np.full((m, n), np.nan, a.dtype)
        out = place(start, **OUTPUTS[out_layout])
        assert matmul(a, b, out.array, accumulate=accumulate) is out.array
        what = f"{(m, a.shape[1], n)} {path}, accumulate={accumulate}"
        assert_same_bits(out.array[np.ix_(rows, columns)], expected[accumulate], what)
        assert out.intact(), what


@by_depth
@by_dtype
def test_small_product(dtype: str, depth: str, rng: np.random.Generator) -> None:
    k = edges.depths(dtype)[depth]
    rows, columns = edges.row_edges(), edges.column_edges(dtype)
    # Tall and wide by turns: every count of rows and of columns, not every pair.
    pairs = {(m, columns[i % len(columns)]) for i, m in enumerate(rows)}
    pairs |= {(rows[i % len(rows)], n) for i, n in enumerate(columns)}
    a = floats(rng, rows[-1], k, dtype=dtype)
    b = floats(rng, k, columns[-1], dtype=dtype)
    old = floats(rng, rows[-1], columns[-1], dtype=dtype)
    expected = [contract_matmul(a, b), contract_matmul(a, b, c_old=old)]
    for path in PATHS:
        for m, n in sorted(pairs):
            _check_product(a[:m], b[:, :n], old, [e[:m, :n] for e in expected], path,
                           np.arange(m), np.arange(n))  # fmt: skip


@by_depth
@by_dtype
def test_large_product(dtype: str, depth: str, rng: np.random.Generator) -> None:
    k = edges.depths(dtype)[depth]
    m, n = edges.large(dtype, k)
    a, b = floats(rng, m, k, dtype=dtype), floats(rng, k, n, dtype=dtype)
    old = floats(rng, m, n, dtype=dtype)
    rows = edges.sample(rng, m, edges.ISA.rows, edges.block_rows(dtype))
    columns = edges.sample(rng, n, edges.tile_columns(dtype), edges.block_columns(dtype))
    expected = [
        contract_matmul(a[rows], b[:, columns]),
        contract_matmul(a[rows], b[:, columns], c_old=old[np.ix_(rows, columns)]),
    ]
    for path in PATHS:
        _check_product(a, b, old, expected, path, rows, columns)


@by_depth
@by_dtype
def test_transposed_products(dtype: str, depth: str, rng: np.random.Generator) -> None:
    k = edges.depths(dtype)[depth]
    m, n = edges.ISA.rows + 1, edges.tile_columns(dtype) + 1
    a, b = floats(rng, m, k, dtype=dtype), floats(rng, k, n, dtype=dtype)
    expected = contract_matmul(a, b)
    assert_same_bits(matmul_nt(a, np.ascontiguousarray(b.T)), expected, "nt")
    assert_same_bits(matmul_tn(np.ascontiguousarray(a.T), b), expected, "tn")
    assert_same_bits(matmul(a[0], b), expected[0], "one row")
    assert_same_bits(matmul(a, np.ascontiguousarray(b[:, 0])), expected[:, 0], "one column")
    assert_same_bits(matmul(a[0], b[:, 0]), expected[0, 0], "dot")
    assert_same_bits(matmul(a[None], b), expected[None], "stack")


@pytest.mark.parametrize("depth", ["1", "KC-1", "KC+1"])
@by_dtype
def test_small_values(dtype: str, depth: str, rng: np.random.Generator) -> None:
    """Products that are subnormal, or vanish and leave a signed zero."""
    k = edges.depths(dtype)[depth]
    tiny = np.sqrt(np.finfo(dtype).tiny)
    m, n = 3, edges.lanes(dtype) + 1
    a, b = (floats(rng, *shape, dtype=dtype) * tiny / 8 for shape in ((m, k), (k, n)))
    a, b = a.astype(dtype), b.astype(dtype)
    assert_same_bits(matmul(a, b), contract_matmul(a, b), "subnormal")
    a, b = (-np.abs(v * tiny).astype(dtype) for v in (a, -b))
    b = np.abs(b)
    assert_same_bits(matmul(a, b), contract_matmul(a, b), "zero")


@by_depth_and_activation
@by_dtype
def test_forward(dtype: str, depth: str, activation: Any, rng: np.random.Generator) -> None:
    k = edges.depths(dtype)[depth]
    rows, columns = edges.ISA.rows, edges.tile_columns(dtype)
    x = floats(rng, 2 * rows + 1, k, dtype=dtype) / np.array(np.sqrt(k + 1), dtype)
    w = floats(rng, k, columns + 1, dtype=dtype)
    bias = floats(rng, columns + 1, dtype=dtype)
    for b in (None, bias):
        y_all, z_all = contract_forward(x, w, b, activation)
        for n in (1, rows - 1, rows, rows + 1, 2 * rows + 1):
            for m in (1, edges.lanes(dtype) - 1, columns - 1, columns, columns + 1):
                what = f"{(n, k, m)} {activation}, bias {b is not None}"
                part = None if b is None else b[:m]
                y = linear_forward(x[:n], w[:, :m], part, activation)
                assert_same_bits(y, y_all[:n, :m], what)
                z = np.full_like(y, np.nan)
                y = linear_forward(x[:n], w[:, :m], part, activation, preactivation_out=z)
                assert_same_bits(z, z_all[:n, :m], what + ", z")
                assert_same_bits(y, y_all[:n, :m], what + ", y beside z")


@pytest.mark.parametrize("weight", ["C", "F"])
@pytest.mark.parametrize("activation", [None, "relu", "gelu"])
@pytest.mark.parametrize("depth", ["1", "KC", "2KC+1"])
@by_dtype
def test_large_forward(
    dtype: str, depth: str, activation: Any, weight: str, rng: np.random.Generator
) -> None:
    k = edges.depths(dtype)[depth]
    n, m = edges.large(dtype, k)
    x = floats(rng, n, k, dtype=dtype) / np.array(np.sqrt(k), dtype)
    w, bias = floats(rng, k, m, dtype=dtype), floats(rng, m, dtype=dtype)
    rows = edges.sample(rng, n, edges.ISA.rows, edges.block_rows(dtype))
    columns = edges.sample(rng, m, edges.tile_columns(dtype), edges.block_columns(dtype))
    y_some, z_some = contract_forward(x[rows], w[:, columns], bias[columns], activation)
    w = laid_out(w, weight)
    y = linear_forward(x, w, bias, activation)
    assert_same_bits(y[np.ix_(rows, columns)], y_some, "y")
    z = np.empty_like(y)
    y = linear_forward(x, w, bias, activation, preactivation_out=z)
    assert_same_bits(y[np.ix_(rows, columns)], y_some, "y beside z")
    assert_same_bits(z[np.ix_(rows, columns)], z_some, "z")


@by_depth
@by_dtype
def test_column_sums(dtype: str, depth: str, rng: np.random.Generator) -> None:
    n = edges.depths(dtype)[depth]
    columns = edges.around(1, edges.lanes(dtype), 8 * edges.lanes(dtype), 16 * edges.lanes(dtype))
    g = floats(rng, n, columns[-1], dtype=dtype)
    old = floats(rng, columns[-1], dtype=dtype)
    new, added = contract_colsum(g), contract_colsum(g, c_old=old)
    x = np.zeros((n, 1), dtype)
    for m in columns:
        w = np.zeros((1, m), dtype)
        needs = (False, False, True)
        fresh = linear_backward(g[:, :m], x, w, needs=needs).bias
        assert_same_bits(fresh, new[:m], f"{(n, m)}")
        out = place(old[:m])
        linear_backward(g[:, :m], x, w, needs=needs, out=(None, None, out.array), accumulate=True)
        assert_same_bits(out.array, added[:m], f"{(n, m)} accumulated")
        assert out.intact()


def _check_backward(
    n: int, k: int, m: int, dtype: str, activation: Any, rng: np.random.Generator
) -> None:
    """dX, dW, db of x (n, k), weight (k, m), written and accumulated, from G of two layouts."""
    x, w = floats(rng, n, k, dtype=dtype), floats(rng, k, m, dtype=dtype)
    g, z = floats(rng, n, m, dtype=dtype), floats(rng, n, m, dtype=dtype)
    y = contract_activation(activation, z)
    saved = saved_for(activation, y, z)
    h = contract_h(g, activation, next(iter(saved.values()), None))
    old = tuple(floats(rng, *s, dtype=dtype) for s in ((n, k), (k, m), (m,)))
    new, added = contract_backward(h, x, w), contract_backward(h, x, w, old)
    for layout in ("C", "F"):
        gl = laid_out(g, layout)
        held = {name: laid_out(v, layout) for name, v in saved.items()}
        grads = linear_backward(gl, x, w, activation, **held)
        out = tuple(v.copy() for v in old)
        sums = linear_backward(gl, x, w, activation, **held, out=out, accumulate=True)
        for name in ("x", "weight", "bias"):
            what = f"d{name} of {(n, k, m)} {activation}, G {layout}"
            assert_same_bits(getattr(grads, name), getattr(new, name), what)
            assert_same_bits(getattr(sums, name), getattr(added, name), what + ", accumulated")


@by_depth_and_activation
@by_dtype
def test_backward_of_deep_batch(
    dtype: str, depth: str, activation: Any, rng: np.random.Generator
) -> None:
    """dW and db reduce over the batch."""
    batch = edges.depths(dtype)[depth]
    _check_backward(batch, edges.ISA.rows + 1, edges.lanes(dtype) + 1, dtype, activation, rng)


@by_depth_and_activation
@by_dtype
def test_backward_of_wide_output(
    dtype: str, depth: str, activation: Any, rng: np.random.Generator
) -> None:
    """dX reduces over the outputs."""
    outputs = edges.depths(dtype)[depth]
    _check_backward(5, edges.lanes(dtype) + 1, outputs, dtype, activation, rng)


@pytest.mark.parametrize("activation", [None, "relu", "silu"])
@by_dtype
def test_large_backward(dtype: str, activation: Any, rng: np.random.Generator) -> None:
    """Several blocks of H by rows and by columns, compared on a sample."""
    kc = edges.KC[dtype]
    n, k, m = 5 * kc + 3, 70, kc + 17
    x, w = floats(rng, n, k, dtype=dtype), floats(rng, k, m, dtype=dtype)
    g, z = floats(rng, n, m, dtype=dtype), floats(rng, n, m, dtype=dtype)
    y = contract_activation(activation, z)
    saved = saved_for(activation, y, z)
    grads: Any = linear_backward(g, x, w, activation, **saved)
    h = contract_h(g, activation, next(iter(saved.values()), None))
    rows = edges.sample(rng, n, kc, 2 * kc)
    inputs = edges.sample(rng, k, edges.ISA.rows, edges.tile_columns(dtype))
    columns = edges.sample(rng, m, kc, edges.tile_columns(dtype))
    assert_same_bits(
        grads.x[np.ix_(rows, inputs)],
        contract_matmul(h[rows], w[inputs].T),
        "dX",
    )
    assert_same_bits(
        grads.weight[np.ix_(inputs, columns)],
        contract_matmul(np.ascontiguousarray(x[:, inputs].T), h[:, columns]),
        "dW",
    )
    assert_same_bits(grads.bias, contract_colsum(h), "db")
