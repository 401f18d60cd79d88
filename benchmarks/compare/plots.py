"""Pictures of results: ratios over shapes and operations as a heat map; squares' share of peak."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from cells import DTYPES, OPS
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

matplotlib.use("Agg")
Record = dict[str, Any]

LIMIT = 2.0  # the colours end at a ratio of 2 and of 1/2
COLOURS = {"ours": "#1f5fa8", "theirs": "#d1662b"}
LINES = {"float32": "-", "float64": "--"}


def heat_map(found: Record, library: str, path: Path) -> None:
    """Columns are shapes in the file's order, rows operations; a panel for each thread count."""
    records = [r for r in found["cells"] if r["library"] == library]
    shapes = list(dict.fromkeys((r["family"], r["name"]) for r in records))
    rows = [(op, dtype) for op in OPS for dtype in DTYPES]
    counts = sorted({r["threads"] for r in records})
    figure, axes = plt.subplots(
        len(counts), 1, figsize=(11, 0.9 + 2.2 * len(counts)), squeeze=False, layout="constrained"
    )
    image = None
    for axis, threads in zip(axes[:, 0], counts, strict=True):
        ratios = np.full((len(rows), len(shapes)), np.nan)
        for r in records:
            if r["threads"] == threads:
                at = rows.index((r["op"], r["dtype"])), shapes.index((r["family"], r["name"]))
                ratios[at] = r["ratio"]
        image = axis.imshow(
            np.log2(ratios), cmap="RdBu", aspect="auto", interpolation="nearest",
            vmin=-np.log2(LIMIT), vmax=np.log2(LIMIT),
        )  # fmt: skip
        axis.set_facecolor("#dddddd")  # not measured
        axis.set_title(_threads(threads), loc="left", fontsize=9)
        axis.set_yticks(range(len(rows)), [f"{op} f{dtype[-2:]}" for op, dtype in rows], fontsize=7)
        _mark_families(axis, [family for family, _ in shapes])
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.01, extend="both")
    ticks = (0.5, 0.7, 0.85, 1, 1.2, 1.4, 2)
    bar.set_ticks(np.log2(ticks), labels=[f"{t:g}" for t in ticks], fontsize=8)
    bar.set_label(f"{library}'s time / fastgrad's (blue: fastgrad is faster)", fontsize=8)
    _save(figure, path)


def _mark_families(axis: Any, families: list[str]) -> None:
    names = list(dict.fromkeys(families))
    starts = [families.index(name) for name in names]
    ends = [*starts[1:], len(families)]
    for start in starts[1:]:
        axis.axvline(start - 0.5, color="black", linewidth=0.8)
    middles = [(a + b - 1) / 2 for a, b in zip(starts, ends, strict=True)]
    axis.set_xticks(middles, [n.replace("_", "\n") for n in names], fontsize=8)
    axis.tick_params(length=0)


def share_of_peak(found: Record, library: str, path: Path) -> None:
    """A·B of squares; a panel for each thread count."""
    records = [
        r
        for r in found["cells"]
        if r["library"] == library and r["family"] == "squares" and r["op"] == "nn"
    ]
    counts = sorted({r["threads"] for r in records})
    figure, axes = plt.subplots(
        1, len(counts), figsize=(9, 3.4), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, threads in zip(axes[0], counts, strict=True):
        for side, name in (("ours", "fastgrad"), ("theirs", library)):
            for dtype in DTYPES:
                points = sorted(
                    (r["n"], r[f"share_{side}"])
                    for r in records
                    if r["threads"] == threads and r["dtype"] == dtype
                )
                if points:
                    axis.plot(
                        *zip(*points, strict=True), LINES[dtype], marker="o", markersize=3,
                        linewidth=1.5, color=COLOURS[side], label=f"{name} {dtype}",
                    )  # fmt: skip
        axis.set_xscale("log", base=2)
        sizes = sorted({r["n"] for r in records})
        powers = [n for n in sizes if n & (n - 1) == 0] or sizes
        axis.xaxis.set_major_locator(FixedLocator(powers))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xticklabels(powers, fontsize=8)
        axis.set_ylim(0, 1)
        axis.yaxis.set_major_formatter(PercentFormatter(1))
        axis.grid(color="#e5e5e5")
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_title(_threads(threads), loc="left", fontsize=9)
        axis.set_xlabel("n of an n x n product")
    axes[0, 0].set_ylabel("share of the FMA peak")
    axes[0, -1].legend(fontsize=8, loc="lower right", frameon=False)
    _save(figure, path)


def _threads(n: int) -> str:
    return f"{n} thread{'s' if n > 1 else ''}"


def _save(figure: Any, path: Path) -> None:
    """Without the date and version that would change the file's bytes."""
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
