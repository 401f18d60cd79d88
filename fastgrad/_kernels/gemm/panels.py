"""How wide micro-panels are, and which tiles cover the rows beside them.

Panels are as wide as the widest tile, and of equal vectors: of 5, 3 and 2, not 4 and 1. Five to
eight rows that one tile holds, if it is less wide, get panels of its width: B is read once.
"""

from __future__ import annotations

from typing import Any

from ..codegen.calls import subroutine
from ..codegen.integers import ceil_div, pick
from ..codegen.memory import table, word
from ..runtime.registry import Floats
from ..runtime.table import L2_BYTES
from . import thresholds
from .microkernel import one_tile


def panels_of(t: Floats) -> tuple[Any, Any, Any]:
    lanes, most_vectors = t.lanes, t.isa.vectors

    @subroutine
    def one_tile_wide(m, n, k):  # type: ignore[no-untyped-def]
        """Vectors of the one tile for all rows, if there is one; A is not packed for it."""
        if n < thresholds.ONE_TILE_VECTORS * lanes or k <= thresholds.OUTER_K:
            return 0
        return one_tile(m)

    @subroutine
    def vectors_of(m, n, k):  # type: ignore[no-untyped-def]
        """Of a micro-panel of B."""
        one = one_tile_wide(m, n, k)
        return ceil_div(ceil_div(n, lanes), ceil_div(n, pick(one, one, most_vectors) * lanes))

    @subroutine
    def row_plan_of(m, n, k):  # type: ignore[no-untyped-def]
        """Vectors of the tiles that rows are cut for; 0: those of each panel for itself."""
        if n <= most_vectors * lanes:
            return ceil_div(n, lanes)
        return pick(one_tile_wide(m, n, k), 0, most_vectors)

    return one_tile_wide, vectors_of, row_plan_of


def holds_all_of(t: Floats) -> Any:
    size, one_tile_wide = t.size, panels_of(t)[0]

    @subroutine
    def holds_all(m, n, k):  # type: ignore[no-untyped-def]
        """Whether one tile has all rows, and B stays in L2: then no path is faster."""
        if 4 * n * k * size > 3 * word(table(), L2_BYTES):
            return 0
        return one_tile_wide(m, n, k)

    return holds_all
