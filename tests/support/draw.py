"""What a fuzzed case is made of: sizes around every threshold, values of every kind, any layout.

A `Draw` is the random source of one case. It remembers what it gave, for the message of a failure.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgrad._kernels.gemm import thresholds
from fastgrad._kernels.gemm.few_rows import MOST_ROWS
from support import edges
from support.layouts import Placed, place
from support.oracles import floats

Array = NDArray[Any]
ODD_STEPS = (1, 1, 1, 2, 3)
PADS = (0, 0, 1, 5, 300)  # the last: more than thresholds.FAR_BYTES from one line to the next
SHIFTS = (0, 0, 0, 1, 3, 4, 32)


class Draw:
    def __init__(self, *seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.log: list[str] = []

    def pick(self, label: str, *choices: Any) -> Any:
        chosen = choices[int(self.rng.integers(len(choices)))]
        self.log.append(f"{label} {chosen}")
        return chosen

    def chance(self, label: str, p: float = 0.5) -> bool:
        chosen = bool(self.rng.random() < p)
        self.log.append(f"{'' if chosen else 'no '}{label}")
        return chosen

    def upto(self, most: int, least: int = 1) -> int:
        return int(self.rng.integers(least, max(most, least) + 1))

    def near(self, *sizes: int) -> int:
        """One of the sizes, or one less or more; 0 or more."""
        return max(0, sizes[self.upto(len(sizes)) - 1] + self.upto(1, -1))

    # values -------------------------------------------------------------------------------------

    def values(self, kind: str, dtype: str, *shape: int) -> Array:
        info, rng = np.finfo(dtype), self.rng
        usual = _pool(dtype)[rng.integers(0, 1 << 16, shape, np.uint16)]
        if kind == "usual":
            return usual
        if kind == "any exponent":
            low, high = int(info.minexp) - int(info.nmant), int(info.maxexp)
            part = rng.integers(low // 2 - 2, high // 2, shape)
            whole = rng.choice((-1.0, 1.0), shape) * rng.uniform(0.5, 1, shape)
            return np.ldexp(whole, part).astype(dtype)
        if kind == "vanishing":  # products are subnormal, or zeros
            return usual * np.array(np.sqrt(info.tiny) / 16, dtype)
        if kind == "subnormal":
            return (rng.integers(-9, 10, shape) * float(info.smallest_subnormal)).astype(dtype)
        if kind == "huge":  # sums overflow
            return (usual * np.array(np.sqrt(float(info.max)) / 4, dtype)).astype(dtype)
        if kind == "zeros":
            return np.where(rng.random(shape) < 0.9, np.copysign(0, usual), usual).astype(dtype)
        assert kind == "special"
        some = rng.random(shape) < 3 / max(shape[-1], 10)
        strange = (np.inf, -np.inf, np.nan, -0.0, info.max, -info.tiny, info.smallest_subnormal)
        return np.where(some, rng.choice(np.array(strange, dtype), shape), usual).astype(dtype)

    def kind_of_values(self, fmas: int) -> str:
        """For so many operations: those on subnormals take a hundred times as long."""
        kinds = VALUES if fmas < 300_000 else VALUES[:3]
        return str(self.pick("values", *["usual"] * len(kinds), *kinds))

    # layouts ------------------------------------------------------------------------------------

    def layout(self, label: str, ndim: int, output: bool = False) -> dict[str, Any]:
        """Arguments of `place`: C, F, or anything."""
        rng, found = self.rng, dict[str, Any]()
        kind = rng.random()
        if kind < 0.3:
            pass
        elif kind < 0.5:
            found["order"] = tuple(reversed(range(ndim)))
        else:
            axes = range(ndim)
            found = {
                "order": tuple(int(i) for i in rng.permutation(ndim)),
                "steps": tuple(int(rng.choice(ODD_STEPS)) for _ in axes),
                "pad": int(rng.choice(PADS)),
                "reverse": tuple(i for i in axes if rng.random() < 0.25),
            }
        if rng.random() < 0.4:
            found["shift"] = int(rng.choice(SHIFTS))
        if not output and rng.random() < 0.15:
            found["writeable"] = False
        self.log.append(f"{label} {found}")
        return found

    def placed(self, label: str, values: Array) -> Array:
        """The values of an operand in some layout; zero strides may stay so."""
        steps = zip(values.strides, values.shape, strict=True)
        zero = [axis for axis, (stride, n) in enumerate(steps) if stride == 0 and n > 1]
        if zero and values.size and self.chance(f"{label} of zero stride", 0.7):
            one = values.take([0], zero[0])
            return np.broadcast_to(place(one, **self.layout(label, one.ndim)).array, values.shape)
        return place(values, **self.layout(label, values.ndim)).array

    def target(self, label: str, values: Array) -> Placed:
        """Memory for a result, that holds the values."""
        return place(values, **self.layout(label, values.ndim, output=True))


@functools.cache
def _pool(dtype: str) -> Array:
    """Of usual numbers: to draw from it takes a tenth of the time."""
    return floats(np.random.default_rng(9), 1 << 16, dtype=dtype)


VALUES = ("huge", "zeros", "special", "any exponent", "vanishing", "subnormal")


# sizes ------------------------------------------------------------------------------------------


def _small(d: Draw, dtype: str) -> tuple[int, int, int]:
    m = d.near(*edges.row_edges())
    n = d.near(*edges.column_edges(dtype))
    return (
        m,
        n,
        d.near(1, edges.lanes(dtype), thresholds.OUTER_K, thresholds.FETCH_K, edges.KC[dtype]),
    )


def _empty(d: Draw, dtype: str) -> tuple[int, int, int]:
    m, n, k = (d.near(0, 1) if d.upto(3) > 1 else d.upto(70) for _ in range(3))
    return m, n, k


def _deep(d: Draw, dtype: str) -> tuple[int, int, int]:
    kc = edges.KC[dtype]
    return d.upto(20), d.upto(40), d.near(kc, 2 * kc, 3 * kc, 5 * kc)


def _few_rows(d: Draw, dtype: str) -> tuple[int, int, int]:
    m = max(1, d.near(1, thresholds.FEW_ROWS, MOST_ROWS, d.upto(MOST_ROWS)))
    lanes = edges.lanes(dtype)
    k = d.near(
        1, lanes, thresholds.PIECE_K, thresholds.GATHER_K, edges.KC[dtype], 2 * edges.KC[dtype]
    )
    run = max(
        thresholds.RUN_COLUMNS, thresholds.RUN_BYTES // (edges.itemsize(dtype) * m * lanes) * lanes
    )
    elements = thresholds.FEW_ROWS_ELEMENTS if m > 1 else thresholds.ROW_ELEMENTS
    long = d.near(2 * lanes, thresholds.FEW_ROWS_COLUMNS, elements // max(k, 1), run, 2 * run)
    if d.upto(2) == 1:
        long = elements // max(k, 1) + d.upto(300)
    return m, max(1, min(long, 4_000_000 // (m * max(k, 1)))), k


def _few_columns(d: Draw, dtype: str) -> tuple[int, int, int]:
    n, m, k = _few_rows(d, dtype)
    return m, n, k


def _narrow(d: Draw, dtype: str) -> tuple[int, int, int]:
    n, k = 8 + d.upto(30), d.near(40, edges.KC[dtype])
    return d.near(4 * n, edges.tile_columns(dtype), 2000), n, k


def _dot(d: Draw, dtype: str) -> tuple[int, int, int]:
    kc, lanes = edges.KC[dtype], edges.lanes(dtype)
    return 1, 1, d.near(kc, (lanes - 1) * kc, lanes * kc, 2 * lanes * kc, d.upto(40) * kc)


def _tall(d: Draw, dtype: str) -> tuple[int, int, int]:
    kc = edges.KC[dtype]
    k = d.near(d.upto(40, 5) * kc)
    m = d.upto(30)
    most = thresholds.SPLIT_K_BYTES // (m * edges.itemsize(dtype))
    return m, min(most, fork_fmas(dtype) // (m * k) + d.upto(20)), k


def _outer(d: Draw, dtype: str) -> tuple[int, int, int]:
    k, m = max(1, d.near(1, 2, 8, thresholds.OUTER_K)), d.upto(900, 20)
    return m, fork_fmas(dtype) // (m * k) + d.upto(200, -20) + 20, k


def _parts(d: Draw, dtype: str) -> tuple[int, int, int]:
    kc = edges.KC[dtype]
    m, k = d.near(thresholds.DIRECT_ROWS, d.upto(300, 17)), d.near(d.upto(kc, 30), kc, 2 * kc)
    return m, max(1, fork_fmas(dtype) // (m * k) + d.upto(60, -3)), k


def _packed(d: Draw, dtype: str) -> tuple[int, int, int]:
    """Enough for one thread to pack B, or A too."""
    m, k = d.near(thresholds.DIRECT_ROWS, d.upto(200, 17)), d.near(d.upto(300, 30), edges.KC[dtype])
    n = thresholds.DIRECT_FMAS // (m * k) + d.upto(60, -3)
    return m, max(n, edges.tile_columns(dtype) * d.upto(2) + d.upto(20)), k  # micro-panels: 2, or 1


def _wide(d: Draw, dtype: str) -> tuple[int, int, int]:
    """Several chunks of columns, blocks of rows and of k, if L2 is the smallest."""
    deep, rows = d.upto(2) == 1, edges.block_rows(dtype)
    return (
        thresholds.FEW_ROWS + 1 + d.upto(2 * rows),
        d.near(edges.block_columns(dtype) if deep else thresholds.GROUP_COLUMNS, 1700),
        d.near(edges.KC[dtype]) if deep else d.near(8, thresholds.OUTER_K),
    )


def _shared(d: Draw, dtype: str) -> tuple[int, int, int]:
    """More parts."""
    fmas = thresholds.MORE_PARTS_FMAS * 4 // edges.itemsize(dtype)
    k = d.near(edges.KC[dtype], 2 * edges.KC[dtype])
    m = d.near(edges.ISA.rows * d.upto(40, 6))
    return m, fmas // (m * k) + d.upto(40, -1), k


SIZES: dict[str, Callable[[Draw, str], tuple[int, int, int]]] = {
    "small": _small,
    "empty": _empty,
    "deep": _deep,
    "few rows": _few_rows,
    "few columns": _few_columns,
    "narrow": _narrow,
    "dot": _dot,
    "tall": _tall,
    "outer": _outer,
    "parts": _parts,
    "packed": _packed,
    "wide": _wide,
    "shared": _shared,
}
LARGE = ("wide", "shared")  # tens of milliseconds a case and more


def fork_fmas(dtype: str) -> int:
    return thresholds.FORK_FMAS * 4 // edges.itemsize(dtype)
