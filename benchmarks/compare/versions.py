"""Two versions of fastgrad in turns: the short products of demand.py, or training steps.

    python benchmarks/compare/versions.py BASE NOW [--steps] [--threads 2] [--rounds 9] [--write]

BASE and NOW are interpreters, each with its fastgrad installed; or PYTHON=FOLDER, where FOLDER goes
before what is installed. Each version is a process of its own; they take turns of 0.2 s, in
alternating order, each beginning with a pool that sleeps. Prints base's time / now's of each cell,
medians, and the geometric mean. --write puts the table of products into docs/threads.md. As a
worker, which needs numpy and any fastgrad: versions.py --work THREADS.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SIZES = (
    (96, 96, 96), (128, 128, 128), (192, 192, 192), (256, 200, 100), (32, 376, 256),
    (20_000, 16, 16), (4096, 20, 64), (16, 240, 1024),
)  # fmt: skip
NETS = (
    ((64, 128, 10), 32), ((30, 100, 2), 200), ((10, 46, 46, 10), 128), ((376, 256, 256, 17), 64),
    ((784, 200, 100, 10), 256), ((784, 512, 512, 10), 128),
)  # fmt: skip
PRODUCTS = [("x".join(map(str, size)) + f" {op}", [op, *size]) for size in SIZES
            for op in ("nn", "nt", "tn")]  # fmt: skip
STEPS = [("-".join(map(str, sizes)) + f" b{batch}", [sizes, batch]) for sizes, batch in NETS]
ROUND, SAMPLE = 0.2, 4e-3  # seconds
Call = Callable[[], Any]


# A version: {"cells": [...]} -> {}; {"round": seconds a cell} -> seconds of a call of each --------


def work(threads: int) -> None:
    import fastgrad

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    fastgrad.set_num_threads(threads)
    calls: list[Call] = []
    for line in sys.stdin:
        request = json.loads(line)
        if "cells" in request:
            calls = [product(*c) if isinstance(c[0], str) else step(*c) for c in request["cells"]]
            for call in calls:  # compiled, and steps have chosen their way
                run(call, SAMPLE)
            print("{}", file=answers, flush=True)
        else:
            taken = []
            for call in calls:
                time.sleep(0.002)  # the pool sleeps again
                taken.append(run(call, request["round"]))
            print(json.dumps(taken), file=answers, flush=True)


def run(call: Call, seconds: float) -> float:
    """Seconds of a call."""
    start, calls = time.perf_counter(), 0
    while (taken := time.perf_counter() - start) < seconds:
        call()
        calls += 1
    return taken / calls


def product(op: str, m: int, n: int, k: int) -> Call:
    import fastgrad

    rng = np.random.default_rng(0)
    shapes = (k, m) if op == "tn" else (m, k), (n, k) if op == "nt" else (k, n)
    a, b = (rng.standard_normal(shape, np.float32) for shape in shapes)
    c = np.empty((m, n), np.float32)
    function = {"nn": fastgrad.matmul, "nt": fastgrad.matmul_nt, "tn": fastgrad.matmul_tn}[op]
    return lambda: function(a, b, out=c)


def step(sizes: list[int], batch: int) -> Call:
    import fastgrad

    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, sizes[0]), np.float32)
    y = rng.integers(0, sizes[-1], batch)
    model = fastgrad.MLP(sizes, optimizer=fastgrad.SGD(1e-6))
    for _ in range(300):
        model.train_step(x, y)
    return lambda: model.train_step(x, y)


# Both ---------------------------------------------------------------------------------------------


class Version:
    def __init__(self, what: str, threads: int) -> None:
        python, _, folder = what.partition("=")
        environment = {**os.environ, **({"PYTHONPATH": folder} if folder else {})}
        if not folder:
            environment.pop("PYTHONPATH", None)
        self.process = subprocess.Popen(
            [python, __file__, "--work", str(threads)], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(python).parent,
        )  # fmt: skip

    def ask(self, **request: Any) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("base")
    parser.add_argument("now")
    parser.add_argument("--steps", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    cells = STEPS if options.steps else PRODUCTS
    versions = [Version(what, options.threads) for what in (options.base, options.now)]
    for version in versions:
        version.ask(cells=[cell for _, cell in cells])
    seconds = max(SAMPLE, ROUND / len(cells))
    taken: list[list[list[float]]] = [[], []]
    for i in range(options.rounds):
        for which in (0, 1) if i % 2 == 0 else (1, 0):
            taken[which].append(versions[which].ask(round=seconds))
    base, now = (np.median(np.array(t), axis=0) * 1e6 for t in taken)
    ratios = [statistics.median(b[i] / n[i] for b, n in zip(*taken, strict=True))
              for i in range(len(cells))]  # fmt: skip
    mean = float(np.exp(np.mean(np.log(ratios))))
    lines = ["| " + ("net, batch" if options.steps else "m × n × k")
             + " | before, µs | now, µs | before / now |", "| --- | --- | --- | --- |"]  # fmt: skip
    lines += [f"| {name} | {b:.1f} | {n:.1f} | {r:.2f} |"
              for (name, _), b, n, r in zip(cells, base, now, ratios, strict=True)]  # fmt: skip
    lines.append(f"| **geometric mean** | | | {mean:.2f}, lowest {min(ratios):.2f} |")
    print("\n".join(lines))
    if options.write and not options.steps:
        import threads_page

        threads_page.write("versions", lines, [], "benchmarks/compare/versions.py")


if __name__ == "__main__":
    work(int(sys.argv[2])) if sys.argv[1:2] == ["--work"] else main()
