"""What calling, starting and stepping cost besides arithmetic: README's table of them.

    python benchmarks/compare/costs.py [--rounds 100] [--write]

Calls of overhead.py, first calls of first_call.py, and the memory that a model and its steps take.
--write puts the tables into README.md, between the lines with costs:begin and costs:end.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import first_call
import machine
import overhead
from _figure import threads
from nets import Net
from report import replace_in_readme

ROOT = Path(__file__).parents[2]
MARKS = ("<!-- costs:begin -->", "<!-- costs:end -->")
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


def calls(rounds: int) -> str:
    lines = [
        "| microseconds a call, 1 thread | from Python | numpy's statements | from `@njit` |",
        "| --- | --- | --- | --- |",
    ]
    with threads(1):
        for case in overhead.CASES:
            ours, theirs = map(statistics.median, overhead.measure(case, rounds))
            inside = statistics.median(overhead.measure_compiled(case, rounds))
            lines.append(f"| {case.name} | {ours:.2f} | {theirs:.2f} | {inside:.2f} |")
    return "\n".join(lines)


def memory() -> str:
    """What ten steps of a net take beside the arrays that the net is made of."""
    command = [sys.executable, "-c", MEMORY, json.dumps([NET.sizes, NET.batch])]
    taken = 1024 * json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    weights = sum(k * m + m for k, m in zip(NET.sizes[:-1], NET.sizes[1:], strict=True))
    arrays = 4 * (2 * weights + NET.batch * sum(2 * m for m in NET.sizes[1:]))
    return (
        f"Memory: a model {NET} and its steps take {taken / 1e6:.1f} MB; its parameters, "
        f"gradients, activations and their gradients are {arrays / 1e6:.1f} MB."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100, help="of the calls")
    parser.add_argument("--starts", type=int, default=3, help="rounds of the first calls")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    run = machine.describe_run(["numpy"], {})
    text = "\n\n".join([
        calls(options.rounds),
        first_call.table(first_call.measure(options.starts)),
        memory(),
        f"{run['date']}, commit {run['commit']}; "
        + ", ".join(f"{k} {v}" for k, v in run["versions"].items()),
    ])  # fmt: skip
    print(text)
    if options.write and replace_in_readme(ROOT / "README.md", text, *MARKS):
        print("written: README.md")


if __name__ == "__main__":
    main()
