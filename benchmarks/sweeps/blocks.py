"""Sweep of KC, register tile and cache blocks against numpy: what the table in target.py rests on.

    python benchmarks/sweeps/blocks.py --sizes 512 1024 2048 --kc 256 512 --tile 12x2 14x2 8x3 \
        --block-kb 384 768 1536 --rows 48 96

One thread, one process a setting with a cache of its own; ours and numpy's np.matmul(out=) in turn,
A B B A, so that the machine's drift cancels. Prints the ratio numpy's time / ours, NN NT TN, and
the geometric mean of each setting.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile

PINNED = {f"{n}_NUM_THREADS": "1" for n in ("OPENBLAS", "OMP", "MKL", "FASTGRAD")}


def measure(settings: argparse.Namespace) -> None:
    """In a process of its own: patch the table, then time."""
    import dataclasses
    import math
    import statistics
    import time

    import numpy as np

    from fastgrad._kernels import target

    target.KC[settings.dtype] = settings.kc
    name = next(n for n in ("AVX512", "AVX2", "NEON", "SSE") if getattr(target, n) == isa(target))
    rows, vectors = (int(n) for n in settings.tile.split("x"))
    counts = tuple(r for r in (12, 10, 8, 6, 5, 4, 3, 2, 1) if r < rows)
    changed = dataclasses.replace(
        isa(target),
        tile_rows=(rows, *counts),
        vectors=vectors,
        block_rows=settings.rows,
        block_bytes=settings.block_kb << 10,
    )
    setattr(target, name, changed)
    target.current.cache_clear()
    import fastgrad

    ratios = []
    rng = np.random.default_rng(0)
    for n in settings.sizes:
        a, b = (rng.standard_normal((n, n)).astype(settings.dtype) for _ in range(2))
        ours, theirs = np.empty_like(a), np.empty_like(a)
        for x, y in ((a, b), (a, b.T), (a.T, b)):
            fastgrad.matmul(x, y, ours)
            np.matmul(x, y, out=theirs)
            assert np.allclose(ours, theirs, rtol=1e-3, atol=1e-3), "wrong result"
            repeat = max(1, int(2e8 / n**3))
            times: tuple[list[float], list[float]] = ([], [])
            for which in (0, 1, 1, 0) * settings.rounds:
                start = time.perf_counter()
                for _ in range(repeat):
                    if which:
                        np.matmul(x, y, out=theirs)
                    else:
                        fastgrad.matmul(x, y, ours)
                times[which].append(time.perf_counter() - start)
            ratios.append(statistics.median(times[1]) / statistics.median(times[0]))
    mean = math.exp(statistics.fmean(map(math.log, ratios)))
    print(f"geomean {mean:.3f}  min {min(ratios):.3f}  " + " ".join(f"{r:.2f}" for r in ratios))


def isa(target):  # type: ignore[no-untyped-def]
    return target.current().isa


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float64"])
    parser.add_argument("--kc", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--tile", nargs="+", default=["12x2", "14x2", "8x3"])
    parser.add_argument("--block-kb", type=int, nargs="+", default=[768])
    parser.add_argument("--rows", type=int, nargs="+", default=[48])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        args.dtype, kc, args.tile, block_kb, rows = args.one.split(",")
        args.kc, args.block_kb, args.rows = int(kc), int(block_kb), int(rows)
        measure(args)
        return
    for setting in itertools.product(args.dtypes, args.tile, args.kc, args.block_kb, args.rows):
        dtype, tile, kc, block_kb, rows = setting
        one = f"{dtype},{kc},{tile},{block_kb},{rows}"
        with tempfile.TemporaryDirectory() as cache:
            command = [sys.executable, __file__, "--one", one, "--rounds", str(args.rounds)]
            command += ["--sizes", *map(str, args.sizes)]
            env = {**os.environ, **PINNED, "NUMBA_CACHE_DIR": cache}
            print(f"{dtype} tile {tile} KC {kc} B block {block_kb} kB, A rows {rows}: ", end="")
            sys.stdout.flush()
            subprocess.run(command, env=env, check=False)


if __name__ == "__main__":
    main()
