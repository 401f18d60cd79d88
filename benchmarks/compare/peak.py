"""The ceilings of this machine: FMAs a second on registers, bytes a second read and filled.

    python benchmarks/compare/peak.py [--threads N]

For one thread and for all (Python threads, each in a compiled loop without the GIL, started
together). A rate is the best of several samples of 50 ms.
"""

from __future__ import annotations

import argparse
import platform
import re
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import loops
import numpy as np

import fastgrad
from fastgrad._kernels.codegen.target import current

SAMPLE, SAMPLES = 0.05, 7
SIZES = {"16 kB": 1 << 14, "512 kB": 1 << 19, "8 MB": 1 << 23, "256 MB": 1 << 28}

Loop = Callable[[int, Any], float]


def fma_rate(dtype: str, threads: int = 1) -> float:
    """Floating-point operations a second, a fused multiply-add being two."""
    loop = _checked(dtype)
    lanes = current().isa.vector_bytes // loops.ITEMSIZE[dtype]
    arrays = [np.array([0.5, 1.0], dtype)] * threads  # chains that converge to 2
    return 2.0 * loops.CHAINS * lanes * _turns_a_second(loop, arrays)


def read_rate(size: int, threads: int = 1) -> float:
    """Bytes a second over ``size`` bytes, shared among the threads, read again and again."""
    return _memory_rate(loops.read_loop("float32"), size, threads)


def fill_rate(size: int, threads: int = 1) -> float:
    """Bytes a second over ``size`` bytes, shared among the threads, written again and again."""
    return _memory_rate(loops.fill_loop("float32"), size, threads)


def _memory_rate(loop: Loop, size: int, threads: int) -> float:
    turn = loops.STREAMS * current().isa.vector_bytes
    part = max(size // threads // turn, 1) * turn
    return part * _turns_a_second(loop, [_aligned(part) for _ in range(threads)])


def _aligned(size: int) -> Any:
    """Ones on warm pages, from the start of a cache line."""
    memory = np.ones(size // 4 + 16, np.float32)
    return memory[(-memory.ctypes.data % 64) // 4 :][: size // 4]


def _turns_a_second(loop: Loop, arrays: list[Any]) -> float:
    """Of all threads together, one for each array."""
    turns = 1
    while (taken := _span(loop, turns, arrays[:1])) < SAMPLE / 2:
        turns = max(turns + 1, int(turns * min(100.0, SAMPLE / taken)))
    return max(len(arrays) * turns / _span(loop, turns, arrays) for _ in range(SAMPLES))


def _span(loop: Loop, turns: int, arrays: list[Any]) -> float:
    """Seconds from the first start to the last end."""
    gate = threading.Barrier(len(arrays))
    times: list[float] = []

    def run(array: Any) -> None:
        gate.wait()
        start = time.perf_counter()
        loop(turns, array)
        times.extend((start, time.perf_counter()))

    workers = [threading.Thread(target=run, args=(a,)) for a in arrays]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return max(times) - min(times)


@cache
def _checked(dtype: str) -> Loop:
    """The loop of FMAs, once its assembly is seen to be what it claims; x86-64 alone is read."""
    loop = loops.fma_loop(dtype)
    if current().isa.fma and platform.machine() in ("x86_64", "AMD64"):
        fault = assembly_fault("\n".join(loop.inspect_asm().values()), dtype)
        assert not fault, f"the loop of FMAs is no measure of the peak: {fault}"
    return loop


def assembly_fault(text: str, dtype: str) -> str:
    """ "" if one loop has all the FMAs, of full width, on registers, and hardly anything else."""
    pieces = re.split(r"^(\.L\w+):", text, flags=re.MULTILINE)
    bodies = []
    for label, piece in zip(pieces[1::2], pieces[2::2], strict=True):
        body, jump, _ = piece.partition(f"{label}\n")  # of an instruction that jumps back
        if jump and "vfmadd" in body:
            bodies.append([line.strip() for line in body.splitlines() if line.strip()])
    if len(bodies) != 1:
        return f"{len(bodies)} loops"
    register = {64: "%zmm", 32: "%ymm"}[current().isa.vector_bytes]
    suffix = {"float32": "ps", "float64": "pd"}[dtype]
    fma = re.compile(rf"vfmadd\d+{suffix}\s+({register}\d+, ){{2}}{register}\d+$")
    fused = [line for line in bodies[0] if fma.match(line)]
    others = [line for line in bodies[0] if not fma.match(line)]
    if len(fused) != loops.CHAINS or len(others) > 4 or any("(" in line for line in others):
        return f"{len(fused)} FMAs for {loops.CHAINS} chains, and {others}"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=fastgrad.get_num_threads())
    counts = sorted({1, parser.parse_args().threads})
    print(f"{'':<22}", *(f"{n:>4} thread{'s' if n > 1 else ' '}" for n in counts))
    rows: list[tuple[str, Callable[[int], float]]] = [
        (f"FMA {d}, GF/s", lambda n, d=d: fma_rate(d, n)) for d in loops.ITEMSIZE
    ]
    for name, rate in (("read", read_rate), ("fill", fill_rate)):
        for title, size in SIZES.items():
            rows.append((f"{name} {title}, GB/s", lambda n, r=rate, s=size: r(s, n)))
    for title, rate_of in rows:
        print(f"{title:<22}", *(f"{rate_of(n) / 1e9:12.1f}" for n in counts), flush=True)


if __name__ == "__main__":
    main()
