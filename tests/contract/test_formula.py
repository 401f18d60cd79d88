"""The formula itself: every path gives the bits of the scalar contract, at every edge of k.

An element is ((C + B0) + B1) + ..., B_r one chain of fused multiply-adds over KC steps of k from
+0.0, then + bias, then the activation. `formula` is that, compiled; the first test compares it with
`fastgrad.reference`, whose fused multiply-add is emulated in numpy.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from fastgrad import linear_backward, linear_forward, matmul, matmul_nt, matmul_tn
from fastgrad.reference import contract_colsum, contract_matmul, oracle
from fastgrad.reference.fma import fma
from support import edges
from support.draw import VALUES, Draw
from support.layouts import OUTPUTS, laid_out, place
from support.oracles import (
    Array,
    assert_same_bits,
    contract_activation,
    contract_backward_both,
    contract_both,
    contract_forward,
    contract_h,
    contract_product,
    floats,
    saved_for,
)

# Layouts of a, b and out: each row is a path through the kernels, small (tiles on the operands'
# own strides unless B has to be packed) and large (packed).
PATHS = {
    "A along k": ("C", "C", "C"),
    "A along m": ("F", "C", "C"),
    "B transposed": ("C", "F", "C"),
    "both transposed": ("F", "F", "C"),
    "A strided": ("every third column", "C", "C"),
    "B strided": ("C", "both reversed, strided", "C"),
    "A along k, C by columns": ("C", "C", "F"),
    "A along m, C by columns": ("F", "C", "F"),
    "B transposed, C by columns": ("C", "F", "F"),
    "both transposed, C by columns": ("F", "F", "padded columns"),
    "C strided": ("C", "C", "every other row, third column"),
}

pytestmark = pytest.mark.usefixtures("smallest_l2")
by_dtype = pytest.mark.parametrize("dtype", edges.DTYPES)
# Every depth where the activation does not matter, every activation where the depth does not.
by_depth_and_activation = pytest.mark.parametrize(
    ("depth", "activation"),
    [(d, a) for d in edges.DEPTHS for a in (None, "relu")]
    + [(d, a) for d in ("0", "KC+1") for a in edges.ACTIVATIONS if a != "relu"],
)
by_depth = pytest.mark.parametrize("depth", edges.DEPTHS)


@pytest.mark.parametrize("values", ["usual", *VALUES])
@by_dtype
def test_compiled_formula(dtype: str, values: str, rng: np.random.Generator) -> None:
    """The one that all tests use gives the bits of fastgrad.reference, where there is FMA."""
    kc = edges.KC[dtype]
    shapes = ((3, 5, 0), (1, 9, 1), (4, 3, kc - 1), (1, 2, kc), (3, 2, kc + 1), (1, 2, 2 * kc + 2))
    for i, (m, n, k) in enumerate(shapes):
        d = Draw(1, i)
        a, b = d.values(values, dtype, m, k), d.values(values, dtype, k, n)
        old = d.values(values, dtype, m, n)
        written, added = contract_both(a, b, old)
        in_numpy = oracle.product(a, b, old)
        assert_same_bits(written, in_numpy[0], f"{(m, n, k)}")
        assert_same_bits(added, in_numpy[1], f"{(m, n, k)} added")
        if edges.ISA.fma:
            assert_same_bits(written, contract_matmul(a, b), f"{(m, n, k)}")
            assert_same_bits(added, contract_matmul(a, b, c_old=old), f"{(m, n, k)} added")
        _, sums = contract_both(np.ones((1, m), dtype), old, old[:1])
        assert_same_bits(sums[0], contract_colsum(old, c_old=old[0]), "column sums")
    if not edges.ISA.fma:
        return
    step = contract_product(np.array([[a[0, 0], a[0, 1]]]), b[:2])
    assert_same_bits(step[0], fma(a[0, 1], b[1], fma(a[0, 0], b[0], np.zeros_like(b[0]))), "fma")


def _check_product(a: Array, b: Array, old: Array, expected: tuple[Array, ...], path: str) -> None:
    """New and accumulated product in a path's layouts against the formula."""
    left, right, out_layout = PATHS[path]
    a, b = laid_out(a, left), laid_out(b, right)
    m, n = a.shape[0], b.shape[1]
    for accumulate in (False, True):
        start = old[:m, :n] if accumulate else np.full((m, n), np.nan, a.dtype)
        out = place(start, **OUTPUTS[out_layout])
        assert matmul(a, b, out.array, accumulate=accumulate) is out.array
        what = f"{(m, a.shape[1], n)} {path}, accumulate={accumulate}"
        assert_same_bits(out.array, expected[accumulate], what)
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
    expected = contract_both(a, b, old)
    for path in PATHS:
        for m, n in sorted(pairs):
            _check_product(a[:m], b[:, :n], old, tuple(e[:m, :n] for e in expected), path)


