"""numpy and fastgrad on one thread: both in this process, in turns A B B A."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import operands
from cells import Cell
from libraries import load
from threadpoolctl import threadpool_limits

import fastgrad
from fastgrad._bench import Comparison, compare


def compare_here(
    cells: Iterable[Cell], rounds: int, sample: float
) -> Iterator[tuple[Cell, str, Comparison]]:
    """(cell, "numpy", comparison), one after the other; operands are freed in between.

    Operands stay where the last call left them, in cache if they fit, as in a training step.
    Raises WrongResult before a wrong cell is timed.
    """
    with threadpool_limits(1), fastgrad.num_threads(1):
        for cell in cells:
            data = operands.make(cell)
            calls = []
            for name in ("fastgrad", "numpy"):
                call, results = load(name).bind(cell, data)
                call()
                operands.check(name, cell, data, results())
                calls.append(call)
            yield cell, "numpy", compare(*calls, rounds, sample)
