"""One library in a process of its own, which computes when it is told to and else waits.

    python benchmarks/compare/worker.py LIBRARY THREADS

Requests come in as lines of JSON, each is answered by one: {"prepare": cell, "sample": seconds}
-> {"seconds": of a call} or {"wrong": sentence}; {"round": [seconds to fill, of each cell]}
-> {"seconds": [of a call of each cell]}; {"free": true} -> {}. At the end of the input it exits.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import libraries
import operands
from cells import Cell
from threadpoolctl import threadpool_limits

from fastgrad._bench import calls_to_fill, quiet, seconds

WARM = 0.02  # seconds; shorter calls are made once before their sample, untimed


def main() -> None:
    name, threads = sys.argv[1], int(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    library = libraries.load(name)
    if name != "numpy":
        threadpool_limits(1, "blas")  # numpy checks results: no second pool beside the library's
    library.set_threads(threads)
    cells: list[tuple[Callable[[], Any], float]] = []
    with quiet():
        for line in sys.stdin:
            print(json.dumps(answer(json.loads(line), name, library, cells)), file=answers)
            answers.flush()


def answer(request: Any, name: str, library: Any, cells: list[Any]) -> dict[str, Any]:
    if "prepare" in request:
        cell = Cell(*request["prepare"])
        data = operands.make(cell)
        call, results = library.bind(cell, data)
        call()
        try:
            operands.check(name, cell, data, results())
        except operands.WrongResult as error:
            return {"wrong": str(error)}
        calls = calls_to_fill(call, request["sample"])
        cells.append((call, seconds(call, calls) / calls))
        settle()
        return {"seconds": cells[-1][1]}
    if "round" in request:
        taken = [measure(*cell, s) for cell, s in zip(cells, request["round"], strict=True)]
        settle()
        return {"seconds": taken}
    cells.clear()
    return {}


def measure(call: Callable[[], Any], expected: float, sample: float) -> float:
    if expected < WARM:
        call()
    calls = max(1, round(sample / expected))
    return seconds(call, calls) / calls


def settle() -> None:
    """Wait, half a second at most, until this process's pool sleeps: OpenBLAS spins for 30 ms."""
    for _ in range(50):
        before = time.process_time()
        time.sleep(0.01)
        if time.process_time() - before < 0.001:
            return


if __name__ == "__main__":
    main()
