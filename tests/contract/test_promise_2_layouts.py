"""Promise 2: the same bits for any layout, of operands and of outputs, new or given.

Each is compared with the formula, of the same values laid out plainly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastgrad import linear_backward, linear_forward, matmul, matmul_nt, matmul_tn
from support import control_word, edges, fuzz
from support.layouts import LAYOUTS, OUTPUTS, STACKS, laid_out, place
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

# One product that is small, one that is packed; k crosses a block of the contract in both.
SIZES = ("small", "large")
by_size = pytest.mark.parametrize("size", SIZES)
pytestmark = pytest.mark.usefixtures("smallest_l2")
by_dtype = pytest.mark.parametrize("dtype", edges.DTYPES)


def _shape(size: str, dtype: str) -> tuple[int, int, int]:
    k = edges.KC[dtype] + 1
    if size == "small":
        return edges.ISA.rows + 1, k, edges.tile_columns(dtype) + 1
    m, n = edges.large(dtype, k)
    return m, k, n


def _operands(size: str, dtype: str, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    m, k, n = _shape(size, dtype)
    return (
        floats(rng, m, k, dtype=dtype),
        floats(rng, k, n, dtype=dtype),
        floats(rng, m, n, dtype=dtype),
    )


@by_size
@by_dtype
def test_operands(dtype: str, size: str, rng: np.random.Generator) -> None:
    a, b, _ = _operands(size, dtype, rng)
    expected = contract_product(a, b)
    for layout in LAYOUTS:
        assert_same_bits(matmul(laid_out(a, layout), b), expected, f"a {layout}")
        assert_same_bits(matmul(a, laid_out(b, layout)), expected, f"b {layout}")
    for left in ("F", "both reversed, strided", "F, three bytes off"):
        for right in ("F", "both reversed, strided", "one byte off"):
            c = matmul(laid_out(a, left), laid_out(b, right))
            assert_same_bits(c, expected, f"a {left}, b {right}")


@by_size
@by_dtype
def test_outputs(dtype: str, size: str, rng: np.random.Generator) -> None:
    a, b, old = _operands(size, dtype, rng)
    assert_same_bits(matmul(a, b), contract_product(a, b), "a new array")
    for accumulate, expected in enumerate(contract_both(a, b, old)):
        for layout, keywords in OUTPUTS.items():
            out = place(old if accumulate else np.full_like(old, np.nan), **keywords)
            assert matmul(a, b, out=out.array, accumulate=bool(accumulate)) is out.array
            assert_same_bits(out.array, expected, f"out {layout}, accumulate={accumulate}")
            assert out.intact(), layout


@by_size
@by_dtype
def test_transposed_names(dtype: str, size: str, rng: np.random.Generator) -> None:
    a, b, _ = _operands(size, dtype, rng)
    expected = contract_product(a, b)
    for layout in ("C", "F", "both reversed, strided"):
        transposed = laid_out(np.ascontiguousarray(b.T), layout)
        assert_same_bits(matmul_nt(a, transposed), expected, f"nt, b {layout}")
        assert_same_bits(matmul(a, transposed.T), expected, f"b.T {layout}")
        transposed = laid_out(np.ascontiguousarray(a.T), layout)
        assert_same_bits(matmul_tn(transposed, b), expected, f"tn, a {layout}")
    assert_same_bits(matmul(b.T, a.T), np.ascontiguousarray(expected.T), "the transposed product")


@by_dtype
def test_zero_strides(dtype: str, rng: np.random.Generator) -> None:
    m, k, n = _shape("small", dtype)
    a, b = floats(rng, m, k, dtype=dtype), floats(rng, k, n, dtype=dtype)
    for part in (a[:1], a[:, :1], a[:1, :1]):
        wide = np.broadcast_to(part, a.shape)
        assert_same_bits(matmul(wide, b), contract_product(wide, b), f"a from {part.shape}")
    for part in (b[:1], b[:, :1], b[:1, :1]):
        wide = np.broadcast_to(part, b.shape)
        assert_same_bits(matmul(a, wide), contract_product(a, wide), f"b from {part.shape}")


@by_dtype
def test_stacks(dtype: str, rng: np.random.Generator) -> None:
    m, k, n = 5, edges.KC[dtype] + 1, edges.tile_columns(dtype) + 1
    a, b = floats(rng, 3, m, k, dtype=dtype), floats(rng, 3, k, n, dtype=dtype)
    each = np.stack([contract_product(x, y) for x, y in zip(a, b, strict=True)])
    shared = np.stack([contract_product(x, b[0]) for x in a])
    for layout, keywords in STACKS.items():
        left, right = place(a, **keywords).array, place(b, **keywords).array
        assert_same_bits(matmul(left, b), each, f"a {layout}")
        assert_same_bits(matmul(a, right), each, f"b {layout}")
        assert_same_bits(matmul(left, b[0]), shared, f"a {layout}, one b")
        for other, expected in ((b, each), (b[0], shared)):
            out = place(np.full_like(each, np.nan), **keywords)
            matmul(a, other, out=out.array)
            assert_same_bits(out.array, expected, f"out {layout}, b {other.shape}")
            assert out.intact(), layout


@pytest.mark.parametrize("activation", [None, "relu", "gelu"])
@by_size
@by_dtype
def test_forward(dtype: str, size: str, activation: Any, rng: np.random.Generator) -> None:
    x, w, _ = _operands(size, dtype, rng)
    bias = floats(rng, w.shape[1], dtype=dtype)
    y, z = contract_forward(x, w, bias, activation)
    assert_same_bits(linear_forward(x, w, bias, activation), y, "without z")
    for layout in LAYOUTS:
        xl, wl = laid_out(x, layout), laid_out(w, layout)
        assert_same_bits(linear_forward(xl, w, bias, activation), y, f"x {layout}")
        assert_same_bits(linear_forward(x, wl, bias, activation), y, f"weight {layout}")
    for keywords in ({"steps": (3,)}, {"reverse": (0,)}, {"shift": 1}):
        row = place(bias, **keywords).array
        assert_same_bits(linear_forward(x, w, row, activation), y, f"bias {keywords}")
    one = np.broadcast_to(bias[:1], bias.shape)
    expected = contract_forward(x, w, one, None)[0]
    assert_same_bits(linear_forward(x, w, one), expected, "bias of zero stride")
    for layout, keywords in OUTPUTS.items():
        out, pre = (place(np.full_like(y, np.nan), **keywords) for _ in range(2))
        linear_forward(x, w, bias, activation, out.array, pre.array)
        assert_same_bits(out.array, y, f"out {layout}")
        assert_same_bits(pre.array, z, f"preactivation_out {layout}")
        assert out.intact() and pre.intact(), layout


def _h(g: Array, activation: Any, saved: dict[str, Array]) -> Array:
    return contract_h(g, activation, next(iter(saved.values()), None))


@pytest.mark.parametrize("activation", [None, "relu", "silu"])
@by_dtype
def test_backward(dtype: str, activation: Any, rng: np.random.Generator) -> None:
    n, k, m = edges.KC[dtype] + 3, edges.tile_columns(dtype) + 1, edges.ISA.rows + 2
    g, x, w = (floats(rng, *s, dtype=dtype) for s in ((n, m), (n, k), (k, m)))
    z = floats(rng, n, m, dtype=dtype)
    saved = saved_for(activation, contract_activation(activation, z), z)
    expected, _ = contract_backward_both(_h(g, activation, saved), x, w)

    def check(what: str, g: Array, x: Array, w: Array, saved: dict[str, Array]) -> None:
        grads = linear_backward(g, x, w, activation, **saved)
        for name, actual, right in zip(grads._fields, grads, expected, strict=True):
            assert_same_bits(actual, right, f"d{name}, {what}")

    for layout in LAYOUTS:
        check(f"g {layout}", laid_out(g, layout), x, w, saved)
        check(f"x {layout}", g, laid_out(x, layout), w, saved)
        check(f"weight {layout}", g, x, laid_out(w, layout), saved)
        for name, values in saved.items():
            check(f"{name} {layout}", g, x, w, {name: laid_out(values, layout)})
    ones = np.broadcast_to(np.ones((), dtype), g.shape)
    expected, _ = contract_backward_both(_h(ones, activation, saved), x, w)
    check("g of zero strides", ones, x, w, saved)


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("activation", [None, "silu"])
@by_dtype
def test_backward_outputs(
    dtype: str, activation: Any, accumulate: bool, rng: np.random.Generator
) -> None:
    n, k, m = edges.KC[dtype] + 3, edges.tile_columns(dtype) + 1, edges.ISA.rows + 2
    g, x, w, z = (floats(rng, *s, dtype=dtype) for s in ((n, m), (n, k), (k, m), (n, m)))
    saved = saved_for(activation, z, z)
    old = tuple(floats(rng, *s, dtype=dtype) for s in ((n, k), (k, m), (m,)))
    starts = old if accumulate else tuple(np.full_like(v, np.nan) for v in old)

    def run(out: tuple[Array, ...]) -> None:
        linear_backward(g, x, w, activation, **saved, out=out, accumulate=accumulate)

    expected = contract_backward_both(_h(g, activation, saved), x, w, old)[accumulate]
    rows: tuple[dict[str, Any], ...] = ({}, {"steps": (2,)}, {"reverse": (0,)}, {"shift": 1})
    for i, (layout, keywords) in enumerate(OUTPUTS.items()):
        placed = [place(v, **keywords) for v in starts[:2]]
        placed.append(place(starts[2], **rows[i % len(rows)]))
        run(tuple(p.array for p in placed))
        for name, p, right in zip("x W b".split(), placed, expected, strict=True):
            assert_same_bits(p.array, right, f"d{name}, outs {layout}")
            assert p.intact(), f"d{name}, outs {layout}"


@pytest.mark.parametrize("order", ["C", "F"])
@by_dtype
def test_memory_mapped_files(
    dtype: str, order: Any, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Operands that cannot be written, and outputs; big-endian files are converted."""
    n, k, m = 40, edges.KC[dtype] + 1, 33

    def mapped(name: str, values: Array, mode: Any = "r") -> Any:
        with open(tmp_path / name, "wb") as file:
            file.write(values.tobytes(order=order))
        return np.memmap(tmp_path / name, values.dtype, mode, 0, values.shape, order)

    x, w, g = (floats(rng, *s, dtype=dtype) for s in ((n, k), (k, m), (n, m)))
    old = floats(rng, k, m, dtype=dtype)
    files = {name: mapped(name, v) for name, v in (("x", x), ("w", w), ("g", g))}
    grads, added = contract_backward_both(g, x, w, (0 * x, old, g[0]))
    y = mapped("y", np.full_like(g, np.nan), "r+")
    assert linear_forward(files["x"], files["w"], out=y) is y
    assert_same_bits(y, contract_product(x, w), "y")
    dw = mapped("dw", old, "r+")
    found = linear_backward(
        files["g"], files["x"], files["w"], out=(None, dw, None), accumulate=True
    )
    assert_same_bits(found.x, grads.x, "dX")
    assert_same_bits(dw, added.weight, "dW")
    dw.flush()
    again = np.memmap(tmp_path / "dw", dtype, "r", 0, dw.shape, order)
    assert_same_bits(again, added.weight, "the file")
    swapped = mapped("swapped", x.astype(x.dtype.newbyteorder()))
    assert_same_bits(matmul(swapped, w), contract_product(x, w), "the other byte order")


def test_anything() -> None:
    fuzz.some("layouts")


@pytest.mark.skipif(not control_word.KNOWN, reason="which bits are they here?")
def test_anything_flushing_to_zero() -> None:
    """Layouts agree among themselves, if not with the formula."""
    fuzz.run("layouts", range(52), flush=True)


@pytest.mark.fuzz
def test_anything_at_length(capsys: pytest.CaptureFixture[str]) -> None:
    fuzz.many("layouts", capsys)
