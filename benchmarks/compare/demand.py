"""Products of 10 to 200 us in a loop, where a pool has to come by itself, beside other libraries.

    python benchmarks/compare/demand.py [--rounds 9] [--threads 2] [--library numpy,torch]

Eight shapes as A·B, A·Bᵀ and Aᵀ·B, float32, out=; a single one is too short to be worth a wake-up.
Each library in its own process, in turns, its results checked before they are timed: processes.py.
Each sample begins with a pool that sleeps. Prints the others' times / fastgrad's and the geometric
means; "best" is the faster one of the others in each cell.
"""

from __future__ import annotations

import argparse
import importlib.util

import machine
import pages
from cells import Cell, Shape, grid
from processes import compare_processes

from fastgrad._bench import Comparison, geometric_mean

SIZES = (
    (96, 96, 96), (128, 128, 128), (192, 192, 192), (256, 200, 100), (32, 376, 256),
    (20_000, 16, 16), (4096, 20, 64), (16, 240, 1024),
)  # fmt: skip
SHAPES = [Shape("demand", "x".join(map(str, size)), *size) for size in SIZES]
SAMPLE = 4e-3  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--library", default="numpy,torch")
    options = parser.parse_args()
    others = [name for name in options.library.split(",") if importlib.util.find_spec(name)]
    run, company = machine.describe_run(others, {}), machine.Company()
    cells = grid(SHAPES, ("nn", "nt", "tn"), ("float32",), options.threads)
    rows: dict[Cell, dict[str, Comparison]] = {}
    for cell, name, found in compare_processes(
        cells, others, options.threads, options.rounds, SAMPLE
    ):
        rows.setdefault(cell, {})[name] = found
    print("| m x n x k | fastgrad, us | " + " | ".join(others) + " |")
    print("| --- | --- |" + " --- |" * len(others))
    for cell, row in rows.items():
        ours = pages.microseconds(1e6 * next(iter(row.values())).ours)
        times = [
            f"{row[name].ratio:.2f} ({pages.microseconds(1e6 * row[name].theirs)})"
            for name in others
        ]
        print(f"| {cell.name} {cell.op} | {ours} | " + " | ".join(times) + " |")
    ratios = {name: [row[name].ratio for row in rows.values()] for name in others}
    ratios["best"] = [min(c.ratio for c in row.values()) for row in rows.values()]
    for name, of_cells in ratios.items():
        low = sum(r < 0.85 for r in of_cells)
        print(f"{name} / fastgrad: geometric mean {geometric_mean(of_cells):.2f}, "
              f"lowest {min(of_cells):.2f}, {low} of {len(of_cells)} under 0.85")  # fmt: skip
    print(f"{run['date']}, {run['machine']['cpu']}, {options.threads} threads, {run['versions']}; "
          f"CPU time taken by {company.shares()}")  # fmt: skip


if __name__ == "__main__":
    main()
