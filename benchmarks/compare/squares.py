"""Square products against numpy, one thread, out= against out=: the README's first table.

    python benchmarks/compare/squares.py

Ours and numpy's in one process in turns, A B B A, so that the machine's drift cancels; results are
checked before they are timed. Prints numpy's time / ours (above 1: we are faster), medians.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

import fastgrad
from fastgrad._kernels.codegen.target import describe

SIZES = (256, 512, 1024, 2048)
SECONDS = 1.5  # a cell


def main() -> None:
    rng = np.random.default_rng(0)
    ratios = []
    print("| float32 / float64 |", *(f"{n} |" for n in SIZES))
    print("|---|" + "---|" * len(SIZES))
    for form, function in (("A·B", fastgrad.matmul), ("A·Bᵀ", fastgrad.matmul_nt),
                           ("Aᵀ·B", fastgrad.matmul_tn)):  # fmt: skip
        row = []
        for n in SIZES:
            pair = []
            for dtype in ("float32", "float64"):
                a, b = (rng.standard_normal((n, n)).astype(dtype) for _ in range(2))
                pair.append(ratio(form, function, a, b))
            row.append(" / ".join(f"{r:.2f}" for r in pair))
            ratios += pair
        print(f"| {form} |", *(f"{cell} |" for cell in row), flush=True)
    mean = math.exp(statistics.fmean(map(math.log, ratios)))
    core = ", ".join(f"{i['internal_api']} {i.get('architecture')}" for i in threadpool_info())
    print(f"\ngeometric mean {mean:.2f}, lowest {min(ratios):.2f}")
    print(f"{describe()}; numpy {np.__version__} ({core}); one thread")


def ratio(form: str, function: Callable[..., object], a: np.ndarray, b: np.ndarray) -> float:
    ours, theirs = np.full_like(a, np.nan), np.full_like(a, np.nan)
    x, y = (a.T if form.startswith("Aᵀ") else a), (b.T if form.endswith("Bᵀ") else b)
    function(a, b, ours)
    np.matmul(x, y, out=theirs)
    limit = 4 * np.finfo(a.dtype).eps * len(a)
    assert np.abs(ours - theirs).max() < limit, "the results differ: nothing to time"
    repeat = max(1, round(1e8 / len(a) ** 3))  # samples of 0.5 ms or more
    calls = (lambda: function(a, b, ours), lambda: np.matmul(x, y, out=theirs))
    times: tuple[list[float], list[float]] = ([], [])
    gc.disable()
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(times[0]) < 9:
        for which in (0, 1, 1, 0):
            start = time.perf_counter()
            for _ in range(repeat):
                calls[which]()
            times[which].append(time.perf_counter() - start)
    gc.enable()
    return statistics.median(times[1]) / statistics.median(times[0])


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
