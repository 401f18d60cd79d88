"""Sizes at which the kernels change what they do, read from their own tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastgrad._kernels.codegen import target
from fastgrad._kernels.formulas.activations import BY_NAME
from fastgrad._kernels.gemm import thresholds
from fastgrad._kernels.runtime.caches import LEAST_L2_BYTES, MOST_L2_BYTES
from fastgrad._kernels.runtime.scratch import ARENA_BYTES, HEADER
from fastgrad._kernels.runtime.table import L2_BYTES, TABLE

ISA = target.current().isa
KC = target.KC
DTYPES = ("float32", "float64")
ACTIVATIONS = tuple(BY_NAME)
SIZES_OF_L2 = (LEAST_L2_BYTES, 512 << 10)  # small products have several blocks, and one


def depths(dtype: str) -> dict[str, int]:
    """The sizes of k at which the contract is checked, by name."""
    kc = KC[dtype]
    return {
        "0": 0,
        "1": 1,
        "KC-1": kc - 1,
        "KC": kc,
        "KC+1": kc + 1,
        "2KC": 2 * kc,
        "2KC+1": 2 * kc + 1,
        "5KC+3": 5 * kc + 3,
    }


DEPTHS = tuple(depths("float32"))


def itemsize(dtype: str) -> int:
    return np.dtype(dtype).itemsize


def lanes(dtype: str) -> int:
    return ISA.lanes(itemsize(dtype))


def tile_columns(dtype: str) -> int:
    return ISA.columns(itemsize(dtype))


@contextmanager
def l2(size: int = LEAST_L2_BYTES) -> Iterator[None]:
    """Blocks for an L2 of that size. In the smallest one small products have several of them."""
    before = TABLE[L2_BYTES]
    TABLE[L2_BYTES] = size
    try:
        yield
    finally:
        TABLE[L2_BYTES] = before


def block_columns(dtype: str) -> int:
    """Of a full chunk: B's copies have room, for blocks of rows that find them again."""
    one = tile_columns(dtype) * KC[dtype] * itemsize(dtype)
    return (ARENA_BYTES - HEADER - MOST_L2_BYTES // 2) // one * tile_columns(dtype)


def block_rows(dtype: str) -> int:
    """Of a full block of A, in the smallest L2."""
    return LEAST_L2_BYTES // (2 * KC[dtype] * itemsize(dtype)) // ISA.rows * ISA.rows


def around(*sizes: int) -> tuple[int, ...]:
    """Each size, one less and one more; no size under 1."""
    return tuple(sorted({max(1, s + d) for s in sizes for d in (-1, 0, 1)}))


def row_edges() -> tuple[int, ...]:
    """Counts of rows around every tile, a pair of tiles and where packing starts."""
    heights = {rows for of_width in ISA.tile_rows for rows in of_width}
    return around(*heights, 2 * ISA.most_rows, thresholds.DIRECT_ROWS)


def column_edges(dtype: str) -> tuple[int, ...]:
    """Counts of columns around a vector, a tile and a pair of tiles."""
    return around(1, lanes(dtype), tile_columns(dtype), 2 * tile_columns(dtype))


def large(dtype: str, k: int) -> tuple[int, int]:
    """(m, n) past the edges of packed blocks in the smallest L2 (``l2()``), and large enough to be
    packed whatever the layout."""
    n = block_columns(dtype) + tile_columns(dtype) + 1
    m = max(block_rows(dtype) + ISA.rows + 1, thresholds.DIRECT_ROWS + 1)
    return max(m, thresholds.DIRECT_FMAS // (n * max(k, 1)) + 2), n


def sample(rng: Any, count: int, *edges: int, extra: int = 6) -> Any:
    """Sorted indices below ``count``: its ends, both sides of multiples of each edge, and some."""
    chosen = {0, count - 1, *rng.integers(0, count, extra).tolist()}
    for edge in edges:
        for multiple in (edge, 2 * edge, count - count % edge):
            chosen |= {multiple - 1, multiple}
    return np.array(sorted(i for i in chosen if 0 <= i < count), dtype=np.intp)
