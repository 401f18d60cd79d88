"""The table of CPUs: tiles that fit the registers, plans for every count, blocks that fit."""

from __future__ import annotations

import llvmlite.binding as llvm
import numpy as np
import pytest

from fastgrad import BITS_VERSION, KC
from fastgrad._kernels.codegen import target
from fastgrad._kernels.gemm import thresholds
from fastgrad._kernels.runtime import caches, scratch
from support import edges

ISAS = {isa.name: isa for isa in (target.AVX512, target.AVX2, target.NEON, target.SSE)}
REGISTERS = {"AVX-512": 32, "AVX2": 16, "NEON": 32, "128-bit without FMA": 16}
by_isa = pytest.mark.parametrize("isa", ISAS.values(), ids=ISAS)
by_dtype = pytest.mark.parametrize("dtype", edges.DTYPES)


def test_kc_is_frozen() -> None:
    """KC is part of the formula: another value is another BITS_VERSION, and a CHANGELOG entry."""
    assert (BITS_VERSION, KC) == (2, {"float32": 512, "float64": 256})
    with pytest.raises(TypeError, match="does not support item assignment"):
        KC["float32"] = 1  # type: ignore[index]
    assert KC == {"float32": 512, "float64": 256}


def test_kc_by_dtype() -> None:
    for key in (np.float32, np.dtype("float32"), "float32", "f4", ">f4", np.zeros(1, "f4").dtype):
        assert KC[key] == 512 and key in KC
    for wrong in ("float16", "x", None, int, np.int64, ["float32"]):
        assert wrong not in KC
        with pytest.raises(KeyError):
            KC[wrong]


@by_isa
def test_accumulators_fit_the_registers(isa: target.Isa) -> None:
    one_row_of_b, broadcast = isa.vectors, 1
    assert isa.rows * isa.vectors + one_row_of_b + broadcast <= REGISTERS[isa.name]


@by_isa
def test_accumulators_of_every_width_fit_the_registers(isa: target.Isa) -> None:
    for vectors, rows in enumerate(isa.tile_rows, 1):
        assert rows[0] * vectors + vectors + 1 <= REGISTERS[isa.name]


@by_isa
def test_tile_rows(isa: target.Isa) -> None:
    for rows in isa.tile_rows:
        assert list(rows) == sorted(set(rows), reverse=True)
        assert rows[-1] == 1, "any count of rows can be covered"
        assert set(isa.tile_rows[-1]) <= set(rows), "strips of one product share rows of A"
    assert isa.vectors == len(isa.tile_rows)
    assert isa.rows == isa.tile_rows[-1][0]
    assert isa.most_rows == max(max(rows) for rows in isa.tile_rows)


@by_isa
def test_narrower_tiles_are_not_lower(isa: target.Isa) -> None:
    """Where there are fewer vectors, more rows keep the FMA pipes full."""
    tallest = [rows[0] for rows in isa.tile_rows]
    assert tallest == sorted(tallest, reverse=True)


def test_one_tile() -> None:
    """5 to 8 rows of AVX-512 are one tile each, as wide as its registers allow."""
    assert [target.AVX512.one_tile(rows) for rows in range(1, 13)] == [
        0, 0, 0, 4, 3, 4, 3, 3, 0, 0, 0, 2,
    ]  # fmt: skip
    assert [target.AVX2.one_tile(rows) for rows in range(5, 9)] == [0, 2, 0, 0]


