"""matmul, matmul_nt, matmul_tn: exact integers over shapes and layouts, then numpy's rules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgrad import matmul, matmul_nt, matmul_tn, reference
from fastgrad.testing import check_adjoint
from support import edges
from support.layouts import LAYOUTS, OUTPUTS, STACKS, place
from support.oracles import Array, assert_same_bits, exact_matmul, integers

by_dtype = pytest.mark.parametrize("dtype", edges.DTYPES)

# name -> function and what it wants of A (m, k) and B (k, n)
FORMS: dict[str, tuple[Callable[..., Any], Callable[[Array], Array], Callable[[Array], Array]]] = {
    "matmul": (matmul, lambda a: a, lambda b: b),
    "matmul_nt": (matmul_nt, lambda a: a, lambda b: b.swapaxes(-1, -2)),
    "matmul_tn": (matmul_tn, lambda a: a.swapaxes(-1, -2), lambda b: b),
}
by_form = pytest.mark.parametrize("form", FORMS)


def _check(form: str, a: Array, b: Array, left: str, right: str, out_layout: str | None,
           accumulate: bool, rng: np.random.Generator) -> None:  # fmt: skip
    """One product in given layouts against integers; operands and all around kept as found."""
    function, of_a, of_b = FORMS[form]
    placed = [place(of_a(a), **LAYOUTS[left]), place(of_b(b), **LAYOUTS[right])]
    before = [p.memory.copy() for p in placed]
    expected = exact_matmul(a, b)
    if out_layout is None:
        c = function(placed[0].array, placed[1].array)
    else:
        start = np.full_like(expected, np.nan)
        if accumulate:
            start = integers(rng, *expected.shape, dtype=a.dtype.name)
            expected = expected + start
        out = place(start, **OUTPUTS[out_layout])
        c = function(placed[0].array, placed[1].array, out=out.array, accumulate=accumulate)
        assert c is out.array
        assert out.intact(), "written outside out"
    assert c.dtype == a.dtype and c.shape == expected.shape
    assert (c == expected).all(), f"{int((c != expected).sum())} of {c.size} elements are wrong"
    for p, memory in zip(placed, before, strict=True):
        assert (p.memory == memory).all(), "an operand was written"


_layouts = st.sampled_from(list(LAYOUTS))
_out = st.one_of(st.none(), st.sampled_from(list(OUTPUTS)))


@pytest.mark.parametrize("size", ["small", "large"])
@by_form
@by_dtype
@given(data=st.data())
def test_exact_integers(dtype: str, form: str, size: str, data: st.DataObject) -> None:
    kc, isa = edges.KC[dtype], edges.ISA
    rows, columns = edges.row_edges(), edges.column_edges(dtype)
    depths = (0, *edges.around(2, edges.lanes(dtype), 32))
    if size == "large":
        rows = edges.around(isa.rows, edges.block_rows(dtype), 2 * edges.block_rows(dtype))
        columns = edges.around(edges.tile_columns(dtype), edges.block_columns(dtype))
        depths = edges.around(kc, 2 * kc)
    m = data.draw(st.sampled_from(rows), label="m")
    n = data.draw(st.sampled_from(columns), label="n")
    k = data.draw(st.sampled_from(depths), label="k")
    left, right = data.draw(_layouts, label="a"), data.draw(_layouts, label="b")
    out = data.draw(_out, label="out")
    accumulate = out is not None and data.draw(st.booleans(), label="accumulate")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), label="seed"))
    a, b = integers(rng, m, k, dtype=dtype), integers(rng, k, n, dtype=dtype)
    with edges.l2(data.draw(st.sampled_from(edges.SIZES_OF_L2), label="L2")):
        _check(form, a, b, left, right, out, accumulate, rng)


@by_form
@by_dtype
def test_every_small_size(dtype: str, form: str, rng: np.random.Generator) -> None:
    """All of {0, 1, 2, 3, 5, 9} cubed, new and into an output of rogue surroundings."""
    for m in (0, 1, 2, 3, 5, 9):
        for n in (0, 1, 2, 3, 5, 9):
            for k in (0, 1, 2, 3, 5, 9):
                a, b = integers(rng, m, k, dtype=dtype), integers(rng, k, n, dtype=dtype)
                for out in (None, "padded rows", "padded columns"):
                    _check(form, a, b, "C", "C", out, out is not None and k % 2 == 1, rng)


@by_dtype
def test_every_width_up_to_three_tiles(dtype: str, rng: np.random.Generator) -> None:
    """Row and column tails of every length, B both ways, between guard values."""
    for n in range(1, 3 * edges.tile_columns(dtype) + 2):
        m = 1 + n % (2 * edges.ISA.rows + 1)
        a, b = integers(rng, m, 7, dtype=dtype), integers(rng, 7, n, dtype=dtype)
        for right in ("C", "F", "every third column"):
            _check("matmul", a, b, "C", right, "padded rows", bool(n % 2), rng)


@pytest.mark.parametrize("out", ["C", "F"])
@by_form
@by_dtype
def test_square_operands_are_not_transposed(
    dtype: str, form: str, out: str, rng: np.random.Generator
) -> None:
    """Where a transposed operand would still fit."""
    n = edges.ISA.rows + 1
    a, b = integers(rng, n, n, dtype=dtype), integers(rng, n, n, dtype=dtype)
    _check(form, a, b, "C", "C", out, False, rng)
    _check(form, a, b, "F", "F", out, False, rng)


# --- shapes -------------------------------------------------------------------------------------

SHAPES = [
    ((3,), (3,)),
    ((3,), (3, 5)),
    ((4, 3), (3,)),
    ((2, 4, 3), (3,)),
    ((3,), (2, 3, 5)),
    ((2, 4, 3), (3, 5)),
    ((4, 3), (2, 3, 5)),
    ((2, 4, 3), (2, 3, 5)),
    ((2, 1, 4, 3), (6, 3, 5)),
    ((1, 4, 3), (1, 3, 5)),
    ((1, 1, 4, 3), (3, 5)),
    ((2, 6, 4, 3), (1, 6, 3, 5)),
    ((0, 4, 3), (3, 5)),
    ((2, 0, 3), (3, 5)),
    ((2, 4, 0), (0, 5)),
    ((2, 4, 3), (3, 0)),
    ((0,), (0,)),
    ((0,), (0, 5)),
    ((4, 0), (0,)),
    ((0, 0), (0, 0)),
    ((2, 0, 4, 3), (0, 3, 5)),
    ((0, 3), (3,)),
]


@pytest.mark.parametrize(("shape_a", "shape_b"), SHAPES)
def test_shapes_are_those_of_numpy(
    shape_a: tuple[int, ...], shape_b: tuple[int, ...], rng: np.random.Generator
) -> None:
    a, b = integers(rng, *shape_a), integers(rng, *shape_b)
    expected = np.matmul(a, b)
    c = matmul(a, b)
    assert type(c) is type(expected) and c.dtype == expected.dtype
    assert_same_bits(c, expected)
    if a.ndim > 1:
        assert_same_bits(matmul_tn(a.swapaxes(-1, -2).copy(), b), expected, "tn")
    if b.ndim > 1:
        assert_same_bits(matmul_nt(a, b.swapaxes(-1, -2).copy()), expected, "nt")
    out = place(np.full(np.shape(expected), np.nan, a.dtype))
    assert matmul(a, b, out.array) is out.array
    assert_same_bits(out.array, expected, "out")
    matmul(a, b, out.array, accumulate=True)
    assert_same_bits(out.array, expected + expected, "accumulated")
    assert out.intact()


@pytest.mark.parametrize("layout", STACKS)
@pytest.mark.parametrize(
    "shapes", [((3, 5, 4), (4, 6)), ((3, 5, 4), (3, 4, 6)), ((5, 4), (3, 4, 6))]
)
def test_stacks_in_any_layout(
    shapes: tuple[tuple[int, ...], ...], layout: str, rng: np.random.Generator
) -> None:
    a, b = (integers(rng, *s) for s in shapes)
    a_placed, b_placed = (place(v, **STACKS[layout]).array if v.ndim == 3 else v for v in (a, b))
    expected = np.matmul(a, b)
    assert_same_bits(matmul(a_placed, b_placed), expected)
    out = place(np.full_like(expected, np.nan), **STACKS[layout])
    matmul(a_placed, b_placed, out.array)
    assert_same_bits(out.array, expected)
    assert out.intact()


def test_one_dimensional_outputs_of_any_stride(rng: np.random.Generator) -> None:
    a, b = integers(rng, 5, 4), integers(rng, 4, 7)
    for keywords in ({}, {"steps": (3,)}, {"reverse": (0,)}, {"shift": 1}):
        out = place(np.full(7, np.nan, a.dtype), **keywords)
        matmul(a[0], b, out.array)
        assert (out.array == exact_matmul(a, b)[0]).all() and out.intact()
        out = place(np.full(5, np.nan, a.dtype), **keywords)
        matmul(a, b[:, 0], out.array)
        assert (out.array == exact_matmul(a, b)[:, 0]).all() and out.intact()


# --- dtypes -------------------------------------------------------------------------------------

DTYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", ">f4", ">f8", ">i4"]


@pytest.mark.parametrize("right", DTYPES)
@pytest.mark.parametrize("left", DTYPES)
def test_dtypes(left: str, right: str, rng: np.random.Generator) -> None:
    a, b = rng.integers(0, 2, (3, 4)).astype(left), rng.integers(0, 2, (4, 5)).astype(right)
    c = matmul(a, b)
    assert c.dtype == np.result_type(a, b, np.float32) and c.dtype.isnative
    assert (c == a.astype(int) @ b.astype(int)).all()


@pytest.mark.parametrize("keywords", [{}, {"shift": 1}, {"writeable": False}, {"pad": 1}])
def test_byte_order_is_seen(keywords: dict[str, Any], rng: np.random.Generator) -> None:
    """Also where a native array of the same shape and flags has been through the same code."""
    a, b = integers(rng, 3, 4), integers(rng, 4, 5)
    expected = exact_matmul(a, b)
    for kind in ("<f4", ">f4", "=f4"):
        left, right = (place(v.astype(kind), **keywords).array for v in (a, b))
        assert (matmul(a, right) == expected).all(), kind
        assert (matmul(left, b) == expected).all(), kind
        assert (matmul(left, right) == expected).all(), kind


def test_memory_maps(tmp_path: Path, rng: np.random.Generator) -> None:
    a = integers(rng, 5, 4)
    path = tmp_path / "a"
    a.tofile(path)
    mapped = np.memmap(path, np.float32, "r", shape=(5, 4))
    out = np.memmap(tmp_path / "c", np.float32, "w+", shape=(5, 5))
    assert matmul_nt(mapped, mapped, out) is out
    assert (np.asarray(out) == exact_matmul(a, a.T)).all()


# --- what is there already ----------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [False, True])
@by_form
@by_dtype
def test_out_that_overlaps_inputs(
    dtype: str, form: str, accumulate: bool, rng: np.random.Generator
) -> None:
    function, of_a, of_b = FORMS[form]
    n = edges.ISA.rows + 3
    start = integers(rng, 2 * n, 2 * n, dtype=dtype)
    views: dict[str, Callable[[Array], Array]] = {
        "the same": lambda v: v[:n, :n],
        "its transpose": lambda v: v[:n, :n].T,
        "rows one down": lambda v: v[1 : n + 1, :n],
        "columns one left": lambda v: v[:n, 1 : n + 1],
        "interleaved": lambda v: v[: 2 * n : 2, :n],
        "reversed": lambda v: v[n - 1 :: -1, :n],
    }
    for name, view in views.items():
        for which in "a", "b", "both":
            memory = start.copy()
            other = integers(rng, n, n, dtype=dtype)
            a = other if which == "b" else memory[:n, :n]
            b = other if which == "a" else memory[:n, :n]
            out = view(memory)
            expected = exact_matmul(of_a(a), of_b(b)) + (out if accumulate else 0)
            expected_memory = start.copy()
            view(expected_memory)[...] = expected
            assert function(a, b, out, accumulate) is out
            assert (memory == expected_memory).all(), f"out is {name} of {which}"


@by_dtype
def test_out_keeps_nothing_unless_accumulated(dtype: str, rng: np.random.Generator) -> None:
    a, b = integers(rng, 5, 3, dtype=dtype), integers(rng, 3, 4, dtype=dtype)
    for poison in (np.nan, np.inf, -np.inf):
        out = np.full((5, 4), poison, dtype)
        assert (matmul(a, b, out=out) == exact_matmul(a, b)).all()
        out = np.full((5, 4), poison, dtype)
        matmul(a, b, out=out, accumulate=True)
        assert_same_bits(out, np.full((5, 4), poison, dtype))


@by_dtype
def test_no_k_accumulates_nothing(dtype: str) -> None:
    """K = 0 leaves C as it is, also -0.0 and NaN; without accumulate it becomes +0.0."""
    a, b = np.empty((3, 0), dtype), np.empty((0, 2), dtype)
    start = np.array([[1, -0.0], [np.nan, 0], [np.inf, -1]], dtype)
    out = start.copy()
    matmul(a, b, out=out, accumulate=True)
    assert_same_bits(out, start)
    assert_same_bits(matmul(a, b, out=out), np.zeros((3, 2), dtype))


# --- NaN and infinity ---------------------------------------------------------------------------


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("right", ["C", "F"])
@by_dtype
def test_special_values_in_every_position(
    dtype: str, right: str, special: float, rng: np.random.Generator
) -> None:
    """Nothing is skipped, not even where the other factor is zero: 0·Inf is NaN."""
    m, k, n = edges.ISA.rows + 1, 3, edges.lanes(dtype) + 1
    a0, b0 = integers(rng, m, k, dtype=dtype), integers(rng, k, n, dtype=dtype)
    a0[0], b0[:, -1] = 0, 0
    b_memory = place(b0, **LAYOUTS[right]).array
    for i, kk in np.ndindex(m, k):
        a = a0.copy()
        a[i, kk] = special
        with np.errstate(invalid="ignore"):
            assert_same_bits(matmul(a, b_memory), reference.matmul(a, b0), f"a[{i}, {kk}]")
    for kk, j in np.ndindex(k, n):
        b = b0.copy()
        b[kk, j] = special
        b_memory[...] = b
        with np.errstate(invalid="ignore"):
            assert_same_bits(matmul(a0, b_memory), reference.matmul(a0, b), f"b[{kk}, {j}]")


@by_dtype
def test_special_values_in_packed_blocks(dtype: str, rng: np.random.Generator) -> None:
    """One NaN touches its row or its column and nothing else, whatever was padded while packing."""
    k = edges.KC[dtype] + 1
    m, n = edges.large(dtype, k)
    a0, b0 = integers(rng, m, k, dtype=dtype), integers(rng, k, n, dtype=dtype)
    for layout in ("C", "F"):
        for i, kk in ((0, 0), (m - 1, k - 1), (edges.block_rows(dtype), edges.KC[dtype])):
            a = place(a0, **LAYOUTS[layout]).array
            a[i, kk] = np.nan
            with edges.l2():
                bad = np.isnan(matmul(a, b0))
            assert bad[i].all() and bad.sum() == n, f"a[{i}, {kk}] {layout}"
        for kk, j in ((0, 0), (k - 1, n - 1), (edges.KC[dtype], edges.block_columns(dtype))):
            b = place(b0, **LAYOUTS[layout]).array
            b[kk, j] = np.nan
            with edges.l2():
                bad = np.isnan(matmul(a0, b))
            assert bad[:, j].all() and bad.sum() == m, f"b[{kk}, {j}] {layout}"


@by_form
@by_dtype
@settings(max_examples=20)
@given(data=st.data())
def test_adjoint_identity(dtype: str, form: str, data: st.DataObject) -> None:
    """⟨dA·B + A·dB, G⟩ = ⟨dA, G·Bᵀ⟩ + ⟨dB, Aᵀ·G⟩"""
    function, of_a, of_b = FORMS[form]
    m = data.draw(st.sampled_from(edges.row_edges()), label="m")
    n = data.draw(st.sampled_from(edges.column_edges(dtype)), label="n")
    k = data.draw(st.sampled_from(edges.around(2, edges.lanes(dtype), 40)), label="k")

    def backward(g: Array, a: Array, b: Array) -> tuple[Array, Array]:
        if form == "matmul_nt":
            return matmul(g, b), matmul_tn(g, a)
        if form == "matmul_tn":
            return matmul_nt(b, g), matmul(a, g)
        return matmul_nt(g, b), matmul_tn(a, g)

    a, b = of_a(np.zeros((m, k), dtype)), of_b(np.zeros((k, n), dtype))
    assert check_adjoint(function, backward, a, b) == 0
