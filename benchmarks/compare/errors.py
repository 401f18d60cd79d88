"""Measured errors of a product beside the bound of the contract: docs/error.png, and a table.

    python benchmarks/compare/errors.py [--most 1000000] [--output docs/error.png]

C (8, 8) = A (8, k)·B (k, 8), k from 1 to a million, by fastgrad, numpy and, where it is
installed, PyTorch, one thread each, with normal numbers and with positive ones, uniform in [0, 1).
The error of an element is |C - exact| / (u·|A|·|B|), u = eps/2; the largest of the 64, and of
several draws for small k. The exact value is a sum in twice the precision of float64.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from _figure import machine, threads

import fastgrad

SIZE = 8  # rows and columns of C
DRAWN = 1 << 16  # elements of a row, over all draws of a small k
MOST_DRAWS = 64

Array = Any
DATA: dict[str, Callable[..., Array]] = {
    "normal": lambda rng, dtype, *shape: rng.standard_normal(shape).astype(dtype),
    "uniform in [0, 1)": lambda rng, dtype, *shape: rng.random(shape).astype(dtype),
}
STYLE = {"fastgrad": ("#1f5fa8", "o"), "numpy": ("#d1662b", "s"), "torch": ("#6b8e23", "^")}


def libraries() -> dict[str, Callable[[Array, Array], Array]]:
    found = {"fastgrad": fastgrad.matmul, "numpy": np.matmul}
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(1)
        found["torch"] = lambda a, b: (torch.from_numpy(a) @ torch.from_numpy(b)).numpy()
    return found


def bound(k: Array, dtype: str) -> Array:
    """In units of u·|A|·|B|: docs/contract.md."""
    kc = fastgrad.KC[dtype]
    return np.minimum(k, kc) + np.ceil(k / kc) + 2


def exact(a: Array, b: Array) -> tuple[Array, Array, Array]:
    """a (m, k) · b (k, n) -> high, low, size, (m, n) each: high + low = a·b, size = |a|·|b|."""
    parts = [_sums(row.astype("f8"), b.T.astype("f8")) for row in a]
    high, low, size = (np.array(x) for x in zip(*parts, strict=True))
    return high, low, size


def _sums(row: Array, columns: Array) -> tuple[Array, Array, Array]:
    """row (k,), columns (n, k): products split without error (Dekker), added in pairs (Knuth)."""
    high = row * columns
    size = np.abs(high).sum(axis=1)
    (xh, xl), (yh, yl) = _halves(row), _halves(columns)
    low = ((xh * yh - high) + xh * yl + xl * yh) + xl * yl
    while high.shape[1] > 1:
        if high.shape[1] % 2:
            high, low = (np.pad(x, ((0, 0), (0, 1))) for x in (high, low))
        x, y = high[:, ::2], high[:, 1::2]
        high = x + y
        t = high - x
        low = low[:, ::2] + low[:, 1::2] + ((x - (high - t)) + (y - t))
    return high[:, 0], low[:, 0], size


def _halves(x: Array) -> tuple[Array, Array]:
    t = x * (2.0**27 + 1)
    high = t - (t - x)
    return high, x - high


def measure(k: int, dtype: str, draw: Callable[..., Array], products: Any) -> dict[str, float]:
    """The largest error of each library, in units of u·|A|·|B|."""
    rng, worst = np.random.default_rng(k), dict.fromkeys(products, 0.0)
    u = np.finfo(dtype).eps / 2
    for _ in range(max(1, min(MOST_DRAWS, DRAWN // k))):
        a, b = draw(rng, dtype, SIZE, k), draw(rng, dtype, k, SIZE)
        high, low, size = exact(a, b)
        for name, product in products.items():
            error = np.abs((product(a, b) - high) - low) / (u * size)
            worst[name] = max(worst[name], float(error.max()))
    return worst


def draw_figure(found: dict[tuple[str, str], dict[int, dict[str, float]]], path: Path) -> None:
    """A row for each dtype, a column for each kind of data."""
    figure, axes = plt.subplots(
        2, 2, figsize=(9, 6.2), sharex=True, sharey=True, layout="constrained"
    )
    for axis, ((dtype, data), by_k) in zip(axes.flat, found.items(), strict=True):
        ks = np.array(sorted(by_k))
        axis.plot(ks, bound(ks, dtype), color="black", linewidth=1.2)
        axis.annotate("the bound", (ks[len(ks) // 2], bound(ks[len(ks) // 2], dtype)),
                      (-4, 5), textcoords="offset points", ha="right", fontsize=8)  # fmt: skip
        for name in by_k[ks[0]]:
            colour, marker = STYLE[name]
            axis.plot(ks, [by_k[k][name] for k in ks], color=colour, marker=marker, markersize=3,
                      linewidth=1.2, label=name)  # fmt: skip
        axis.set_title(f"{dtype}, {data}", loc="left", fontsize=9)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.grid(color="#e5e5e5")
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[-1]:
        axis.set_xlabel("k")
    for axis in axes[:, 0]:
        axis.set_ylabel("largest error / (u·|A|·|B|)")
    axes[0, 1].legend(fontsize=8, loc="upper left", frameon=False)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=1_000_000, help="the largest k")
    parser.add_argument("--output", type=Path, default=Path("docs/error.png"))
    options = parser.parse_args()
    ks = sorted({round(10 ** (i / 4)) for i in range(25)} & set(range(options.most + 1)))
    products, found = libraries(), {}
    print(f"| dtype, numbers | k | bound | {' | '.join(products)} |")
    print(f"|---|---|---|{'---|' * len(products)}")
    with threads(1):
        for dtype in ("float32", "float64"):
            for data, draw in DATA.items():
                by_k = found[dtype, data] = {k: measure(k, dtype, draw, products) for k in ks}
                for k in ks[::4]:
                    row = " | ".join(f"{x:.3g}" for x in by_k[k].values())
                    print(f"| {dtype}, {data} | {k} | {bound(k, dtype):.0f} | {row} |", flush=True)
    for (dtype, data), by_k in found.items():
        for k, worst in by_k.items():
            assert worst["fastgrad"] <= bound(k, dtype), (dtype, data, k, worst)
    draw_figure(found, options.output)
    print(f"\n{options.output}: {machine(1)}")


if __name__ == "__main__":
    main()
