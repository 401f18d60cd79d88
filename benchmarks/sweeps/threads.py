"""Products on one thread and on two, back to back and after pauses.

    python benchmarks/sweeps/threads.py

Microseconds, medians; float32. First small products that follow each other at once, then squares
with a sleep before each call: the median, the ninth decile, and CPU time a call, waiting included.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

import fastgrad

SHAPES = (
    (96, 96, 96), (128, 128, 128), (192, 192, 192), (256, 200, 100), (32, 376, 256),
    (20_000, 16, 16), (4096, 20, 64), (16, 240, 1024),
)  # fmt: skip
PAUSES = (20e-6, 100e-6, 500e-6, 2e-3, 10e-3)
ROUNDS = 200


def product(name: str, m: int, n: int, k: int) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((k, m) if name == "matmul_tn" else (m, k), dtype=np.float32)
    b = rng.standard_normal((n, k) if name == "matmul_nt" else (k, n), dtype=np.float32)
    c = np.empty((m, n), np.float32)
    function = getattr(fastgrad, name)
    return lambda: function(a, b, out=c)


def times(call: Callable[[], object], pause: float = 0.0) -> tuple[float, float, float]:
    """The median, the ninth decile, and CPU time."""
    found, cpu = [], time.process_time()
    for _ in range(ROUNDS):
        if pause:
            time.sleep(pause)
        start = time.perf_counter()
        call()
        found.append(1e6 * (time.perf_counter() - start))
    used = 1e6 * (time.process_time() - cpu) / ROUNDS
    return statistics.median(found), statistics.quantiles(found, n=10)[-1], used


def main() -> None:
    ratios = []
    for shape in SHAPES:
        for name in ("matmul", "matmul_nt", "matmul_tn"):
            call, found = product(name, *shape), []
            for threads in (1, 2):
                fastgrad.set_num_threads(threads)
                times(call)
                found.append(times(call)[0])
            ratios.append(found[0] / found[1])
            print(f"{name} {shape}".ljust(32), *(f"{value:8.1f}" for value in found))
    print(f"one thread / two, geometric mean: {statistics.geometric_mean(ratios):.2f}")
    for size in (256, 384):
        for pause in PAUSES:
            found = list(times(product("matmul", size, size, size), pause))
            print(f"{size}, {1e6 * pause:.0f} us".ljust(32), *(f"{v:8.0f}" for v in found))


if __name__ == "__main__":
    main()
