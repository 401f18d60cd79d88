"""Three ways through a training step: on one thread, product by product, and in two joins.

    python benchmarks/sweeps/steps.py

A row a net: us of each way, in turns, medians; and what two joins cost beside half of one thread's
time, in ns for each cache line that they move. The least of those is LINE_NS of
fastgrad/_kernels/gemm/thresholds.py; a join is measured by benchmarks/compare/forkjoin.py.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable

import numpy as np

import fastgrad
from fastgrad._kernels.codegen import structs
from fastgrad._kernels.gemm import thresholds
from fastgrad._kernels.layer.args import Net
from fastgrad._mlp import step

NETS = (
    ((64, 128, 10), 32), ((64, 128, 10), 128), ((64, 128, 10), 512), ((30, 100, 2), 200),
    ((30, 100, 2), 1000), ((10, 46, 46, 10), 128), ((10, 46, 46, 10), 1024),
    ((20, 64, 64, 64, 64, 5), 64), ((20, 64, 64, 64, 64, 5), 256), ((64, 256, 256, 10), 64),
    ((64, 256, 256, 10), 256), ((128, 512, 128), 64), ((376, 256, 256, 17), 64),
    ((784, 200, 100, 10), 256),
)  # fmt: skip
THREADS, ROUNDS, SECONDS = 2, 15, 0.004
WAYS = ("one thread", "by product", "two joins")
WORDS = structs.names(Net)


def stepper(sizes: tuple[int, ...], rows: int, way: str) -> Callable[[], float]:
    """A step that goes this way for some thousands of calls."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, sizes[0]), dtype=np.float32)
    y = rng.integers(0, sizes[-1], rows)
    step.JOINED_SIZE = 0 if way == "by product" else 1 << 40
    step.JOINED_BYTES = 1 << 40
    model = fastgrad.MLP(sizes, optimizer=fastgrad.SGD(1e-3))
    model.train_step(x, y)
    if way == "two joins":
        tried = thresholds.TRIALS + thresholds.JOINED_TRIALS
        for name, value in (("tried", tried), ("alone_ns", 1 << 48), ("joined_ns", 0)):
            model._step._table[WORDS.index(name)] = value
    threads = 1 if way == "one thread" else THREADS

    def run() -> float:
        fastgrad.set_num_threads(threads)
        for _ in range(100):
            model.train_step(x, y)
        begin, steps = time.perf_counter(), 0
        while time.perf_counter() < begin + SECONDS:
            model.train_step(x, y)
            steps += 1
        return (time.perf_counter() - begin) / steps * 1e6

    return run


def lines(sizes: tuple[int, ...], rows: int) -> float:
    """That a thread fetches from the other one in two joins: ``_moved_lines`` of a step."""
    pairs = itertools.pairwise(sizes)
    return sum(2 * rows * m + k * m for k, m in pairs) * 4 / 64 / THREADS


def main() -> None:
    print("net".ljust(40), *(way.rjust(12) for way in WAYS), "ns a line".rjust(12))
    for sizes, rows in NETS:
        runs = [stepper(sizes, rows, way) for way in WAYS]
        times = [[run() for run in runs] for _ in range(ROUNDS)]
        alone, product, joined = (statistics.median(column) for column in zip(*times, strict=True))
        line = (joined - alone / THREADS) * 1e3 - 2 * thresholds.JOIN_NS
        cells = (alone, product, joined, line / lines(sizes, rows))
        print(f"{sizes} b{rows}".ljust(40), *(f"{cell:12.1f}" for cell in cells))


if __name__ == "__main__":
    main()
