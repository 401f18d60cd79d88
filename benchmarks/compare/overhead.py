"""Calls so small that the call is the cost: from Python and from @njit, float32, one thread.

    python benchmarks/compare/overhead.py [--rounds 200]

A 4x4 product, and forward and backward of a layer 8x16x8 (batch x in x out), with out= and
allocating their results. From Python ours and numpy's statements in turns, A B B A, 1 ms a sample;
from @njit a compiled loop of 1000 calls of ours. Prints the best and the median of all samples.
The goals are for the median.
"""

from __future__ import annotations

import argparse
import re
import statistics
from typing import Any, NamedTuple

import numba
import numpy as np
from _figure import calls_for, check, machine, normal, poison, seconds, spread, threads, timer

import fastgrad

SAMPLE = 1e-3


class Case(NamedTuple):
    """Statements over ``names``; ``results`` evaluates what a statement has left behind."""

    name: str
    goal: float  # microseconds
    ours: str
    theirs: str
    results: str


CASES = (
    Case("4x4 product, out=", 0.6,
         "fastgrad_matmul(a, b, out=c)",
         "matmul(a, b, out=c)", "c,"),
    Case("forward, relu, out=", 0.8,
         "linear_forward(x, w, bias, 'relu', out=y)",
         "matmul(x, w, out=y); add(y, bias, out=y); maximum(y, 0, out=y)", "y,"),
    Case("backward, out=", 1.3,
         "linear_backward(g, x, w, out=(dx, dw, db))",
         "matmul(g, w.T, out=dx); matmul(x.T, g, out=dw); g.sum(0, out=db)", "dx, dw, db"),
    Case("backward, relu, out=", 1.3,
         "linear_backward(g, x, w, 'relu', saved, out=(dx, dw, db))",
         "multiply(g, saved > 0, out=h); matmul(h, w.T, out=dx); matmul(x.T, h, out=dw); "
         "h.sum(0, out=db)", "dx, dw, db"),
    Case("4x4 product", 1.0,
         "c = fastgrad_matmul(a, b)",
         "c = a @ b", "c,"),
    Case("forward, relu", 1.2,
         "y = linear_forward(x, w, bias, 'relu')",
         "y = maximum(x @ w + bias, 0)", "y,"),
    Case("backward", 2.0,
         "dx, dw, db = linear_backward(g, x, w)",
         "dx = g @ w.T; dw = x.T @ g; db = g.sum(0)", "dx, dw, db"),
    Case("backward, relu", 2.0,
         "dx, dw, db = linear_backward(g, x, w, 'relu', saved)",
         "h = g * (saved > 0); dx = h @ w.T; dw = x.T @ h; db = h.sum(0)", "dx, dw, db"),
)  # fmt: skip


def operands() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    made = {
        name: normal(rng, "float32", *shape)
        for name, shape in {
            "a": (4, 4), "b": (4, 4), "c": (4, 4),
            "x": (8, 16), "w": (16, 8), "bias": (8,), "y": (8, 8), "g": (8, 8), "h": (8, 8),
            "dx": (8, 16), "dw": (16, 8), "db": (8,),
        }.items()
    }  # fmt: skip
    made["saved"] = np.maximum(made["x"] @ made["w"] + made["bias"], 0)
    functions = {f.__name__: f for f in (np.matmul, np.add, np.maximum, np.multiply)}
    layer = {f.__name__: f for f in (fastgrad.linear_forward, fastgrad.linear_backward)}
    return made | functions | layer | {"fastgrad_matmul": fastgrad.matmul}


def results(case: Case, statement: str, names: dict[str, Any]) -> list[Any]:
    """Copies of what the statement leaves in its results, which held NaN before."""
    scope = dict(names)
    poison(*eval(case.results, scope))
    exec(statement, scope)
    return [np.array(a) for a in eval(case.results, scope)]


def measure(case: Case, rounds: int) -> list[list[float]]:
    """Microseconds a call: samples of ours, samples of numpy's."""
    names = operands()
    pairs = zip(results(case, case.ours, names), results(case, case.theirs, names), strict=True)
    for ours, theirs in pairs:
        check(case.name, ours, theirs, 16)
    # a result is a local of the loop, as in a user's function
    runs = [timer(statement, **names) for statement in (case.ours, case.theirs)]
    calls = [calls_for(run, SAMPLE) for run in runs]
    samples: list[list[float]] = [[], []]
    for which in (0, 1, 1, 0) * rounds:
        samples[which].append(1e6 * runs[which](calls[which]) / calls[which])
    return samples


def compiled(case: Case) -> Any:
    """The statement as a user's compiled loop: calls -> nothing; its operands are arguments."""
    names = {n: v for n, v in operands().items() if isinstance(v, np.ndarray)}
    statement = case.ours.replace("fastgrad_matmul", "fastgrad.matmul")
    for layer in ("linear_forward", "linear_backward"):
        statement = statement.replace(layer, f"fastgrad.{layer}")
    used = [n for n in names if re.search(rf"\b{n}\b", statement)]
    scope: dict[str, Any] = {"fastgrad": fastgrad}
    source = f"def loop(calls, {', '.join(used)}):\n for _ in range(calls):\n  {statement}\n"
    exec(source, scope)
    function = numba.njit(scope["loop"])
    return lambda calls: function(calls, *(names[n] for n in used))


def measure_compiled(case: Case, rounds: int) -> list[float]:
    """Microseconds a call from @njit."""
    loop = compiled(case)
    loop(1)
    return [1e6 * seconds(lambda: loop(1000)) / 1000 for _ in range(rounds)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=200, help="of A B B A for each case")
    rounds = parser.parse_args().rounds
    print(
        "| us a call | goal | best | median | numpy best | numpy median | numpy's / ours "
        "| from @njit best | median |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    missed = []
    for case in CASES:
        ours, theirs = measure(case, rounds)
        median = statistics.median(ours)
        cells = (f"{t:.2f}" for t in (*spread(ours), *spread(theirs)))
        ratio = statistics.median(theirs) / median
        inside = " | ".join(f"{t:.2f}" for t in spread(measure_compiled(case, rounds)))
        print(
            f"| {case.name} | {case.goal} |",
            " | ".join(cells),
            f"| {ratio:.2f} | {inside} |",
            flush=True,
        )
        if median > case.goal:
            missed.append(f"{case.name} {median:.2f} > {case.goal}")
    print("\nover the goal:", "; ".join(missed) or "none")
    print(machine(1))


if __name__ == "__main__":
    with threads(1):
        main()
