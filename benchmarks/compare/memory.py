"""Calls that memory bounds, beside a plain vector loop over the same bytes and threads.

    python benchmarks/compare/memory.py [--rounds 9] [--threads 1 2]

M = 1: a row by a weight (K, N), beside a loop that reads the weight. Outer products of K <= 8 with
out= into a large C, beside a loop that fills C. The loops are those of loops.py, on the very
arrays (their pages are warm), Python threads without the GIL each having a part. Ours and the loop
in turns, A B B A; bytes are those of the weight or of C. Printed: GB/s and our share of the loop's
rate, medians. The goal is 90 % where the bytes are beyond the caches.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _figure import calls_for, check, machine, normal, poison, seconds, threads
from loops import STREAMS, fill_loop, read_loop

import fastgrad
from fastgrad._kernels.codegen.target import current

GOAL = 0.90
SAMPLE = 5e-3  # seconds, at least
SHAPES = (  # M, K, N; in float64 twice the bytes
    (1, 512, 512),  # 1 MB
    (1, 768, 3072),
    (1, 2048, 2048),
    (1, 8192, 8192),  # 256 MB
    (1, 1024, 65536),  # 256 MB, long rows
    (1, 65536, 1024),
    *((m, k, n) for m, n in ((2048, 2048), (8192, 8192), (131072, 512)) for k in (1, 4, 8)),
)
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")

Array = Any
Run = Callable[[int], float]  # passes -> seconds


class Case(NamedTuple):
    name: str
    stream: Array  # what is read or filled
    loop: Callable[[str], Callable[[int, Array], float]]
    call: Callable[[], object]
    check: Callable[[], None]


def case(dtype: str, m: int, k: int, n: int) -> Case:
    rng = np.random.default_rng(0)
    a, b = normal(rng, dtype, m, k), normal(rng, dtype, k, n)
    c, exact = np.full((m, n), np.nan, dtype), a @ b

    def call() -> None:
        fastgrad.matmul(a, b, out=c)

    def verify() -> None:
        poison(c)
        call()
        for i in range(0, m, 4096):  # in parts: no copies of a large C
            rows = slice(i, i + 4096)
            check(f"{m}x{k}x{n} {dtype}", c[rows], exact[rows], k)

    if m == 1:
        return Case(f"1x{k}x{n}, read", b, read_loop, call, verify)
    return Case(f"{m}x{k}x{n}, fill", c, fill_loop, call, verify)


def loop_over(case: Case, workers: ThreadPoolExecutor, count: int) -> tuple[Run, int]:
    """The loop by ``count`` threads, each going over its part as often as asked; its bytes.

    It takes whole turns of aligned vectors: what lies around them is less than 1 kB.
    """
    flat, size = case.stream.reshape(-1), current().isa.vector_bytes
    skip = -flat.ctypes.data % size // flat.itemsize
    turn = STREAMS * size // flat.itemsize
    ends = np.linspace(0, (flat.size - skip) // turn, count + 1).astype(int) * turn + skip
    parts = [flat[start:end] for start, end in itertools.pairwise(ends)]
    loop = case.loop(flat.dtype.name)

    def passes(n: int) -> float:
        def once() -> None:
            others = [workers.submit(loop, n, part) for part in parts[1:]]
            loop(n, parts[0])
            for other in others:
                other.result()

        return seconds(once)

    return passes, sum(part.nbytes for part in parts)


def verify_loop(case: Case, run: Run) -> None:
    """A fill leaves ones all over; a read of one part gives the sum of the vectors' first lanes."""
    flat = case.stream.reshape(-1)
    if case.loop is fill_loop:
        poison(flat)
        run(1)
        missed = flat.nbytes - flat.itemsize * np.count_nonzero(flat == 1)
        assert missed < 1024, f"{case.name}: the loop leaves {missed} bytes"
        return
    lanes = current().isa.lanes(flat.itemsize)
    part = flat[: STREAMS * lanes * 500]
    sums = part[::lanes].astype("f8")
    error = abs(case.loop(flat.dtype.name)(1, part) - sums.sum())
    assert error <= 1e-5 * np.abs(sums).sum(), f"{case.name}: the loop's sum is off by {error:.2g}"


def measure(case: Case, count: int, rounds: int) -> tuple[list[float], list[float]]:
    """GB/s: samples of ours, samples of the loop."""
    case.check()
    with ThreadPoolExecutor(max(1, count - 1)) as workers:
        loop, loop_bytes = loop_over(case, workers, count)
        verify_loop(case, loop)
        runs: list[Run] = [lambda n: seconds(case.call, n), loop]
        sizes = case.stream.nbytes, loop_bytes
        calls = [calls_for(run, SAMPLE) for run in runs]
        rates: tuple[list[float], list[float]] = ([], [])
        for which in (0, 1, 1, 0) * rounds:
            taken = runs[which](calls[which])
            rates[which].append(1e-9 * sizes[which] * calls[which] / taken)
    case.check()
    return rates


def caches() -> dict[str, int]:
    """Name -> bytes of what one core sees, smallest first; empty where Linux does not tell."""
    found = {}
    for folder in sorted(CACHES.glob("index*")):
        kind, level, size = ((folder / f).read_text().strip() for f in ("type", "level", "size"))
        if kind != "Instruction" and size.endswith("K"):
            found[f"L{level}"] = int(size[:-1]) << 10
    return dict(sorted(found.items(), key=lambda item: item[1]))


def home(size: int, known: dict[str, int]) -> str:
    """The smallest cache that these bytes fit into, or memory."""
    return next((name for name, cache in known.items() if size <= cache), "memory")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9, help="of A B B A for each row")
    parser.add_argument("--threads", type=int, nargs="*")
    options = parser.parse_args()
    counts = options.threads or sorted({1, fastgrad.get_num_threads()})
    known = caches()
    print("| shape, what the loop does | fits | threads | GB/s | loop GB/s | share |")
    print("|---|---|---|---|---|---|")
    under = []
    for dtype in ("float32", "float64"):
        for shape in SHAPES:
            now = case(dtype, *shape)
            place = home(now.stream.nbytes, known)
            for count in counts:
                with threads(count):
                    ours, loop = map(statistics.median, measure(now, count, options.rounds))
                share = ours / loop
                title = f"{now.name} {dtype} | {place} | {count}"
                print(f"| {title} | {ours:.1f} | {loop:.1f} | {share:.0%} |", flush=True)
                if share < GOAL:
                    under.append(f"{now.name} {dtype} ({place}, {count}) {share:.0%}")
    print(f"\nunder the goal of {GOAL:.0%}:", "; ".join(under) or "none")
    sizes = ", ".join(f"{name} {size / 2**20:.3g} MB" for name, size in known.items())
    print(f"{sizes or 'caches unknown'}; {machine(max(counts))}")


if __name__ == "__main__":
    main()
