"""A whole training step beside numpy by hand, PyTorch, JAX and scikit-learn.

    python benchmarks/compare/steps.py [--rounds 9] [--threads N] [--write]

Each library in its own process, which take turns round by round on one net; the first losses of
each are checked against float64 before it is timed. --write puts the table into README.md.
Libraries that are not installed are left out, and named.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
from pathlib import Path
from typing import Any

import machine
from nets import NETS, Net
from processes import ROUND, Worker
from report import replace_in_readme
from steppers import LIBRARIES, MODULES

import fastgrad
from fastgrad._bench import Comparison, summarize

ROOT = Path(__file__).parents[2]
MARKS = ("<!-- steps:begin -->", "<!-- steps:end -->")
SAMPLE = 1e-3  # seconds
PROGRAM = "steps_worker.py"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=fastgrad.get_num_threads())
    parser.add_argument("--library", default=",".join(LIBRARIES))
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    wanted = options.library.split(",")
    names = [n for n in wanted if importlib.util.find_spec(MODULES.get(n, n))]
    print("not installed:", ", ".join(sorted({*wanted} - {*names})) or "none")
    run = machine.describe_run([n for n in names if n not in ("fastgrad", "torch_compiled")], {})
    company = machine.Company()
    rows = {}
    for net in NETS:
        rows[net] = compare(net, names, options.threads, options.rounds)
        print(line(net, rows[net], names[1:]), flush=True)
    text = page(rows, names[1:], run, company.shares(), options)
    print("\n" + text)
    if options.write:
        replace_in_readme(ROOT / "README.md", text, *MARKS)
        print("written: README.md")


def compare(net: Net, names: list[str], threads: int, rounds: int) -> dict[str, Comparison]:
    """Of each other library that has the step."""
    workers: list[Worker] = []
    try:
        for name in names:
            worker = Worker(name, threads, PROGRAM)
            workers.append(worker)
            if worker.ask(prepare=[net.sizes, net.batch], sample=SAMPLE) is None:
                workers.pop().close()
        taken: dict[str, list[float]] = {w.library: [] for w in workers}
        for i in range(rounds):
            for worker in workers[:: -1 if i % 2 else 1]:
                taken[worker.library] += worker.ask(round=[ROUND])
    finally:
        for worker in workers:
            worker.close()
    ours = taken.pop("fastgrad")
    return {name: summarize(list(zip(ours, times, strict=True))) for name, times in taken.items()}


def line(net: Net, row: dict[str, Comparison], others: list[str]) -> str:
    ours = next(iter(row.values())).ours
    cells = [
        f"{row[n].ratio:.2f} ({microseconds(row[n].theirs)})" if n in row else "" for n in others
    ]
    return f"| {net} | {microseconds(ours)} | " + " | ".join(cells) + " |"


def microseconds(seconds: float) -> str:
    us = seconds * 1e6
    return f"{us:.0f}" if us >= 100 else f"{us:.1f}"


def page(rows: Any, others: list[str], run: Any, shares: Any, options: Any) -> str:
    means = []
    for name in others:
        ratios = [row[name].ratio for row in rows.values() if name in row]
        least = min(ratios)
        means.append(
            f"{math.exp(sum(map(math.log, ratios)) / len(ratios)):.2f}, lowest {least:.2f}"
        )
    heads = [name.replace("_", " ") for name in others]
    others_cpu = ", ".join(f"{k} {v}" for k, v in shares.items())
    return "\n".join([
        "A training step (forward, softmax cross-entropy, backward, SGD; float32, "
        f"{options.threads} threads), in microseconds; beside it the other library's time / "
        "fastgrad's, and its own time:",
        "",
        "| net, batch | fastgrad, us | " + " | ".join(heads) + " |",
        "| --- | --- |" + " --- |" * len(heads),
        *(line(net, row, others) for net, row in rows.items()),
        "| **geometric mean** | | " + " | ".join(means) + " |",
        "",
        f"{run['date']}, commit {run['commit']}, {options.rounds} rounds; "
        + ", ".join(f"{k} {v}" for k, v in run["versions"].items())
        + (f"; CPU time taken by {others_cpu}" if others_cpu else ""),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
