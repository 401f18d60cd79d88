"""Two pools of threads in one process: does each leave the other its cores?

    python benchmarks/compare/company.py [--rounds 1000] [--threads 2]

A round is numpy's product and then our call, both with all threads: 512³, the layers of 64-128-10
at batch 32, forward (bias, relu) and backward, and all of these in turn. Printed: the time of the
rounds / (numpy's part alone + our part alone); at most 1.25 is the goal. Then the same beside
torch, where it is installed.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from _figure import check, machine, normal, poison, seconds, threads

import fastgrad

try:
    import torch
except ImportError:
    torch = None

GOAL = 1.25
CHUNKS = 10  # the rounds in as many parts, alone and together in turn, so that drift cancels
WARM = 5  # calls before each part that are not counted
LAYERS = ((32, 64, 128), (32, 128, 10))  # batch, in, out

Array = Any
Call = Callable[[], object]


class Work(NamedTuple):
    """Calls, theirs and ours, and what they must leave: (array, expected, terms of its sums)."""

    name: str
    pairs: list[tuple[Call, Call]]
    results: list[tuple[Array, Array, int]]


class Library(NamedTuple):
    name: str
    product: Callable[[Any, Any, Any], object]  # a, b, out
    view: Callable[[Array], Any]  # the library's own kind of array, on the same memory


def square(rng: np.random.Generator, library: Library, n: int) -> Work:
    a, b, c, d = (normal(rng, "float32", n, n) for _ in range(4))
    a_, b_, d_ = map(library.view, (a, b, d))
    exact = a @ b

    def theirs() -> None:
        library.product(a_, b_, d_)

    def ours() -> None:
        fastgrad.matmul(a, b, out=c)

    return Work(f"{n}³", [(theirs, ours)], [(c, exact, n), (d, exact, n)])


def forward(rng: np.random.Generator, library: Library, n: int, k: int, m: int) -> Work:
    shapes = (n, k), (k, m), (m,), (n, m), (n, m)
    x, w, bias, y, z = (normal(rng, "float32", *shape) for shape in shapes)
    x_, w_, z_ = map(library.view, (x, w, z))
    exact = x @ w

    def theirs() -> None:
        library.product(x_, w_, z_)

    def ours() -> None:
        fastgrad.linear_forward(x, w, bias, "relu", out=y)

    return Work(
        f"forward {n}x{k}x{m}",
        [(theirs, ours)],
        [(z, exact, k), (y, np.maximum(exact + bias, 0), k)],
    )


def backward(rng: np.random.Generator, library: Library, n: int, k: int, m: int) -> Work:
    x, w, g = (normal(rng, "float32", *shape) for shape in ((n, k), (k, m), (n, m)))
    outs, products = ([np.empty_like(a) for a in arrays] for arrays in ((x, w, w[0]), (x, w)))
    exact = g @ w.T, x.T @ g, g.sum(0)
    terms = m, n, n
    g_, wt_, xt_, dx_, dw_ = map(library.view, (g, w.T, x.T, *products))

    def theirs() -> None:
        library.product(g_, wt_, dx_)
        library.product(xt_, g_, dw_)

    def ours() -> None:
        fastgrad.linear_backward(g, x, w, out=tuple(outs))

    results = [*zip(outs, exact, terms, strict=True), *zip(products, exact, terms, strict=False)]
    return Work(f"backward {n}x{k}x{m}", [(theirs, ours)], results)


def works(library: Library) -> list[Work]:
    rng = np.random.default_rng(0)
    made = [square(rng, library, 512)]
    made += (make(rng, library, *layer) for layer in LAYERS for make in (forward, backward))
    pairs, results = ([item for work in made for item in work[i]] for i in (1, 2))
    return [*made, Work("all in turn", pairs, results)]


def measure(work: Work, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of each chunk of rounds: (apart, together)."""
    theirs, ours = zip(*work.pairs, strict=True)
    orders: list[list[Call]] = [[*theirs], [*ours], [c for pair in work.pairs for c in pair]]
    apart, together = [], []
    verify(work, orders[-1])
    for i in range(CHUNKS):
        taken = [0.0, 0.0, 0.0]
        for which in (0, 1, 2) if i % 2 == 0 else (2, 1, 0):
            run(orders[which], WARM)
            taken[which] = run(orders[which], -(-rounds // CHUNKS))
        apart.append(taken[0] + taken[1])
        together.append(taken[2])
    verify(work, orders[-1])
    return apart, together


def run(calls: list[Call], rounds: int) -> float:
    def once() -> None:
        for call in calls:
            call()

    return seconds(once, rounds)


def verify(work: Work, calls: list[Call]) -> None:
    poison(*(array for array, _, _ in work.results))
    run(calls, 1)
    for array, exact, terms in work.results:
        check(work.name, array, exact, terms)


def report(library: Library, rounds: int) -> None:
    print(f"| beside {library.name} | us a round, each alone | together | ratio | median ratio |")
    print("|---|---|---|---|---|")
    over = []
    for work in works(library):
        apart, together = measure(work, rounds)
        ratio = sum(together) / sum(apart)
        median = statistics.median(t / a for t, a in zip(together, apart, strict=True))
        done = CHUNKS * -(-rounds // CHUNKS)
        cells = (f"{1e6 * sum(t) / done:.1f}" for t in (apart, together))
        print(f"| {work.name} |", " | ".join(cells), f"| {ratio:.2f} | {median:.2f} |", flush=True)
        if ratio > GOAL:
            over.append(f"{work.name} {ratio:.2f}")
    print(f"\nover the goal of {GOAL}: {', '.join(over) or 'none'}\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=fastgrad.get_num_threads())
    options = parser.parse_args()
    with threads(options.threads):
        report(Library("numpy", lambda a, b, out: np.matmul(a, b, out=out), np.asarray),
               options.rounds)  # fmt: skip
        if torch is not None:
            torch.set_num_threads(options.threads)
            report(Library(f"torch {torch.__version__}",
                           lambda a, b, out: torch.mm(a, b, out=out), torch.from_numpy),
                   options.rounds)  # fmt: skip
        else:
            print("torch is not installed\n")
        print(machine(options.threads))


if __name__ == "__main__":
    main()
