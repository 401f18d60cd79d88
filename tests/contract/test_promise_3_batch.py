"""Promise 3: row i of Y and of dX depends on row i alone, whatever the batch around it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastgrad import linear_backward, linear_forward, matmul, matmul_nt
from support import control_word, edges, fuzz
from support.oracles import (
    Array,
    assert_same_bits,
    contract_activation,
    contract_forward,
    contract_h,
    contract_product,
    floats,
    saved_for,
)

BLOCK = edges.block_rows("float32") + edges.ISA.rows + 1  # two blocks of rows
BATCHES = (1, 2, 7, edges.ISA.rows, edges.ISA.rows + 1, BLOCK)
pytestmark = pytest.mark.usefixtures("smallest_l2")
by_dtype = pytest.mark.parametrize("dtype", edges.DTYPES)
by_activation = pytest.mark.parametrize("activation", [None, "relu", "tanh", "gelu_tanh"])


def _layer(dtype: str, rng: np.random.Generator) -> tuple[Array, ...]:
    """x (n, k), w (k, m), bias (m,), g and z (n, m): packed as a whole, direct row by row."""
    k = edges.KC[dtype] + 1
    n = 2 * BLOCK + 1
    m = edges.KC[dtype] + edges.tile_columns(dtype) + 3  # dX too has two blocks
    shapes = ((n, k), (k, m), (m,), (n, m), (n, m))
    return tuple(floats(rng, *s, dtype=dtype) for s in shapes)


@by_activation
@by_dtype
def test_forward(dtype: str, activation: Any, rng: np.random.Generator) -> None:
    x, w, bias, _, _ = _layer(dtype, rng)
    y, _ = contract_forward(x, w, bias, activation)
    for weight in (w, np.asfortranarray(w)):
        assert_same_bits(linear_forward(x, weight, bias, activation), y, "all rows")
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

    h = contract_h(g, activation, next(iter(saved.values()), None))
    whole = contract_product(h, w.T)
    assert_same_bits(dx(slice(None)), whole, "all rows")
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
    c = contract_product(a, b)
    for batch in BATCHES:
        assert_same_bits(matmul(a[:batch], b), c[:batch], f"{batch} rows")
        assert_same_bits(matmul(a, b[:, :batch]), c[:, :batch], f"{batch} columns")
        assert_same_bits(matmul_nt(a, b.T.copy()[:batch]), c[:, :batch], f"{batch} rows of Bᵀ")
    half = len(a) // 2
    stack = np.stack([a[:half], a[half : 2 * half]])
    assert_same_bits(matmul(stack, b), np.stack([c[:half], c[half : 2 * half]]), "stack")


def test_anything() -> None:
    """Runs of rows, rows in any order, one as a vector, all in several dimensions."""
    fuzz.some("batches")


@pytest.mark.skipif(not control_word.KNOWN, reason="which bits are they here?")
def test_anything_flushing_to_zero() -> None:
    """Batches agree among themselves, if not with the formula."""
    fuzz.run("batches", range(52), flush=True)


@pytest.mark.fuzz
def test_anything_at_length(capsys: pytest.CaptureFixture[str]) -> None:
    fuzz.many("batches", capsys)
