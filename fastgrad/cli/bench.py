"""``fastgrad bench``: products, layers, steps beside numpy, in ten seconds; or sizes given."""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

import fastgrad

from .. import _bench
from .._kernels.codegen import target
from . import _arguments, _numpy_step
from ._errors import UsageError

HELP = "time products, layers and training steps beside numpy on this machine"
Array = NDArray[Any]
SAMPLE = 0.01  # seconds; 36 of them a row
HIDDEN = 128
# What tells a BLAS before it is loaded; threadpoolctl, where installed, tells one that is.
VARIABLES = ("OPENBLAS", "OMP", "MKL", "BLIS")


class Cell(NamedTuple):
    """A product C (m, n) = A (m, k)·B (k, n), a relu layer of batch m from k to n, or a step of
    Adam of a net k-HIDDEN-n, batch m."""

    op: str
    m: int
    n: int
    k: int
    dtype: str = "float32"

    def __str__(self) -> str:
        size = f"{self.k}-{self.n}, batch {self.m}"
        if self.op == "train_step":
            size = f"{self.k}-{HIDDEN}-{self.n}, batch {self.m}"
        if self.op.startswith("matmul"):
            size = f"{self.m}x{self.k} by {self.k}x{self.n}"
        return f"{self.op:<15} {size:<21} {self.dtype}"


CELLS = (
    Cell("matmul", 8, 8, 8),
    Cell("matmul", 256, 256, 256),
    Cell("matmul", 512, 512, 512),
    Cell("matmul_nt", 512, 512, 512),
    Cell("matmul_tn", 512, 512, 512),
    Cell("matmul", 512, 512, 512, "float64"),
    Cell("linear_forward", 32, 128, 64),
    Cell("linear_backward", 32, 128, 64),
    Cell("linear_forward", 128, 512, 784),
    Cell("linear_backward", 128, 512, 784),
    Cell("linear_backward", 128, 512, 784, "float64"),
    Cell("linear_forward", 1, 512, 512),
    Cell("train_step", 32, 10, 64),
    Cell("train_step", 128, 10, 784),
)


