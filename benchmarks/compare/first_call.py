"""Import, and the first call of each function: on an empty cache, then from it.

    python benchmarks/compare/first_call.py [--rounds 3]

Each in a process of its own with a cache of its own; seconds, the median of the rounds. Imports are
timed apart, ours after numba's. The first call of a trivial @njit(cache=True) is what numba itself
takes; a user's function is compiled with our kernels in the cache, then comes from its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import fastgrad

TRIVIAL = "a trivial `@njit(cache=True)`"
USER = "a user's `@njit(cache=True)` that calls `linear_forward`"
IMPORT = "`import fastgrad`, after numba's"
PACKAGE = Path(fastgrad.__file__).parent
STEP = "`MLP.train_step`, 64-128-10"
CALLS = {
    TRIVIAL: "trivial(1)",
    "`matmul`": "fastgrad.matmul(a, a)",
    "`linear_forward`, relu": "fastgrad.linear_forward(a, a, a[0], 'relu')",
    "`linear_backward`, relu": "fastgrad.linear_backward(a, a, a, 'relu', output=a)",
    STEP: "model.train_step(x, y)",
    USER: "user(a)",
}
PROGRAM = """
import json
import time
import numba, numpy as np
start = time.perf_counter()
import fastgrad
imported = time.perf_counter() - start
a = np.ones((4, 4), "f4")
model = fastgrad.MLP((64, 128, 10), optimizer=fastgrad.SGD(0.01))
x, y = np.ones((32, 64), "f4"), np.zeros(32, int)
@numba.njit(cache=True)
def trivial(x):
    return x + 1
@numba.njit(cache=True)
def user(x):
    return fastgrad.linear_forward(x, x, x[0], "relu")
@numba.njit
def another(x):
    return fastgrad.linear_forward(x, x, x[0], "relu")
start = time.perf_counter()
{call}
print(json.dumps([imported, time.perf_counter() - start]))
"""


class Cost(NamedTuple):
    """Seconds."""

    empty: float
    cached: float


def measure(rounds: int) -> dict[str, Cost]:
    """Of each of CALLS and of the import, whose `empty` is the first one ever of its process."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in CALLS}
    imports, without = [], shutil.ignore_patterns("*.nbc")
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, "-c", "import fastgrad"], env=env, check=True)  # bytecode
    for _ in range(rounds):
        for name, call in CALLS.items():
            with tempfile.TemporaryDirectory() as folder:
                env["NUMBA_CACHE_DIR"] = folder
                # kernels beside the sources are found whatever the cache is: a copy without them
                shutil.copytree(PACKAGE, Path(folder, "fastgrad"), ignore=without)
                if name == USER:
                    _run("another(a)", folder, env)
                runs = [_run(call, folder, env) for _ in range(2)]
            taken[name].append((runs[0][1], runs[1][1]))
            imports.append((runs[0][0], runs[1][0]))
    taken = {IMPORT: imports, **taken}
    return {name: Cost(*map(statistics.median, zip(*t, strict=True))) for name, t in taken.items()}


def _run(call: str, folder: str, env: dict[str, str]) -> list[float]:
    """Seconds of our import and of the call, in a new process."""
    program = Path(folder, "first.py")  # numba caches functions of files alone, while unchanged
    text = PROGRAM.format(call=call)
    if not program.exists() or program.read_text() != text:
        program.write_text(text)
    command = [sys.executable, str(program)]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True)
    return list(json.loads(done.stdout))


def table(costs: dict[str, Cost]) -> str:
    lines = ["| the first time in a process | empty cache | cached |", "| --- | --- | --- |"]
    for name, cost in costs.items():
        empty = "" if name == IMPORT else f"{cost.empty:.2f} s"
        lines.append(f"| {name} | {empty} | {cost.cached:.2f} s |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    print(table(measure(parser.parse_args().rounds)))


if __name__ == "__main__":
    main()
