"""``fastgrad bench``: products, layers, steps beside numpy, one thread each, in ten seconds."""

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
from . import _numpy_step

HELP = "time products, layers and training steps beside numpy on this machine, one thread each"
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
        size = f"batch {self.m}, {self.k}-{self.n}"
        if self.op == "train_step":
            size = f"batch {self.m}, {self.k}-{HIDDEN}-{self.n}"
        if self.op.startswith("matmul"):
            size = f"({self.m}, {self.k}) by ({self.k}, {self.n})"
        return f"{self.op:<15} {size:<26} {self.dtype}"


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


def configure(parser: argparse.ArgumentParser) -> None:
    """No options."""


def run(args: argparse.Namespace) -> int:
    one_thread = one_blas_thread()
    if one_thread is None:
        return _again_with_one_thread()
    print(f"fastgrad {fastgrad.__version__} for {target.describe()}; numpy {np.__version__}")
    print("one thread each, out= given, in turns; every result is checked before it is timed\n")
    width = len(str(CELLS[0]))
    print(f"{'':<{width}}  {'fastgrad':>9}  {'numpy':>9}  numpy / fastgrad (95 % interval)")
    found = []
    with one_thread, fastgrad.num_threads(1):
        for cell in CELLS:
            ours, theirs, fault = prepare(cell)
            if fault:
                print(f"fastgrad bench: {cell}: {fault}", file=sys.stderr)
                return 1
            c = _bench.compare(ours, theirs, sample=SAMPLE)
            found.append((c.ratio, cell))
            times = "  ".join(f"{_bench.duration(t):>9}" for t in (c.ours, c.theirs))
            print(f"{cell}  {times}  {c.ratio:5.2f} ({c.low:.2f} to {c.high:.2f})", flush=True)
    mean = _bench.geometric_mean([ratio for ratio, _ in found])
    print(f"\ngeometric mean {mean:.2f}, lowest {min(found)[0]:.2f}; above 1: fastgrad is faster")
    return 0


def one_blas_thread() -> AbstractContextManager[Any] | None:
    """Inside it numpy's products run on one thread; None if this process cannot be told."""
    try:
        limits = importlib.import_module("threadpoolctl").threadpool_limits(1)
    except ImportError:
        told = all(os.environ.get(f"{name}_NUM_THREADS") == "1" for name in VARIABLES)
        return nullcontext() if told else None
    return cast(AbstractContextManager[Any], limits)


def _again_with_one_thread() -> int:
    """In a process that says so before numpy is imported."""
    env = {**os.environ, **{f"{name}_NUM_THREADS": "1" for name in VARIABLES}}
    sys.stdout.flush()
    return subprocess.call([sys.executable, "-m", "fastgrad", "bench"], env=env)


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