OPS = ("matmul", "matmul_nt", "matmul_tn", "linear_forward", "linear_backward")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "shapes", nargs="*", type=_arguments.shape, metavar="M,K,N",
        help="sizes of products C (M, N) = A (M, K)·B (K, N), and of layers of batch M from K to N "
        "(default: some of both, and steps)",
    )  # fmt: skip
    parser.add_argument("--dtype", metavar="NAME",
                        help="float32 or float64 (default: float32, with M,K,N both)")  # fmt: skip
    parser.add_argument("--threads", type=_arguments.positive, default=1, metavar="N",
                        help="of fastgrad and of numpy (default: 1)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    if args.dtype not in (None, "float32", "float64"):
        raise UsageError(f"--dtype {args.dtype}: unknown; choose from float32, float64")
    limit = blas_threads(args.threads)
    if limit is None:
        return _again(args)
    cells = _cells(args.shapes, args.dtype)
    each = "one thread each" if args.threads == 1 else f"{args.threads} threads each"
    print(f"fastgrad {fastgrad.__version__} for {target.describe()}; numpy {np.__version__}")
    print(f"{each}, out= given, in turns; every result is checked before it is timed")
    print("ratio: numpy's time / fastgrad's, and an interval that has it with 95 %\n")
    width = max(len(str(cell)) for cell in cells)
    print(f"{'':<{width}} {'fastgrad':>8} {'numpy':>7} ratio (interval)")
    found = []
    with limit, fastgrad.num_threads(args.threads):
        for cell in cells:
            ours, theirs, fault = prepare(cell)
            if fault:
                print(f"fastgrad bench: {cell}: {fault}", file=sys.stderr)
                return 1
            c = _bench.compare(ours, theirs, sample=SAMPLE)
            found.append((c.ratio, cell))
            times = f"{_bench.duration(c.ours):>8} {_bench.duration(c.theirs):>7}"
            line = f"{cell!s:<{width}} {times} {c.ratio:5.2f} ({c.low:.2f}-{c.high:.2f})"
            print(line, flush=True)
    mean = _bench.geometric_mean([ratio for ratio, _ in found])
    print(f"\ngeometric mean {mean:.2f}, lowest {min(found)[0]:.2f}; above 1: fastgrad is faster")
    return 0


def _cells(shapes: list[tuple[int, int, int]], dtype: str | None) -> tuple[Cell, ...]:
    if not shapes:
        return CELLS if dtype is None else tuple(
            dict.fromkeys(cell._replace(dtype=dtype) for cell in CELLS)
        )  # fmt: skip
    for m, k, n in shapes:
        needed = 5 * 8 * (m * k + k * n + m * n)
        if hasattr(os, "sysconf"):
            there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
            if needed > there:
                raise UsageError(
                    f"{m},{k},{n}: takes about {needed >> 20} MiB; this machine has "
                    f"{there >> 20} MiB"
                )
    dtypes = ("float32", "float64") if dtype is None else (dtype,)
    return tuple(Cell(op, m, n, k, d) for m, k, n in shapes for d in dtypes for op in OPS)


def blas_threads(threads: int) -> AbstractContextManager[Any] | None:
    """Inside it numpy's products run on so many threads; None if this process cannot be told."""
    try:
        limits = importlib.import_module("threadpoolctl").threadpool_limits(threads)
    except ImportError:
        text = str(threads)
        told = all(os.environ.get(f"{name}_NUM_THREADS") == text for name in VARIABLES)
        return nullcontext() if told else None
    return cast(AbstractContextManager[Any], limits)


def _again(args: argparse.Namespace) -> int:
    """In a process that says so before numpy is imported."""
    env = {**os.environ, **{f"{name}_NUM_THREADS": str(args.threads) for name in VARIABLES}}
    command = [sys.executable, "-m", "fastgrad", "bench"]
    command += [",".join(map(str, shape)) for shape in args.shapes]
    command += ["--threads", str(args.threads)]
    if args.dtype is not None:
        command += ["--dtype", args.dtype]
    sys.stdout.flush()
    return subprocess.call(command, env=env)


def prepare(cell: Cell) -> tuple[Callable[[], Any], Callable[[], Any], str]:
    """Our call, numpy's, and what is wrong with their results, or ""."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(cell.dtype)

    m, n, k = cell[1:4]
    if cell.op == "train_step":
        model = fastgrad.MLP((k, HIDDEN, n), optimizer=fastgrad.Adam(), dtype=cell.dtype)
        return _numpy_step.prepare(model, normal(m, k), rng.integers(0, n, m))
    a = normal(k, m) if cell.op == "matmul_tn" else normal(m, k)
    b = normal(n, k) if cell.op == "matmul_nt" else normal(k, n)
    bias, grad, y = normal(n), normal(m, n), np.maximum(normal(m, n), 0)
    shapes = [(m, k), (k, n), (n,)] if cell.op == "linear_backward" else [(m, n)]
    outs, twins = ([np.full(s, np.nan, cell.dtype) for s in shapes] for _ in range(2))
    ours, theirs = _calls(cell.op, a, b, bias, grad, y, outs, twins)
    ours()
    theirs()
    terms = max(cell[1:4])
    bound = 4 * (32 * terms**0.5 + terms) * float(np.finfo(cell.dtype).eps)
    for out, twin in zip(outs, twins, strict=True):
        error = float(np.abs(out - twin).max())
        if not error <= bound:  # NaN too
            return ours, theirs, f"differs from numpy's result by {error:.2g}"
    return ours, theirs, ""


def _calls(
    op: str, a: Array, b: Array, bias: Array, grad: Array, y: Array, outs: Any, twins: Any
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    zero = np.zeros((), a.dtype)  # saves numpy a conversion a call
    mask, h = np.empty(grad.shape, bool), np.empty_like(grad)
    out, twin = outs[0], twins[0]

    def numpy_forward() -> None:
        np.matmul(a, b, out=twin)
        np.add(twin, bias, out=twin)
        np.maximum(twin, zero, out=twin)

    def numpy_backward() -> None:
        np.multiply(grad, np.greater(y, zero, out=mask), out=h)
        np.matmul(h, b.T, out=twins[0])
        np.matmul(a.T, h, out=twins[1])
        np.add.reduce(h, 0, out=twins[2])

    if op == "linear_forward":
        return lambda: fastgrad.linear_forward(a, b, bias, "relu", out=out), numpy_forward
    if op == "linear_backward":
        given = tuple(outs)
        return (
            lambda: fastgrad.linear_backward(grad, a, b, "relu", output=y, out=given),
            numpy_backward,
        )
    product = getattr(fastgrad, op)
    left, right = a.T if op == "matmul_tn" else a, b.T if op == "matmul_nt" else b
    return lambda: product(a, b, out=out), lambda: np.matmul(left, right, out=twin)
