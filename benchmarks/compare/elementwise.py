"""exp, log, tanh, erf, ... and the activations, beside numpy's, numba's and scipy's.

    python benchmarks/compare/elementwise.py [--rounds 30] [--function exp,gelu]

Nanoseconds an element, into memory that is there, one thread, on arrays that stay in the first or
the second cache; the median of all samples of 0.5 ms. All functions of a row are timed in turns,
A B C C B A. numba's are loops over math's functions as a user would write them, compiled with
@njit and with @vectorize for the dtype; SVML speeds them up where it is installed. scipy is
compared where it is installed. Results are checked before anything is timed.
"""

from __future__ import annotations

import argparse
import functools
import math
import statistics
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from _figure import machine, seconds, threads

from fastgrad._kernels.codegen import structs
from fastgrad._kernels.gemm.args import Formula, Rows
from fastgrad._kernels.gemm.elementwise import KERNELS
from fastgrad._kernels.runtime import registry

try:
    import scipy
    from scipy import special
except ImportError:
    special = None

Array = Any
Function = Callable[[Array, Array], object]  # x, out
SIZES = {"L1": 2048, "L2": 32768}
DTYPES = ("float32", "float64")
NAMES = ("exp", "log", "tanh", "sigmoid", "silu", "gelu_tanh", "erf", "erfc", "gelu")
COLUMNS = ("numpy", "numba njit", "numba vectorize", "scipy")
SAMPLE = 0.5e-3
SLOPE = 2 * math.sqrt(2 / math.pi)


def ours(name: str) -> Function:
    """The kernel itself, its arguments laid down once for each pair of arrays."""
    words: dict[tuple[int, int], tuple[Any, Any]] = {}

    def call(x: Array, out: Array) -> None:
        known = words.get((id(x), id(out)))
        if known is None:
            rows = (Rows(a.ctypes.data, 0) for a in (x, out))
            args = np.array([*structs.words(Formula(1, x.size, *rows))], np.int64)
            index = KERNELS[name].slot(x.dtype.name)
            registry.compile_slot(index)
            function = functools.partial(registry.function_in(index), args.ctypes.data)
            known = words[id(x), id(out)] = function, (x, out, args)
        known[0]()

    return call


def in_numpy(name: str) -> Function | None:
    """In place, as few passes as there can be; numpy has no erf."""
    if name in ("exp", "log", "tanh"):
        return lambda x, out: getattr(np, name)(x, out=out)
    if name not in ("sigmoid", "silu", "gelu_tanh"):
        return None

    def gate(x: Array, out: Array) -> None:
        if name == "gelu_tanh":
            np.multiply(x, x, out=out)
            np.multiply(out, -SLOPE * 0.044715, out=out)
            np.subtract(out, SLOPE, out=out)
            np.multiply(out, x, out=out)
        else:
            np.negative(x, out=out)
        np.exp(out, out=out)
        np.add(out, 1, out=out)
        np.divide(1 if name == "sigmoid" else x, out, out=out)

    return gate


def scalar(name: str, dtype: str) -> Callable[[float], float]:
    """In the dtype: numba makes float64 of an integer constant beside a float32."""
    number = np.dtype(dtype).type
    one, half, slope, cubic = (number(v) for v in (1, 0.5, SLOPE, SLOPE * 0.044715))
    root_half = number(math.sqrt(0.5))
    formulas: dict[str, Callable[[Any], Any]] = {
        "exp": lambda x: math.exp(x),
        "log": lambda x: math.log(x),
        "tanh": lambda x: math.tanh(x),
        "erf": lambda x: math.erf(x),
        "erfc": lambda x: math.erfc(x),
        "sigmoid": lambda x: one / (one + math.exp(-x)),
        "silu": lambda x: x / (one + math.exp(-x)),
        "gelu": lambda x: half * x * math.erfc(-x * root_half),
        "gelu_tanh": lambda x: x / (one + math.exp(-x * (slope + cubic * x * x))),
    }
    return formulas[name]


def in_numba(name: str, dtype: str) -> dict[str, Function]:
    kind = numba.from_dtype(np.dtype(dtype))
    formula = numba.njit(error_model="numpy")(scalar(name, dtype))

    @numba.njit(numba.void(kind[::1], kind[::1]), error_model="numpy")
    def loop(x, out):  # type: ignore[no-untyped-def]
        for i in range(x.size):
            out[i] = formula(x[i])

    ufunc = numba.vectorize([kind(kind)])(scalar(name, dtype))
    return {"numba njit": loop, "numba vectorize": lambda x, out: ufunc(x, out)}


