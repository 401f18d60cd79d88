"""Stacks of small matrices beside numpy.matmul, torch.bmm and a compiled loop of single calls.

    python benchmarks/compare/stacks.py [--rounds 9] [--matrices 1000] [--write]

A (S, n, n) · B (S, n, n) -> C (S, n, n), out=, on one thread and on all. Each side in a process of
its own, in turns; results are checked against float64 before they are timed. Libraries that are not
installed are left out. --write puts the table into docs/njit.md. As a worker: stacks.py SIDE
THREADS.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine
import numpy as np
import pages
from processes import ROUND, Worker
from threadpoolctl import threadpool_limits
from worker import measure, settle

import fastgrad
from fastgrad._bench import Comparison, calls_to_fill, geometric_mean, quiet, seconds, summarize

PAGE = Path(__file__).parents[2] / "docs" / "njit.md"
SIZES, DTYPES = (2, 4, 8, 16, 32), ("float32", "float64")
SAMPLE = 1e-3  # seconds
HEADS = {"numpy": "numpy.matmul", "torch": "torch.bmm", "loop": "`@njit` loop of single calls"}

Call = Callable[[], Any]
Array = np.ndarray[Any, Any]


# Sides: a function of the operands and C, that binds a call ---------------------------------------


def with_fastgrad(a: Array, b: Array, c: Array) -> Call:
    return lambda: fastgrad.matmul(a, b, out=c)


def with_numpy(a: Array, b: Array, c: Array) -> Call:
    return lambda: np.matmul(a, b, out=c)


def with_torch(a: Array, b: Array, c: Array) -> Call:
    import torch

    left, right, out = map(torch.from_numpy, (a, b, c))
    return lambda: torch.bmm(left, right, out=out)


def with_loop(a: Array, b: Array, c: Array) -> Call:
    import numba

    @numba.njit
    def loop(a, b, c):  # type: ignore[no-untyped-def]
        for i in range(len(a)):
            fastgrad.matmul(a[i], b[i], out=c[i])

    return lambda: loop(a, b, c)


SIDES = {
    "fastgrad": with_fastgrad, "numpy": with_numpy, "torch": with_torch, "loop": with_loop,
}  # fmt: skip


def set_threads(side: str, n: int) -> None:
    if side in ("fastgrad", "loop"):
        fastgrad.set_num_threads(n)
    if side == "torch":
        import torch

        torch.set_num_threads(n)
        torch.set_grad_enabled(False)
    threadpool_limits(n if side == "numpy" else 1, "blas")


# The worker: the protocol of worker.py, with stacks -----------------------------------------------


def work(side: str, threads: int) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    set_threads(side, threads)
    calls: list[tuple[Call, float]] = []
    with quiet():
        for line in sys.stdin:
            print(json.dumps(answer(json.loads(line), side, calls)), file=answers, flush=True)


def answer(request: Any, side: str, calls: list[tuple[Call, float]]) -> dict[str, Any]:
    if "prepare" in request:
        matrices, n, dtype = request["prepare"]
        rng = np.random.default_rng(n)
        a, b = (rng.standard_normal((matrices, n, n), np.dtype(dtype)) for _ in range(2))
        c = np.full_like(a, np.nan)
        call = SIDES[side](a, b, c)
        call()
        off = np.abs(c - a.astype(np.float64) @ b.astype(np.float64)).max()
        if not off <= 40 * n * np.finfo(dtype).eps:  # also where it is NaN
            return {"wrong": f"{side}: {matrices} matrices of {n}, {dtype}: off by {off:.2g}"}
        count = calls_to_fill(call, request["sample"])
        calls.append((call, seconds(call, count) / count))
        settle()
        return {"seconds": calls[-1][1]}
    if "round" in request:
        taken = [measure(*call, s) for call, s in zip(calls, request["round"], strict=True)]
        settle()
        return {"seconds": taken}
    calls.clear()
    return {}


# The table ----------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--matrices", type=int, default=1000)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    others = [n for n in HEADS if n == "loop" or importlib.util.find_spec(n)]
    run, company = machine.describe_run([n for n in others if n != "loop"], {}), machine.Company()
    lines = [
        f"{options.matrices:,} products of n × n matrices in one call, `out=`: µs of "
        "`fastgrad.matmul`, and beside it the other's time / that, with its own µs:",
        "",
        "| threads, dtype, n | fastgrad | " + " | ".join(HEADS[n] for n in others) + " |",
        "| --- | --- |" + " --- |" * len(others),
    ]
    print("\n".join(lines))
    for threads in sorted({1, fastgrad.get_num_threads()}):
        rows = compare(others, threads, options.matrices, options.rounds)
        for (n, dtype), row in rows.items():
            ours = pages.microseconds(1e6 * next(iter(row.values())).ours)
            cells = [f"{c.ratio:.2f} ({pages.microseconds(1e6 * c.theirs)})" for c in row.values()]
            lines.append(f"| {threads}, {dtype}, {n} | {ours} | " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
        ratios = [[row[name].ratio for row in rows.values()] for name in others]
        means = [f"{geometric_mean(r):.2f}, lowest {min(r):.2f}" for r in ratios]
        lines.append(f"| **{threads}, geometric mean** | | " + " | ".join(means) + " |")
        print(lines[-1], flush=True)
    versions = ", ".join(f"{name} {what}" for name, what in run["versions"].items())
    shares = ", ".join(f"{name} {share}" for name, share in company.shares().items())
    lines += [
        "",
        f"{run['date']}, {run['machine']['cpu']}, {options.rounds} rounds; {versions}"
        + (f"; CPU time taken by {shares}" if shares else "")
        + " (`benchmarks/compare/stacks.py`)",
    ]
    print(lines[-1])
    if options.write:
        pages.replace(PAGE, "stacks", "\n".join(lines))
        print(f"written: {PAGE.name}")


def compare(
    others: list[str], threads: int, matrices: int, rounds: int
) -> dict[tuple[int, str], dict[str, Comparison]]:
    """By n and dtype, of each other side."""
    cells = [(n, dtype) for dtype in DTYPES for n in SIZES]
    workers: list[Worker] = []
    taken: dict[str, list[list[float]]] = {}
    try:
        for name in ("fastgrad", *others):
            workers.append(Worker(name, threads, Path(__file__).name))
            taken[name] = []
            for cell in cells:
                workers[-1].ask(prepare=[matrices, *cell], sample=SAMPLE)
        for i in range(rounds):
            for worker in workers[:: -1 if i % 2 else 1]:
                taken[worker.library].append(worker.ask(round=[ROUND / len(cells)] * len(cells)))
    finally:
        for worker in workers:
            worker.close()
    ours = taken["fastgrad"]
    return {
        cell: {
            name: summarize([(a[j], b[j]) for a, b in zip(ours, taken[name], strict=True)])
            for name in others
        }
        for j, cell in enumerate(cells)
    }


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2])) if sys.argv[1:2] and sys.argv[1] in SIDES else main()
