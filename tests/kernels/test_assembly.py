"""The loop over k of every register tile, two steps a turn: its FMAs, loads of A and B, the stores
of a packing tile, what it fetches, little counting, and nothing that a spilled register leaves."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastgrad._kernels.codegen import target
from fastgrad._kernels.gemm.microkernel import FETCHING, LINE, MASKED, PACKING, WHOLE
from support import assembly, edges
from support.programs import environment

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or not edges.ISA.fma,
    reason="reads x86-64 assembly with FMA",
)
REGISTER = {64: "zmm", 32: "ymm"}
SUFFIX = {"float32": "ps", "float64": "pd"}
COUNTING = 0.05  # at most, of the widest and tallest tile
_STORE = re.compile(r"v?mov\w*\s+%\w+,\s*[^%\s]*\(")
_COUNTING = re.compile(r"(?:add|sub)q\s+\$-?2,|(?:cmp|test)q\b|(?:inc|dec)q\b|j\w+\s")
AVX2 = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi2,+f16c"}


def _faults(tile: dict[str, Any], isa: target.Isa, dtype: str) -> Iterator[str]:
    """What is wrong with the loop over k of one tile."""
    loops = [loop for loop in tile["loops"] if any(map(assembly.FMA.match, loop))]
    chains = tile["rows"] * tile["vectors"]
    # two steps a turn; where registers are few one, or four and another loop for what is left
    steps = {1: [4, 1], 2: [1]}.get(isa.registers - chains - tile["vectors"] - 1, [2])
    if len(loops) != len(steps):
        yield f"{len(loops)} loops with an FMA, expected {len(steps)}"
    for loop, turn in zip(loops, steps, strict=False):
        fmas = [line for line in loop if assembly.FMA.match(line)]
        if len(fmas) != turn * chains:
            yield f"{len(fmas)} FMAs for {turn} steps of {chains} accumulators"
        full = re.compile(rf"vfmadd\d+{SUFFIX[dtype]}\s.*%{REGISTER[isa.vector_bytes]}\d+$")
        narrow = [line for line in fmas if not full.match(line)]
        if narrow:
            yield f"not of full width: {narrow}"
        # rbp is an ordinary register here: compiled without a frame pointer, as numba does
        stack = [line for line in loop if re.search(r"%[re]sp\b|^(push|pop|call)", line)]
        if stack:
            yield f"stack traffic or calls: {stack}"
        stores = [line for line in loop if _STORE.match(line)]
        copied = turn * tile["vectors"] if tile["kind"] == PACKING else 0
        if len(stores) != copied or any(REGISTER[isa.vector_bytes] not in line for line in stores):
            yield f"stores of {copied} whole vectors expected: {stores}"
        fetches = sum(line.startswith("prefetcht0") for line in loop)
        wanted = {WHOLE: fetches, MASKED: 0}.get(tile["kind"], turn)  # of C with prefetchw or so
        if fetches != wanted:
            yield f"{fetches} fetches in {turn} steps"
        # issue slots: a comparison and its jump are one. Addresses of A, B, C are not counting.
        counting = sum(map(bool, map(_COUNTING.match, loop))) - 1
        if (tile["rows"], tile["vectors"]) == (isa.rows, isa.vectors) and turn > 1:
            if counting > COUNTING * len(loop):
                yield f"{counting} of {len(loop)} instructions count"


def _check(tiles: dict[str, Any], isa: target.Isa, dtype: str) -> None:
    compiled = sorted((tile["kind"], tile["vectors"], tile["rows"]) for tile in tiles.values())
    expected = [(MASKED, v, r) for v, rows in enumerate(isa.tile_rows, 1) for r in rows]
    expected += [(PACKING, v, isa.rows) for v in range(isa.packing_vectors, isa.vectors + 1)]
    expected += [(FETCHING, v, rows) for kind, v, rows in expected
                 if kind == PACKING and v * isa.vector_bytes > LINE]  # fmt: skip
    assert compiled == sorted([*expected, (WHOLE, isa.vectors, isa.rows)])
    wrong = [f"{name}: {f}" for name, tile in tiles.items() for f in _faults(tile, isa, dtype)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("dtype", edges.DTYPES)
def test_loops_of_this_cpu(dtype: str) -> None:
    _check(assembly.tiles(dtype), edges.ISA, dtype)


@pytest.mark.process
@pytest.mark.skipif(edges.ISA is target.AVX2, reason="is what test_loops_of_this_cpu reads")
@pytest.mark.parametrize("dtype", edges.DTYPES)
def test_loops_of_avx2(dtype: str, warm_cache: Path) -> None:
    env = environment(**AVX2, NUMBA_CACHE_DIR=str(warm_cache))
    done = subprocess.run(
        [sys.executable, assembly.__file__, dtype],
        env=env, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["isa"] == target.AVX2.name
    _check(found["tiles"], target.AVX2, dtype)
