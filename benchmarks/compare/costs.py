"""What calling, starting and stepping cost besides arithmetic.

    python benchmarks/compare/costs.py [--rounds 100] [--write]

Calls of overhead.py, first calls of first_call.py, and the memory that a model and its steps take.
--write keeps them in measured/costs.json and writes the tables of docs/benchmarks.md anew.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from typing import Any

import first_call
import machine
import overhead
import pages
from _figure import threads
from nets import Net

NET = Net((784, 512, 512, 10), 128)
# Resident kilobytes before there is a model and after its tenth step. A model of other shapes has
# taken a step before, so that kernels are loaded and threads run.
MEMORY = """
import json, sys
import numpy as np
import fastgrad
def resident():
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmRSS"))
def take_steps(sizes, x, y):
    model = fastgrad.MLP(sizes, optimizer=fastgrad.SGD(0.01))
    for _ in range(10):
        model.train_step(x, y)
    return resident(), model
sizes, batch = json.loads(sys.argv[1])
rng = np.random.default_rng(0)
x = rng.standard_normal((batch, sizes[0]), np.float32)
y = rng.integers(0, sizes[-1], batch)
before, small = take_steps((2, 2, sizes[-1]), x[:, :2], y)
after, model = take_steps(sizes, x, y)
print(json.dumps(after - before))
"""


def calls(rounds: int) -> list[dict[str, Any]]:
    """Microseconds, the medians."""
    found = []
    with threads(1):
        for case in overhead.CASES:
            ours, theirs = map(statistics.median, overhead.measure(case, rounds))
            inside = statistics.median(overhead.measure_compiled(case, rounds))
            found.append({"call": case.name, "python": ours, "numpy": theirs, "njit": inside})
    return found


def first(rounds: int) -> list[dict[str, Any]]:
    """Seconds on an empty cache and from it; of the import one number."""
    return [
        {"call": name, "empty": None if name == first_call.IMPORT else cost.empty,
         "cached": cost.cached}
        for name, cost in first_call.measure(rounds).items()
    ]  # fmt: skip


def memory() -> dict[str, Any]:
    """Bytes that ten steps of a net take beside the arrays that the net is made of."""
    command = [sys.executable, "-c", MEMORY, json.dumps([NET.sizes, NET.batch])]
    taken = 1024 * json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    weights = sum(k * m + m for k, m in zip(NET.sizes[:-1], NET.sizes[1:], strict=True))
    arrays = 4 * (2 * weights + NET.batch * sum(2 * m for m in NET.sizes[1:]))
    return {"net": str(NET), "taken": taken, "arrays": arrays}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100, help="of the calls")
    parser.add_argument("--starts", type=int, default=3, help="rounds of the first calls")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    found = {
        **machine.short(["numpy"]),
        "calls": calls(options.rounds),
        "first": first(options.starts),
        "memory": memory(),
    }
    print(pages.costs_text(found))
    if options.write:
        pages.keep("costs", found)


if __name__ == "__main__":
    main()
