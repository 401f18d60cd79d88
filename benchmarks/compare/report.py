"""Results of run.py -> docs/benchmarks.md, its pictures, and README's table.

    python benchmarks/compare/report.py results.json [more.json ...]

Several files, as of the drawn shapes, are put together if machine, versions and source agree.
In README.md what stands between the two lines with compare:begin and compare:end is replaced.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import plots
import tables

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BEGIN, END = "<!-- compare:begin -->", "<!-- compare:end -->"
INTRODUCTION = f"""\
What `python benchmarks/compare/run.py` measured, as `python benchmarks/compare/report.py` wrote it;
not edited by hand. [benchmarks/compare](../benchmarks/compare/README.md) tells what is measured and
how. A ratio is the other library's time / fastgrad's: above 1, fastgrad is faster. Families of
shapes are rows; means are geometric. A cell fails where its whole 95 % interval is below
{tables.FAILS}."""


def main() -> None:
    if not sys.argv[1:]:
        sys.exit("report.py: give the results of run.py, as results.json")
    found = together([Path(name) for name in sys.argv[1:]])
    libraries = list(dict.fromkeys(r["library"] for r in found["cells"]))
    pictures = draw(found, libraries)
    (DOCS / "benchmarks.md").write_text(page(found, libraries, pictures))
    print(f"written: docs/benchmarks.md, {', '.join(f'docs/{p}' for p in pictures)}")
    if "numpy" in libraries and replace_in_readme(ROOT / "README.md", excerpt(found, pictures)):
        print("written: the table in README.md")


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
        sys.exit(f"report.py: no cell in {paths[0]}")
    return first


def draw(found: dict[str, Any], libraries: list[str]) -> list[str]:
    """The names of the files that were made in docs."""
    made = []
    for library in libraries:
        made.append(f"heat_{library}.png")
        plots.heat_map(found, library, DOCS / made[-1])
    if any(r["family"] == "squares" and r["op"] == "nn" for r in found["cells"]):
        made.append("peak.png")
        plots.share_of_peak(found, libraries[0], DOCS / made[-1])
    return made


def page(found: dict[str, Any], libraries: list[str], pictures: list[str]) -> str:
    parts = [
        "# fastgrad beside " + ", ".join(libraries),
        INTRODUCTION,
        tables.machine_lines(found),
    ]
    if "peak.png" in pictures:
        parts += ["## Squares, share of the FMA peak", "![share of peak](peak.png)"]
    for library in libraries:
        records = [r for r in found["cells"] if r["library"] == library]
        parts += [f"## {library}", tables.summary(records) + "."]
        parts += [f"![ratios by shape](heat_{library}.png)", tables.library_section(found, library)]
        if tables.losses(records):
            parts += [f"### Cells that fail beside {library}", tables.loss_table(records)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def excerpt(found: dict[str, Any], pictures: list[str]) -> str:
    """For README: numpy alone."""
    records = [r for r in found["cells"] if r["library"] == "numpy"]
    lines = [
        "numpy's time / fastgrad's, geometric means by family over float32 and float64 (above 1: "
        "fastgrad is faster):",
        tables.short_table(records),
        f"{tables.summary(records)}; [all of them](docs/benchmarks.md).",
        "![ratios by shape](docs/heat_numpy.png)",
    ]
    if "peak.png" in pictures:
        lines.append("![share of the FMA peak](docs/peak.png)")
    return "\n\n".join([*lines, tables.machine_lines(found)])


def replace_in_readme(path: Path, text: str, start: str = BEGIN, stop: str = END) -> bool:
    """Whether it has the two markers, and between them now the text."""
    before, begin, rest = path.read_text().partition(start)
    _, end, after = rest.partition(stop)
    if not (begin and end):
        return False
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}")
    return True


if __name__ == "__main__":
    main()
