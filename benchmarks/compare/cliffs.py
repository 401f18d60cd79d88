"""Is any size 1..256 out of line with its neighbours? Products with all threads, out=.

    python benchmarks/compare/cliffs.py [--passes 20] [--threads 2] [--csv times.csv]

(128, n)·(n, n), (n, 128)·(128, n) and (n, n)·(n, 128), float32 and float64. t(n) is the least of
many samples, taken in passes over everything, up and down in turn: a spell in which the machine is
slow hits a part of a pass and none of the next. Rules, v being the elements of a vector:

    vector   t(n) <= 1.15 t(the next multiple of v)
    step     t(n + 1) <= 1.6 t(n)
    larger   t(n) <= 1.25 t(m) for every m > n

Prints how many n break each rule, and the worst.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from _figure import calls_for, check, machine, normal, poison, threads, timer

import fastgrad
from fastgrad._kernels.codegen.target import current

SIZES = range(1, 257)
WIDTH = 128
SAMPLE = 1.5e-4  # seconds, at least
SAMPLES = 3  # of an n in each pass
FAMILIES: dict[str, Callable[[int], tuple[int, int, int]]] = {  # n -> M, K, N
    "(128, n)·(n, n)": lambda n: (WIDTH, n, n),
    "(n, 128)·(128, n)": lambda n: (n, WIDTH, n),
    "(n, n)·(n, 128)": lambda n: (n, n, WIDTH),
}

Times = dict[int, float]
Run = Callable[[int], float]  # calls -> seconds
Column = tuple[str, str]  # family, dtype


class Breach(NamedTuple):
    """t(n) is ``ratio`` times t(other)."""

    ratio: float
    n: int
    other: int


def runs(family: str, dtype: str) -> dict[int, Run]:
    """A checked product for each n. All n share their memory: none has better pages."""
    rng = np.random.default_rng(0)
    side = max(*SIZES, WIDTH)
    pool = normal(rng, dtype, 2, side * side)
    space = np.empty(side * side, dtype)
    made = {}
    for n in SIZES:
        m, k, columns = FAMILIES[family](n)
        a, b = pool[0, : m * k].reshape(m, k), pool[1, : k * columns].reshape(k, columns)
        c = space[: m * columns].reshape(m, columns)
        poison(c)
        fastgrad.matmul(a, b, out=c)
        check(f"{family}, n = {n}, {dtype}", c, a.astype("f8") @ b.astype("f8"), k)
        made[n] = timer("matmul(a, b, out=c)", matmul=fastgrad.matmul, a=a, b=b, c=c)
    return made


def measure(columns: dict[Column, dict[int, Run]], passes: int) -> dict[Column, Times]:
    """Seconds a call. A pass goes over everything, so that an n's samples lie far apart."""
    cells = [(column, n, run) for column, made in columns.items() for n, run in made.items()]
    calls = {(column, n): calls_for(run, SAMPLE) for column, n, run in cells}
    best = {column: dict.fromkeys(made, float("inf")) for column, made in columns.items()}
    for i in range(passes):
        for column, n, run in cells if i % 2 == 0 else reversed(cells):
            run(1)  # its operands into the cache, its code into the predictors
            count = calls[column, n]
            for _ in range(SAMPLES):
                best[column][n] = min(best[column][n], run(count) / count)
    return best


def breaches(t: Times, lanes: int) -> dict[str, list[Breach]]:
    """Rule -> the n that break it, each with its worst partner."""

    def ratio(n: int, other: int) -> Breach:
        return Breach(t[n] / t[other], n, other)

    last = max(t)
    candidates: dict[str, tuple[float, Iterator[Breach]]] = {
        "vector": (1.15, (ratio(n, -(-n // lanes) * lanes) for n in t if n % lanes)),
        "step": (1.6, (ratio(n + 1, n) for n in t if n < last)),
        "larger": (1.25, (max(ratio(n, m) for m in t if m > n) for n in t if n < last)),
    }
    return {
        rule: [breach for breach in all_of_them if breach.ratio > limit]
        for rule, (limit, all_of_them) in candidates.items()
    }


def describe(found: list[Breach]) -> str:
    if not found:
        return "0"
    worst = max(found)
    return f"{len(found)}, worst t({worst.n}) = {worst.ratio:.2f} t({worst.other})"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--passes", type=int, default=20)
    parser.add_argument("--threads", type=int, default=fastgrad.get_num_threads())
    parser.add_argument("--csv", help="write family, dtype, n, seconds")
    options = parser.parse_args()
    columns = [(family, dtype) for dtype in ("float32", "float64") for family in FAMILIES]
    with threads(options.threads):
        found = measure({column: runs(*column) for column in columns}, options.passes)
        who = machine(options.threads)
    total = 0
    print("| breaches of | vector | step | larger |\n|---|---|---|---|")
    for (family, dtype), t in found.items():
        rules = breaches(t, current().isa.lanes(np.dtype(dtype).itemsize))
        total += sum(map(len, rules.values()))
        print(f"| {family} {dtype} |", *(f"{describe(b)} |" for b in rules.values()))
    print(f"\n{total} breaches in {options.passes} passes; {who}")
    if options.csv:
        with open(options.csv, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("family", "dtype", "n", "seconds"))
            writer.writerows((*c, n, seconds) for c, t in found.items() for n, seconds in t.items())


if __name__ == "__main__":
    main()
