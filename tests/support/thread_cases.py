"""Shapes and layouts that lead to every way through the kernels, on one thread and on several."""

from __future__ import annotations

from typing import NamedTuple

from fastgrad._kernels.gemm import thresholds
from support import edges

TASKS = ("macrokernel", "part", "runs", "turned_part")  # of a product
ODD = "both reversed, strided"
FEW = tuple(range(1, thresholds.FEW_ROWS + 1))
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
    )
    return least + edges.lanes(dtype) + 3


class Case(NamedTuple):
    shape: tuple[int, int, int]
    ways: set[str]  # that are taken, among others
    layouts: tuple[tuple[str, str, str], ...] = (("C", "C", "C"), ("F", "C", "C"), ("C", "F", "C"))
    meet: tuple[str, ...] = TASKS


def cases(dtype: str) -> dict[str, Case]:
    kc, lanes, columns = edges.KC[dtype], edges.lanes(dtype), edges.tile_columns(dtype)
    rows, of_block = edges.ISA.rows, edges.block_rows(dtype)
    more = thresholds.MORE_PARTS_FMAS * 4 // edges.itemsize(dtype)
    ring = 8 * thresholds.RING_OF_A_THREAD  # blocks of k: of 8 threads
    wide = edges.block_columns(dtype) + columns + lanes + 1
    odd = ((ODD, ODD, "F"), ("C", "C", "padded columns"))
    return {
        "direct": Case((7, 70, 90), {"direct", "A in place"}, meet=()),
        "direct, two blocks of k": Case((7, 40, kc + 9), {"direct", "several chains in a tile"},
                                        meet=()),
        "inner product": Case((1, 1, (2 * lanes + 3) * kc + 7), {"inner product"},
                    (("C", "C", "C"), ("F", "F", "F")), ()),
        **{
            f"one tile, {m} rows": Case(
                (m, 50 * lanes + 3, kc + thresholds.OUTER_K - 20), set(),
                (("C", "C", "C"), ("F", "C", "C")),
            )
            for m in (5, 6, 7, 8)
        },
        "turned": Case(
            (9 * columns + 5, 9, kc + 9), {"turned", "turned in tasks"},
            (("F", "C", "C"), ("F", "padded rows", "padded rows")),
        ),
        "outer product": Case((700, 800, 2), {"parts", "blocks", "A in panels", "B packed before"}),
        "outer product, chunks": Case(
            (9 * of_block, thresholds.GROUP_COLUMNS + columns + 1, thresholds.OUTER_K),
            {"parts", "blocks", "B packed before", "panels found again", "rows in several blocks",
             "columns in several chunks", "A in panels"},
        ),
        "parts": Case(
            (65, 131, kc + 40),
            {"parts", "blocks", "B packed before", "B packed on the way", "copies found again",
             "panels found again", "panel by panel", "rows in several blocks",
             "k in several blocks", "A in place", "A in panels"},
        ),
        "parts, odd": Case((65, 131, kc + 40), {"parts", "B packed before"}, odd),
        "one panel": Case((12 * of_block + 1, columns, kc + 1),
                          {"parts", "blocks", "B in place", "rows in several blocks"}),
        "one block of rows": Case(
            (39, 12 * columns + 5, kc // 2),
            {"parts", "blocks", "B packed on the way", "B packed before", "panel by panel",
             "A in panels"},
        ),
        "large parts": Case(
            (10 * rows, 12 * columns + 5, 2 * kc + 3),
            {"parts", "A in panels", "B packed on the way", "B packed before"},
        ),
        "chunks": Case(
            (of_block + rows + 4, wide, kc + 5),
            {"parts", "blocks", "columns in several chunks", "rows in several blocks",
             "k in several blocks", "copies found again", "panels found again", "panel by panel",
             "B packed before", "B packed on the way", "A in panels"},
        ),
        "chunks, odd": Case((of_block + rows + 4, wide, kc + 5),
                            {"blocks", "B packed before", "panels found again"}, odd),
        "more parts": Case(
            (50 * rows, 12 * columns + 5, more // (50 * rows * 12 * columns) + kc // 2 + 3),
            {"parts", "more parts", "B packed on the way"}, (("C", "C", "C"),),
        ),
        "A in place": Case((3 * of_block + 1, 2 * columns - 1, kc + 1),
                           {"blocks", "A in place", "B packed on the way"}, (("C", "C", "C"),)),
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
    wide = edges.block_columns(dtype) + columns + 7
    return {
        "few rows": ((3, kc + 1, long_run(3, kc, dtype)), {"few rows"}),
        "few columns": ((long_run(2, kc, dtype), kc + 1, 2), set()),
        "parts": ((65, kc + 1, 131), {"parts"}),
        "chunks": (
            (edges.block_rows(dtype) + rows + 4, kc + 1, wide),
            {"parts", "blocks", "columns in several chunks", "rows in several blocks"},
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
        "pair, deep batch": Layer((9 * kc + 3, 13, 7), {"dX beside dW"}, pair, (None, "relu")),
        "H by columns": Layer((70, 60, 2 * kc + 17), {"H by columns", "H in tasks"}, h),
        "H by rows": Layer((2 * kc + 3, 20, kc + 17), {"H by rows", "H in tasks"}, h),
        "one after the other": Layer((170, 160, 156), {"parts"}, ("part",), (None, "relu")),
        "split k of dW": Layer((17 * kc + 3, 22, 24), {"split k"}, ("macrokernel",), (None,)),
    }  # fmt: skip