def in_scipy(name: str) -> Function | None:
    if special is None or name not in ("sigmoid", "silu", "erf", "erfc", "gelu"):
        return None
    root_half = math.sqrt(0.5)

    def run(x: Array, out: Array) -> None:
        if name in ("erf", "erfc"):
            getattr(special, name)(x, out=out)
        elif name == "gelu":
            np.multiply(x, -root_half, out=out)
            special.erfc(out, out=out)
            np.multiply(out, x, out=out)
            np.multiply(out, 0.5, out=out)
        else:
            special.expit(x, out=out)
            if name == "silu":
                np.multiply(out, x, out=out)

    return run


def functions(name: str, dtype: str) -> dict[str, Function]:
    found: dict[str, Function | None] = {"fastgrad": ours(name), "numpy": in_numpy(name)}
    found.update(in_numba(name, dtype))
    found["scipy"] = in_scipy(name)
    return {column: f for column, f in found.items() if f is not None}


def operand(name: str, dtype: str, size: int) -> Array:
    x = 1.5 * np.random.default_rng(size).standard_normal(size)
    return (np.abs(x) if name == "log" else x).astype(dtype)


def check(name: str, dtype: str, run: dict[str, Function]) -> None:
    """All agree with the scalar formula in float64, to the error its own arithmetic allows."""
    x = operand(name, dtype, 4999)
    exact = np.array([scalar(name, "float64")(v) for v in x.astype(float).tolist()])
    info = np.finfo(dtype)
    bound = 64 * info.eps * (1 + x.astype(float) ** 2) * np.abs(exact) + info.tiny
    for column, function in run.items():
        out = np.full_like(x, np.nan)
        function(x, out)
        wrong = ~(np.abs(out - exact) <= bound)
        assert not wrong.any(), f"{column}: {name}({x[wrong][0]}) = {out[wrong][0]}"


def measure(run: dict[str, Function], x: Array, rounds: int) -> dict[str, float]:
    """Column -> median ns an element."""
    out = np.empty_like(x)
    calls = {}
    for column, function in run.items():
        function(x, out)
        once = min(seconds(lambda f=function: f(x, out)) for _ in range(5))
        calls[column] = max(1, int(SAMPLE / once))
    samples: dict[str, list[float]] = {column: [] for column in run}
    columns = list(run)
    for column in (columns + columns[::-1]) * rounds:
        function, n = run[column], calls[column]
        samples[column].append(1e9 * seconds(lambda f=function: f(x, out), n) / n / x.size)
    return {column: statistics.median(s) for column, s in samples.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=30, help="each has two samples a round")
    parser.add_argument("--function", default=",".join(NAMES), help="names, with commas between")
    options = parser.parse_args()
    print(
        "| ns an element | dtype | cache | fastgrad |", " | ".join(COLUMNS), "| best other / ours |"
    )
    print("|---" * (5 + len(COLUMNS)) + "|")
    slower = []
    for name in options.function.split(","):
        for dtype in DTYPES:
            run = functions(name, dtype)
            check(name, dtype, run)
            for cache, size in SIZES.items():
                found = measure(run, operand(name, dtype, size), options.rounds)
                mine = found["fastgrad"]
                ratio = min(t for column, t in found.items() if column != "fastgrad") / mine
                cells = [f"{found[c]:.2f}" if c in found else "" for c in ("fastgrad", *COLUMNS)]
                print(
                    f"| {name} | {dtype} | {cache} |",
                    " | ".join(cells),
                    f"| {ratio:.2f} |",
                    flush=True,
                )
                if ratio < 1:
                    slower.append(f"{name} {dtype} {cache} {ratio:.2f}")
    print("\nslower than another:", "; ".join(slower) or "none")
    version = f", scipy {scipy.__version__}" if special is not None else ", no scipy"
    svml = "with" if numba.config.USING_SVML else "without"
    print(machine(1) + f"; numba {numba.__version__} {svml} SVML{version}")


if __name__ == "__main__":
    with threads(1):
        main()
