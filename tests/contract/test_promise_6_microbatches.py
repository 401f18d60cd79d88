"""Promise 6: micro-batches of multiples of KC rows, accumulated in order: the full batch's bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastgrad import linear_backward, matmul_tn
from support import control_word, edges, fuzz
from support.oracles import (
    Array,
    assert_same_bits,
    contract_activation,
    contract_backward_both,
    contract_h,
    contract_product,
    floats,
    saved_for,
)

by_dtype = pytest.mark.parametrize("dtype", edges.DTYPES)
# Rows of the micro-batches: multiples of KC and a last one of any size.
SPLITS = {
    "one block each": ((1, 0), (1, 0), (1, 0)),
    "short last": ((1, 0), (1, 0), (0, 7)),
    "uneven": ((2, 0), (1, 0), (2, 3)),
    "one and the rest": ((1, 0), (3, -1)),
}


def _pieces(split: str, dtype: str) -> list[slice]:
    kc, start, pieces = edges.KC[dtype], 0, []
    for blocks, rest in SPLITS[split]:
        pieces.append(slice(start, start + blocks * kc + rest))
        start = pieces[-1].stop
    return pieces


@pytest.mark.parametrize("activation", [None, "relu", "gelu"])
@pytest.mark.parametrize("split", SPLITS)
@by_dtype
def test_backward(dtype: str, split: str, activation: Any, rng: np.random.Generator) -> None:
    pieces = _pieces(split, dtype)
    n, k, m = pieces[-1].stop, edges.ISA.rows + 1, edges.tile_columns(dtype) + 1
    g, x, w, z = (floats(rng, *s, dtype=dtype) for s in ((n, m), (n, k), (k, m), (n, m)))
    saved = saved_for(activation, contract_activation(activation, z), z)
    h = contract_h(g, activation, next(iter(saved.values()), None))
    formula, _ = contract_backward_both(h, x, w)

    def run(rows: slice, out: tuple[Array | None, ...], accumulate: bool) -> object:
        held = {name: v[rows] for name, v in saved.items()}
        return linear_backward(
            g[rows],
            x[rows],
            w,
            activation,
            **held,
            out=out,
            accumulate=accumulate,
        )

    for layout in ("C", "F"):
        g, x = (np.array(v, order=layout) for v in (g, x))
        whole = linear_backward(g, x, w, activation, **saved)
        for name, actual, right in zip("xwb", whole, formula, strict=True):
            assert_same_bits(actual, right, f"d{name} of the full batch, {layout}")
        dw, db = np.full((k, m), np.nan, dtype), np.full(m, np.nan, dtype)
        for i, rows in enumerate(pieces):
            run(rows, (None, dw, db), accumulate=i > 0)
        assert_same_bits(dw, formula.weight, f"dW, {layout}")
        assert_same_bits(db, formula.bias, f"db, {layout}")


@pytest.mark.parametrize("split", SPLITS)
@by_dtype
def test_product(dtype: str, split: str, rng: np.random.Generator) -> None:
    pieces = _pieces(split, dtype)
    k = pieces[-1].stop
    a, b = floats(rng, k, 100, dtype=dtype), floats(rng, k, 90, dtype=dtype)
    out = np.full((100, 90), np.nan, dtype)
    for i, rows in enumerate(pieces):
        matmul_tn(a[rows], b[rows], out=out, accumulate=i > 0)
    expected = contract_product(a.T, b)
    assert_same_bits(out, expected, "in pieces")
    assert_same_bits(matmul_tn(a, b), expected, "at once")


def test_anything() -> None:
    fuzz.some("microbatches")


@pytest.mark.skipif(not control_word.KNOWN, reason="which bits are they here?")
def test_anything_flushing_to_zero() -> None:
    """Pieces and the whole agree, if not with the formula."""
    fuzz.run("microbatches", range(26), flush=True)


@pytest.mark.fuzz
def test_anything_at_length(capsys: pytest.CaptureFixture[str]) -> None:
    fuzz.many("microbatches", capsys)
