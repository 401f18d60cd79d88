"""Results of run.py -> the grid in docs/benchmarks.md, its pictures, docs/slower.md, README's row.

    python benchmarks/compare/report.py results.json [more.json ...]

Several files, as of the drawn shapes, are put together if machine, versions and source agree.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pages
import plots
import tables

from fastgrad._bench import geometric_mean

DOCS = pages.ROOT / "docs"
SLOWER = f"""\
# Where another library is faster

Each comparison of the grid in [Benchmarks](benchmarks.md) that fastgrad clearly loses: its whole
95 % interval is below {tables.SLOWER}. A ratio is the other library's time / fastgrad's. Written
by `python benchmarks/compare/report.py`, not by hand."""


def main() -> None:
    if not sys.argv[1:]:
        sys.exit("report.py: give the results of run.py, as results.json")
    found = together([Path(name) for name in sys.argv[1:]])
    libraries = list(dict.fromkeys(r["library"] for r in found["cells"]))
    if len(libraries) > 1:  # the peer of a cell is the one that is fastest there
        found["cells"] += tables.fastest(found["cells"])
        libraries = [tables.FASTEST, *libraries]
    pictures = draw(found, libraries)
    pages.replace(DOCS / "benchmarks.md", "grid", grid(found, libraries, pictures))
    (DOCS / "slower.md").write_text(slower(found, libraries), encoding="utf-8")
    print(f"written: docs/slower.md, {', '.join(f'docs/{p}' for p in pictures)}")
    pages.keep("grid", summary(found, libraries[0]))


def together(paths: list[Path]) -> dict[str, Any]:
    first, *rest = (json.loads(path.read_text()) for path in paths)
    for path, other in zip(paths[1:], rest, strict=True):
        for key in ("source", "versions"):
            if other[key] != first[key]:
                sys.exit(f"report.py: {path} has another {key} than {paths[0]}")
        if other["machine"]["cpu"] != first["machine"]["cpu"]:
            sys.exit(f"report.py: {path} is of another machine than {paths[0]}")
        first["cells"] += other["cells"]
        first["date"] += f" and {other['date']}"
        for threads, rates in other["peaks"].items():
            first["peaks"].setdefault(threads, rates)
    if not first["cells"]:
        sys.exit(f"report.py: no comparison in {paths[0]}")
    return first


def draw(found: dict[str, Any], libraries: list[str]) -> list[str]:
    """The names of the files that were made in docs."""
    made = []
    for library in libraries:
        made.append(f"heat_{tables.slug(library)}.png")
        plots.heat_map(found, library, DOCS / made[-1])
    if any(r["family"] == "squares" and r["op"] == "nn" for r in found["cells"]):
        made.append("peak.png")
        plots.share_of_peak(found, libraries[0], DOCS / made[-1])
        if len({r["threads"] for r in found["cells"]}) > 1:
            made.append("scaling.png")
            plots.scaling(found, libraries[-1], DOCS / made[-1])
    return made


def grid(found: dict[str, Any], libraries: list[str], pictures: list[str]) -> str:
    """A summary, a picture and a table by family for each library; the peak; the machine."""
    parts = []
    for library in libraries:
        records = [r for r in found["cells"] if r["library"] == library]
        parts += [f"{tables.summary(records)}; [each of these](slower.md#{tables.slug(library)})."]
        picture = f"heat_{tables.slug(library)}.png"
        parts += [f"![{library}'s time / fastgrad's, by shape and operation]({picture})"]
        parts += [tables.library_section(found, library)]
    if "peak.png" in pictures:
        parts.append("![share of the FMA peak that square products reach](peak.png)")
    if "scaling.png" in pictures:
        parts.append("![one thread's time over that of all, square products](scaling.png)")
    return "\n\n".join(part.strip() for part in [*parts, tables.machine_lines(found)])


def slower(found: dict[str, Any], libraries: list[str]) -> str:
    parts = [SLOWER]
    for library in libraries:
        records = [r for r in found["cells"] if r["library"] == library]
        parts.append(f"## {library}")
        parts.append(tables.loss_table(records) if tables.losses(records) else "None.")
    return "\n\n".join(part.strip() for part in parts) + "\n"


def summary(found: dict[str, Any], library: str) -> dict[str, Any]:
    """measured/grid.json: what README says of it."""
    records = [r for r in found["cells"] if r["library"] == library]
    backward = [r["ratio"] for r in records if r["op"] == "backward"]
    lowest = min(records, key=lambda r: r["ratio"])
    return {
        "cpu": found["machine"]["cpu"],
        **{key: found[key] for key in ("date", "commit", "versions")},
        "library": library,
        "comparisons": len(records),
        "mean": round(geometric_mean([r["ratio"] for r in records]), 2),
        "backward": round(geometric_mean(backward), 2) if backward else None,
        "below": sum(r["ratio"] < 1 for r in records),
        "slower": len(tables.losses(records)),
        "lowest": {
            "what": tables.title(lowest, with_family=True),
            "threads": lowest["threads"],
            "ratio": round(lowest["ratio"], 2),
        },
    }


if __name__ == "__main__":
    main()
