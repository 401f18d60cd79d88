"""fastgrad beside other libraries, over the grid of shapes.csv.

    python benchmarks/compare/run.py --output results.json
    python benchmarks/compare/run.py --family tiny,rl --op forward,backward --threads 1

A ratio is the other library's time / fastgrad's: above 1, fastgrad is faster. One thread: numpy and
fastgrad in one process in turns. More threads, and other libraries: a process each. Every result of
every library is checked before it is timed; a wrong one ends the run. report.py makes the tables.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cells import DTYPES, OPS, SHAPES, Cell, Shape, grid, read_shapes
from libraries import installed
from machine import Company, control, describe_run, peaks
from one_process import compare_here
from operands import WrongResult
from processes import compare_processes
from tables import library_section
from tqdm import tqdm

import fastgrad
from fastgrad._bench import ROUNDS, SAMPLE, Comparison


def main() -> None:
    args, shapes = arguments()
    everything = fastgrad.get_num_threads()
    counts = sorted({"1": {1}, "all": {everything}, "both": {1, everything}}[args.threads])
    options = {k: v.name if isinstance(v, Path) else v for k, v in vars(args).items()}
    found = describe_run(args.library, options)
    if found["machine"]["load_at_start"] > 0.5:
        print("the machine is busy: processes that share it distort ratios", file=sys.stderr)
    company = Company()
    before, found["control"] = peaks(counts), control()
    results: list[tuple[Cell, str, Comparison]] = []
    total = len(shapes) * len(args.op) * len(args.dtype) * len(counts) * len(args.library)
    try:
        with tqdm(total=total, unit="cell", mininterval=2) as bar:
            for result in measure(shapes, args, counts):
                results.append(result)
                bar.set_postfix_str(f"{result[0].family} {result[0].name}", refresh=False)
                bar.update()
    except WrongResult as error:
        sys.exit(f"run.py: {error}")
    except KeyboardInterrupt:
        print(f"interrupted after {len(results)} of {total} cells", file=sys.stderr)
    after = peaks(counts)
    found["machine"]["company"] = company.shares()
    found["peaks"] = {
        n: {d: max(before[n][d], after[n][d]) for d in DTYPES} for n in before
    }  # the higher one, which flatters nobody
    found["cells"] = [record(*result, found["peaks"]) for result in results]
    args.output.write_text(as_json(found))
    for library in args.library:
        print(library_section(found, library))
    print(f"{len(results)} cells written to {args.output}")


def measure(
    shapes: list[Shape], args: argparse.Namespace, counts: list[int]
) -> Iterator[tuple[Cell, str, Comparison]]:
    timing = args.rounds, args.sample / 1e3
    for threads in counts:
        cells = list(grid(shapes, args.op, args.dtype, threads))
        apart = list(args.library)
        if threads == 1 and "numpy" in apart:
            apart.remove("numpy")
            yield from compare_here(cells, *timing)
        if apart:
            yield from compare_processes(cells, apart, threads, *timing)


def record(cell: Cell, library: str, found: Comparison, peaks: Any) -> dict[str, Any]:
    """A line of the results: seconds a call, shares of the FMA peak, bytes a second."""
    peak = peaks[str(cell.threads)][cell.dtype]
    sides = {"ours": found.ours, "theirs": found.theirs}
    return {
        **cell._asdict(),
        "library": library,
        **{k: float(f"{v:.5g}") for k, v in found._asdict().items()},
        **{f"share_{side}": round(cell.flops / t / peak, 4) for side, t in sides.items()},
        **{f"gbs_{side}": float(f"{cell.bytes / t / 1e9:.4g}") for side, t in sides.items()},
    }


def as_json(found: dict[str, Any]) -> str:
    """A line for each key, and one for each cell."""
    cells = ",\n".join(json.dumps(cell) for cell in found["cells"])
    head = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in found.items() if k != "cells"]
    return "{\n" + ",\n".join([*head, f'"cells": [\n{cells}\n]']) + "\n}\n"


def arguments() -> tuple[argparse.Namespace, list[Shape]]:
    """The options, and the shapes that they select."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])

    def words(text: str) -> list[str]:
        return text.split(",")

    add = parser.add_argument
    add("--shapes", type=Path, default=SHAPES, help="a file like shapes.csv")
    add("--family", type=words, help="some of its families, as tiny,rl")
    add("--op", type=words, default=list(OPS), help=",".join(OPS))
    add("--dtype", type=words, default=list(DTYPES), help=",".join(DTYPES))
    add("--library", type=words, default=["numpy"], help=f"installed: {','.join(installed())}")
    add("--threads", choices=["1", "all", "both"], default="both")
    add("--rounds", type=int, default=ROUNDS, help=f"per cell (default {ROUNDS})")
    add("--sample", type=float, default=1e3 * SAMPLE, help="ms at least (default 1)")
    add("--output", type=Path, default=Path("results.json"))
    args = parser.parse_args()
    try:
        shapes = read_shapes(args.shapes)
        args.output.touch()  # sooner than after the measurement
    except (OSError, ValueError) as error:
        parser.error(str(error))
    families = list(dict.fromkeys(s.family for s in shapes))
    args.family = args.family or families
    for option, allowed in (
        ("family", families), ("op", OPS), ("dtype", DTYPES), ("library", installed()),
    ):  # fmt: skip
        if unknown := [w for w in getattr(args, option) if w not in allowed]:
            parser.error(f"--{option} {unknown[0]}: choose from {','.join(allowed)}")
    if args.rounds < 1 or args.sample < 0.5:
        parser.error("--rounds is 1 or more, --sample 0.5 ms or more")
    return args, [s for s in shapes if s.family in args.family]


if __name__ == "__main__":
    main()
