"""Squares with a pause before each call: its median and ninth decile, and what waiting costs.

    python benchmarks/compare/pauses.py [--threads 2] [--rounds 3] [--library numpy] [--write]

256³ and 384³, float32, out= where a library has outs; the caller sleeps or computes meanwhile
(busy). Each library in a process of its own, in turns; a cell is what all rounds together have.
Beside them the CPU time that the process's other threads take, for their part of the work and for
waiting, as a share of the time that passes. --write puts the table into docs/threads.md.
As a worker: pauses.py --work LIBRARY THREADS.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from processes import Worker

SIZES, PAUSES = (256, 384), (20e-6, 100e-6, 500e-6, 2e-3, 10e-3)
TURN = 0.25  # seconds of pauses and calls
LEAST, MOST = 20, 400  # calls of a turn

Call = Callable[[], Any]


def work(name: str, threads: int) -> None:
    import libraries
    import operands
    from cells import Cell
    from threadpoolctl import threadpool_limits
    from worker import settle

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    library = libraries.load(name)
    if name != "numpy":
        threadpool_limits(1, "blas")
    library.set_threads(threads)
    calls: dict[int, tuple[Call, float]] = {}
    for line in sys.stdin:
        request = json.loads(line)
        n, pause, busy = request["n"], request["pause"], request["busy"]
        if n not in calls:
            cell = Cell("pauses", str(n), n, n, n, "nn", "float32", threads)
            data = operands.make(cell)
            call, results = library.bind(cell, data)
            call()
            operands.check(name, cell, data, results())
            for _ in range(50):
                call()
            calls[n] = (call, _seconds_of(call))
        settle()
        print(json.dumps({"seconds": turn(*calls[n], pause, busy)}), file=answers, flush=True)


def _others() -> float:
    """CPU seconds of the threads that do not call."""
    return time.process_time() - time.thread_time()


def _seconds_of(call: Call) -> float:
    start, calls = time.perf_counter(), 0
    while time.perf_counter() < start + 0.05:
        call()
        calls += 1
    return (time.perf_counter() - start) / calls


def turn(call: Call, expected: float, pause: float, busy: bool) -> tuple[list[float], float]:
    """Seconds of each call; CPU time of other threads / time."""
    taken: list[float] = []
    first, before = time.perf_counter(), _others()
    for _ in range(max(LEAST, min(MOST, int(TURN / (pause + expected))))):
        start = time.perf_counter()
        if busy:
            while time.perf_counter() < start + pause:
                pass
        else:
            time.sleep(pause)
        begin = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begin)
    return taken, (_others() - before) / (time.perf_counter() - first)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--library", default="numpy,torch,jax")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    others = [name for name in options.library.split(",") if importlib.util.find_spec(name)]
    names = ["fastgrad", *others]
    workers = [Worker(f"--work {name}", options.threads, Path(__file__).name) for name in names]
    lines = [
        "µs of a call: median / ninth decile; CPU time of other threads, as a share of the time:",
        "",
        "| n, pause | " + " | ".join(names) + " |",
        "| --- |" + " --- |" * len(names),
    ]
    print("\n".join(lines))
    for n in SIZES:
        for busy in (False, True):
            for pause in PAUSES:
                taken: list[list[float]] = [[] for _ in names]
                shares: list[list[float]] = [[] for _ in names]
                for i in range(options.rounds):
                    for j in range(len(names))[:: -1 if i % 2 else 1]:
                        times, share = workers[j].ask(n=n, pause=pause, busy=busy)
                        taken[j] += times
                        shares[j].append(share)
                cells = [_cell(t, statistics.median(s)) for t, s in zip(taken, shares, strict=True)]
                what = f"{n}, {_duration(pause)} {'busy' if busy else 'asleep'}"
                lines.append(f"| {what} | " + " | ".join(cells) + " |")
                print(lines[-1], flush=True)
    for worker in workers:
        worker.close()
    if options.write:
        import threads_page

        threads_page.write("pauses", lines, others, "benchmarks/compare/pauses.py")


def _cell(taken: list[float], share: float) -> str:
    ninth = statistics.quantiles(taken, n=10)[-1]
    return f"{1e6 * statistics.median(taken):.0f} / {1e6 * ninth:.0f}; {share:.0%}"


def _duration(seconds: float) -> str:
    return f"{1e3 * seconds:g} ms" if seconds >= 1e-3 else f"{1e6 * seconds:g} µs"


if __name__ == "__main__":
    work(sys.argv[2], int(sys.argv[3])) if sys.argv[1:2] == ["--work"] else main()
