"""A call with any number of threads: undisturbed, and with a worker that is sure to take part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastgrad import matmul, num_threads
from support import edges
from support.layouts import OUTPUTS, laid_out, place
from support.oracles import Array, assert_same_bits, contract_both, floats
from support.watch import Watch

THREADS = (1, 2, 3, 8)  # more than there are cores, too


def on_all(
    dtype: str, meet: tuple[str, ...], call: Callable[[], Any], check: Callable[[Any, str], None]
) -> set[str]:
    """Call and check with each number of threads: undisturbed, with blocks for this machine's L2,
    then watched, with blocks for the smallest. The ways taken.

    meet: tasks that are shared by threads; without any, nobody else may take part.
    """
    taken: set[str] = set()
    for threads in THREADS:
        with num_threads(threads):
            check(call(), f"{threads} threads")
            with edges.l2(), Watch(dtype, *(meet if threads > 1 else ())) as watch:
                result = call()
            check(result, f"{threads} threads, watched")
            assert watch.met.is_set() == bool(meet and threads > 1), "no other thread took part"
            taken |= watch.ways()
    return taken


class Product:
    """A (m, k) · B (k, n), + C or not, and what the formula gives for some rows and columns."""

    def __init__(self, m: int, n: int, k: int, dtype: str, rng: np.random.Generator) -> None:
        self.a, self.b = floats(rng, m, k, dtype=dtype), floats(rng, k, n, dtype=dtype)
        self.old = floats(rng, m, n, dtype=dtype)
        self.dtype, self.what = dtype, f"{(m, n, k)}"
        rows, columns = np.arange(m), np.arange(n)
        if m * n * k > 4_000_000:
            rows = edges.sample(rng, m, edges.ISA.rows, edges.block_rows(dtype), m // 2)
            columns = edges.sample(rng, n, edges.tile_columns(dtype), n // 2, n // 3)
        self.some = np.ix_(rows, columns)
        a, b = self.a[rows], self.b[:, columns]
        self.expected = contract_both(a, b, self.old[self.some])
        self.first: list[Array | None] = [None, None]

    def run(self, left: str, right: str, out: str, meet: tuple[str, ...]) -> set[str]:
        """Written and accumulated, operands and output in the given layouts."""
        a, b = laid_out(self.a, left), laid_out(self.b, right)
        taken: set[str] = set()
        for accumulate in (False, True):
            start = self.old if accumulate else np.full_like(self.old, np.nan)

            def call(start: Array = start, accumulate: bool = accumulate) -> Any:
                placed = place(start, **OUTPUTS[out])
                matmul(a, b, placed.array, accumulate)
                return placed

            def check(placed: Any, how: str, accumulate: bool = accumulate) -> None:
                what = f"{self.what}, {left} · {right} -> {out}, accumulate={accumulate}, {how}"
                c = placed.array
                assert_same_bits(c[self.some], self.expected[accumulate], what)
                if self.first[accumulate] is None:
                    self.first[accumulate] = c.copy()
                assert_same_bits(c, self.first[accumulate], what)
                assert placed.intact(), what

            taken |= on_all(self.dtype, meet, call, check)
        return taken
