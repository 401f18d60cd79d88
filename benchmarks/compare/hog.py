"""Squares beside a niced process on every core: the median, over that of a quiet machine.

    python benchmarks/compare/hog.py [--threads 2] [--rounds 3] [--library numpy,torch] [--nice 10]

256³, float32, calls one after the other, each library in a process of its own, in turns: first all
in quiet, then all beside the hogs, which run at nice 10. --write puts the table into
docs/threads.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys

from processes import Worker

N = 256
GOAL = 2.5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--library", default="numpy,torch,jax")
    parser.add_argument("--nice", type=int, default=10)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    others = [name for name in options.library.split(",") if importlib.util.find_spec(name)]
    names = ["fastgrad", *others]
    workers = [Worker(f"--work {name}", options.threads, "pauses.py") for name in names]
    quiet = measure(workers, options.rounds)
    hogs = [_hog(options.nice) for _ in os.sched_getaffinity(0)]
    try:
        loaded = measure(workers, options.rounds)
    finally:
        for hog in hogs:
            hog.kill()
    lines = [
        f"| {N}³, µs, hogs at nice {options.nice} | quiet | beside hogs | ninth decile | ratio |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, before, after in zip(names, quiet, loaded, strict=True):
        a, b = statistics.median(before), statistics.median(after)
        ninth = statistics.quantiles(after, n=10)[-1]
        lines.append(
            f"| {name} | {1e6 * a:.0f} | {1e6 * b:.0f} | {1e6 * ninth:.0f} | {b / a:.2f} |"
        )
    print("\n".join(lines), f"\n(goal of fastgrad: {GOAL})")
    for worker in workers:
        worker.close()
    if options.write:
        import threads_page

        threads_page.write("hog", lines, others, "benchmarks/compare/hog.py")


def measure(workers: list[Worker], rounds: int) -> list[list[float]]:
    """Seconds of the calls of each."""
    taken: list[list[float]] = [[] for _ in workers]
    for i in range(rounds):
        for j in range(len(workers))[:: -1 if i % 2 else 1]:
            taken[j] += workers[j].ask(n=N, pause=0.0, busy=True)[0]
    return taken


def _hog(nice: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", f"import os; os.nice({nice})\nwhile True: pass"])


if __name__ == "__main__":
    main()
