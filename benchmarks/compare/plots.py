"""Pictures of results: ratios over shapes as a heat map; squares' share of peak; threads.

Each title says what to see in it. The ground is white, also on a dark page.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from cells import DTYPES, OPS
from matplotlib.colors import FuncNorm
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from fastgrad._bench import geometric_mean

matplotlib.use("Agg")
Record = dict[str, Any]

TICKS = (1 / 8, 1 / 4, 1 / 2, 0.7, 0.85, 1, 1.2, 1.4, 2, 4, 8)
COLOURS = {"ours": "#1f5fa8", "theirs": "#d1662b"}
LINES = {"float32": "-", "float64": "--"}


def heat_map(found: Record, library: str, path: Path) -> None:
    """Columns are shapes in the file's order, rows what was measured; a panel a thread count.

    Colours follow the root of the logarithm: 0.9 is not white, and a ratio of 8 is not that of 2.
    """
    records = [r for r in found["cells"] if r["library"] == library]
    shapes = list(dict.fromkeys((r["family"], r["name"]) for r in records))
    measured = {(r["op"], r["dtype"]) for r in records}
    rows = [(op, dtype) for op in OPS for dtype in DTYPES if (op, dtype) in measured]
    counts = sorted({r["threads"] for r in records})
    figure, axes = plt.subplots(
        len(counts), 1, figsize=(11, 0.9 + len(counts) * (1.2 + 0.22 * len(rows))),
        squeeze=False, layout="constrained",
    )  # fmt: skip
    limit = np.log2(TICKS[-1])
    norm = FuncNorm(
        (lambda v: np.sign(v) * np.sqrt(np.abs(v)), lambda v: np.sign(v) * np.square(v)),
        vmin=-limit, vmax=limit,
    )  # fmt: skip
    image = None
    for axis, threads in zip(axes[:, 0], counts, strict=True):
        ratios = np.full((len(rows), len(shapes)), np.nan)
        for r in records:
            if r["threads"] == threads:
                at = rows.index((r["op"], r["dtype"])), shapes.index((r["family"], r["name"]))
                ratios[at] = r["ratio"]
        image = axis.imshow(
            np.log2(ratios), cmap="RdBu", aspect="auto", interpolation="nearest", norm=norm
        )
        axis.set_facecolor("#dddddd")  # not measured
        axis.set_title(_threads(threads), loc="left", fontsize=9)
        axis.set_yticks(range(len(rows)), [f"{op} f{dtype[-2:]}" for op, dtype in rows], fontsize=8)
        _mark_families(axis, shapes)
    bar = figure.colorbar(image, ax=axes, shrink=0.9, pad=0.01, extend="both")
    bar.set_ticks(np.log2(TICKS), labels=[f"{t:.3g}" for t in TICKS], fontsize=8)
    bar.minorticks_off()
    bar.set_label(f"{library}'s time / fastgrad's", fontsize=8)
    ahead = sum(r["ratio"] >= 1 for r in records) / len(records)
    _title(
        figure,
        f"Blue: fastgrad is faster than {library}, in {ahead:.0%} of {len(records):,} comparisons",
    )
    _save(figure, path)


def _mark_families(axis: Any, shapes: list[tuple[str, str]]) -> None:
    """A family's name, with its first shape and its last, under its columns; every second lower."""
    families = [family for family, _ in shapes]
    names = list(dict.fromkeys(families))
    starts = [families.index(name) for name in names]
    ends = [*starts[1:], len(families)]
    for start in starts[1:]:
        axis.axvline(start - 0.5, color="black", linewidth=0.8)
    labels, middles = [], []
    for number, (name, start, end) in enumerate(zip(names, starts, ends, strict=True)):
        middles.append((start + end - 1) / 2)
        first, last = (re.sub(" [a-z]+ ", " b", shapes[at][1]) for at in (start, end - 1))
        labels.append("\n" * 3 * (number % 2) + f"{name.replace('_', ' ')}\n{first}\nto {last}")
    axis.set_xticks(middles, labels, fontsize=6.5)
    axis.tick_params(length=0)


def share_of_peak(found: Record, library: str, path: Path) -> None:
    """A·B of squares; a panel for each thread count."""
    records = _squares(found, library)
    counts = sorted({r["threads"] for r in records})
    figure, axes = plt.subplots(
        1, len(counts), figsize=(9, 3.8), sharey=True, squeeze=False, layout="constrained"
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
        _sizes(axis, records)
        axis.set_ylim(0, 1)
        axis.yaxis.set_major_formatter(PercentFormatter(1))
        axis.set_title(_threads(threads), loc="left", fontsize=9)
    axes[0, 0].set_ylabel("share of the FMA peak")
    axes[0, -1].legend(fontsize=8, loc="lower right", frameon=False)
    large = [r for r in records if r["n"] >= 512]
    ours, theirs = (geometric_mean([r[f"share_{s}"] for r in large]) for s in ("ours", "theirs"))
    _title(
        figure,
        f"Square products from n = 512: {ours:.0%} of what the CPU can do, {library} {theirs:.0%}",
    )
    _save(figure, path)


def scaling(found: Record, library: str, path: Path) -> None:
    """How many times as fast all threads are as one, by n of a square product."""
    records = _squares(found, library)
    most = max(r["threads"] for r in records)
    figure, axis = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    reached = []
    for side, name in (("ours", "fastgrad"), ("theirs", library)):
        for dtype in DTYPES:
            times = {
                threads: {
                    r["n"]: r[side]
                    for r in records
                    if r["threads"] == threads and r["dtype"] == dtype
                }
                for threads in (1, most)
            }
            sizes = sorted(times[1].keys() & times[most].keys())
            if sizes:
                gains = [times[1][n] / times[most][n] for n in sizes]
                axis.plot(
                    sizes, gains, LINES[dtype], marker="o", markersize=3, linewidth=1.5,
                    color=COLOURS[side], label=f"{name} {dtype}",
                )  # fmt: skip
                if side == "ours":
                    reached += [n for n, g in zip(sizes, gains, strict=True) if g >= 0.75 * most]
    _sizes(axis, records)
    axis.axhline(most, color="#888888", linewidth=1, linestyle=":")
    axis.axhline(1, color="#888888", linewidth=1)
    axis.set_ylim(0, most + 0.3)
    axis.set_ylabel(f"time with 1 thread / with {most}")
    axis.legend(fontsize=8, loc="lower right", frameon=False)
    where = f"pay from n = {min(reached)} on" if reached else "do not pay"
    _title(figure, f"{_threads(most)} {where}: a gain of {0.75 * most:g} and more of {most}")
    _save(figure, path)


def _squares(found: Record, library: str) -> list[Record]:
    return [
        r
        for r in found["cells"]
        if r["library"] == library and r["family"] == "squares" and r["op"] == "nn"
    ]


def _sizes(axis: Any, records: list[Record]) -> None:
    """n along the axis, the powers of two named."""
    axis.set_xscale("log", base=2)
    sizes = sorted({r["n"] for r in records})
    powers = [n for n in sizes if n & (n - 1) == 0] or sizes
    axis.xaxis.set_major_locator(FixedLocator(powers))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xticklabels(powers, fontsize=8)
    axis.grid(color="#e5e5e5")
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_xlabel("n of an n × n product")


def _threads(n: int) -> str:
    return f"{n} thread{'s' if n > 1 else ''}"


def _title(figure: Any, text: str) -> None:
    figure.suptitle(text, x=0.01, ha="left", fontsize=11, fontweight="bold")


def _save(figure: Any, path: Path) -> None:
    """Without the date and version that would change the file's bytes."""
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