@by_depth
@by_dtype
def test_large_product(dtype: str, depth: str, rng: np.random.Generator) -> None:
    k = edges.depths(dtype)[depth]
    m, n = edges.large(dtype, k)
    a, b = floats(rng, m, k, dtype=dtype), floats(rng, k, n, dtype=dtype)
    old = floats(rng, m, n, dtype=dtype)
    expected = contract_both(a, b, old)
    for path in PATHS:
        _check_product(a, b, old, expected, path)


@by_depth
@by_dtype
def test_transposed_products(dtype: str, depth: str, rng: np.random.Generator) -> None:
    k = edges.depths(dtype)[depth]
    m, n = edges.ISA.rows + 1, edges.tile_columns(dtype) + 1
    a, b = floats(rng, m, k, dtype=dtype), floats(rng, k, n, dtype=dtype)
    expected = contract_product(a, b)
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
    assert_same_bits(matmul(a, b), contract_product(a, b), "subnormal")
    a, b = (-np.abs(v * tiny).astype(dtype) for v in (a, -b))
    b = np.abs(b)
    assert_same_bits(matmul(a, b), contract_product(a, b), "zero")


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


@pytest.mark.parametrize(
    ("depth", "activation"),
    [*itertools.product(("1", "KC", "2KC+1"), (None, "relu")), ("KC", "gelu")],
)
@by_dtype
def test_large_forward(dtype: str, depth: str, activation: Any, rng: np.random.Generator) -> None:
    k = edges.depths(dtype)[depth]
    n, m = edges.large(dtype, k)
    x = floats(rng, n, k, dtype=dtype) / np.array(np.sqrt(k), dtype)
    w, bias = floats(rng, k, m, dtype=dtype), floats(rng, m, dtype=dtype)
    y_right, z_right = contract_forward(x, w, bias, activation)
    for weight in (w, np.asfortranarray(w)):
        y = linear_forward(x, weight, bias, activation)
        assert_same_bits(y, y_right, "y")
        z = np.empty_like(y)
        y = linear_forward(x, weight, bias, activation, preactivation_out=z)
        assert_same_bits(y, y_right, "y beside z")
        assert_same_bits(z, z_right, "z")


@by_depth
@by_dtype
def test_column_sums(dtype: str, depth: str, rng: np.random.Generator) -> None:
    n = edges.depths(dtype)[depth]
    columns = edges.around(1, edges.lanes(dtype), 8 * edges.lanes(dtype), 16 * edges.lanes(dtype))
    g = floats(rng, n, columns[-1], dtype=dtype)
    old = floats(rng, columns[-1], dtype=dtype)
    new, added = (sums[0] for sums in contract_both(np.ones((1, n), dtype), g, old[None]))
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
    new, added = contract_backward_both(h, x, w, old)
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
    """Several blocks of H by rows and by columns."""
    kc = edges.KC[dtype]
    n, k, m = 5 * kc + 3, 70, kc + 17
    x, w = floats(rng, n, k, dtype=dtype), floats(rng, k, m, dtype=dtype)
    g, z = floats(rng, n, m, dtype=dtype), floats(rng, n, m, dtype=dtype)
    y = contract_activation(activation, z)
    saved = saved_for(activation, y, z)
    grads: Any = linear_backward(g, x, w, activation, **saved)
    h = contract_h(g, activation, next(iter(saved.values()), None))
    expected, _ = contract_backward_both(h, x, w)
    for name, actual, right in zip("xwb", grads, expected, strict=True):
        assert_same_bits(actual, right, f"d{name}")
