"""Training steps of one library, in a process of its own: the protocol of worker.py, with nets.

    python benchmarks/compare/steps_worker.py LIBRARY THREADS

{"prepare": [sizes, batch], "sample": seconds} -> {"seconds": of a step}, {"wrong": sentence} or
{"seconds": null} where the library has no equal step; {"round": [...]} and {"free": true} as there.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import nets
import steppers
from worker import measure, settle

from fastgrad._bench import calls_to_fill, quiet, seconds


def main() -> None:
    library, threads = sys.argv[1], int(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    steppers.set_threads(library, threads)
    steps: list[Any] = []
    with quiet():
        for line in sys.stdin:
            print(json.dumps(answer(json.loads(line), library, steps)), file=answers, flush=True)


def answer(request: Any, library: str, steps: list[Any]) -> dict[str, Any]:
    if "prepare" in request:
        sizes, batch = request["prepare"]
        net = nets.Net(tuple(sizes), batch)
        try:
            checked = steppers.LIBRARIES[library](net, nets.CHECK_RATE)
        except steppers.NotEqual:
            return {"seconds": None}
        problem = nets.wrong(net, [checked() for _ in range(nets.CHECKED)])
        if problem:
            return {"wrong": f"{library}, {problem}"}
        step = steppers.LIBRARIES[library](net, nets.TIMED_RATE)
        for _ in range(3):
            step()
        calls = calls_to_fill(step, request["sample"])
        steps.append((step, seconds(step, calls) / calls))
        settle()
        return {"seconds": steps[-1][1]}
    if "round" in request:
        taken = [measure(*step, s) for step, s in zip(steps, request["round"], strict=True)]
        settle()
        return {"seconds": taken}
    steps.clear()
    return {}


if __name__ == "__main__":
    main()
