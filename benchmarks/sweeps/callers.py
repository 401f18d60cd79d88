"""What a product costs by who calls it: the table of docs/njit.md.

    python benchmarks/sweeps/callers.py

Microseconds for each of 64 products of 128 x 128 x 128, float32, with one thread and with two.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import njit, prange

import fastgrad

SIZE, PRODUCTS, ROUNDS = 128, 64, 30


@njit
def loop(a, b, c):  # type: ignore[no-untyped-def]
    for i in range(len(a)):
        fastgrad.matmul(a[i], b, out=c[i])


@njit(parallel=True)
def parallel(a, b, c):  # type: ignore[no-untyped-def]
    for i in prange(len(a)):
        fastgrad.matmul(a[i], b, out=c[i])


@njit(nogil=True)
def released(a, b, c):  # type: ignore[no-untyped-def]
    for i in range(len(a)):
        fastgrad.matmul(a[i], b, out=c[i])


def ways(a: Any, b: Any, c: Any) -> dict[str, Callable[[], object]]:
    pool, half = ThreadPoolExecutor(1), len(a) // 2

    def side_by_side() -> None:
        other = pool.submit(released, a[:half], b, c[:half])
        released(a[half:], b, c[half:])
        other.result()

    return {
        "Python": lambda: [fastgrad.matmul(x, b, out=y) for x, y in zip(a, c, strict=True)],
        "njit": lambda: loop(a, b, c),
        "prange": lambda: parallel(a, b, c),
        "two threads, nogil": side_by_side,
        "one stack": lambda: fastgrad.matmul(a, np.broadcast_to(b, a.shape), out=c),
    }


def microseconds(call: Callable[[], object]) -> float:
    times = []
    for _ in range(2 + ROUNDS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times[2:]) / PRODUCTS


def main() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((PRODUCTS, SIZE, SIZE), dtype=np.float32)
    for name, call in ways(a, a[0].copy(), np.empty_like(a)).items():
        found = []
        for threads in (1, 2):
            fastgrad.set_num_threads(threads)
            found.append(microseconds(call))
        print(name.ljust(20), *(f"{value:8.1f}" for value in found))


if __name__ == "__main__":
    main()
