"""One setting against others: a threshold of thresholds.py, the size of L2, or KC.

    python benchmarks/sweeps/settings.py FEW_ROWS
    python benchmarks/sweeps/settings.py OUTER_K=16 OUTER_K=99 --cells tn,256x32x8192,float32,1

A name alone stands for the values and cells of SWEEPS, which the present value was chosen from.
Every value is a process of its own, with the source as it is and that one number changed; they
take turns of 0.1 s, in alternating order. Prints, for each cell (op, m x n x k, dtype, threads),
the time with the present value / with each other one: above 1 the other one is faster. Medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

BIG = ["nn,1024x1024x1024,float32,1", "nn,2048x2048x2048,float32,1", "nn,2000x2000x2000,float64,1"]
SHARED = ["nn,2048x2048x2048,float32,2", "nn,1024x1024x1024,float64,2", "nn,2048x256x512,float32,2"]
FEW = [
    f"{op},{shape},{dtype},1"
    for op, shape in (("nn", "32x1024x1200"), ("nn", "24x512x512"), ("nn", "16x3072x768"),
                      ("nt", "8x512x512"), ("nt", "32x512x512"))
    for dtype in ("float32", "float64")
]  # fmt: skip
NARROW = ["nn,256x6x256,float32,1", "nn,512x8x512,float32,1", "nn,512x12x512,float32,1",
          "nn,256x6x256,float64,1", "nn,512x8x512,float64,1"]  # fmt: skip
TURNED = ((512, 10, 512), (784, 10, 128), (2048, 32, 64), (512, 96, 512), (784, 100, 128))
SWEEPS = {
    "KC": ([256, 512], BIG),
    "FASTGRAD_L2_BYTES": ([1 << 18, 1 << 19, 1 << 20, 1 << 21], BIG + SHARED),
    "DIRECT_ROWS": ([12, 24, 48, 96], ["nn,40x512x512,float32,1", "nn,100x256x256,float32,1"]),
    "DIRECT_FMAS": ([1 << 18, 1 << 20, 1 << 22], ["nn,96x96x96,float32,1", *FEW[2:4]]),
    "DIRECT_PANELS": ([0, 2, 8], ["tn,512x48x512,float32,1", "tn,512x128x512,float32,1",
                                  "tn,512x512x512,float32,1"]),
    "DIRECT_ROW_PANELS": ([0, 2, 4, 8, 16, 1 << 20],
                          [*BIG, "nn,512x512x512,float32,1", "nn,128x512x784,float32,1"]),
    "GROUP_COLUMNS": ([256, 512, 1024], ["nn,2048x2048x8,float32,1", "nn,1024x1024x64,float32,1"]),
    "FAR_BYTES": ([512, 1024, 1 << 40], ["tn,50000x32x100,float32,1", "tn,256x32x8192,float32,1"]),
    "OUTER_K": ([0, 16, 64, 256], ["nn,2048x2048x8,float32,1", "nn,1024x1024x64,float32,1"]),
    "FORK_FMAS": ([1 << 16, 1 << 18, 1 << 20], [f"nn,{n}x{n}x{n},float32,2" for n in (48, 64, 96)]),
    "FORK_BYTES": ([1 << 18, 1 << 19, 1 << 20, 1 << 40], [
        "nn,784x512x1,float32,2", "nn,1x512x512,float32,2", "nt,1x512x512,float32,2",
        "nn,2048x1x128,float32,2"]),
    "SPLIT_K_BYTES": ([0, 1 << 16], ["tn,64x10x16384,float32,2", "tn,64x64x16384,float32,2"]),
    "PARTS_OF_A_THREAD": ([1, 2, 4], ["nn,64x300x784,float32,2", "nn,128x512x784,float32,2"]),
    "MORE_PARTS_FMAS": ([1 << 25, 1 << 27, 1 << 31], SHARED),
    "MORE_PARTS_OF_A_THREAD": ([2, 4, 8], SHARED),
    "TASKS_OF_A_THREAD": ([2, 4, 8], ["stack,64x64x64,float32,2"]),
    "FEW_ROWS": ([4, 16, 32], FEW),
    "FEW_ROWS_ELEMENTS": ([512, 2048, 8192], ["nn,1x64x64,float32,1", "nn,4x64x32,float32,1"]),
    "GATHER_ROWS": ([0, 4, 8, 16], NARROW),
    "ONE_TILE_VECTORS": ([1 << 20], [f"nn,{m}x512x512,{d},1" for m in (5, 6, 7, 8)
                                     for d in ("float32", "float64")]),
    "CROWD_BYTES": ([1 << 11, 1 << 30], ["nt,1x1024x1024,float32,1", "nt,1x512x512,float32,1"]),
    "FAR_AHEAD": ([0, 512, 1024], ["nt,1x4000x4000,float32,1", "nt,1x4000x4000,float64,1"]),
    "TURN_ROW": ([0, 200, 800], [f"tn,{m}x{n}x{k},{d},1" for m, n, k in TURNED
                                 for d in ("float32", "float64")]),
    "TURN_READS": ([2, 5], [f"tn,{m}x{n}x{k},float32,1" for m, n, k in TURNED]),
    "TURN_BYTES": ([1 << 15, 1 << 17], ["tn,512x10x512,float32,1", "tn,50000x32x100,float64,1"]),
    "RUN_BYTES": ([1 << 13, 1 << 14, 1 << 15], ["nn,1x3072x768,float32,1", *FEW]),
    "RUN_COLUMNS": ([128, 256, 512], FEW),
    "ROW_AHEAD": ([0, 256, 1024], ["nn,1x512x512,float64,1", "nn,1x3072x768,float32,1",
                                   "nn,1x2048x2048,float64,1", "nn,1x8192x8192,float32,1"]),
    "PIECE_K": ([8, 16, 32], FEW),
    "PAIR_FMAS": ([0, 1 << 22, 1 << 26], ["backward,64x128x256,float32,2",
                                          "backward,128x512x512,float32,2"]),
}  # fmt: skip


def serve(name: str, value: str) -> None:
    """A worker: times the cells it is asked for."""
    import time

    import numpy as np

    from fastgrad._kernels.codegen import target
    from fastgrad._kernels.gemm import thresholds
    from fastgrad._kernels.runtime import caches
    from fastgrad._kernels.runtime.table import L2_BYTES, TABLE

    if name == "KC":
        target.KC._values.update(float32=int(value), float64=int(value))
    elif name == caches.VARIABLE:
        TABLE[L2_BYTES] = int(value)
    elif hasattr(thresholds, name):
        setattr(thresholds, name, int(value))
    elif name:
        sys.exit(f"settings.py: no setting {name}")
    import fastgrad

    products = {"nn": fastgrad.matmul, "nt": fastgrad.matmul_nt, "tn": fastgrad.matmul_tn}

    def make(op: str, shape: str, dtype: str):  # type: ignore[no-untyped-def]
        m, n, k = map(int, shape.split("x"))
        rng = np.random.default_rng(0)
        if op == "stack":
            pair = [rng.standard_normal((64, *s)).astype(dtype) for s in ((m, k), (k, n))]
            return lambda: fastgrad.matmul(*pair)
        shapes = ((k, m) if op == "tn" else (m, k), (n, k) if op == "nt" else (k, n), (m, n))
        a, b, c = (rng.standard_normal(s).astype(dtype) for s in shapes)
        if op == "backward":
            out = tuple(np.empty_like(x) for x in (a, b, c[0]))
            return lambda: fastgrad.linear_backward(c, a, b, "relu", output=c, out=out)
        return lambda: products[op](a, b, c)

    made = {}
    for line in sys.stdin:
        cell = line.strip()
        op, shape, dtype, threads = cell.split(",")
        fastgrad.set_num_threads(int(threads))
        call = made.get(cell) or make(op, shape, dtype)
        made[cell] = call
        call()
        calls, start = 0, time.perf_counter()
        while (taken := time.perf_counter() - start) < 0.1:
            call()
            calls += 1
        print(json.dumps(taken / calls), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="+", help="a name of SWEEPS, or NAME=VALUE ...")
    parser.add_argument("--cells", nargs="+", help="op,MxNxK,dtype,threads ...")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    values, cells = [], args.cells or []
    for setting in args.settings:
        name, _, value = setting.partition("=")
        listed = SWEEPS.get(name, ([], []))
        values += [(name, value)] if value else [(name, str(v)) for v in listed[0]]
        cells = cells or listed[1]
    pipe = subprocess.PIPE
    caches = [tempfile.TemporaryDirectory() for _ in range(len(values) + 1)]
    workers = [
        subprocess.Popen([sys.executable, __file__, f"--serve={name}={value}"], stdin=pipe,
                         stdout=pipe, text=True,
                         env={**os.environ, "NUMBA_CACHE_DIR": cache.name})
        for (name, value), cache in zip([("", ""), *values], caches, strict=True)
    ]  # fmt: skip
    print("present against", ", ".join(f"{n}={v}" for n, v in values))
    for cell in cells:
        times: list[list[float]] = [[] for _ in workers]
        for turn in range(args.rounds + 1):
            order = list(range(len(workers)))[:: 1 if turn % 2 else -1]
            for i in order:
                workers[i].stdin.write(cell + "\n")  # type: ignore[union-attr]
                workers[i].stdin.flush()  # type: ignore[union-attr]
                times[i].append(json.loads(workers[i].stdout.readline()))  # type: ignore[union-attr]
        pairs = [zip(times[0][1:], t[1:], strict=True) for t in times[1:]]  # the first one compiles
        ratios = [statistics.median(x / y for x, y in pair) for pair in pairs]
        print(f"{cell:34}", *(f"{r:.2f}" for r in ratios), flush=True)
    for worker in workers:
        worker.stdin.close()  # type: ignore[union-attr]
        worker.wait()


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("--serve="):
        serve(*sys.argv[1].split("=")[1:])
    else:
        main()
