"""Cells: a shape of the grid x an operation x a dtype x a number of threads.

Letters are those of BLAS: C (m, n) = A (m, k)·B (k, n). A layer reads the same shape as
X (m, k), W (k, n), G (m, n): m is the batch.
"""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

SHAPES = Path(__file__).with_name("shapes.csv")
OPS = ("nn", "nt", "tn", "forward", "backward")
DTYPES = ("float32", "float64")


class Shape(NamedTuple):
    family: str
    name: str
    m: int
    n: int
    k: int


class Cell(NamedTuple):
    family: str
    name: str
    m: int
    n: int
    k: int
    op: str
    dtype: str
    threads: int

    @property
    def itemsize(self) -> int:
        return 4 if self.dtype == "float32" else 8

    @property
    def flops(self) -> int:
        """Of the products: dX and dW are two of them."""
        return (4 if self.op == "backward" else 2) * self.m * self.n * self.k

    @property
    def bytes(self) -> int:
        """Every operand and result once."""
        x, w, y = self.m * self.k, self.k * self.n, self.m * self.n
        elements = {
            "forward": x + w + self.n + y,
            "backward": (y + x + w + y) + (x + w + self.n),  # G, X, W, Y; dX, dW, db
        }
        return self.itemsize * elements.get(self.op, x + w + y)

    @property
    def seed(self) -> int:
        """Of the operands: the same in every library's process."""
        return zlib.crc32(repr(self[:-1]).encode())

    def __str__(self) -> str:
        plural = "" if self.threads == 1 else "s"
        size = f"{self.m}x{self.n}x{self.k}"
        title = f"{self.family} {self.name}" + ("" if self.name == size else f" ({size})")
        return f"{title} {self.op} {self.dtype}, {self.threads} thread{plural}"


def read_shapes(path: Path = SHAPES) -> list[Shape]:
    """The rows of a file family,name,m,n,k; lines that begin with # are comments.

    Raises ValueError for sizes below 1 and for a name that a family has twice.
    """
    with open(path, newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        shapes = [
            Shape(r["family"], r["name"], int(r["m"]), int(r["n"]), int(r["k"])) for r in rows
        ]
    names = set()
    for shape in shapes:
        if min(shape[2:]) < 1 or shape[:2] in names:
            raise ValueError(f"{path}: {shape} has a size below 1 or a name used before")
        names.add(shape[:2])
    return shapes


def grid(
    shapes: Sequence[Shape], ops: Sequence[str], dtypes: Sequence[str], threads: int
) -> Iterator[Cell]:
    for shape in shapes:
        for op in ops:
            for dtype in dtypes:
                yield Cell(*shape, op, dtype, threads)
