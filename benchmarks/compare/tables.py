"""Results as Markdown: by family, what was lost, and the machine that it was measured on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cells import DTYPES, OPS

from fastgrad._bench import duration, geometric_mean

Record = dict[str, Any]
FASTEST = "the fastest peer"  # of the other libraries, in each cell
SLOWER = 0.97  # a loss has its whole interval below: numpy beside itself stays above


def library_section(found: Record, library: str) -> str:
    """A table by family for each number of threads."""
    records = [r for r in found["cells"] if r["library"] == library]
    parts = []
    for threads in sorted({r["threads"] for r in records}):
        some = [r for r in records if r["threads"] == threads]
        plural = "1 thread" if threads == 1 else f"{threads} threads"
        parts.append(f"{library}'s time / fastgrad's, {plural}, float32 / float64:\n")
        parts.append(family_table(some) + "\n")
    return "\n".join(parts)


def fastest(records: list[Record]) -> list[Record]:
    """Of each cell the comparison with the library that is fastest there."""
    names = ("family", "name", "m", "n", "k", "op", "dtype", "threads")
    best: dict[tuple[Any, ...], Record] = {}
    for r in records:
        cell = tuple(r[name] for name in names)
        if cell not in best or r["ratio"] < best[cell]["ratio"]:
            best[cell] = r
    return [{**r, "library": FASTEST} for r in best.values()]


def slug(library: str) -> str:
    """As a name of a file, and as the anchor of a heading."""
    return library.replace(" ", "-")


def family_table(records: list[Record]) -> str:
    """Geometric means by operation and of all, the lowest ratio, and how many are lost."""
    ops = [op for op in OPS if any(r["op"] == op for r in records)]
    head = ["family", "comparisons", *ops, "all", "lowest", "slower"]
    rows = []
    for family in with_all(records):
        some = [r for r in records if family in (r["family"], None)]
        lowest = min(some, key=lambda r: r["ratio"])
        rows.append(
            [
                _bold(family),
                str(len(some)),
                *(_pair(r for r in some if r["op"] == op) for op in ops),
                _mean(some),
                f"{lowest['ratio']:.2f} {title(lowest, with_family=family is None)}",
                str(len(losses(some))),
            ]
        )
    return markdown(head, rows)


def with_all(records: list[Record]) -> list[str | None]:
    """The families, and None for all of them if they are several."""
    families: list[str | None] = list(dict.fromkeys(r["family"] for r in records))
    return [*families, None] if len(families) > 1 else families


def _bold(family: str | None) -> str:
    return family.replace("_", " ") if family else "**all**"


def losses(records: Iterable[Record]) -> list[Record]:
    """The comparisons that fastgrad clearly loses, the worst first."""
    return sorted((r for r in records if r["high"] < SLOWER), key=lambda r: r["ratio"])


def loss_table(records: Iterable[Record]) -> str:
    head = [
        "product or layer",
        "threads",
        "ratio",
        "95 % interval",
        "fastgrad",
        "other",
        "other's library",
    ]
    return markdown(
        head,
        [
            [
                title(r, with_family=True),
                str(r["threads"]),
                f"{r['ratio']:.2f}",
                f"{r['low']:.2f} to {r['high']:.2f}",
                duration(r["ours"]),
                duration(r["theirs"]),
                r["library"],
            ]
            for r in losses(records)
        ],
    )


def summary(records: list[Record]) -> str:
    """One sentence."""
    backward = [r for r in records if r["op"] == "backward"]
    text = f"{len(records):,} comparisons with {records[0]['library']}: geometric mean "
    text += _mean(records) + (f" (backward {_mean(backward)})" if backward else "")
    below = sum(r["ratio"] < 1 for r in records)
    return text + f"; {below} are below 1, {len(losses(records))} of them clearly"


def machine_lines(found: Record) -> str:
    machine, versions = found["machine"], found["versions"]
    control = found["control"]
    peaks = "; ".join(
        f"{n} thread{'s' if n != '1' else ''}: "
        + ", ".join(f"{rate / 1e9:.0f} GF/s {d}" for d, rate in rates.items())
        for n, rates in found["peaks"].items()
    )
    took = "; CPU time taken by other processes {other_processes:.1%}, by the host {stolen:.1%}"
    took = took.format(**machine["company"]) if machine["company"] else ""
    return "\n".join(
        [
            f"- {machine['cpu']}, {machine['logical_cpus']} logical CPUs, {machine['system']}; "
            f"all threads: {machine['threads']}",
            "- " + ", ".join(f"{name} {version}" for name, version in versions.items()),
            f"- FMA peak on registers, {peaks}",
            f"- numpy beside itself: {control['ratio']:.3f} "
            f"({control['low']:.3f} to {control['high']:.3f}); load at the start "
            f"{machine['load_at_start']}{took}",
            f"- {found['date']}, commit {found['commit'] or 'unknown'}, "
            f"{found['options']['rounds']} rounds",
        ]
    )


def title(record: Record, with_family: bool) -> str:
    family = record["family"].replace("_", " ") + " " if with_family else ""
    return f"{family}{record['name']} {record['op']} {record['dtype']}"


def _mean(records: Iterable[Record]) -> str:
    ratios = [r["ratio"] for r in records]
    return f"{geometric_mean(ratios):.2f}" if ratios else ""


def _pair(records: Iterable[Record]) -> str:
    """Of float32 and of float64."""
    some = list(records)
    return "\u00a0/\u00a0".join(
        filter(None, (_mean(r for r in some if r["dtype"] == d) for d in DTYPES))
    )


def markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