@by_isa
def test_row_plan_covers_every_count(isa: target.Isa) -> None:
    """As macrokernel.py takes it: the tallest tile while two of them are left, then the plan."""
    for vectors, heights in enumerate(isa.tile_rows, 1):
        plan = isa.next_rows(vectors)
        assert len(plan) == 2 * isa.most_rows
        for count in range(1, 6 * isa.most_rows):
            left, taken = count, []
            while left:
                rows = heights[0] if left >= len(plan) else plan[left]
                assert rows in heights, f"no tile of {rows} x {vectors}"
                assert rows <= left, f"{rows} rows where {left} are left of {count}"
                taken.append(rows)
                left -= rows
            fewest = -(-count // heights[0])
            assert len(taken) < fewest + len(heights), f"{count} rows in {taken}"


@by_isa
@by_dtype
def test_lanes_and_columns(isa: target.Isa, dtype: str) -> None:
    size = edges.itemsize(dtype)
    lanes = isa.lanes(size)
    assert lanes * size == isa.vector_bytes
    assert lanes & (lanes - 1) == 0, "transposes in registers want a power of two"
    assert isa.columns(size) == lanes * isa.vectors


@by_isa
@by_dtype
@pytest.mark.parametrize("l2", [caches.LEAST_L2_BYTES, caches.MOST_L2_BYTES])
def test_blocks_fit_an_arena(isa: target.Isa, dtype: str, l2: int) -> None:
    """A block of A and, behind it, copies of B: two micro-panels at least, of any width."""
    size = edges.itemsize(dtype)
    line = KC[dtype] * size
    rows = l2 // (2 * line)
    assert rows >= 2 * isa.most_rows, "a block is more than a tile"
    room = scratch.ARENA_BYTES - scratch.HEADER - caches.MOST_L2_BYTES // 2
    assert scratch.HEADER + rows * line + room <= scratch.ARENA_BYTES
    assert 2 * isa.columns(size) * line <= room
    assert thresholds.GROUP_COLUMNS * thresholds.OUTER_K * size <= room
    assert isa.columns(size) <= thresholds.GROUP_COLUMNS


@by_isa
def test_the_first_tile_is_as_high_as_the_packing_tile(isa: target.Isa) -> None:
    """It writes so many rows. Packed on the way: all of more than DIRECT_ROWS, or whole tiles."""
    plan = [*isa.next_rows(isa.vectors), isa.rows]
    whole_tiles = range(3 * isa.rows, 2 * isa.most_rows + 1, isa.rows)
    for count in (*whole_tiles, *range(thresholds.DIRECT_ROWS + 1, 2 * isa.most_rows + 1)):
        assert plan[min(count, len(plan) - 1)] == isa.rows, count
    for dtype in edges.DTYPES:  # a block of rows is that high: half of what the smallest L2 holds
        least = caches.LEAST_L2_BYTES // (2 * KC[dtype] * edges.itemsize(dtype)) // isa.rows
        assert min(-(-t // -(-t // least)) for t in range(least + 1, 99)) >= min(3, least)
    assert isa.packing_vectors <= isa.vectors


@by_isa
def test_all_micro_panels_but_the_last_have_packing_tiles(isa: target.Isa) -> None:
    for vectors in range(isa.vectors + 1, 99):
        width = -(-vectors // -(-vectors // isa.vectors))
        assert isa.packing_vectors <= width <= isa.vectors


X86 = "x86_64-unknown-linux-gnu"
CPUS = [
    (X86, "haswell", "+avx2,+fma", target.AVX2),
    (X86, "haswell", "", target.AVX2),
    (X86, "znver3", "", target.AVX2),
    (X86, "skylake-avx512", "", target.AVX512),
    (X86, "skylake-avx512", "-avx512f", target.AVX2),
    (X86, "znver4", "", target.AVX512),
    (X86, "generic", "", target.SSE),
    (X86, "x86-64-v2", "", target.SSE),
    (X86, "x86-64-v3", "", target.AVX2),
    (X86, "x86-64-v4", "", target.AVX512),
    (X86, "sandybridge", "", target.SSE),  # AVX without FMA
    ("aarch64-unknown-linux-gnu", "generic", "", target.NEON),
    ("aarch64-unknown-linux-gnu", "neoverse-n1", "", target.NEON),
]


@pytest.mark.parametrize(("triple", "cpu", "features", "isa"), CPUS)
def test_cpus(triple: str, cpu: str, features: str, isa: target.Isa) -> None:
    if cpu == "znver4" and llvm.llvm_version_info < (16,):
        pytest.skip("LLVM learned of this CPU in version 16, and aborts the process before")
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        llvm.Target.from_triple(triple)
    except RuntimeError as error:
        pytest.skip(f"this llvmlite has no code generator for it: {error}")
    assert target._isa(triple, cpu, features) is isa


def test_current_names_the_cpu_and_its_tiles() -> None:
    now = target.current()
    text = target.describe()
    assert now.cpu in text and now.isa.name in text
    for size in (4, 8):
        assert f"{now.isa.rows}x{now.isa.columns(size)}" in text
