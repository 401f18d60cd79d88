"""Do the accumulators stay in registers? Read in the machine code: no clock, so no noise.

In the loops over k of all register tiles, as numba compiles them for this CPU (x86-64 with FMA):
instructions that touch the stack, or call, which should be none; and instructions for each fused
multiply-add, which are loads of B, and the counting, shared by all.
"""

from __future__ import annotations

import platform
import re

import numba
from asv_runner.benchmarks.mark import SkipNotImplemented

from ._base import need
from ._data import DTYPES

NEEDS = (
    "fastgrad._kernels.gemm.macrokernel.macrokernel",
    "fastgrad._kernels.runtime.compiler.OPTIONS",
    "fastgrad._kernels.runtime.registry.Floats",
    "fastgrad._kernels.codegen.structs.View",
    "fastgrad._kernels.gemm.microkernel.WHOLE",
    "fastgrad._kernels.gemm.microkernel.tile_name",
)
_LABEL = re.compile(r"^(\.L\w+):", re.MULTILINE)
_FMA = re.compile(r"vfn?m(?:add|sub)\w*\b")
_STACK = re.compile(r"%[re]sp\b|^(?:push|pop|call)")  # rbp is an ordinary register in numba's code


def loops(dtype: str) -> list[list[str]]:
    """The loops over k of the tiles: instructions of each block that jumps to its own start."""
    if platform.machine() not in ("x86_64", "AMD64"):
        raise SkipNotImplemented("the assembly of x86-64 is read")
    need(NEEDS)
    from fastgrad._kernels.codegen import structs
    from fastgrad._kernels.gemm import microkernel
    from fastgrad._kernels.gemm.macrokernel import macrokernel
    from fastgrad._kernels.runtime.compiler import OPTIONS
    from fastgrad._kernels.runtime.registry import Floats

    body = macrokernel.build(Floats(dtype))
    signature = numba.types.int64(structs.View(macrokernel.struct))
    text = numba.cfunc(signature, **OPTIONS)(body)._library.get_asm_str()  # not from a cache
    prefix = microkernel.tile_name(0, 0, 0, microkernel.WHOLE).partition("f0")[0]
    found = []
    for piece in re.split(rf"^(?={prefix}f\w+:)", text, flags=re.MULTILINE)[1:]:
        rest = piece.partition(":")[2]
        tile = re.split(r"^[A-Za-z_]\w*:", rest, maxsplit=1, flags=re.MULTILINE)[0]
        pieces = _LABEL.split(tile)
        for label, body in zip(pieces[1::2], pieces[2::2], strict=True):
            lines = [line.split("#")[0].strip() for line in body.splitlines()]
            lines = [line for line in lines if line and not line.startswith(".")]
            ends = [i for i, line in enumerate(lines) if re.match(rf"j\w+\s+{label}$", line)]
            if ends and any(map(_FMA.match, lines)):
                found.append(lines[: ends[-1] + 1])
    if not found:
        raise SkipNotImplemented("no loop with a fused multiply-add: this CPU has none")
    return found


class Tiles:
    version = "1"
    params = [DTYPES]
    param_names = ["dtype"]
    timeout = 300

    def track_stack_instructions(self, dtype: str) -> int:
        return sum(1 for loop in loops(dtype) for line in loop if _STACK.search(line))

    def track_instructions_per_fma(self, dtype: str) -> float:
        lines = [line for loop in loops(dtype) for line in loop]
        return len(lines) / sum(1 for line in lines if _FMA.match(line))


Tiles.track_stack_instructions.unit = "instructions"  # type: ignore[attr-defined]
Tiles.track_instructions_per_fma.unit = "instructions / FMA"  # type: ignore[attr-defined]
