"""Shapes and layouts that lead to every way through the kernels, on one thread and on several."""

from __future__ import annotations

from typing import NamedTuple

from fastgrad._kernels.gemm import thresholds
from support import edges

TASKS = ("macrokernel", "part", "runs")  # of a product
ODD = "both reversed, strided"
FEW = (
    *range(1, thresholds.FEW_ROWS + 1),
    thresholds.FAR_ROWS - 1,
    thresholds.FAR_ROWS,
)
WAYS_OF_FEW_ROWS = {"few rows", "runs in tasks", "as it lies", "transposed", "gathered"}
WAYS_OF_FEW_COLUMNS = {"few columns", "runs in tasks", "as it lies", "transposed", "gathered",
                  "C gathered"}  # fmt: skip


def fork_fmas(dtype: str) -> int:
    return thresholds.FORK_FMAS * 4 // edges.itemsize(dtype)


def long_run(rows: int, k: int, dtype: str) -> int:
    """Columns of a product of so few rows that is long enough for two threads and is no multiple
    of anything."""
    least = max(
        2 * thresholds.FEW_ROWS_COLUMNS,
        fork_fmas(dtype) // (rows * k),
        thresholds.FEW_ROWS_FORK_NS * thresholds.BYTES_PER_NS // (k * edges.itemsize(dtype)),
        (thresholds.FAR_ROWS_BYTES if rows > thresholds.FEW_ROWS else 0)
        // (k * edges.itemsize(dtype)),
    )
    return least + edges.lanes(dtype) + 3


class Case(NamedTuple):
    shape: tuple[int, int, int]
    ways: set[str]  # that are taken, among others
    layouts: tuple[tuple[str, str, str], ...] = (("C", "C", "C"), ("F", "C", "C"), ("C", "F", "C"))
    meet: tuple[str, ...] = TASKS


def cases(dtype: str) -> dict[str, Case]:
    kc, lanes, columns = edges.KC[dtype], edges.lanes(dtype), edges.tile_columns(dtype)
    chains, blocks, rows = edges.ISA.block_chains, edges.block_columns(dtype), edges.ISA.rows
    shared = thresholds.PARTS_FMAS * 4 // edges.itemsize(dtype)
    ring = 8 * thresholds.RING_OF_A_THREAD  # blocks of k: of 8 threads
    wide, deep = blocks + columns + lanes + 1, (chains + 1) * kc + 5
    odd = ((ODD, ODD, "F"), ("C", "C", "padded columns"))
    return {
        "direct": Case((7, 70, 90), {"direct", "A in place"}, meet=()),
        "inner product": Case((1, 1, (2 * lanes + 3) * kc + 7), {"inner product"},
                    (("C", "C", "C"), ("F", "F", "F")), ()),
        "outer product": Case((700, 800, 2), {"parts", "A by k"}),
        "parts": Case((65, 131, kc + 40), {"parts", "several chains in a tile", "B in place",
                                           "B packed"}),
        "parts, odd": Case((65, 131, kc + 40), {"parts", "B packed"}, odd),
        "large parts": Case(
            (10 * rows, 12 * columns + 5, 2 * kc + 3), {"parts", "A by rows", "A by k", "B packed"},
        ),
        "blocks by rows": Case(
            (11 * rows + 300, wide, deep),
            {"blocks", "blocks by rows", "columns in several blocks", "k in several blocks",
             "B packed", "A by rows", "A by k"},
        ),
        "blocks by columns": Case(
            (7 * rows, wide, shared // (7 * rows * wide) + kc),
            {"blocks", "blocks by columns", "columns in several blocks"},
        ),
        "blocks of B": Case((11 * rows + 300, wide, deep), {"blocks", "B packed"}, odd,
                            ("pack_b",)),
        "blocks, A in place": Case(
            (shared // (2 * columns * kc) + 5, 2 * columns - 1, kc + 1), {"blocks", "A in place"},
            (("C", "C", "C"),),
        ),
        "split k": Case(
            (9, 7, (ring + 1) * kc + 3), {"split k", "ring used again"},
            (("C", "C", "C"), ("F", "C", "C"), ("F", "C", "F")),
        ),
        "split k, several tiles": Case(
            (2 * rows + 33, columns + 1, 17 * kc + 1), {"split k"},
            (("F", "C", "C"), (ODD, "C", "padded rows")),
        ),
    }  # fmt: skip


def forward_shapes(dtype: str) -> dict[str, tuple[tuple[int, int, int], set[str]]]:
    """name -> (n, k, m), ways"""
    kc, columns, rows = edges.KC[dtype], edges.tile_columns(dtype), edges.ISA.rows
    shared = thresholds.PARTS_FMAS * 4 // edges.itemsize(dtype)
    return {
        "few rows": ((3, kc + 1, long_run(3, kc, dtype)), {"few rows"}),
        "rows from afar": (
            (thresholds.FAR_ROWS, kc + 1, long_run(32, kc, dtype)), {"few rows"},
        ),
        "few columns": ((long_run(2, kc, dtype), kc + 1, 2), set()),
        "parts": ((65, kc + 1, 131), {"parts"}),
        "blocks": (
            (11 * rows + 300, kc + 1, max(shared // (366 * kc), columns) + 7), {"blocks"},
        ),
    }  # fmt: skip


class Layer(NamedTuple):
    shape: tuple[int, int, int]  # n, k, m
    ways: set[str]
    meet: tuple[str, ...]
    activations: tuple[str | None, ...] = (None, "relu", "silu")


def layers(dtype: str) -> dict[str, Layer]:
    kc = edges.KC[dtype]
    pair, h = ("product_of_pair",), ("activation_gradient",)
    return {
        "pair": Layer((65, 70, 131), {"dX beside dW", "H in place"}, pair,
                      (None, *edges.ACTIVATIONS)),
        "pair of few rows": Layer((5, 300, 400), {"dX beside dW", "few rows"}, pair),
        "pair, one sample": Layer((1, 700, 900), {"dX beside dW"}, pair, (None, "relu")),
        "pair, one output": Layer((900, 700, 1), {"dX beside dW"}, pair, (None, "relu")),
        "pair, deep batch": Layer((9 * kc + 3, 9, 7), {"dX beside dW"}, pair, (None, "relu")),
        "H by columns": Layer((70, 60, 2 * kc + 17), {"H by columns", "H in tasks"}, h),
        "H by rows": Layer((2 * kc + 3, 20, kc + 17), {"H by rows", "H in tasks"}, h),
        "one after the other": Layer((170, 160, 156), {"parts"}, ("part",), (None, "relu")),
        "split k of dW": Layer((17 * kc + 3, 22, 24), {"split k"}, ("macrokernel",), (None,)),
    }  # fmt: skip
