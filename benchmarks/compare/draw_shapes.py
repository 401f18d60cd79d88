"""Draw shapes at random, for a grid that nobody has tuned for: random_shapes.csv.

    python benchmarks/compare/draw_shapes.py SEED
    python benchmarks/compare/run.py --shapes benchmarks/compare/random_shapes.csv

Drawn once, after the last change of a path; SEED stands in the file, so that it can be drawn again.
m, n and k are log-uniform from 1 to 4096; one of more than 5e8 multiply-adds is drawn anew.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np

COUNT, LARGEST, WORK = 100, 4096, 5e8
FILE = Path(__file__).with_name("random_shapes.csv")


def main() -> None:
    if len(sys.argv) != 2 or not sys.argv[1].isdecimal():
        sys.exit("draw_shapes.py: give a seed, a whole number")
    seed = int(sys.argv[1])
    if FILE.exists():
        sys.exit(f"draw_shapes.py: {FILE.name} exists; shapes are not drawn until they please")
    FILE.write_text("\n".join(lines(seed)) + "\n")
    print(f"{COUNT} shapes drawn with seed {seed}: {FILE.name}")


def lines(seed: int) -> list[str]:
    """The file's."""
    rng = np.random.default_rng(seed)
    shapes: dict[tuple[int, ...], None] = {}  # in order, each once
    while len(shapes) < COUNT:
        sizes = np.exp(rng.uniform(0, math.log(LARGEST + 1), 3)).astype(int)
        if math.prod(shape := tuple(map(int, sizes))) <= WORK:
            shapes[shape] = None
    return [
        f"# drawn by draw_shapes.py, seed {seed}, numpy {np.__version__}",
        "family,name,m,n,k",
        *(f"random,{m}x{n}x{k},{m},{n},{k}" for m, n, k in shapes),
    ]


if __name__ == "__main__":
    main()
