"""CPU that numba compiles for -> vector length and register tile: the one table.

The compiler is asked, not the machine: NUMBA_CPU_NAME and NUMBA_CPU_FEATURES are honoured, so
that code for another CPU can be generated, read and (where the host can) run.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm
import numpy as np

# The number of the formula that every result follows, to the last bit: see docs/contract.md.
BITS_VERSION = 2


# Elements of k in one chain of the contract. Part of BITS_VERSION: the same on every CPU.
# benchmarks/sweeps/settings.py is the sweep that it was frozen after.
class _ByDtype(Mapping[Any, int]):
    """By the name of a dtype, or whatever numpy takes for one: KC[x.dtype], KC[np.float32].

    Read-only: what has been compiled would not follow.
    """

    def __init__(self, **values: int) -> None:
        self._values = values  # sweeps change it, before anything is compiled

    def __getitem__(self, key: Any) -> int:
        if isinstance(key, str) and key in self._values:
            return self._values[key]
        try:
            return self._values[np.dtype("V" if key is None else key).name]  # None: float64
        except (TypeError, KeyError):
            raise KeyError(key) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(self._values)


KC: Mapping[Any, int] = _ByDtype(float32=512, float64=256)


@dataclass(frozen=True)
class Isa:
    """One row of the table. A tile is rows x vectors accumulators of ``vector_bytes`` each.

    ``tile_rows[v - 1]`` are the row counts that tiles of v vectors are generated for, largest
    first. Those of the widest tiles exist for all others too, so that the strips of one product
    can share the rows of A as they were packed; a product of one strip has taller ones, which
    keep the FMA pipes full (two ports of latency 4 want 8 independent chains) where it is narrow.
    """

    name: str
    vector_bytes: int
    registers: int  # for vectors
    fma: bool
    tile_rows: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        assert all(set(self.tile_rows[-1]) <= set(rows) for rows in self.tile_rows)

    @property
    def vectors(self) -> int:
        return len(self.tile_rows)

    @property
    def rows(self) -> int:
        """Of the widest tile."""
        return self.tile_rows[-1][0]

    @property
    def packing_vectors(self) -> int:
        """Packing tiles are this wide or wider: of equal micro-panels, all but the last are."""
        return self.vectors // 2 + 1

    @property
    def most_rows(self) -> int:
        return max(rows[0] for rows in self.tile_rows)

    def lanes(self, itemsize: int) -> int:
        return self.vector_bytes // itemsize

    def columns(self, itemsize: int) -> int:
        """Of the widest tile."""
        return self.vectors * self.lanes(itemsize)

    def one_tile(self, rows: int) -> int:
        """Vectors of the widest tile that is as high; 0 where none keeps the FMA pipes full."""
        wide = [v for v, heights in enumerate(self.tile_rows, 1) if rows in heights]
        most = max(wide, default=0)
        return most if rows * most >= 12 else 0

    def next_rows(self, vectors: int) -> tuple[int, ...]:
        """rows left (below 2 * most_rows) -> rows of the tile to take next, in tiles that wide.

        The cheapest way to cover what is left, a tile of r rows costing the FMAs it issues or, if
        it has fewer chains than keep the pipes full, the latency it waits for; and its overhead.
        """
        cost, plan = [0.0], [0]
        for left in range(1, 2 * self.most_rows):
            options = [
                (cost[left - r] + max(r * vectors, 8) + 2.5, r)
                for r in self.tile_rows[vectors - 1]
                if r <= left
            ]
            best = min(options, key=lambda option: (option[0], -option[1]))  # the tallest first
            cost.append(best[0])
            plan.append(best[1])
        return tuple(plan)


# Accumulators + one row of B + a broadcast must fit the registers (32 zmm, 16 ymm, 32 q, 16 xmm).
# Of the shapes that do, the one with the fewest loads an FMA, (rows + vectors) / (rows * vectors):
# 6 x 4 against 12 x 2 is worth 10 % in float32 on a core whose other thread is busy.
AVX512 = Isa(
    "AVX-512", 64, 32, True,
    ((12, 6, 4, 2, 1), (12, 6, 4, 2, 1), (8, 7, 6, 5, 4, 2, 1), (6, 4, 2, 1)),
)  # fmt: skip
AVX2 = Isa("AVX2", 32, 16, True, ((12, 6, 4, 2, 1), (6, 4, 2, 1)))
NEON = Isa("NEON", 16, 32, True, ((16, 8, 4, 2, 1), (12, 8, 4, 2, 1), (8, 4, 2, 1)))
SSE = Isa("128-bit without FMA", 16, 16, False, ((12, 6, 4, 2, 1), (6, 4, 2, 1)))

_PROBE = """
target triple = "{triple}"
declare <{n} x float> @llvm.fma.v{n}f32(<{n} x float>, <{n} x float>, <{n} x float>)
define <{n} x float> @probe(<{n} x float> %a, <{n} x float> %b, <{n} x float> %c) {{
  %r = call <{n} x float> @llvm.fma.v{n}f32(<{n} x float> %a, <{n} x float> %b, <{n} x float> %c)
  ret <{n} x float> %r
}}
"""


@dataclass(frozen=True)
class Target:
    triple: str
    cpu: str
    features: str
    isa: Isa

    def describe(self) -> str:
        """For people: ``znver4, AVX-512, tile 12x32 float32, 12x16 float64``."""
        isa = self.isa
        tiles = ", ".join(f"{isa.rows}x{isa.columns(s)} float{8 * s}" for s in (4, 8))
        return f"{self.cpu}, {isa.name}, tile {tiles}"


@functools.cache
def current() -> Target:
    """The CPU that numba compiles for in this process."""
    from numba.core.registry import cpu_target

    triple, cpu, features = cpu_target.target_context.codegen().magic_tuple()[:3]
    return Target(triple, cpu, features, _isa(triple, cpu, features))


def describe() -> str:
    return current().describe()


def _isa(triple: str, cpu: str, features: str) -> Isa:
    """Ask LLVM how it would emit one fused multiply-add of 16 floats."""
    machine = llvm.Target.from_triple(triple).create_target_machine(
        cpu=cpu, features=features, opt=1
    )
    assembly = machine.emit_assembly(llvm.parse_assembly(_PROBE.format(triple=triple, n=16)))
    if "vfmadd" in assembly:
        return AVX512 if "zmm" in assembly else AVX2
    return NEON if "fmla" in assembly else SSE
