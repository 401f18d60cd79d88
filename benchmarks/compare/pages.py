"""What was measured, in measured/ -> the tables of docs/benchmarks.md, and README's rows, charts.

    python benchmarks/compare/pages.py            # writes them again; measures nothing

report.py, costs.py and steps.py measure, keep a file in measured/ and call this. In a page only
what stands between two lines such as steps:begin and steps:end is replaced.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import chart

ROOT = Path(__file__).parents[2]
README, BENCHMARKS = ROOT / "README.md", ROOT / "docs" / "benchmarks.md"
MEASURED = Path(__file__).with_name("measured")
SMALL, LARGE = "64-128-10 b32", "784-1024-1024-10 b256"  # README's nets
CALL = "4x4 product, out="
Measured = dict[str, Any]


def main() -> None:
    for path, blocks in texts().items():
        for name, text in blocks.items():
            if not replace(path, name, text):
                print(f"{path.name} has no place for {name}")
    for name, text in charts().items():
        (ROOT / "docs" / name).write_text(text, encoding="utf-8")
    print("written: README.md, docs/benchmarks.md, docs/step.svg, docs/steps.svg")


def charts() -> dict[str, str]:
    """A file of docs/ -> its picture."""
    steps = read("steps")
    return {"step.svg": chart.bars(steps, SMALL), "steps.svg": chart.dots(steps)}


def texts() -> dict[Path, dict[str, str]]:
    """A page -> the names of its blocks and what stands in them."""
    steps, costs, grid = read("steps"), read("costs"), read("grid")
    return {
        README: {"figures": figures(steps, costs, grid)},
        BENCHMARKS: {"steps": steps_text(steps), "costs": costs_text(costs)},
    }


def read(name: str) -> Measured:
    found: Measured = json.loads((MEASURED / f"{name}.json").read_text(encoding="utf-8"))
    return found


def keep(name: str, found: Measured) -> None:
    """A file of measured/; what is written from it follows."""
    text = json.dumps(found, indent=1) + "\n"
    (MEASURED / f"{name}.json").write_text(text, encoding="utf-8")
    main()


def replace(path: Path, name: str, text: str) -> bool:
    """Whether the page has the two lines, and between them now the text."""
    start, stop = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, begin, rest = path.read_text(encoding="utf-8").partition(start)
    _, end, after = rest.partition(stop)
    if not (begin and end):
        return False
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
    return True


def figures(steps: Measured, costs: Measured, grid: Measured) -> str:
    """README's three rows: a small step, a large one, products and layers."""
    lines = ["| | fastgrad | the others' time / fastgrad's |", "|---|---|---|"]
    for name in (SMALL, LARGE):
        row = net(steps, name)
        others = sorted(row["others"].items(), key=lambda other: other[1]["ratio"])
        ratios = ", ".join(f"{shown(n)} {o['ratio']:.3g}" for n, o in others)
        lines.append(f"| training step {named(name)} | {duration(row['us'])} | {ratios} |")
    lowest = grid["lowest"]
    what = "products" if grid["backward"] is None else "products and layers"
    library, faster = grid["library"], 1 - grid["below"] / grid["comparisons"]
    lines.append(
        f"| {grid['comparisons']:,} {what} | | {library} {grid['mean']} in the mean; "
        f"fastgrad is ahead in {faster:.0%}, clearly behind in {grid['slower']} "
        f"({grid['slower'] / grid['comparisons']:.0%}); lowest {lowest['ratio']:.2g}: "
        f"{lowest['what']} |"
    )
    call = next(c for c in costs["calls"] if c["call"] == CALL)
    return "\n".join([
        *lines, "",
        f"{steps['threads']} threads, {steps['cpu']}, {steps['date'][:10]}; fastgrad "
        f"{steps['versions']['fastgrad'].split()[0]}, numpy {steps['versions']['numpy']}. On "
        f"{costs['date'][:10]}, {costs['cpu']}, commit {costs['commit'][:7]}, a call on 4 × 4 "
        f"matrices took {call['python']:.2g} µs, numpy's {call['numpy']:.2g} µs.",
    ])  # fmt: skip


def steps_text(found: Measured) -> str:
    heads = list(dict.fromkeys(name for row in found["nets"] for name in row["others"]))
    means = []
    for name in heads:
        ratios = [row["others"][name]["ratio"] for row in found["nets"] if name in row["others"]]
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        means.append(f"{mean:.2f}, lowest {min(ratios):.2f}")
    company = ", ".join(f"{k.replace('_', ' ')} {v:.1%}" for k, v in found["company"].items())
    return "\n".join([
        f"{found['threads']} threads, float32; microseconds. Beside fastgrad's time, the other "
        "library's time / fastgrad's, and its own time:",
        "",
        "| net, batch | fastgrad | " + " | ".join(map(shown, heads)) + " |",
        "| --- | --- |" + " --- |" * len(heads),
        *(steps_line(row, heads) for row in found["nets"]),
        "| **geometric mean** | | " + " | ".join(means) + " |",
        "",
        f"{found['cpu']}; {found['date']}, commit {found['commit']}, {found['rounds']} rounds; "
        f"{versions(found)}" + (f"; CPU time taken by {company}" if company else ""),
    ])  # fmt: skip


def steps_line(row: Measured, heads: list[str]) -> str:
    others = row["others"]
    cells = [
        f"{others[name]['ratio']:.2f}\u00a0({microseconds(others[name]['us'])})"
        if name in others
        else ""
        for name in heads
    ]
    return f"| {row['net']} | {microseconds(row['us'])} | " + " | ".join(cells) + " |"


def costs_text(found: Measured) -> str:
    memory = found["memory"]
    calls = ["| microseconds a call, 1 thread | from Python | numpy's statements | from `@njit` |"]
    calls += ["| --- | --- | --- | --- |"]
    for c in found["calls"]:
        calls.append(f"| {c['call']} | {c['python']:.2f} | {c['numpy']:.2f} | {c['njit']:.2f} |")
    first = ["| the first time in a process | empty cache | cached |", "| --- | --- | --- |"]
    for c in found["first"]:
        empty = "" if c["empty"] is None else f"{c['empty']:.2f} s"
        first.append(f"| {c['call']} | {empty} | {c['cached']:.2f} s |")
    return "\n".join([
        *calls, "", *first, "",
        f"Memory: a model {memory['net']} and its steps take {memory['taken'] / 1e6:.1f} MB; its "
        f"parameters, gradients, activations and their gradients are {memory['arrays'] / 1e6:.1f} "
        "MB.", "",
        f"{found['cpu']}; {found['date']}, commit {found['commit']}; {versions(found)}",
    ])  # fmt: skip


def net(steps: Measured, name: str) -> Measured:
    found: Measured = next(row for row in steps["nets"] if row["net"] == name)
    return found


def versions(found: Measured) -> str:
    return ", ".join(f"{name} {version}" for name, version in found["versions"].items())


def named(net: str) -> str:
    return net.replace(" b", ", batch ")


def shown(library: str) -> str:
    """As its makers write it."""
    names = {"torch": "PyTorch", "torch compiled": "PyTorch compiled", "jax": "JAX"}
    return names.get(library, library)


def duration(us: float) -> str:
    return f"{us / 1e3:.3g} ms" if us >= 1e3 else f"{us:.3g} µs"


def microseconds(us: float) -> str:
    return f"{us:.0f}" if us >= 100 else f"{us:.1f}"


if __name__ == "__main__":
    main()
