"""A whole training step beside numpy by hand, PyTorch, JAX and scikit-learn.

    python benchmarks/compare/steps.py [--rounds 9] [--threads N] [--write]

Each library in its own process, which take turns round by round on one net; the first losses of
each are checked against float64 before it is timed. --write keeps them in measured/steps.json and
writes the table of docs/benchmarks.md, README's rows and its chart anew.
Libraries that are not installed are left out, and named.
"""

from __future__ import annotations

import argparse
import importlib.util
from typing import Any

import machine
import pages
from nets import NETS, Net
from processes import ROUND, Worker
from steppers import LIBRARIES, MODULES

import fastgrad
from fastgrad._bench import Comparison, summarize

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
    versions = [n for n in names if n not in ("fastgrad", "torch_compiled")]
    found = {"threads": options.threads, "rounds": options.rounds, **machine.short(versions)}
    company, rows = machine.Company(), []
    for net in NETS:
        rows.append(measured(net, compare(net, names, options.threads, options.rounds)))
        print(pages.steps_line(rows[-1], [*rows[-1]["others"]]), flush=True)
    found |= {"company": company.shares(), "nets": rows}
    print("\n" + pages.steps_text(found))
    if options.write:
        pages.keep("steps", found)


def measured(net: Net, row: dict[str, Comparison]) -> dict[str, Any]:
    """In microseconds, as measured/steps.json has it."""
    others = {
        name.replace("_", " "): {"ratio": c.ratio, "us": 1e6 * c.theirs} for name, c in row.items()
    }
    return {"net": str(net), "us": 1e6 * next(iter(row.values())).ours, "others": others}


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


if __name__ == "__main__":
    main()
