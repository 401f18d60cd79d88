"""The worst errors of our functions: float32 over every float, float64 over 10 million points.

    python -m support.accuracy [name ...] [--dtype float32] [--results accuracy.json] [--table]

Without names, all. Resumes what --results holds; --stride 97 tries every 97th float32, --points n
as many float64. The float64 oracle is python-flint if it is installed, else mpmath, which is twenty
times slower. --check compares the oracles with mpmath instead. --table prints the results.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import zlib
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from support import exact, sweep
from support.applied import apply
from support.points import points

Array = np.ndarray[Any, np.dtype[Any]]

# name -> the bound, in the unit of the error: ulp, or what UNITS says
BOUNDS = {
    "exp": 2.0, "log": 2.0, "tanh": 2.0, "erf": 2.0, "erfc": 2.0, "sigmoid": 2.0, "silu": 2.0,
    "gelu": 4.0, "gelu_tanh": 4.0, "sigmoid_backward": 1.5, "tanh_backward": 1.0,
    "silu_backward": 4.0, "gelu_backward": 4.0, "gelu_tanh_backward": 4.0,
}  # fmt: skip
UNITS = {
    "gelu": "eps·(1 + z²)·|y|",
    "gelu_tanh": "eps·(1 + z²)·|y|",
    "sigmoid_backward": "eps·|h|",
    "tanh_backward": "eps·|h|",
    "silu_backward": "eps·|g|·s·(1 + |z|·(1 - s))",
    "gelu_backward": "eps·(1 + z²)·|g|·(Phi(z) + |z|·phi(z))",
    "gelu_tanh_backward": "eps·(1 + z²)·|g|·s·(1 + |z|·v'·(1 - s))",
}
STEP = {"float32": 1 << 26, "float64": 50_000}  # between two savings
EPS, TINY, NORMAL = 2.0**-52, 2.0**-1074, 2.0**-1022
SCALE = 200  # results near either end of the range are compared times 2^±SCALE


def errors64(name: str, x: Array, g: Array, mpmath: bool = False) -> Array:
    """x, g (n,) float64 -> the errors of f(x), or of g·f(x), in ulp or in units of the bound."""
    derivative = name in exact.DERIVATIVES
    y = apply(name, g, x) if derivative else apply(name, x)
    out = np.full(x.size, math.inf)
    size = np.abs(y)
    ends = {0: (size >= 2.0**-900) & (size <= 2.0**900), SCALE: size < 2.0**-900,
            -SCALE: size > 2.0**900}  # fmt: skip
    for shift, where in ends.items():
        v, w, got = x[where], g[where], y[where]
        high, low, terms = exact.evaluate(name, v, w if derivative else None, shift, mpmath)
        top = math.ldexp(1.0, 1024 + shift) if shift < 0 else math.inf
        got = np.clip(np.ldexp(got, shift), -top, top)
        over = np.abs(high) >= top
        high, low = np.clip(high, -top, top), np.where(over, 0.0, low)
        error = np.abs((got - high) - low)
        if name not in sweep.ROUNDED:  # what is below the normal numbers is +0.0
            least = math.ldexp(NORMAL, shift)
            is_small = np.abs(high) < sweep.EDGE * least * (w if derivative else 1.0)
            off = np.where(is_small & (got == 0), 0, np.inf)
            near_0 = (np.abs(v) < 4 * NORMAL) & (name in ("silu", "gelu", "gelu_tanh"))  # v/2
            error = np.where((np.abs(got) < least) & ~near_0, off, error)
            if name in sweep.QUADRATIC:
                error = np.maximum(error - np.where(near_0, math.ldexp(TINY, shift), 0.0), 0.0)
        if name not in UNITS:
            out[where] = error / _ulp(high, low, math.ldexp(TINY, shift))
            continue
        if derivative:  # act' is rounded, of a saved output that is subnormal itself
            aside = math.ldexp(TINY, shift) * np.where(w == 1, 1, w + 0.5)
            error = np.maximum(error - np.where(is_small, aside, 0.0), 0.0)
        with np.errstate(over="ignore", invalid="ignore"):  # far out nothing is off
            unit = EPS * terms * (1 + v * v if name in sweep.QUADRATIC else 1.0)
        out[where] = np.divide(error, unit, where=error != 0, out=np.zeros_like(error))
    return np.where(np.isnan(out), math.inf, out)


def _ulp(high: Array, low: Array, least: float) -> Array:
    """In the binade of high + low, which is the one below where high is a power of two too far."""
    magnitude, sign = np.abs(high), np.sign(high)
    _, exponent = np.frexp(np.where(low * sign < 0, np.nextafter(magnitude, 0), magnitude))
    return np.where(magnitude > 0, np.maximum(np.ldexp(1.0, exponent - 53), least), least)


def points64(name: str, index: int, n: int) -> tuple[Array, Array]:
    """The n arguments of a step, and gradients in [1, 2), every other one 1."""
    rng = np.random.default_rng([zlib.crc32(name.encode()), index])
    x = points(name, rng, n)
    g = rng.uniform(1, 2, x.size)
    g[rng.permutation(x.size)[::2]] = 1.0
    return x, g


def step64(name: str, index: int, n: int, mpmath: bool = False) -> tuple[int, float, float]:
    x, g = points64(name, index, n)
    error = errors64(name, x, g, mpmath)
    worst = int(np.argmax(error))
    return x.size, float(error[worst]), float(x[worst])


def run(name: str, dtype: str, stride: int, count: int, path: Path) -> dict[str, Any]:
    """All steps that ``path`` does not know of; it is written after each."""
    results = json.loads(path.read_text()) if path.exists() else {}
    end = 1 << 32 if dtype == "float32" else count
    key = f"{name} {dtype}" + (f" every {stride}th" if dtype == "float32" and stride > 1 else "")
    mine = results.setdefault(
        key, {"name": name, "dtype": dtype, "next": 0, "points": 0, "worst": -1.0, "at": math.nan}
    )
    started = time.process_time()
    while mine["next"] < end:
        first = mine["next"]
        size = min(STEP[dtype] * (stride if dtype == "float32" else 1), end - first)
        if dtype == "float32":
            tried, worst, at = sweep.sweep(name, first, first + size, stride)
        else:
            tried, worst, at = step64(name, first // STEP[dtype], size)
            mine["oracle"] = "mpmath" if exact.flint is None else "python-flint"
        mine["points"] += tried
        if worst > mine["worst"]:
            mine["worst"], mine["at"] = worst, at
        mine["next"] = first + size
        mine["date"] = datetime.now(timezone.utc).strftime("%Y-%m-%d")
        path.write_text(json.dumps(results, indent=1) + "\n")
    spent = time.process_time() - started
    print(f"{key}: {mine['points']} points, {describe(mine)}; {spent:.0f} s", flush=True)
    return mine


def describe(result: dict[str, Any]) -> str:
    unit = UNITS.get(result["name"], "ulp")
    bound = BOUNDS[result["name"]]
    return f"worst {result['worst']:.4f} of {bound:g} {unit} at {result['at']!r}"


def check(name: str, n: int) -> str:
    """Largest distances from mpmath, relative to the terms, of python-flint and the C library."""
    x, g = points64(name, 1 << 20, n)
    derivative = g if name in exact.DERIVATIVES else None
    said = []
    theirs = exact.evaluate(name, x, derivative, 0, mpmath=True)
    finite = np.isfinite(theirs[0]) & (theirs[2] > 1e-290)
    if exact.flint is not None:
        ours = exact.evaluate(name, x, derivative, 0)
        (a, b, _), (c, d, size) = ([v[finite] for v in values] for values in (ours, theirs))
        apart = np.abs((a - c) + (b - d)) / size
        assert apart.max() < 2.0**-100, (name, apart.max())
        said.append(f"python-flint within {apart.max():.1e}")
    x = np.clip(x[:: max(1, n // 20_000)], -3e38, 3e38).astype(np.float32)
    x = x[x > 0] if name == "log" else x
    if derivative is None:
        c = np.array([sweep.VALUES[name](v) for v in x.astype(float).tolist()])
    else:
        c = np.array([sum(sweep.DERIVATIVES[name](v)) for v in x.astype(float).tolist()])
    high, _, size = exact.evaluate(name, x.astype(float), None, 0, mpmath=True)
    inside = (size > 2.0**-149) & (np.abs(high) < 2.0**128)
    apart = np.abs(c[inside] - high[inside]) / size[inside]
    assert apart.max() < 1e-12, (name, apart.max(), x[inside][apart.argmax()])
    said.append(f"the C library within {apart.max():.1e}")
    return f"{name}: {', '.join(said)}, relative, over {x.size} and {finite.sum()} points"


def table(results: dict[str, Any]) -> str:
    """Markdown: a row a function; a cell the worst error and its argument."""
    lines = [
        "| | bound | " + " | ".join(f"{dtype} | at | points" for dtype in STEP) + " |",
        "|---" * (2 + 3 * len(STEP)) + "|",
    ]
    for name, bound in BOUNDS.items():
        row = [f"`{name}`", f"{bound:g} {UNITS.get(name, 'ulp')}".replace("|", "\\|")]
        for dtype in STEP:
            found = [r for r in results.values() if (r["name"], r["dtype"]) == (name, dtype)]
            r = max(found, key=lambda r: r["points"], default=None)
            at = "" if r is None else str(np.dtype(dtype).type(r["at"]))
            row += ["", "", ""] if r is None else [f"{r['worst']:.3f}", at, f"{r['points']:,}"]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(
        [*lines, "", "Dates: " + ", ".join(sorted({r["date"] for r in results.values()}))]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(BOUNDS))
    parser.add_argument("--dtype", choices=STEP, help="default: both")
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--points", type=int, default=10_000_000)
    parser.add_argument("--results", type=Path, default=Path("accuracy.json"))
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(options.results.read_text())))
        return
    failed = []
    for name in options.names or BOUNDS:
        if options.check:
            print(check(name, min(options.points, 100_000)), flush=True)
            continue
        for dtype in [options.dtype] if options.dtype else STEP:
            found = run(name, dtype, options.stride, options.points, options.results)
            if not found["worst"] <= BOUNDS[name]:
                failed.append(f"{name} {dtype}: {describe(found)}")
    if failed:
        raise SystemExit("over the bound: " + "; ".join(failed))


if __name__ == "__main__":
    main()
